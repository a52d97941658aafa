"""What is known of the cells of a published search index: `cell_metadata`, a data frame that TileDB holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from scim._core import keys
from scim._core.checks import refuse_absent
from scim._core.errors import FormatError
from scim.scimilarity.atlas._tiledb import n_rows, reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

INDEX, STUDY, DATA_TYPE = "index", "study", "data_type"
_MISSING = "NA"
_BOOLEANS = ("True", "False")
_TRAIN = "train"
_ROWS = 1 << 18
_WHOLE = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
PREFIX = "metadata_"
"""Begins the names of columns that could not keep theirs."""

_OURS = {*keys.ATLAS_COLUMNS, *keys.REFERENCE_COLUMNS, "obs_id"}
"""Names that a column may not have in an atlas."""


@dataclass(frozen=True)
class Metadata:
    """The data frame.

    Attributes
    ----------
    n
        Number of its rows.
    columns
        Names of the columns that are kept, by the name that each gets in the atlas; `study` aside.
    booleans
        Which of the text columns say nothing but True, False and NA.
    n_train
        How many cells a column `data_type` says were trained on; `None` without it.
    """

    path: Path
    array: Any
    n: int
    columns: dict[str, str]
    booleans: frozenset[str]
    n_train: int | None

    @classmethod
    def of(cls, path: Path, array: Any, columns: Sequence[str] | None) -> Metadata:
        """Look at all columns that are kept.

        Parameters
        ----------
        path
            For messages.
        array
            The open array.
        columns
            Which to keep; default: all. `study` is always read, and `index` kept if it is not the number of the row.

        Raises
        ------
        KeyError
            One of `columns` does not exist.
        FormatError
            It is no data frame.
        """
        schema = array.schema
        names = [schema.attr(i).name for i in range(schema.nattr)]
        if schema.ndim != 1:
            msg = f"{str(path)!r} has {schema.ndim} dimensions; expected a data frame."
            raise FormatError(msg)
        if columns is not None:
            refuse_absent(columns, names)
        kept = [name for name in (names if columns is None else columns) if name not in (INDEX, STUDY)]
        found = cls(path, array, n_rows(array, path), {_free(name): name for name in kept}, frozenset(), None)
        texts = [name for name in kept if _is_text(found._block(name, 0, min(1, found.n)).type)]
        booleans = frozenset(name for name in texts if found._is_boolean(name))
        n_train = found._count_train() if DATA_TYPE in names else None
        numbered = INDEX not in names or found._is_numbered()
        kept_columns = found.columns if numbered else {f"{PREFIX}{INDEX}": INDEX} | found.columns
        return replace(found, columns=kept_columns, booleans=booleans, n_train=n_train)

    def read(self, start: int, stop: int) -> pd.DataFrame:
        """Return `study` and the columns, under the names that they get, of a range of rows.

        "NA" is missing; text is categorical.
        """
        present = {self.array.schema.attr(i).name for i in range(self.array.schema.nattr)}
        wanted = [STUDY] if STUDY in present else []
        table = self._table([*dict.fromkeys([*wanted, *self.columns.values()])], start, stop)
        nobody = pd.Series(pd.Categorical([None] * (stop - start), categories=[]))
        frame = {STUDY: _pandas(table[STUDY]).astype("category") if wanted else nobody}
        for name, theirs in self.columns.items():
            column = _pandas(table[theirs])
            if theirs in self.booleans:
                column = column.map({"True": True, "False": False}).astype("boolean")
            frame[name] = column
        return pd.DataFrame(frame)

    def train(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Return which cells of a range of rows were trained on."""
        return np.array([value == _TRAIN for value in self._block(DATA_TYPE, start, stop).to_pylist()], dtype=np.bool_)

    def _is_boolean(self, name: str) -> bool:
        seen = set()
        for block in self._blocks(name):
            seen.update(block.unique().to_pylist())
            if not seen <= {*_BOOLEANS, _MISSING, None}:
                return False
        return bool(seen & set(_BOOLEANS))

    def _count_train(self) -> int:
        return sum(int(self.train(start, min(start + _ROWS, self.n)).sum()) for start in range(0, self.n, _ROWS))

    def _is_numbered(self) -> bool:
        """Say whether `index` is the number of the row."""
        start = 0
        for block in self._blocks(INDEX):
            if (
                not pa.types.is_integer(block.type)
                or not (block.to_numpy() == np.arange(start, start + len(block))).all()
            ):
                return False
            start += len(block)
        return True

    def _blocks(self, name: str) -> Iterator[Any]:
        for start in range(0, self.n, _ROWS):
            yield self._block(name, start, min(start + _ROWS, self.n))

    def _block(self, name: str, start: int, stop: int) -> Any:
        return self._table([name], start, stop)[name]

    def _table(self, names: list[str], start: int, stop: int) -> pa.Table:
        with reading(self.path):
            table = self.array.query(attrs=names, dims=[], return_arrow=True).df[
                start : stop - 1
            ]  # a label at each end
        if table.num_rows != stop - start:
            msg = f"{str(self.path)!r} gave {table.num_rows:,} of the rows {start:,} to {stop:,}; it is damaged."
            raise FormatError(msg)
        return pa.table({name: self._plain(name, table[name]) for name in names})

    def _plain(self, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return a column as text, numbers, or true and false."""
        kind = column.type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or _is_text(kind):
            kind = pa.large_string()
        elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            msg = f"{str(self.path)!r}: column {name!r} is {kind}, not text, numbers, or true and false; see columns=."
            raise FormatError(msg)
        try:
            return column.cast(kind)
        except pa.ArrowInvalid as error:
            msg = f"{str(self.path)!r}: column {name!r} is not text ({error}). Leave it out with columns=."
            raise FormatError(msg) from error


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _pandas(column: pa.ChunkedArray) -> pd.Series[Any]:
    if _is_text(column.type):
        coded = column.dictionary_encode().combine_chunks()
        coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
        values: pd.Series[Any] = coded.to_pandas()
        if _MISSING in values.cat.categories:
            values = values.cat.remove_categories([_MISSING])
        return values.astype(pd.CategoricalDtype(values.cat.categories.astype(object)))
    types = {pa.bool_(): pd.BooleanDtype()} | {kind: pd.Int64Dtype() for kind in _WHOLE if column.null_count}
    other: pd.Series[Any] = column.to_pandas(types_mapper=types.get)
    return other


def _free(name: str) -> str:
    """Return the name of a column in the atlas: its own, unless the atlas has one of that name."""
    taken = name in _OURS or name.startswith(("soma_", PREFIX))
    return f"{PREFIX}{name}" if taken else name
