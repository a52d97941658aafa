"""One commit of an atlas, immutable: cells, labels, embeddings, index and model as they were committed."""

from __future__ import annotations

import functools
import os
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from scim._core import FormatError, check_names, check_text, keys, logger, refuse_absent, settings
from scim._core.booleans import read_booleans
from scim._core.numba import threads
from scim.atlas._columns import OPEN, TEXT, as_stored
from scim.atlas._expression import existing, read_expression
from scim.atlas._index import open_parts
from scim.atlas._labels import LabelledCells, fit_label_transfer, has_words_for_none, labels_of
from scim.atlas._models import load_model
from scim.atlas._summary import summarize
from scim.atlas.commit import load_ids, load_removed
from scim.atlas.soma import (
    COUNTS,
    COUNTS_PATH,
    MEASUREMENT,
    VAR_PATH,
    IntegrityChecker,
    embedding_path,
    named_damage,
    obs_columns,
    open_experiment,
    read_embeddings,
    read_obs,
)
from scim.index.filter import Column, Filter
from scim.io.cells import Cells, SparseRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scim.atlas._labels import Labels
    from scim.atlas.commit import Counted, EmbeddingVersion, Manifest
    from scim.atlas.storage import Storage
    from scim.index import Index
    from scim.label_transfer import ExpressionReference, LabelTransfer
    from scim.model import Model


