"""Reading an atlas: cells, labels, embeddings, index, model, as they were committed when it was opened."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_object_dtype

from scim._core import keys
from scim._core.checks import check_names, refuse_absent
from scim._core.errors import FormatError
from scim._core.log import logger
from scim._core.numba import threads
from scim.atlas._counted import counted_cells
from scim.atlas._indexed import read_indexed
from scim.atlas._info import describe
from scim.atlas._labels import Electorate, Labels, elect, labels_of
from scim.atlas._models import load_model
from scim.atlas._opened import Opened
from scim.atlas._parts import open_parts
from scim.atlas.soma import (
    COUNTS_PATH,
    MEASUREMENT,
    VAR_PATH,
    damage_named,
    embedding_path,
    obs_columns,
    read_embeddings,
    read_obs,
)
from scim.index.filter import Column, Where

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scim.index import Index
    from scim.io import Cells
    from scim.model import Model


class Reader(Opened):
    """What can be asked of an atlas; :class:`scim.atlas.Atlas` is one that can be written too."""

    def __repr__(self) -> str:
        entry = self._space.index
        index = "no index" if entry is None else f"index of {entry.n_rows:,}"
        return f"Atlas({self.uri!r}: {self.n_obs:,} cells, {index}, version {self.version}, mode={self.mode!r})"

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return self._manifest.n_obs

    @property
    def reach(self) -> float | None:
        """Cosine distance within which 99.5 % of cells have one of their label in another study; `None`: no index."""
        return None if self._space.index is None else self._space.index.reach

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self._space.dim

    @property
    def columns(self) -> list[str]:
        """Names of the obs columns."""
        with damage_named(self._storage):
            return obs_columns(self._open())

    @functools.cached_property
    def model(self) -> Model:
        """The model that embedded the cells.

        Raises
        ------
        ValueError
            The embedding was made elsewhere.
        """
        if self._space.folder is not None:
            self._guard.check_model(self._space.folder)
        return load_model(self._storage, self.uid, self._space)

    @property
    def model_uid(self) -> str | None:
        """`uid` of the model that embedded the cells, needs no torch; `None`: the embedding was made elsewhere."""
        return self._space.model

    @functools.cached_property
    def index(self) -> Index:
        """The search index.

        Raises
        ------
        ValueError
            There is none, or it does not cover all cells: call :meth:`build_index`.
        """
        self._check_open()
        entry = self._space.index
        if entry is None:
            msg = f"The atlas at {self.uri!r} has no index; open it with mode='w' and call build_index()."
            raise ValueError(msg)
        if entry.n_rows != self._manifest.n_rows:
            msg = (
                f"The index of {self.uri!r} covers {entry.n_rows:,} of {self._manifest.n_rows:,} cells; "
                "open it with mode='w' and call build_index()."
            )
            raise ValueError(msg)
        return open_parts(self._storage, self.uid, entry, self._removed)

    def indexes(self, columns: Sequence[str]) -> bool:
        """Say whether the search index covers all cells and keeps all of these columns of obs."""
        if self._covering is None or self._space.index is None:
            return False
        elsewhere = {name for part in self._space.index.parts for name in part.elsewhere}
        return set(columns) <= set(self._covering.columns) - elsewhere

    @functools.cached_property
    def _covering(self) -> Index | None:
        """The index, if there is one that covers all cells and can be read."""
        try:
            return self.index
        except (FormatError, ValueError):
            self._check_open()
            return None  # the store has everything that the index has

    def obs(
        self,
        ids: NDArray[np.int64] | Sequence[int] | None = None,
        *,
        where: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Return obs rows of the atlas; only what is asked for is read.

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
        absent = [name for name in names if name not in self.columns]
        if absent:
            msg = f"The atlas has no column {absent}. Present: {self.columns}."
            raise KeyError(msg)
        wanted = self.select(where) if where is not None else None if ids is None else self._check_ids(ids)
        return self._rows(wanted, names)

    def _rows(self, ids: NDArray[np.int64] | None, names: list[str]) -> pd.DataFrame:
        """Return rows of obs: from the index the columns that it keeps, the others from the store."""
        index = self._covering
        quick = [name for name in names if index is not None and self.indexes([name])]
        rows = None
        if index is not None and quick:
            every = self.ids if ids is None else ids
            rows = read_indexed(index, every, quick, self._open().obs.schema)
        if rows is not None and len(quick) == len(names):
            return rows
        slow = [name for name in names if name not in quick]
        with damage_named(self._storage):
            others = read_obs(self._checked(slow), ids, slow)
        return others if rows is None else pd.concat([others, rows], axis=1)[names]

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
        parsed = Where(where)
        parsed.check_columns(self.columns)
        if self._covering is not None and self.indexes(parsed.columns):
            with threads():
                return self._covering.select(where)
        with damage_named(self._storage):
            frame = read_obs(self._checked(parsed.columns), None, parsed.columns)
        columns = {name: Column.of(name, frame[name]) for name in parsed.columns}
        parsed.check(columns)
        with threads():
            return frame.index.to_numpy()[parsed.mask(columns, len(frame))]

    def embeddings(self, ids: NDArray[np.int64] | Sequence[int] | None = None) -> NDArray[np.float32]:
        """Return the embeddings of cells, float32 unit rows, shape (n, dim).

        Parameters
        ----------
        ids
            `soma_joinid` of the cells wanted, in the order wanted, repeats allowed. Default: all cells.

        Raises
        ------
        KeyError
            An id does not exist.
        """
        wanted = self.ids if ids is None else self._check_ids(ids)
        name = self._space.embedding
        experiment = self._open()
        self._guard.check(embedding_path(name))
        with damage_named(self._storage):
            return read_embeddings(experiment, name, wanted)

    def cells(self, columns: Sequence[str]) -> list[Cells]:
        """Return the cells whose counts are stored, for :func:`scim.model.train`, which takes an open atlas too.

        Parameters
        ----------
        columns
            Columns of obs that are wanted.

        Returns
        -------
        A part for each panel of genes; counts are read by rows, when they are asked for.

        Raises
        ------
        ValueError
            No counts are stored.
        KeyError
            A column does not exist.
        """
        obs = self.obs(columns=columns)
        if not self._manifest.counted:
            msg = f"The atlas at {self.uri!r} has no counts; append(counts=True) stores them. Train on the data itself."
            raise ValueError(msg)
        experiment = self._open()
        self._guard.check(COUNTS_PATH)
        self._guard.check(VAR_PATH)
        with damage_named(self._storage):
            return counted_cells(self._storage, experiment, self._manifest.counted, obs)

    @functools.cached_property
    def labels(self) -> Labels:
        """The labels of all cells, as integer codes."""
        frame = self._categories([keys.ATLAS_LABEL, keys.ATLAS_LABEL_ID])
        return labels_of(frame, self._manifest.n_rows, keys.ATLAS_LABEL)

    def electorate(self, label_key: str = keys.ATLAS_LABEL) -> Electorate:
        """Return who may vote with a column of obs as labels, and what is known of how such votes turn out.

        For `label` that was measured when the index was built, for another column it is when it is first asked for:
        seconds, and up to 10,000 cells that are searched for about twice.

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
        known: Electorate | None = self._electorates.get(label_key)
        if known is None:
            known = self._electorates[label_key] = self._elect(label_key)
        return known

    @functools.cached_property
    def _electorates(self) -> dict[str, Electorate]:
        return {}

    @property
    def marks_primary(self) -> bool:
        """Whether a column of true and false, `is_primary_data`, says which of the copies of a cell to take."""
        name = keys.ATLAS_PRIMARY
        return name in self.columns and is_bool_dtype(self.obs([], columns=[name])[name].dtype)

    def _elect(self, label_key: str) -> Electorate:
        refuse_absent([label_key], self.columns, of="the atlas")
        names = dict.fromkeys([label_key, keys.ATLAS_LABEL_ID, keys.ATLAS_STUDY])
        names |= dict.fromkeys([keys.ATLAS_PRIMARY] * self.marks_primary)
        if not is_object_dtype(self.obs([], columns=[label_key])[label_key].dtype):
            msg = (
                f"label_key={label_key!r} must be a column of text, as 'label'; tell groups of numbers apart by names."
            )
            raise ValueError(msg)
        known = None if self._space.index is None else self._space.index.confidence
        if label_key != keys.ATLAS_LABEL or known is None:
            logger.info("measuring how probable it is that votes by %r are right", label_key)
            known = None
        found = elect(self.index, self._categories(list(names)), self._manifest.n_rows, label_key, known)
        if found is None:
            msg = f"No labelled cell of the atlas may vote: no cell has a value of {label_key!r}."
            raise ValueError(msg)
        return found

    def _categories(self, names: list[str]) -> pd.DataFrame:
        if self._covering is not None and self.indexes(names):
            return self._covering.obs(self.ids, names)
        return self.obs(columns=names).astype("category")

    def info(self) -> dict[str, Any]:
        """Return what the atlas holds: cells, studies, labels, genes, columns, model, index, bytes, versions."""
        codes, names, _ = self.labels
        labels = pd.Series(np.append(names, [None])[codes[self.ids]], dtype=object)
        return describe(
            self._storage,
            self._manifest,
            self._space,
            ids=self.ids,
            studies=self.obs(columns=[keys.ATLAS_STUDY])[keys.ATLAS_STUDY],
            labels=labels,
            columns=self.columns,
            n_genes=int(self._open().ms[MEASUREMENT].var.count),
        )

    def _check_ids(self, ids: NDArray[np.int64] | Sequence[int]) -> NDArray[np.int64]:
        wanted = np.asarray(ids)
        if wanted.size and wanted.dtype.kind not in "iu":
            msg = f"Expected whole numbers as ids (soma_joinid), got {wanted.dtype}."
            raise TypeError(msg)
        wanted = wanted.astype(np.int64).ravel()
        outside = wanted[(wanted < 0) | (wanted >= self._manifest.n_rows)]
        if outside.size:
            msg = f"Ids run from 0 to {self._manifest.n_rows - 1}; not in the atlas: {outside[:5].tolist()}."
            raise KeyError(msg)
        gone = wanted[np.isin(wanted, self._removed)] if self._removed is not None else outside
        if gone.size:
            msg = f"{gone.size} of the cells were removed from the atlas: {gone[:5].tolist()}."
            raise KeyError(msg)
        return wanted
