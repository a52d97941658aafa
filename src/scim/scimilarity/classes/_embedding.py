"""`CellEmbedding`: log-normalised cells to embeddings."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scim._core.checks import check_count
from scim.scimilarity.classes._source import model_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.model import Encoder, Model
    from scim.scimilarity.classes._source import ModelPath


class CellEmbedding:
    """Embed cells whose genes are aligned and whose counts are log-normalised.

    Parameters
    ----------
    model_path
        An atlas made by `scim import-scimilarity`, a folder of a scim model, or a published folder.
    use_gpu
        Accepted and not used: the encoder is quick enough on a CPU.

    Attributes
    ----------
    model_path, use_gpu
        As given.

    Raises
    ------
    FileNotFoundError
        There is no model.
    FormatError
        The folder is damaged.
    """

    def __init__(self, model_path: ModelPath, use_gpu: bool = False) -> None:
        self.model_path = model_path
        self.use_gpu = use_gpu
        _ = self._model  # what is no model is refused at once

    @property
    def model(self) -> Encoder:
        """The encoder, a torch module in evaluation mode, for :class:`Interpreter`."""
        return self._model.encoder

    @cached_property
    def gene_order(self) -> list[str]:
        """Symbols of the genes that the encoder reads, as they were published."""
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
        """Labels on which the model was trained, by number."""
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
            (n, n_genes) log-normalised values of the genes of `gene_order`: a scipy sparse matrix or array, a numpy
            array or a torch tensor.
        num_cells
            Embed so many cells, from the first on; -1: all.
        buffer_size
            Accepted and not used: memory does not grow with the number of cells beyond the embeddings.

        Returns
        -------
        float32 unit rows, shape (n, latent_dim); a cell without any value has a row of zeros.

        Raises
        ------
        TypeError
            `X` is no matrix.
        ValueError
            It has no cells, another number of genes than the model, or NaN.
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
        return model_of(self.model_path)


def as_rows(X: Any) -> Any:
    """Return a matrix of cells as csr or as a numpy array of two dimensions.

    Raises
    ------
    TypeError
        It is something else.
    """
    if hasattr(X, "detach"):  # a torch tensor, on any device
        X = X.detach().cpu().numpy()
    if hasattr(X, "tocsr"):
        return sparse.csr_matrix(X)
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "fiu":
        return np.asarray(X)
    what = f"an array of {X.dtype} and shape {X.shape}" if isinstance(X, np.ndarray) else type(X).__name__
    msg = f"Expected a matrix of cells, sparse or dense, got {what}."
    raise TypeError(msg)