class Snapshot:
    """One commit of an atlas, to read; :attr:`scim.atlas.Atlas.snapshot` is the current one of an open atlas.

    It never changes. It keeps what was read: up to about 40 bytes a cell; the index is memory-mapped. `storage` has the
    files of the atlas, `manifest` is the content of `atlas.json` at the commit, and `embedding` the embedding that is
    read: the published one, or the draft.
    """

    def __init__(self, storage: Storage, manifest: Manifest, *, draft: bool = False) -> None:
        if draft and manifest.draft is None:
            msg = f"The atlas at {storage.uri!r} has no draft; reembed(model, publish=False) makes one."
            raise ValueError(msg)
        self.storage, self.manifest, self._draft = storage, manifest, draft
        self.embedding: EmbeddingVersion = manifest.draft if draft and manifest.draft else manifest.published
        self.integrity = IntegrityChecker(storage, manifest)
        self._label_transfers: dict[tuple[str, ...], LabelTransfer] = {}
        self._closed = False
        self._process = os.getpid()

    def __repr__(self) -> str:
        return f"Snapshot({self.storage.uri!r}: {self.manifest.n_obs:,} cells, version {self.manifest.number})"

    def at(self, manifest: Manifest) -> Snapshot:
        """Return another commit of the same atlas."""
        return Snapshot(self.storage, manifest, draft=self._draft)

    def close(self) -> None:
        """Close the store. Closing twice is fine."""
        if "_experiment" in vars(self) and self._process == os.getpid():
            self._experiment.close()
        self._closed = True

    @property
    def experiment(self) -> Any:
        """The TileDB-SOMA experiment, open at the time of the commit."""
        self._check_open()
        if self._process != os.getpid():  # a fork: it cannot read with what its parent has opened
            vars(self).pop("_experiment", None)
            self._process = os.getpid()
        return self._experiment

    @functools.cached_property
    def ids(self) -> NDArray[np.int64]:
        """`soma_joinid` of all cells, ascending; those of removed cells are never given again."""
        _ = self.experiment  # it has room for them
        ids = np.arange(self.manifest.n_rows)
        return ids if self._removed is None else np.delete(ids, self._removed)

    @property
    def columns(self) -> list[str]:
        """Names of the obs columns."""
        return [*self.types]

    @functools.cached_property
    def labels(self) -> Labels:
        """The labels of all cells, as integer codes."""
        frame = self._categories([keys.ATLAS_LABEL, keys.ATLAS_LABEL_ID])
        return labels_of(frame, self.manifest.n_rows, keys.ATLAS_LABEL)

    @functools.cached_property
    def marks_primary(self) -> bool:
        """Whether a column, `is_primary_data`, marks one of the duplicates of a cell.

        Earlier versions of scim stored it as it was given: true and false, text that means it, or 0 and 1.
        """
        kind = self.types.get(keys.ATLAS_PRIMARY, OPEN)
        if kind in (OPEN, pa.bool_()):
            return bool(kind != OPEN)
        values = self._categories([keys.ATLAS_PRIMARY])[keys.ATLAS_PRIMARY].astype("category").cat.categories
        return read_booleans(values) is not None

    @functools.cached_property
    def model(self) -> Model:
        """The model that embedded the cells; `ValueError` if the embedding was made elsewhere."""
        if self.embedding.folder is not None:
            self.integrity.check_model(self.embedding.folder)
        return load_model(self.storage, self.manifest.uid, self.embedding)

    @functools.cached_property
    def index(self) -> Index:
        """The search index; `ValueError` without one of all cells: call :meth:`Atlas.build_index`."""
        self._check_open()
        entry, n_rows = self.embedding.index, self.manifest.n_rows
        if entry is None or entry.n_rows != n_rows:
            has = "no index" if entry is None else f"an index of {entry.n_rows:,} of {n_rows:,} cells"
            msg = f"The atlas at {self.storage.uri!r} has {has}; open it with mode='w' and call build_index()."
            raise ValueError(msg)
        return open_parts(self.storage, self.manifest.uid, entry, self._removed)

    @functools.cached_property
    def expression(self) -> ExpressionReference | None:
        """Expression of each label in each study; `None`: no index, or no counts when it was built."""
        entry = self.embedding.expression
        return None if entry is None else read_expression(self.storage, entry)

    def indexes(self, columns: Sequence[str]) -> bool:
        """Return whether the search index covers all cells and keeps all of these columns of obs."""
        return set(columns) <= self._indexed

    def obs(
        self,
        ids: NDArray[np.int64] | Sequence[int] | None = None,
        *,
        where: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Return rows of obs; only these rows and columns are read.

        Parameters
        ----------
        ids
            `soma_joinid` of the cells wanted, in the order wanted, repeats allowed. Default: all cells.
        where
            A filter in place of `ids`, as `"tissue == 'lung' and disease != 'normal'"`; see :meth:`select`.
        columns
            Names of the columns wanted. Default: all.

        Returns
        -------
        Frame indexed by `soma_joinid`.

        Raises
        ------
        KeyError
            A column or an id does not exist.
        FilterError
            `where` cannot be read, or names an unknown column or value.
        ValueError
            Both `ids` and `where` are given.
        """
        if ids is not None and where is not None:
            msg = "Expected ids or where, got both; select(where) returns ids."
            raise ValueError(msg)
        names = self.columns if columns is None else check_names("columns", columns)
        if absent := [name for name in names if name not in self.types]:
            msg = f"The atlas has no column {absent}. Present: {self.columns}."
            raise KeyError(msg)
        rows = self.select(where) if where is not None else None if ids is None else self._check_ids(ids)
        indexed = [name for name in names if name in self._indexed]
        stored = [name for name in names if name not in self._indexed]
        if not indexed:
            return self._read_obs(rows, stored)
        ids = self.ids if rows is None else rows
        coded = self.index.obs(ids, indexed)
        found = {name: as_stored(coded[name], self.types[name]) for name in indexed}
        frame = pd.DataFrame(found, index=pd.Index(ids, name="soma_joinid"))
        return pd.concat([self._read_obs(rows, stored), frame], axis=1)[names] if stored else frame

    def select(self, where: str) -> NDArray[np.int64]:
        """Return the ids of the cells that pass a filter.

        Parameters
        ----------
        where
            Columns and values joined by `== != < <= > >= in, not in, and, or, not` and parentheses, as
            `"study in ['a', 'b'] and not age < 30"`. A missing value equals nothing; `age == None` finds it. A text of
            several parts, as `"asthma || fibrosis"`, equals each. Names that are no Python names go in backticks.

        Returns
        -------
        Ascending `soma_joinid`, shape (n_passing,).

        Raises
        ------
        FilterError
            `where` cannot be read, or names an unknown column or value.
        """
        parsed = Filter(where)
        parsed.check_columns(self.columns)
        if self.indexes(parsed.columns):
            with threads():
                return self.index.select(where)
        frame = self._read_obs(None, parsed.columns)
        columns = {name: Column.of(name, frame[name]) for name in parsed.columns}
        parsed.check(columns)
        with threads():
            return frame.index.to_numpy()[parsed.mask(columns, len(frame))]

    def embeddings(self, ids: NDArray[np.int64] | Sequence[int] | None = None) -> NDArray[np.float32]:
        """Return the embeddings of cells, float32 unit rows, shape (n, dim).

        Parameters
        ----------
        ids
            `soma_joinid` of the cells wanted, in the order wanted, repeats allowed. Default: all cells. `KeyError` for
            one that does not exist.
        """
        rows = self.ids if ids is None else self._check_ids(ids)
        experiment = self.experiment
        self.integrity.check(embedding_path(self.embedding.name))
        with named_damage(self.storage):
            return read_embeddings(experiment, self.embedding.name, rows)

    def cells(self, columns: Sequence[str]) -> list[Cells]:
        """Return the cells that have stored counts, for :func:`scim.model.train`, which takes an open atlas too.

        Parameters
        ----------
        columns
            Columns of obs to read.

        Returns
        -------
        A part for each panel of genes; counts are read by rows, later.

        Raises
        ------
        ValueError
            No counts are stored.
        KeyError
            A column does not exist.
        """
        obs = self.obs(columns=columns)
        if not self.manifest.counted:
            msg = f"The atlas at {self.storage.uri!r} has no counts: append(counts=True) stores them."
            raise ValueError(msg)
        rna = self.experiment.ms[MEASUREMENT]
        self.integrity.check(COUNTS_PATH)
        self.integrity.check(VAR_PATH)
        panels: dict[str, list[Counted]] = {}
        for counted in self.manifest.counted:
            panels.setdefault(counted.panel.name, []).append(counted)
        parts, all_ids = [], obs.index.to_numpy()
        with named_damage(self.storage):
            var = rna.var.read().concat().to_pandas().set_index("soma_joinid").sort_index()
            for same in panels.values():
                genes = load_ids(self.storage, same[0].panel, len(var))
                ids: NDArray[np.int64] = np.concatenate([all_ids[counted.among(all_ids)] for counted in same])
                if ids.size:
                    rows, panel = obs.loc[ids].set_axis(ids.astype(str)), var.loc[genes].set_index("gene_id")
                    parts.append(Cells(rows, panel, functools.partial(SparseRows, rna.X[COUNTS], ids, genes)))
        return parts

    def label_transfer(self, label_key: str = keys.ATLAS_LABEL) -> LabelTransfer:
        """Return the label transfer of a column of obs: its labelled cells and the calibration of confidences.

        For `label` the calibration was measured when the index was built, for another column it is on the first call:
        seconds, for up to 10,000 cells that are held out twice. That of `label` also compares the genes of queries with
        the expression of the labels, where the atlas has it.

        Parameters
        ----------
        label_key
            Column of obs with text.

        Raises
        ------
        KeyError
            The column does not exist.
        ValueError
            It is no text, no cell has a value, or there is no index.
        """
        check_text(label_key=label_key)
        key = (label_key, *settings.no_label)
        if key in self._label_transfers:
            return self._label_transfers[key]
        refuse_absent([label_key], self.columns, of="the atlas")
        if self.types[label_key] not in (TEXT, OPEN):
            msg = f"label_key={label_key!r} must be a column of text, as 'label'; give groups of numbers names."
            raise ValueError(msg)
        primary = [keys.ATLAS_PRIMARY] * self.marks_primary
        names = [*dict.fromkeys([label_key, keys.ATLAS_LABEL_ID, keys.ATLAS_STUDY, *primary])]
        frame = self._categories(names)
        calibration = None
        if label_key == keys.ATLAS_LABEL and not has_words_for_none(frame[label_key], self.expression):
            calibration = None if self.embedding.index is None else self.embedding.index.confidence
        if calibration is None:
            logger.info("calibrating the confidence of labels of %r", label_key)
        cells = LabelledCells.of(frame, self.manifest.n_rows, label_key, self.index.empty_ids)
        expression = None if calibration is None or self.expression is None else existing(self.expression, cells)
        transfer = fit_label_transfer(self.index, cells, calibration, expression=expression)
        if transfer is None:
            msg = f"The atlas has no labelled cell: no cell has a value of {label_key!r} and counts."
            raise ValueError(msg)
        return self._label_transfers.setdefault(key, transfer)

    def info(self) -> dict[str, Any]:
        """Return a summary: cells, studies, labels, tissues, genes, columns, model, index, bytes, versions.

        `index` has the cells that can be found, and the rows, in all and in each part: those of cells that were removed
        since stay until :meth:`Atlas.compact`. `tissues` are the cells of each value of a column `tissue`, empty
        without one. `expression` describes the mean expression of the labels, which label transfer compares queries
        with: its genes, its pairs of a label and a study, and its bytes; `None`: there is none, as no counts were seen.
        """
        return summarize(self)

    @functools.cached_property
    def _experiment(self) -> Any:
        self.integrity.check_layout()
        experiment = open_experiment(self.storage, at=self.manifest.timestamp, n_rows=self.manifest.n_rows)
        # Closed with the snapshot: TileDB's objects that are left open to the garbage collector can crash the process.
        weakref.finalize(self, experiment.close)
        return experiment

    @functools.cached_property
    def _removed(self) -> NDArray[np.int64] | None:
        return None if self.manifest.removed is None else load_removed(self.storage, self.manifest)

    @functools.cached_property
    def types(self) -> dict[str, pa.DataType]:
        """Types of the obs columns; `pa.null()` is that of a column without any value yet."""
        with named_damage(self.storage):
            schema = self.experiment.obs.schema
            stored = {name: schema.field(name).type for name in obs_columns(self.experiment)}
        types = dict.fromkeys(self.manifest.empty_columns, OPEN) | stored
        return {name: types[name] for name in [*keys.ATLAS_COLUMNS, *sorted(set(types) - set(keys.ATLAS_COLUMNS))]}

    @functools.cached_property
    def _indexed(self) -> frozenset[str]:
        """Columns of obs that the index has, if it covers all cells and can be read; the store has them all."""
        self._check_open()
        try:
            columns = self.index.columns
        except (FormatError, ValueError):
            return frozenset()
        return frozenset(columns).difference(*(part.elsewhere for part in self.embedding.parts))

    def _read_obs(self, ids: NDArray[np.int64] | None, columns: list[str]) -> pd.DataFrame:
        """Return rows of obs from the store, after a check of its files."""
        experiment, stored = self.experiment, [name for name in columns if self.types[name] != OPEN]
        self.integrity.check("obs", later_columns=not set(stored) <= set(keys.ATLAS_COLUMNS))
        with named_damage(self.storage):
            frame = read_obs(experiment, ids, stored)
        return frame.assign(**dict.fromkeys(name for name in columns if name not in stored))[columns]

    def _categories(self, names: list[str]) -> pd.DataFrame:
        return self.index.obs(self.ids, names) if self.indexes(names) else self.obs(columns=names).astype("category")

    def _check_open(self) -> None:
        if self._closed:
            msg = f"The atlas at {self.storage.uri!r} is closed; open it again with scim.atlas.open()."
            raise ValueError(msg)

    def _check_ids(self, ids: NDArray[np.int64] | Sequence[int]) -> NDArray[np.int64]:
        checked = np.asarray(ids)
        if checked.size and checked.dtype.kind not in "iu":
            msg = f"Expected whole numbers as ids (soma_joinid), got {checked.dtype}."
            raise TypeError(msg)
        checked = checked.astype(np.int64).ravel()
        outside = checked[(checked < 0) | (checked >= self.manifest.n_rows)]
        if outside.size:
            msg = f"Ids run from 0 to {self.manifest.n_rows - 1}; not in the atlas: {outside[:5].tolist()}."
            raise KeyError(msg)
        removed = outside if self._removed is None else checked[np.isin(checked, self._removed)]
        if removed.size:
            msg = f"{removed.size} of the cells were removed from the atlas: {removed[:5].tolist()}."
            raise KeyError(msg)
        return checked
