"""Reading an atlas: cells, labels, embeddings, index, model, as they were committed when it was opened."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
import pandas as pd

from scim._core import keys
from scim._core.checks import check_names
from scim._core.errors import FormatError
from scim._core.numba import threads
from scim.atlas import _build_index, _read
from scim.atlas._indexed import read_indexed
from scim.atlas._manifest import read_manifest
from scim.atlas._soma import damage_named, open_soma
from scim.index.filter import Column, Where

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from scim.index import Index
    from scim.model import Model


class Labels(NamedTuple):
    """The labels of all cells of an atlas, as integer codes."""

    codes: NDArray[np.int32]
    """(n_obs,) position in `names` of each cell's label; -1 = unlabelled."""

    names: NDArray[np.object_]
    """(n_labels,) names."""

    ids: NDArray[np.object_]
    """(n_labels,) Cell Ontology ids; empty text where a name has none."""


class Reader:
    """What can be asked of an atlas; :class:`scim.atlas.Atlas` is one that can be written too."""

    def __init__(self, path: Path, mode: Literal["r", "w"]) -> None:
        self.path = path
        self.mode = mode
        self._manifest = read_manifest(path)
        self._experiment: Any = open_soma(path, timestamp=self._manifest.timestamp)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the store. Closing twice is fine."""
        if self._experiment is not None:
            self._experiment.close()
            self._experiment = None

    def __repr__(self) -> str:
        index = "no index" if self._manifest.index is None else f"index of {self._manifest.index.n_obs:,}"
        return f"Atlas({str(self.path)!r}: {self.n_obs:,} cells, {index}, mode={self.mode!r})"

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return self._manifest.n_obs

    @property
    def uid(self) -> str:
        """Name of this atlas for machines, the same in every copy of it."""
        return self._manifest.uid

    @property
    def reach(self) -> float | None:
        """Cosine distance within which 99.5 % of cells have one of their label in another study; `None`: no index."""
        return None if self._manifest.index is None else self._manifest.index.reach

    @property
    def columns(self) -> list[str]:
        """Names of the obs columns."""
        with damage_named(self.path):
            return _read.obs_columns(self._open())

    @functools.cached_property
    def model(self) -> Model:
        """The model that embedded the cells."""
        from scim.model import load  # noqa: PLC0415  (torch is loaded only when something is embedded)

        model = load(self.path / "model")
        if model.uid != self._manifest.model:
            msg = (
                f"The model in {str(self.path / 'model')!r} is {model.uid}, but the cells of this atlas were embedded "
                f"with {self._manifest.model}; put the original model back."
            )
            raise FormatError(msg)
        return model

    @property
    def model_uid(self) -> str:
        """`uid` of the model that embedded the cells; needs no torch."""
        return self._manifest.model

    @functools.cached_property
    def index(self) -> Index:
        """The search index.

        Raises
        ------
        ValueError
            There is none, or cells were appended since it was built: call :meth:`build_index`.
        """
        entry = self._manifest.index
        if entry is None:
            msg = f"The atlas at {str(self.path)!r} has no index; open it with mode='w' and call build_index()."
            raise ValueError(msg)
        if entry.n_obs != self.n_obs:
            msg = (
                f"The index of {str(self.path)!r} covers {entry.n_obs:,} of {self.n_obs:,} cells; "
                "open it with mode='w' and call build_index()."
            )
            raise ValueError(msg)
        return _build_index.open_index(self.path, entry)

    def indexes(self, columns: Sequence[str]) -> bool:
        """Say whether the search index covers all cells and keeps all of these columns of obs."""
        return self._covering is not None and set(columns) <= set(self._covering.columns)

    @functools.cached_property
    def _covering(self) -> Index | None:
        """The index, if there is one that covers all cells and can be read."""
        entry = self._manifest.index
        try:
            return None if entry is None or entry.n_obs != self.n_obs else self.index
        except FormatError:
            return None  # the store has everything that the index has

    def obs(
        self,
        ids: NDArray[np.int64] | Sequence[int] | None = None,
        *,
        where: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Return obs rows of the atlas.

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
            every = np.arange(self.n_obs) if ids is None else ids
            rows = read_indexed(index, every, quick, self._open().obs.schema)
        if rows is not None and len(quick) == len(names):
            return rows
        with damage_named(self.path):
            others = _read.read_obs(self._open(), self.n_obs, ids, [name for name in names if name not in quick])
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
        with damage_named(self.path):
            frame = _read.read_obs(self._open(), self.n_obs, None, parsed.columns)
        columns = {name: Column.of(name, frame[name]) for name in parsed.columns}
        parsed.check(columns)
        with threads():
            return frame.index.to_numpy()[parsed.mask(columns, len(frame))]

    def embeddings(self, ids: NDArray[np.int64] | Sequence[int] | None = None) -> NDArray[np.float32]:
        """Return the embeddings of cells, float32 unit rows, shape (n, latent_dim).

        Parameters
        ----------
        ids
            `soma_joinid` of the cells wanted, in the order wanted, repeats allowed. Default: all cells.

        Raises
        ------
        KeyError
            An id does not exist.
        """
        wanted = None if ids is None else self._check_ids(ids)
        with damage_named(self.path):
            return _read.read_embeddings(self._open(), self.n_obs, wanted)

    @functools.cached_property
    def labels(self) -> Labels:
        """The labels of all cells, as integer codes."""
        names = [keys.ATLAS_LABEL, keys.ATLAS_LABEL_ID]
        if self._covering is not None and self.indexes(names):
            frame = self._covering.obs(np.arange(self.n_obs), names)
        else:
            frame = self.obs(columns=names).astype("category")
        label = frame[keys.ATLAS_LABEL].cat.remove_unused_categories()
        first = frame[~label.duplicated() & label.notna()].astype(object).set_index(keys.ATLAS_LABEL)
        ids = first[keys.ATLAS_LABEL_ID].reindex(label.cat.categories).fillna("").to_numpy(dtype=object)
        return Labels(np.asarray(label.cat.codes, dtype=np.int32), label.cat.categories.to_numpy(dtype=object), ids)

    def info(self) -> dict[str, Any]:
        """Return what the atlas holds: cells, studies, labels, columns, model, index, bytes."""
        studies = self.obs(columns=[keys.ATLAS_STUDY])[keys.ATLAS_STUDY].value_counts()
        codes, names, _ = self.labels
        counts = pd.Series(names[codes[codes >= 0]], dtype=object).value_counts()
        entry = self._manifest.index
        return {
            "path": str(self.path),
            "cells": self.n_obs,
            "studies": studies.to_dict(),
            "labels": counts.to_dict(),
            "unlabelled": int((codes < 0).sum()),
            "columns": self.columns,
            "model": self.model_uid,
            "index": None if entry is None else {"folder": entry.folder, "cells": entry.n_obs, "reach": entry.reach},
            "bytes": {part.name: _size(part) for part in sorted(self.path.iterdir())},
        }

    def _open(self) -> Any:
        if self._experiment is None:
            msg = f"The atlas at {str(self.path)!r} is closed; open it again with scim.atlas.open()."
            raise ValueError(msg)
        return self._experiment

    def _check_ids(self, ids: NDArray[np.int64] | Sequence[int]) -> NDArray[np.int64]:
        wanted = np.asarray(ids)
        if wanted.size and wanted.dtype.kind not in "iu":
            msg = f"Expected whole numbers as ids (soma_joinid), got {wanted.dtype}."
            raise TypeError(msg)
        wanted = wanted.astype(np.int64).ravel()
        outside = wanted[(wanted < 0) | (wanted >= self.n_obs)]
        if outside.size:
            msg = f"Ids run from 0 to {self.n_obs - 1}; not in the atlas: {outside[:5].tolist()}."
            raise KeyError(msg)
        return wanted


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
