"""A trained model: its nets, the genes that it reads, and the labels that it was trained on."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scim._core import error_text, progress, warn
from scim.model._files import read_folder, write_folder
from scim.model.net import FoldedEncoder, torch_threads
from scim.pp import gene_symbols, lognorm_chunks

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from scim.model._config import Labels, ModelConfig
    from scim.model._files import WeightType
    from scim.model.net import Decoder, Encoder
    from scim.model.net._encode import Rows
    from scim.pp import Counts, GeneMap


class Model:
    """A trained model; :func:`train` makes one, :func:`load` reads one.

    Attributes
    ----------
    config
        Sizes of the nets and the form of their input.
    genes
        Canonical ids of the genes that the model reads, shape (n_genes,).
    labels
        Names of the labels that it was trained on.
    label_ids
        Their Cell Ontology ids; `None` where the ontology has no such name.
    encoder
        The net, in evaluation mode. `encode` does not follow later changes of it.
    decoder
        The net from embeddings back to genes, or `None`.
    name
        A name for people.
    metadata
        Training data and settings: anything that JSON can hold.
    """

    def __init__(
        self,
        config: ModelConfig,
        genes: NDArray[np.object_],
        labels: Labels,
        encoder: Encoder,
        decoder: Decoder | None = None,
        *,
        name: str = "scim model",
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.config = config
        self.genes = np.asarray(genes, dtype=object)
        self.labels: tuple[str, ...] = labels.names
        self.label_ids: tuple[str | None, ...] = labels.ids
        self.encoder = encoder.eval()
        self.decoder = None if decoder is None else decoder.eval()
        self.name = name
        self.metadata: dict[str, Any] = dict(metadata or {})

    def __repr__(self) -> str:
        decoder = "" if self.decoder is not None else ", no decoder"
        sizes = f"{self.n_genes} genes -> {self.latent_dim} dimensions, {len(self.labels)} labels"
        return f"Model {self.name!r} ({self.uid}): {sizes}{decoder}"

    @property
    def n_genes(self) -> int:
        """Number of genes that the model reads."""
        return self.config.n_genes

    @property
    def latent_dim(self) -> int:
        """Length of an embedding."""
        return self.config.latent_dim

    @property
    def symbols(self) -> NDArray[np.object_]:
        """Symbols of the genes, shape (n_genes,)."""
        return gene_symbols(self.genes)

    @cached_property
    def uid(self) -> str:
        """Sixteen hexadecimal digits that two models share only if they give the same embeddings."""
        digest = hashlib.sha256(json.dumps([self.config.to_dict(), self.genes.tolist()]).encode())
        for name, tensor in sorted(self.encoder.state_dict().items()):
            if not name.endswith("num_batches_tracked"):
                digest.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def _folded(self) -> FoldedEncoder:
        with torch_threads():
            return FoldedEncoder(self.encoder)

    def encode(
        self, X: Rows, observed: NDArray[np.bool_] | None = None, *, n_threads: int | None = None
    ) -> NDArray[np.float32]:
        """Embed log-normalised cells.

        Parameters
        ----------
        X
            Values of the model's genes, normalised over the observed genes, shape (n, n_genes).
        observed
            Which genes were measured, shape (n_genes,); default: all.
        n_threads
            Default: `scim.settings.n_threads`.

        Returns
        -------
        float32, shape (n, latent_dim): unit rows; zeros for a cell without a single count.

        Raises
        ------
        ValueError
            A row is not finite.
        """
        out = self._folded.encode(X, observed=observed, n_threads=n_threads)
        finite = np.isfinite(out).all(axis=1)
        if not finite.all():
            msg = f"{int((~finite).sum())} embeddings of model {self.name!r} are not finite, the first is row "
            msg += f"{int(np.argmin(finite))}: its weights are damaged, or values of these cells are NaN or too large."
            raise ValueError(msg)
        return out

    def embed(self, counts: Counts, genes: GeneMap, *, quiet: bool = False) -> NDArray[np.float32]:
        """Align, log-normalise and embed counts in chunks: memory grows with the embedding alone.

        Parameters
        ----------
        counts
            From :func:`scim.pp.find_counts`, or rows of them.
        genes
            From :func:`scim.pp.match_genes` with the genes of this model.
        quiet
            Whether to show no progress bar and not to warn of zero rows, as for one block of many.

        Returns
        -------
        float32, shape (n_obs, latent_dim): unit rows; zeros for a cell without counts among the model's genes.

        Raises
        ------
        CountsError, FormatError
            Values are no counts, or the matrix is damaged; see :meth:`scim.pp.Counts.rows`.
        ValueError
            A row is not finite.
        """
        out = np.zeros((counts.n_obs, self.latent_dim), dtype=np.float32)
        with progress(total=counts.n_obs, desc="embed", unit="cell", disable=quiet) as bar:
            for rows, X in lognorm_chunks(counts, genes, target_sum=self.config.target_sum):
                try:
                    out[rows] = self.encode(X, observed=genes.observed)
                except ValueError as error:
                    msg = f"Cells {rows.start} to {rows.stop} of {counts.place}: {error_text(error)}."
                    raise ValueError(msg) from error
                bar.update(X.shape[0])
        n_empty = int((~out.any(axis=1)).sum())
        if n_empty and not quiet:
            warn(f"{n_empty} cells have no count in any of the model's genes; their embedding is all zeros.")
        return out

    def decode(self, Z: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Decode embeddings to the input of the encoder, for all genes of the model.

        Parameters
        ----------
        Z
            Embeddings, shape (n, latent_dim).

        Returns
        -------
        float32, shape (n, n_genes): log-normalised values, of mean 0 and standard deviation 1 per cell if the model
        standardises.

        Raises
        ------
        ValueError
            The model has no decoder, or `Z` has another width.
        """
        if self.decoder is None:
            msg = f"{self.name!r} has no decoder: it was trained with reconstruction_weight=0 or saved without it."
            raise ValueError(msg)
        if Z.ndim != 2 or Z.shape[1] != self.latent_dim:
            msg = f"Expected embeddings of shape (n, {self.latent_dim}), got {Z.shape}."
            raise ValueError(msg)
        with torch.inference_mode(), torch_threads():
            decoded: NDArray[np.float32] = self.decoder(torch.from_numpy(np.asarray(Z, dtype=np.float32))).numpy()
        return decoded

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        dtype: WeightType | None = None,
        decoder: bool = True,
    ) -> None:
        """Write the model to a new folder, which appears whole or not at all.

        Parameters
        ----------
        path
            The folder.
        overwrite
            Whether to replace an existing folder.
        dtype
            `"float16"` halves the folder; embeddings change by about 1e-3, and so does `uid`. Default: `"float16"` if
            that changes nothing, because the weights were rounded before, else `"float32"`.
        decoder
            Whether to keep the decoder.

        Raises
        ------
        FileExistsError
            `path` exists and `overwrite` is false.
        """
        write_folder(path, self, overwrite=overwrite, dtype=dtype, decoder=decoder)


def load(path: str | os.PathLike[str]) -> Model:
    """Read a model from its folder.

    Parameters
    ----------
    path
        A folder that :meth:`Model.save` wrote.

    Raises
    ------
    FileNotFoundError
        There is no model.
    FormatError
        A file is damaged, foreign, newer than this package, or does not agree with the others.

    Examples
    --------
    >>> import scim
    >>> model = scim.model.load("my_model")  # doctest: +SKIP
    """
    return Model(**read_folder(path))
