"""Metadata of cells: the published data frame, and the columns of the atlas that it becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api.types import is_string_dtype

from scim._core import FormatError, keys, refuse_absent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from scim.atlas import Atlas
    from scim.scimilarity._tiledb import TileArray

INDEX, STUDY = "index", "study"
MISSING = "NA"
BOOLEANS = {"True": True, "False": False}
_DATA_TYPE, _TRAIN = "data_type", "train"
_PREFIX = "metadata_"  # begins the names of columns that cannot keep theirs
_KEPT_INDEX = f"{_PREFIX}{INDEX}"
_RESERVED = {*keys.ATLAS_COLUMNS, *keys.REFERENCE_COLUMNS, "obs_id"}
_OF_THE_IMPORT = _RESERVED - {STUDY}
_CHUNK = 1 << 18


class PublishedMetadata:
    """The data frame `cell_metadata` of a published folder, of which all columns, or those named, are kept.

    `study` is always read, and `index` is kept if it is not the row number. `columns` has the published names of the
    columns that are kept, `study` aside, by their names in the atlas.
    """

    def __init__(self, array: TileArray, columns: Sequence[str] | None) -> None:
        self._path, self._array, self.n = array.path, array, array.n_rows
        names = list(array.schema.attributes)
        n_dimensions = len(array.schema.written or ())
        if n_dimensions != 1:
            msg = f"{str(array.path)!r} has {n_dimensions} dimensions; expected a data frame."
            raise FormatError(msg)
        if columns is not None:
            refuse_absent(columns, names)
        self._has_study = STUDY in names
        kept = [name for name in (names if columns is None else columns) if name not in (INDEX, STUDY)]
        taken = {name for name in kept if name in _RESERVED or name.startswith(("soma_", _PREFIX))}
        self.columns = {f"{_PREFIX}{name}" if name in taken else name: name for name in kept}
        texts = [name for name in kept if _is_text(self._table([name], 0, min(1, self.n))[name].type)]
        self._booleans = frozenset(name for name in texts if self._is_boolean(name))
        self.n_train: int | None = None  # number of cells the model was trained on, if the metadata tells them
        if _DATA_TYPE in names:
            self.n_train = sum(column.to_pylist().count(_TRAIN) for _, column in self._chunks(_DATA_TYPE))
        if INDEX in names and not self._index_is_row_number():
            self.columns = {_KEPT_INDEX: INDEX} | self.columns

    def read(self, start: int, stop: int) -> pd.DataFrame:
        """Return `study` and the kept columns of rows, by their names in the atlas; text is categorical."""
        table = self._table([*dict.fromkeys([*([STUDY] * self._has_study), *self.columns.values()])], start, stop)
        missing = pd.Series(pd.Categorical([None] * (stop - start), categories=[]))
        frame = {STUDY: _to_pandas(table[STUDY].cast(pa.large_string())) if self._has_study else missing}
        for name, published in self.columns.items():
            column = _to_pandas(table[published])
            frame[name] = column.map(BOOLEANS).astype("boolean") if published in self._booleans else column
        return pd.DataFrame(frame)

    def is_train(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Return which cells of a range of rows the model was trained on."""
        values = self._table([_DATA_TYPE], start, stop)[_DATA_TYPE].to_pylist()
        return np.array([value == _TRAIN for value in values], np.bool_)

    def _is_boolean(self, name: str) -> bool:
        """Return whether a column of text holds True, False and NA only."""
        seen = set()
        for _, column in self._chunks(name):
            seen.update(column.unique().to_pylist())
            if not seen <= {*BOOLEANS, MISSING, None}:
                return False
        return bool(seen & set(BOOLEANS))

    def _index_is_row_number(self) -> bool:
        return all(
            pa.types.is_integer(column.type) and (column.to_numpy() == np.arange(start, start + len(column))).all()
            for start, column in self._chunks(INDEX)
        )

    def _chunks(self, name: str) -> Iterator[tuple[int, Any]]:
        for start in range(0, self.n, _CHUNK):
            yield start, self._table([name], start, min(start + _CHUNK, self.n))[name]

    def _table(self, names: list[str], start: int, stop: int) -> pa.Table:
        table = self._array.table(names, start, stop)
        return pa.table({name: self._as_plain(name, table[name]) for name in names})

    def _as_plain(self, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return a column as text, numbers, or booleans."""
        kind = column.type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or _is_text(kind):
            kind = pa.large_string()
        elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            msg = f"{str(self._path)!r}: column {name!r} is {kind}, not text, numbers, or true and false; see columns=."
            raise FormatError(msg)
        try:
            return column.cast(kind)
        except pa.ArrowInvalid as error:
            msg = f"{str(self._path)!r}: column {name!r} is not text ({error}). Leave it out with columns=."
            raise FormatError(msg) from error


class AtlasMetadata:
    """The published columns of an imported atlas.

    `columns` has their names in the atlas, and `index_column` that of `index`: row numbers are the names of cells.
    """

    def __init__(self, atlas: Atlas) -> None:
        self.atlas = atlas
        kept = [name for name in atlas.columns if name not in _OF_THE_IMPORT]
        self.index_column = _KEPT_INDEX if _KEPT_INDEX in kept else keys.ATLAS_CELL_ID
        self.columns = {name.removeprefix(_PREFIX): name for name in kept if name != _KEPT_INDEX}

    def index(self, ids: NDArray[np.int64], numbers: NDArray[np.int64]) -> Any:
        """Return the published column `index` of cells, by default their row numbers."""
        name = self.index_column
        return numbers if name == keys.ATLAS_CELL_ID else self.atlas.obs(ids, columns=[name])[name].array

    def rows(self, ids: NDArray[np.int64], numbers: NDArray[np.int64]) -> pd.DataFrame:
        """Return the metadata of cells in their order, `index` first, labelled from 0."""
        obs = self.atlas.obs(ids, columns=list(self.columns.values()))
        frame = obs.set_axis(list(self.columns), axis=1).reset_index(drop=True)
        frame.insert(0, INDEX, self.index(ids, numbers))
        return frame

    def categories(self, ids: NDArray[np.int64], columns: Sequence[str]) -> pd.DataFrame:
        """Return published columns of many cells, text as categories, indexed by id."""
        refuse_absent(columns, list(self.columns), of="the published metadata")
        frame = pd.DataFrame(index=pd.Index(ids))
        for published in columns:
            name = self.columns[published]
            if is_string_dtype(self.dtype(name)) and self.atlas.indexes([name]):
                frame[published] = self.atlas.index.obs(ids, [name])[name].array
            else:
                frame[published] = self.atlas.obs(ids, columns=[name])[name].array
        return frame

    def dtype(self, name: str) -> Any:
        """Return the dtype of a column of the atlas."""
        return self.atlas.obs([], columns=[name])[name].dtype


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _to_pandas(column: pa.ChunkedArray) -> pd.Series[Any]:
    if _is_text(column.type):
        coded = column.dictionary_encode().combine_chunks()
        coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
        values: pd.Series[Any] = coded.to_pandas()
        if MISSING in values.cat.categories:
            values = values.cat.remove_categories([MISSING])
        return values.astype(pd.CategoricalDtype(values.cat.categories.astype(object)))
    types: dict[Any, Any] = {pa.bool_(): pd.BooleanDtype()}
    if column.null_count and pa.types.is_integer(column.type):
        types[column.type] = pd.Int64Dtype()
    other: pd.Series[Any] = column.to_pandas(types_mapper=types.get)
    return other
