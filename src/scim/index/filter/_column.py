"""A column of `obs` as integer codes, which filters read."""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self, get_args

import numpy as np
import pandas as pd

from scim._core import FormatError
from scim._core.booleans import read_booleans
from scim.index.filter._coding import CODE_TYPES, Kind, code_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    Table = pd.DataFrame | Mapping[str, ArrayLike]

SEPARATOR = " || "  # between the texts of a field that has several values, as in the CELLxGENE Census
_ENCODING = ("utf-8", "surrogatepass")  # h5ad files may hold half characters, which must come back unchanged


class PackedText(NamedTuple):
    """Texts as two arrays, which npy files hold without pickle."""

    text: NDArray[np.uint8]  # (n_bytes,): all texts in UTF-8
    offsets: NDArray[np.int64]  # (n_texts + 1,): where each begins; the last is `n_bytes`


class Column:
    """A column as integer codes that keep the order of its values, so that a comparison is an interval of codes.

    The unsigned `codes` (n_rows,) are positions in the distinct `values`, ascending, or in the arrays that hold them as
    text; any code beyond means missing, so that no code is out of range.
    """

    def __init__(self, name: str, kind: Kind, codes: NDArray[Any], values: NDArray[Any] | PackedText) -> None:
        self.name, self.kind, self.codes, self._values = name, kind, codes, values

    @classmethod
    def of(cls, name: str, values: pd.Series | pd.Categorical | NDArray[Any] | Sequence[Any]) -> Self:
        """Code a column of text, numbers or booleans, some of them missing."""
        return cls(name, *code_values(name, values))

    @classmethod
    def restore(cls, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the column that `facts` and `arrays` were saved from; arrays may be memory-mapped, nothing is read."""
        name: Any = facts.get("name")
        kind: Any = facts.get("kind")
        if not isinstance(name, str) or kind not in get_args(Kind):
            msg = f"Expected the name and kind of a column, got {dict(facts)}."
            raise FormatError(msg)
        codes = _checked(name, arrays, "codes", *CODE_TYPES)
        values: NDArray[Any] | PackedText
        if kind == "text":
            values = PackedText(_checked(name, arrays, "text", np.uint8), _checked(name, arrays, "offsets", np.int64))
        else:
            values = _checked(name, arrays, "values", *((np.bool_,) if kind == "bool" else (np.int64, np.float64)))
        column = cls(name, kind, codes, values)
        if not 0 <= column.n_values <= np.iinfo(codes.dtype).max:
            msg = f"Column {name!r} is damaged: {column.n_values} values for codes of type {codes.dtype}."
            raise FormatError(msg)
        return column

    def __repr__(self) -> str:
        return f"Column({self.name!r}: {self.kind}, {self.n_rows:,} rows, {self.n_values:,} values)"

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self.codes.size)

    @property
    def n_values(self) -> int:
        """Number of distinct values, which is also the code of missing values."""
        return self._values.offsets.size - 1 if isinstance(self._values, PackedText) else self._values.size

    @functools.cached_property
    def values(self) -> NDArray[Any]:
        """The distinct values, ascending: text as objects, int64, float64 or bool; shape (n_values,)."""
        values = unpack(self._values) if isinstance(self._values, PackedText) else self._values
        if not (values[:-1] < values[1:]).all():
            msg = f"Column {self.name!r} is damaged: its values are not in ascending order."
            raise FormatError(msg)
        return values

    @functools.cached_property
    def truth(self) -> NDArray[np.object_] | None:
        """The distinct values as true and false, `None` where they mean neither; `None` if some mean something else."""
        found = read_booleans(self.values)
        if found is None:
            return None
        truth: NDArray[np.object_] = found.to_numpy(dtype=object)
        truth[np.asarray(found.isna())] = None
        return truth

    def take(self, positions: NDArray[np.integer[Any]]) -> Column:
        """Return the column of the rows at `positions`, in their order, with the same values."""
        return self.with_codes(self.codes[positions])

    def with_codes(self, codes: NDArray[Any]) -> Column:
        """Return a column of other rows with the same values."""
        column = Column(self.name, self.kind, codes, self._values)
        for derived in ("values", "truth", "_codes_by_part", "_dtype"):  # of values, which may be many: derived once
            if derived in self.__dict__:
                column.__dict__[derived] = self.__dict__[derived]
        return column

    def decode(self, positions: NDArray[np.integer[Any]] | None = None) -> pd.Series:
        """Return the values at `positions` (default: of all rows).

        Text is a categorical of all values of the column; others are int64, float64 with NaN or bool, and where some
        are missing the nullable Int64 and boolean.
        """
        codes = self.codes if positions is None else self.codes[positions]
        missing = codes >= self.n_values
        if self.kind == "text":
            signed = codes.astype(np.min_scalar_type(-self.n_values - 1))
            signed[missing] = -1
            return pd.Series(pd.Categorical.from_codes(signed, dtype=self._dtype), name=self.name)
        if self.n_values == 0:
            values = np.zeros(codes.size, dtype=self.values.dtype)
        else:
            values = self.values[np.minimum(codes, self.n_values - 1)]
        if self.values.dtype.kind == "f":
            values[missing] = np.nan
        elif missing.any():
            nullable = pd.arrays.BooleanArray if self.kind == "bool" else pd.arrays.IntegerArray
            return pd.Series(nullable(values, missing), name=self.name)
        return pd.Series(values, name=self.name)

    def facts(self) -> dict[str, Any]:
        """Return the entry of the column in JSON."""
        return {"name": self.name, "kind": self.kind}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the column in npy files: `codes`, and `values`, of text `text` and `offsets`."""
        if self.kind != "text":
            return {"codes": self.codes, "values": self.values}
        packed = self._values if isinstance(self._values, PackedText) else pack(self._values)
        return {"codes": self.codes, **packed._asdict()}

    def find_text(self, wanted: str) -> list[int]:
        """Return the codes of the values that have all parts of `wanted` among their parts."""
        first, *rest = dict.fromkeys(wanted.split(SEPARATOR))
        codes = self._codes_by_part.get(first, [])
        if rest:
            return sorted(set(codes).intersection(*(self._codes_by_part.get(part, []) for part in rest)))
        at = bisect.bisect_left(self.values, first)
        return [at, *codes] if at < self.n_values and self.values[at] == first else codes

    def parts(self) -> set[str]:
        """Return all texts; a field that has several values counts as these."""
        return {part for value in self.values for part in value.split(SEPARATOR)}

    @functools.cached_property
    def _codes_by_part(self) -> dict[str, list[int]]:
        """Codes of the values with several parts, by part."""
        codes: dict[str, list[int]] = {}
        for code, value in enumerate(self.values):
            if SEPARATOR in value:
                for part in set(value.split(SEPARATOR)):
                    codes.setdefault(part, []).append(code)
        return codes

    @functools.cached_property
    def _dtype(self) -> pd.CategoricalDtype:
        return pd.CategoricalDtype(pd.Index(self.values, dtype=object))


class LazyColumns(Mapping[str, Column]):
    """Columns by name, each read by a function when it is first used."""

    def __init__(self, names: Iterable[str], read: Callable[[str], Column]) -> None:
        self._columns: dict[str, Column | None] = dict.fromkeys(names)
        self._read = read

    def __getitem__(self, name: str) -> Column:
        column = self._columns[name]
        if column is None:
            column = self._columns[name] = self._read(name)
        return column

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def columns_of(obs: Table | None, n_rows: int) -> dict[str, Column]:
    """Return the columns of a frame, or of a mapping of names to one value a row."""
    if obs is None:
        return {}
    if not isinstance(obs, pd.DataFrame | Mapping):
        msg = f"`obs` must be a DataFrame or a mapping of names to arrays, got {type(obs).__name__}."
        raise TypeError(msg)
    table: Any = obs
    columns = {str(name): Column.of(str(name), table[name]) for name in table}
    for name, column in columns.items():
        if column.n_rows != n_rows:
            msg = f"Column {name!r} of `obs` has {column.n_rows} values for {n_rows} rows; pass one value a row."
            raise ValueError(msg)
    return columns


def pack(values: NDArray[np.object_]) -> PackedText:
    """Return texts as arrays."""
    encoded = [value.encode(*_ENCODING) for value in values]
    offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum([len(piece) for piece in encoded], out=offsets[1:])
    return PackedText(np.asarray(memoryview(b"".join(encoded))), offsets)


def unpack(packed: PackedText) -> NDArray[np.object_]:
    """Return the texts, after checking that offsets ascend from 0 to the number of bytes and the bytes are UTF-8."""
    blob, offsets = packed.text.tobytes(), packed.offsets.tolist()
    values = np.empty(len(offsets) - 1, dtype=object)
    try:
        if offsets[0] != 0 or offsets[-1] != len(blob) or (packed.offsets[1:] < packed.offsets[:-1]).any():
            msg = f"expected offsets that ascend from 0 to {len(blob)}"
            raise ValueError(msg)  # noqa: TRY301  (both kinds of damage get the same message)
        values[:] = [blob[start:stop].decode(*_ENCODING) for start, stop in itertools.pairwise(offsets)]
    except ValueError as error:
        msg = f"A text column is damaged: {error}."
        raise FormatError(msg) from error
    return values


def _checked(name: str, arrays: Mapping[str, NDArray[Any]], key: str, *dtypes: type[np.generic]) -> NDArray[Any]:
    if key not in arrays:
        msg = f"Column {name!r} is damaged: it has no {key!r}. Present: {sorted(arrays)}."
        raise FormatError(msg)
    array = np.asarray(arrays[key])
    if array.ndim != 1 or array.dtype not in [np.dtype(dtype) for dtype in dtypes]:
        expected = " or ".join(np.dtype(dtype).name for dtype in dtypes)
        msg = f"Column {name!r} is damaged: {key!r} is {array.dtype} {array.shape}, expected one row of {expected}."
        raise FormatError(msg)
    return array
