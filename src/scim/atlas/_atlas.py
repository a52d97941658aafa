"""An atlas as people hold it: the current snapshot to read, and transactions that make the next."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from msgspec.structs import replace

from scim._core import IndexKind, check_choice, check_flags, check_recall, keys
from scim.atlas import _rewrite
from scim.atlas._append import append, describe_append, open_sources
from scim.atlas._index import build_entry
from scim.atlas._models import given_model
from scim.atlas.commit import Transaction, read_manifest
from scim.atlas.soma import named_damage, named_failure

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from scim._core.types import Transform
    from scim.atlas._append import Data
    from scim.atlas._labels import Labels
    from scim.atlas._snapshot import Snapshot
    from scim.atlas._source import Source
    from scim.atlas.commit import Manifest
    from scim.index import Index
    from scim.io.cells import Cells
    from scim.label_transfer import LabelTransfer
    from scim.model import Model
    from scim.pp._species import Species


class Atlas:
    """A store of embedded, labelled cells; see :func:`scim.atlas.create` and :func:`scim.atlas.open`.

    It reads one commit, its :class:`Snapshot`, until :meth:`refresh`. Each method that writes is one transaction, which
    leaves all as it was if it fails. It raises `PermissionError` unless `mode` is `"w"`, and `LockedError` while
    another writer is at work.
    """

    def __init__(self, snapshot: Snapshot, mode: Literal["r", "w"] = "r", *, timeout: float = 10) -> None:
        self.mode = mode
        self._current, self._timeout = snapshot, timeout

    def __repr__(self) -> str:
        entry, manifest = self._current.embedding.index, self._current.manifest
        index = "no index" if entry is None else f"index of {self.n_obs:,}"
        if entry is not None and entry.n_rows < manifest.n_rows:
            index = "index without the cells appended since"
        return f"Atlas({self.uri!r}: {self.n_obs:,} cells, {index}, version {self.version}, mode={self.mode!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store. Closing twice is fine."""
        self._current.close()
        self._current = self._current.at(self._current.manifest)  # without what was read
        self._current.close()

    def refresh(self) -> bool:
        """Replace the snapshot by that of the last commit; return whether there was a newer one."""
        return self._take(read_manifest(self.snapshot.storage))

    @property
    def snapshot(self) -> Snapshot:
        """The commit that is read."""
        self._current._check_open()
        return self._current

    @property
    def uri(self) -> str:
        """Its address: an absolute path, or `s3://bucket/prefix`."""
        return self._current.storage.uri

    @property
    def path(self) -> Path:
        """Its folder; `ValueError` if it is remote."""
        if self._current.storage.path is None:
            msg = f"The atlas at {self.uri!r} is remote and has no folder; use its uri."
            raise ValueError(msg)
        return self._current.storage.path

    @property
    def version(self) -> int:
        """Number of the commit that is read; :func:`scim.atlas.open` takes it as `at`."""
        return self._current.manifest.number

    @property
    def uid(self) -> str:
        """Identifier of this atlas, the same in every copy of it."""
        return self._current.manifest.uid

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return self._current.manifest.n_obs

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self._current.embedding.dim

    @property
    def label_radius(self) -> float | None:
        """Cosine distance within which 99.5 % of cells have one of their label in another study; `None`: no index."""
        entry = self._current.embedding.index
        return None if entry is None else entry.label_radius

    @property
    def model_uid(self) -> str | None:
        """`uid` of the model that embedded the cells, needs no torch; `None`: another method did."""
        return self._current.embedding.model

    @property
    def columns(self) -> list[str]:
        """Names of the obs columns."""
        return self.snapshot.columns

    @property
    def ids(self) -> NDArray[np.int64]:
        """`soma_joinid` of all cells, ascending; those of removed cells are never given again."""
        return self.snapshot.ids

    @property
    def labels(self) -> Labels:
        """The labels of all cells, as integer codes."""
        return self.snapshot.labels

    @property
    def marks_primary(self) -> bool:
        """Whether a column of true and false, `is_primary_data`, marks one of the duplicates of a cell."""
        return self.snapshot.marks_primary

    @property
    def model(self) -> Model:
        """The model that embedded the cells; see :attr:`Snapshot.model`."""
        return self.snapshot.model

    @property
    def index(self) -> Index:
        """The search index; see :attr:`Snapshot.index`."""
        return self.snapshot.index

    def indexes(self, columns: Sequence[str]) -> bool:
        """Return whether the search index covers all cells and keeps all of these columns of obs."""
        return self.snapshot.indexes(columns)

    def obs(
        self,
        ids: NDArray[np.int64] | Sequence[int] | None = None,
        *,
        where: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Return obs rows of the atlas; see :meth:`Snapshot.obs`."""
        return self.snapshot.obs(ids, where=where, columns=columns)

    def select(self, where: str) -> NDArray[np.int64]:
        """Return the ids of the cells that pass a filter; see :meth:`Snapshot.select`."""
        return self.snapshot.select(where)

    def embeddings(self, ids: NDArray[np.int64] | Sequence[int] | None = None) -> NDArray[np.float32]:
        """Return the embeddings of cells, shape (n, dim); see :meth:`Snapshot.embeddings`."""
        return self.snapshot.embeddings(ids)

    def cells(self, columns: Sequence[str]) -> list[Cells]:
        """Return the cells that have stored counts, for training; see :meth:`Snapshot.cells`."""
        return self.snapshot.cells(columns)

    def label_transfer(self, label_key: str = keys.ATLAS_LABEL) -> LabelTransfer:
        """Return the label transfer of a column of obs; see :meth:`Snapshot.label_transfer`."""
        return self.snapshot.label_transfer(label_key)

    def info(self) -> dict[str, Any]:
        """Return a summary; see :meth:`Snapshot.info`."""
        return self.snapshot.info()

    def append(
        self,
        data: Data | list[Data] | tuple[Data, ...],
        *,
        study: str | Sequence[str] | None = None,
        study_key: str | None = None,
        label_key: str | None = None,
        obs_columns: Sequence[str] = (),
        layer: str | None = None,
        transform: Transform | None = None,
        gene_key: str | None = None,
        species: Species = "human",
        counts: bool = False,
        obsm: str | None = None,
        on_duplicate: Literal["raise", "skip"] = "raise",
    ) -> int:
        """Embed cells and add them to the atlas.

        Readers see all of them once this returns, and none after an error. If the process died while it appended files,
        the same call resumes; any other change of the atlas first rolls it back. An index that covered the atlas covers
        the new cells too. Files are read in blocks, in about 1.5 GB of memory.

        Where the cells are embedded from counts, those of up to 60 cells of each label in each study, and 20,000 in
        all, are kept in all human genes: :meth:`build_index` measures the expression of the labels with them.

        Parameters
        ----------
        data
            Cells with counts: an AnnData, the path of an .h5ad or .zarr file, or a list of these.
        study
            Name of the study, or one name for each of a list; or
        study_key
            column of obs with it.
        label_key
            Column of obs with cell types: names, synonyms or ids of the Cell Ontology, stored under its name, or other
            words, stored as they are. Missing = unlabelled.
        obs_columns
            Further columns of obs to store: text, categorical, bool, int or float. They may be new to the atlas.
        layer, transform
            Layer of the counts, and what was done to them, see :func:`scim.pp.find_counts`. Default: what values tell.
        gene_key
            Column of var with the gene names, see :func:`scim.pp.match_genes`.
        species
            Species of the genes of all `data`: `"human"`, `"mouse"` (symbols), or a dict or Series
            `{gene name: human gene name}`; see :func:`scim.pp.match_genes`.
        counts
            Whether to store the counts of all genes too, which :meth:`reembed` needs. Those of another species are
            summed over the genes of a human ortholog; genes without one are stored as `mouse:Gm42418`.
        obsm
            For an atlas without a model: name of the embedding in `adata.obsm`.
        on_duplicate
            For cells of a study and name that are in the atlas: refuse all, or leave these out.

        Returns
        -------
        Number of cells added.

        Raises
        ------
        KeyError
            A column does not exist.
        ValueError
            Cells of this study and these names are in the atlas; no study is given; the counts cannot be used;
            `species` is unknown.
        TypeError
            `species` is no mapping of names; the atlas cannot store a column of this type, or stores it as another.
        """
        check_choice("on_duplicate", on_duplicate, ("raise", "skip"))
        self._check_writable("append")
        how = {"study_key": study_key, "label_key": label_key, "layer": layer, "transform": transform, "obsm": obsm}
        with open_sources(data, study, obs_columns, **how) as sources:
            return self._append(sources, gene_key=gene_key, species=species, counts=counts, skip=on_duplicate == "skip")

    def _append(
        self, sources: Sequence[Source], *, species: Species = "human", embedded: bool = False, **options: Any
    ) -> int:
        """Append; `embedded` = the sources have embeddings of the model of the atlas."""
        how: dict[str, Any] = {"gene_key": None, "counts": False, "skip": False, "species": species} | options
        with self._changing("append", *describe_append(sources, **how)) as transaction:
            model = None if embedded or self._current.embedding.folder is None else self.model
            manifest, n_new = append(transaction, sources, model, **how)
            self._take(manifest)
        return n_new

    def build_index(self, *, kind: IndexKind = "auto", recall: float = 0.99, seed: int = 0) -> None:
        """Build the search index over all cells; the old one serves readers until the new one is complete.

        The index keeps the columns of obs for filters, but for text of more than 65,536 values, as `cell_id`.

        The confidence of labels is calibrated, and the expression of each label in each study measured on up to 20,000
        cells whose counts were sampled or stored, in about 1.5 GB of memory. Cells that were appended since extend it.

        Parameters
        ----------
        kind, recall
            See :func:`scim.index.build`: the kind of index, and the share of the true 50 nearest that `ivf` finds.
        seed
            Makes the index the same every time.

        Raises
        ------
        ValueError
            The atlas has no cells, or `recall` is out of range.
        """
        check_choice("kind", kind, get_args(IndexKind))
        check_recall(recall)
        with self._changing("build_index", "build of the index") as transaction:
            if self.n_obs == 0:
                msg = f"The atlas at {self.uri!r} has no cells; append some first."
                raise ValueError(msg)
            published = transaction.manifest.published
            entry = build_entry(transaction, published, kind=kind, recall=recall, seed=seed)
            self._take(transaction.commit(published=replace(published, index=entry)))

    def remove(self, where: str) -> int:
        """Remove the cells that pass a filter, as those of a study that was withdrawn; return their number.

        Their ids are never given again. They stay on disk, and in earlier versions, until :meth:`compact` and
        :meth:`vacuum`.

        Parameters
        ----------
        where
            The filter, see :meth:`select`.
        """
        with self._changing("remove", f"removal of cells where {where}") as transaction:
            ids = self.select(where)
            if len(ids):
                self._take(_rewrite.remove(transaction, self.ids, ids))
        return len(ids)

    def reembed(self, model: Model | str | os.PathLike[str], *, publish: bool = True) -> None:
        """Embed all cells with another model, from their stored counts.

        The old embedding serves readers until the new one is complete. An interrupted call resumes when the same model
        is given again.

        Parameters
        ----------
        model
            The model, or the folder of one.
        publish
            Whether it replaces the old one. Else it is a draft: `scim.atlas.open(draft=True)`, :meth:`publish`.

        Raises
        ------
        ValueError
            The counts of some cells are not stored, or the atlas is embedded with this model already.
        """
        check_flags(publish=publish)
        self._check_writable("reembed")
        chosen = given_model(model)
        with self._changing("reembed", f"embedding with model {chosen.uid}", f"reembed {chosen.uid}") as transaction:
            self._take(_rewrite.reembed(transaction, chosen, self.ids))
        if publish:
            self.publish()

    def publish(self) -> None:
        """Replace the published embedding, model and index by the draft that :meth:`reembed` made.

        `ValueError`: there is no draft, or cells were appended later; call `reembed` with its model again.
        """
        with self._changing("publish", "publication of the draft") as transaction:
            self._take(_rewrite.publish(transaction))

    def compact(self, *, samples: bool = True) -> None:
        """Write the cells again in few large files and build one index of them, without removed cells.

        It pays after many appends. The old files stay for readers, and for earlier versions, until :meth:`vacuum`.

        Parameters
        ----------
        samples
            Whether to keep the sampled counts, from which :meth:`build_index` measures the expression of the labels.
            An atlas that is published without them is smaller, and predicts the same; later builds of its index keep
            the expression and the calibration that were measured before.
        """
        with self._changing("compact", "compaction") as transaction:
            self._take(_rewrite.compact(transaction, self.ids, samples=samples))

    def vacuum(self) -> int:
        """Delete earlier versions and their files, return the bytes freed; their readers must :meth:`refresh`."""
        with self._changing("vacuum", "vacuum") as transaction:
            manifest, n_bytes = _rewrite.vacuum(transaction)
            self._take(manifest)
        return n_bytes

    @contextlib.contextmanager
    def _changing(self, method: str, what: str, token: str | None = None) -> Iterator[Transaction]:
        """Hold the lock, and read the last commit."""
        self._check_writable(method)
        storage = self._current.storage
        with (
            named_failure(storage, what),
            Transaction(storage, what, timeout=self._timeout, token=token) as transaction,
            named_damage(storage),
        ):
            self._take(transaction.manifest)
            yield transaction

    def _take(self, manifest: Manifest) -> bool:
        """Replace the snapshot, unless it is of this commit."""
        changed = manifest != self.snapshot.manifest
        if changed:
            self._current = self._current.at(manifest)
        return changed

    def _check_writable(self, method: str) -> None:
        self._current._check_open()
        if self.mode != "w":
            msg = f"{method} needs the atlas open for writing: scim.atlas.open({self.uri!r}, mode='w')."
            raise PermissionError(msg)
