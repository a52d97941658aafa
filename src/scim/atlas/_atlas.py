"""The atlas as a person holds it: read it, append cells, build its index."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import anndata

from scim._core.checks import check_choice, check_recall
from scim._core.types import IndexKind
from scim.atlas import _append, _build_index
from scim.atlas._manifest import read_manifest
from scim.atlas._reader import Reader
from scim.atlas._soma import damage_named, open_soma
from scim.atlas._source import Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData

    from scim.atlas._manifest import Manifest


class Atlas(Reader):
    """A store of embedded, labelled cells; see :func:`scim.atlas.create` and :func:`scim.atlas.open`.

    Attributes
    ----------
    path
        Its folder.
    mode
        `"r"` or `"w"`.
    """

    def append(
        self,
        adata: AnnData | str | os.PathLike[str],
        *,
        study: str | None = None,
        study_key: str | None = None,
        label_key: str | None = None,
        obs_columns: Sequence[str] = (),
        layer: str | None = None,
        gene_key: str | None = None,
        counts: bool = False,
    ) -> None:
        """Embed cells and add them to the atlas.

        Readers see all of them once this returns, and none of them before or after an error.

        Parameters
        ----------
        adata
            Cells with counts, or the path of an h5ad file, which is read chunk by chunk.
        study
            Name of the study they come from; or
        study_key
            column of obs that holds it.
        label_key
            Column of obs with cell types: names, synonyms or ids of the Cell Ontology (kept under their ontology
            name), or free words (kept as they are). Missing = unlabelled.
        obs_columns
            Further columns of obs to keep: text, categorical, bool, int or float. Columns may be new to the atlas.
        layer
            Where the counts are, see :func:`scim.pp.find_counts`.
        gene_key
            Column of var that holds the gene names, see :func:`scim.pp.match_genes`.
        counts
            Whether to store the counts of all genes too (`ms/RNA/X/counts`).

        Raises
        ------
        PermissionError
            The atlas is open for reading.
        KeyError
            A column does not exist.
        ValueError
            Cells of this study with these names are there already; no study is given; the counts cannot be used;
            another writer has changed the atlas since it was opened.
        TypeError
            A column of obs is of a type that the atlas does not keep, or keeps as another type.
        """
        self._check_writable("append")
        with _opened(adata) as cells:
            source = Source.read(
                cells, study=study, study_key=study_key, label_key=label_key, obs_columns=obs_columns, layer=layer
            )
            manifest = _append.append(self.path, self._manifest, self.model, source, gene_key=gene_key, counts=counts)
        self._commit(manifest)

    def build_index(self, *, kind: IndexKind = "auto", recall: float = 0.99, seed: int = 0) -> None:
        """Build the search index over all cells; the old one serves readers until the new one is complete.

        The index keeps the columns of obs that have at most 65,536 values, so that filters work inside the search;
        a filter by another column, as `cell_id`, is answered by the store, more slowly.

        Parameters
        ----------
        kind
            See :func:`scim.index.build`.
        recall
            Share of the true 50 nearest that an `ivf` index is to find, above 0 and at most 1. An `exact` index finds
            all of them, and a `graph` has no such measure.
        seed
            Makes the index the same every time.

        Raises
        ------
        PermissionError
            The atlas is open for reading.
        ValueError
            The atlas has no cells, or `recall` is out of range.
        """
        check_choice("kind", kind, get_args(IndexKind))
        check_recall(recall)
        self._check_writable("build_index")
        if self.n_obs == 0:
            msg = f"The atlas at {str(self.path)!r} has no cells; append some first."
            raise ValueError(msg)
        old = self._manifest.index
        with damage_named(self.path):
            entry = _build_index.build_index(
                self.path, self._open(), self.n_obs, old, kind=kind, recall=recall, seed=seed
            )
        self._commit(self._manifest.with_index(entry))
        _build_index.drop_old(self.path, keep=[entry, old])

    def _commit(self, manifest: Manifest) -> None:
        self._refuse_stale()
        manifest.write(self.path)
        self._manifest = manifest
        self._experiment.close()
        self._experiment = open_soma(self.path, timestamp=manifest.timestamp)
        for name in ("index", "labels", "_covering"):
            self.__dict__.pop(name, None)

    def _refuse_stale(self) -> None:
        if read_manifest(self.path) != self._manifest:
            msg = f"The atlas at {str(self.path)!r} was changed by another writer since it was opened; open it again."
            raise ValueError(msg)

    def _check_writable(self, method: str) -> None:
        self._open()
        if self.mode != "w":
            msg = f"{method} needs the atlas open for writing: scim.atlas.open({str(self.path)!r}, mode='w')."
            raise PermissionError(msg)
        self._refuse_stale()


@contextlib.contextmanager
def _opened(adata: AnnData | str | os.PathLike[str]) -> Iterator[AnnData]:
    """Yield an AnnData; a file is opened, not loaded, and closed at the end."""
    if not isinstance(adata, str | os.PathLike):
        yield adata
        return
    path = Path(adata).expanduser()
    if not path.is_file():
        msg = f"{str(path)!r}: no such file; expected an h5ad file."
        raise FileNotFoundError(msg)
    backed = anndata.read_h5ad(path, backed="r")
    try:
        yield backed
    finally:
        backed.file.close()
