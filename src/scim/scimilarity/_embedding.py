"""`CellEmbedding`: log-normalised cells to embeddings."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from scipy import sparse

from scim import atlas as atlases
from scim._core import check_count
from scim.atlas import Atlas
from scim.io.cells import check_sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.model import Encoder, Model

ModelPath: TypeAlias = str | os.PathLike[str] | Atlas


class CellEmbedding:
    """Embed cells with aligned genes and log-normalised counts.

    Parameters
    ----------
    model_path
        An atlas made by `scim import-scimilarity`, a folder of a scim model, or a published folder. Without a model
        FileNotFoundError is raised, for a damaged one FormatError.
    use_gpu
        Accepted and not used.
    """

    def __init__(self, model_path: ModelPath, use_gpu: bool = False) -> None:
        self.model_path, self.use_gpu = model_path, use_gpu
        _ = self._model  # loads it, or raises

    @property
    def model(self) -> Encoder:
        """The encoder, a torch module in evaluation mode, for :class:`Interpreter`."""
        return self._model.encoder

    @cached_property
    def gene_order(self) -> list[str]:
        """Published symbols of the encoder's genes."""
        published = self._model.metadata.get("gene_order")
        return [str(gene) for gene in (self._model.symbols if published is None else published)]

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return self._model.n_genes

    @property
    def latent_dim(self) -> int:
        """Length of an embedding."""
        return self._model.latent_dim

    @cached_property
    def int2label(self) -> dict[int, str]:
        """Labels the model was trained on, by number."""
        return dict(enumerate(self._model.metadata.get("labels", self._model.labels)))

    @cached_property
    def label2int(self) -> dict[str, int]:
        """Numbers of these labels."""
        return {label: number for number, label in self.int2label.items()}

    def get_embeddings(self, X: Any, num_cells: int = -1, buffer_size: int = 10000) -> NDArray[np.float32]:
        """Embed cells.

        Parameters
        ----------
        X
            (n, n_genes) log-normalised values of the genes of `gene_order`: sparse, numpy or torch. Without cells, with
            other genes or with NaN, ValueError is raised.
        num_cells
            Number of cells to embed, from the first on; -1: all.
        buffer_size
            Accepted and not used.

        Returns
        -------
        float32 unit rows, shape (n, latent_dim); a cell without any value has a row of zeros.
        """
        check_count("buffer_size", buffer_size)
        rows = as_rows(X)
        rows = rows if num_cells == -1 else rows[: check_count("num_cells", num_cells)]
        if not rows.shape[0]:
            msg = f"Expected cells to embed, got a matrix of shape {rows.shape}."
            raise ValueError(msg)
        if not np.isfinite(rows if isinstance(rows, np.ndarray) else rows.data).all():
            msg = "Expected log-normalised values, got some that are NaN or infinite; run lognorm_counts(data) first."
            raise ValueError(msg)
        return self._model.encode(rows)

    @cached_property
    def _model(self) -> Model:
        return _load_model(self.model_path)


def as_rows(X: Any) -> Any:
    """Return a matrix of cells as csr or as a numpy array of two dimensions."""
    if hasattr(X, "detach"):  # a torch tensor, on any device
        X = X.detach().cpu().numpy()
    if hasattr(X, "tocsr"):
        check_sparse(X, "X")
        return sparse.csr_matrix(X)
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "fiu":
        return np.asarray(X)
    what = f"an array of {X.dtype} and shape {X.shape}" if isinstance(X, np.ndarray) else type(X).__name__
    msg = f"Expected a matrix of cells, sparse or dense, got {what}."
    raise TypeError(msg)


def is_published(model_path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a published folder."""
    return _has_file(model_path, "encoder.ckpt")


def _load_model(model_path: ModelPath) -> Model:
    """Return the model of an atlas, of a folder of scim, or of a published folder."""
    from scim.model import load  # noqa: PLC0415  (annotating and searching need no torch)

    if isinstance(model_path, Atlas):
        return model_path.model
    if is_published(model_path):
        from scim.scimilarity._model import import_model  # noqa: PLC0415

        return import_model(model_path)
    if "://" in os.fspath(model_path) or _has_file(model_path, "atlas.json"):
        with atlases.open(model_path) as atlas:
            return atlas.model
    return load(model_path)


def _has_file(folder: str | os.PathLike[str], name: str) -> bool:
    if not isinstance(folder, str | os.PathLike):
        msg = f"model_path must be the path of an atlas or of a model, got {type(folder).__name__}."
        raise TypeError(msg)
    return "://" not in os.fspath(folder) and (Path(folder) / name).is_file()
