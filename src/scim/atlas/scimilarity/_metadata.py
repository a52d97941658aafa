"""What is known of the cells of a published search index: `cell_metadata`, a data frame that TileDB holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from scim._core import keys
from scim._core.checks import refuse_absent
from scim._core.errors import FormatError
from scim.atlas.scimilarity._tiledb import n_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

INDEX, STUDY, DATA_TYPE = "index", "study", "data_type"
_MISSING = "NA"
_BOOLEANS = ("True", "False")
_TRAIN = "train"
_ROWS = 1 << 18
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
        Names of the columns that are read, by the name that each gets in the atlas; `index` and `study` aside.
    booleans
        Which of the text columns say nothing but True, False and NA.
    n_train
        How many cells a column `data_type` says were trained on; `None` without it.
    """

    array: Any
    n: int
    columns: dict[str, str]
    booleans: frozenset[str]
    n_train: int | None

    @classmethod
    def of(cls, path: Path, array: Any, columns: Sequence[str] | None) -> Metadata:
        """Look at all columns.

        Parameters
        ----------
        path
            For messages.
        array
            The open array.
        columns
            Which to keep; default: all.

        Raises
        ------
        KeyError
            One of `columns` does not exist.
        FormatError
            It is no data frame.
        """
        schema = array.schema
        names = [schema.attr(i).name for i in range(schema.nattr)]
        if schema.ndim != 1 or any(schema.attr(name).dtype.kind not in "USObiuf" for name in names):
            kinds = {name: str(schema.attr(name).dtype) for name in names}
            msg = f"{str(path)!r} has {schema.ndim} dimensions and columns {kinds}; expected a data frame."
            raise FormatError(msg)
        if columns is not None:
            refuse_absent(columns, names)
        kept = [name for name in (names if columns is None else columns) if name not in (INDEX, STUDY)]
        found = cls(array, n_rows(array, path), {_free(name): name for name in kept}, frozenset(), None)
        texts = [name for name in kept if schema.attr(name).dtype.kind in "USO"]
        booleans = frozenset(name for name in texts if found._is_boolean(name))
        return replace(found, booleans=booleans, n_train=found._count_train() if DATA_TYPE in names else None)

    def read(self, start: int, stop: int) -> pd.DataFrame:
        """Return `index`, `study` and the columns, under the names that they get, of a range of rows.

        "NA" is missing; text is categorical.
        """
        present = {self.array.schema.attr(i).name for i in range(self.array.schema.nattr)}
        wanted = [name for name in (INDEX, STUDY) if name in present]
        table = self._table([*dict.fromkeys([*wanted, *self.columns.values()])], start, stop)
        frame = {name: _pandas(table[name]) for name in wanted}
        frame.setdefault(INDEX, pd.Series(np.arange(start, stop)))
        frame.setdefault(STUDY, pd.Series(pd.Categorical([None] * (stop - start), categories=[])))
        for name, theirs in self.columns.items():
            column = _pandas(table[theirs])
            frame[name] = (
                column.map({"True": True, "False": False}).astype("boolean") if theirs in self.booleans else column
            )
        return pd.DataFrame(frame)

    def train(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Return which cells of a range of rows were trained on."""
        column = self._table([DATA_TYPE], start, stop)[DATA_TYPE]
        return np.asarray(pc.equal(column, _TRAIN).to_numpy(zero_copy_only=False), dtype=np.bool_)

    def _is_boolean(self, name: str) -> bool:
        seen = set()
        for start in range(0, self.n, _ROWS):
            values = self._table([name], start, min(start + _ROWS, self.n))[name].unique().to_pylist()
            seen.update(values)
            if not seen <= {*_BOOLEANS, _MISSING, None}:
                return False
        return bool(seen & set(_BOOLEANS))

    def _count_train(self) -> int:
        return sum(int(self.train(start, min(start + _ROWS, self.n)).sum()) for start in range(0, self.n, _ROWS))

    def _table(self, names: list[str], start: int, stop: int) -> pa.Table:
        query = self.array.query(attrs=names, dims=[], return_arrow=True)
        table = query.df[start : stop - 1]  # a label at each end
        assert table.num_rows == stop - start
        return table


def _pandas(column: pa.ChunkedArray) -> pd.Series[Any]:
    if pa.types.is_large_string(column.type) or pa.types.is_string(column.type):
        coded = column.dictionary_encode().combine_chunks()
        coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
        values: pd.Series[Any] = coded.to_pandas()
        if _MISSING in values.cat.categories:
            values = values.cat.remove_categories([_MISSING])
        return values.astype(pd.CategoricalDtype(values.cat.categories.astype(object)))
    numbers: pd.Series[Any] = column.to_pandas()
    return numbers


def _free(name: str) -> str:
    """Return a name under which the atlas can keep a column."""
    return f"metadata_{name}" if name in _OURS or name.startswith("soma_") else name
