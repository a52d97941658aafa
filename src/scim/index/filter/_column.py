"""A column of `obs` as integer codes, which is what a filter reads."""

from __future__ import annotations

import bisect
import functools
from typing import TYPE_CHECKING, Any, Self, get_args

import numpy as np
import pandas as pd

from scim._core.errors import FormatError
from scim.index.filter._code import CODE_TYPES, Kind, code_values
from scim.index.filter._text import PackedText, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

JOINT = " || "
"""Between the texts of a field that has several, as in the CELLxGENE Census."""


class Column:
    """A column as integer codes that keep the order of its values, so that a comparison is an interval of codes.

    Parameters
    ----------
    name
        Its name.
    kind
        Whether the values are text, numbers or true and false.
    codes
        Place of each row's value in `values`, unsigned, shape (n_rows,). Any code beyond means missing.
    values
        The distinct values, ascending, or the arrays that hold them as text.
    """

    def __init__(self, name: str, kind: Kind, codes: NDArray[Any], values: NDArray[Any] | PackedText) -> None:
        self.name = name
        self.kind = kind
        self.codes = codes
        self._values = values

    @classmethod
    def of(cls, name: str, values: pd.Series | pd.Categorical | NDArray[Any] | Sequence[Any]) -> Self:
        """Code a column of text, whole or other numbers, or true and false, some of them missing.

        Raises
        ------
        TypeError
            It mixes types, or holds something else.
        """
        return cls(name, *code_values(name, values))

    @classmethod
    def restore(cls, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the column of which `facts` and `arrays` were saved; arrays may be memory-mapped, nothing is read.

        Raises
        ------
        FormatError
            They do not belong together. Values that are out of order are found when first used.
        """
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
        packed = isinstance(self._values, PackedText)
        return int(self._values.offsets.size - 1 if packed else self._values.size)  # type: ignore[union-attr]

    @functools.cached_property
    def values(self) -> NDArray[Any]:
        """The distinct values, ascending: text as objects, int64, float64 or bool; shape (n_values,)."""
        values = unpack(self._values) if isinstance(self._values, PackedText) else self._values
        if not (values[:-1] < values[1:]).all():
            msg = f"Column {self.name!r} is damaged: its values are not in ascending order."
            raise FormatError(msg)
        return values

    def take(self, places: NDArray[np.integer[Any]]) -> Column:
        """Return the column at `places`, in their order, with the same values."""
        return self.with_codes(self.codes[places])

    def with_codes(self, codes: NDArray[Any]) -> Column:
        """Return a column of other rows with the same values."""
        other = Column(self.name, self.kind, codes, self._values)
        for known in ("values", "_joint", "_dtype"):  # what is made of the values, which may be many, is made once
            if known in self.__dict__:
                other.__dict__[known] = self.__dict__[known]
        return other

    def decode(self, places: NDArray[np.integer[Any]] | None = None) -> pd.Series:
        """Return the values at `places` (default: of all rows).

        Returns
        -------
        Text as a categorical of all values of the column, other values as int64, float64 or bool; where some are
        missing as the nullable Int64 and boolean, float64 with NaN.
        """
        codes = self.codes if places is None else self.codes[places]
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
        """Return what JSON is to keep of the column."""
        return {"name": self.name, "kind": self.kind}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what npy files are to keep of the column: `codes`, and `values`, of text `text` and `offsets`."""
        if self.kind != "text":
            return {"codes": self.codes, "values": self.values}
        packed = self._values if isinstance(self._values, PackedText) else pack(self._values)
        return {"codes": self.codes, **packed._asdict()}

    def find_text(self, wanted: str) -> list[int]:
        """Return the codes of the values that have all parts of `wanted` among their parts."""
        first, *others = dict.fromkeys(wanted.split(JOINT))
        codes = self._joint.get(first, [])
        if others:
            return sorted(set(codes).intersection(*(self._joint.get(part, []) for part in others)))
        place = bisect.bisect_left(self.values, first)
        return [place, *codes] if place < self.n_values and self.values[place] == first else codes

    def parts(self) -> set[str]:
        """Return all texts; a field that has several counts as these."""
        return {part for value in self.values for part in value.split(JOINT)}

    @functools.cached_property
    def _joint(self) -> dict[str, list[int]]:
        """Codes of the values with several parts, by part."""
        found: dict[str, list[int]] = {}
        for code, value in enumerate(self.values):
            if JOINT in value:
                for part in set(value.split(JOINT)):
                    found.setdefault(part, []).append(code)
        return found

    @functools.cached_property
    def _dtype(self) -> pd.CategoricalDtype:
        return pd.CategoricalDtype(pd.Index(self.values, dtype=object))


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
