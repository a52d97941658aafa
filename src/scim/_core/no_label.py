"""The one notion of "no label": which texts name no cell type, and how columns of labels and names are read.

Labels are texts that people wrote by hand or that went through csv files and R: with blanks or quotes around them, and
with words in place of missing values. Every function that takes labels reads them here.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from scim._core.checks import check_names
from scim._core.log import logger
from scim._core.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from scim._core.types import Bools

MISSING = (
    "nan", "na", "n/a", "pd.NA", "none", "null", "nil", "nat", "NA_character_", "missing", "not available",
    "not applicable",
)  # fmt: skip
"""Missing values in words: neither a label nor the name of a study. A text without a letter or digit is one too."""

UNKNOWN = (
    "unknown", "unk", "unassigned", "not assigned", "unlabeled", "unlabelled", "not labeled", "not labelled",
    "no label", "unannotated", "not annotated", "no annotation", "undefined", "not defined", "undetermined",
    "not determined", "to be determined", "tbd", "indeterminate", "unclassified", "not classified", "unidentified",
    "not identified", "uncharacterized", "uncharacterised", "unspecified", "not specified", "unresolved", "uncertain",
    "unclear", "ambiguous", "heterogeneous", "rejected",
)  # fmt: skip
"""The cell has a type that was not stated; annotation tools write the last three where they abstain."""

NO_TYPE = (
    "doublet", "multiplet", "low quality", "low qual", "low q", "poor quality", "bad quality", "debris", "empty",
    "empty droplet", "artifact", "artefact", "contamination",
)  # fmt: skip
"""What was measured is not one cell, or too little of it: such droplets lie between types, and are none."""

NO_LABEL = (*MISSING, *UNKNOWN, *NO_TYPE)
"""All words that mean "no label", whatever their case, blanks, underscores, hyphens and brackets."""

_QUOTES = "'\"`´‘’“”"
_PAIRS = {"‘": "’", "“": "”"}
_BLANK = "\u200b\u200e\u200f\u2060\ufeff\x00"  # characters without width, which `str.split` does not take for blanks
_NO_WIDTH = str.maketrans(dict.fromkeys(_BLANK, ""))
_BYTES = re.compile(r"b(?P<quote>['\"])(?P<text>.*)(?P=quote)", re.DOTALL)  # str() of bytes, as h5py returns text
_BETWEEN = re.compile(r"[\W_]+")
_EXAMPLES = 5


class Texts(NamedTuple):
    """A column of texts as it was read."""

    values: pd.Categorical
    """(n,) texts; missing where the cell has none. The categories are those that occur, in their order."""

    left_out: dict[str, int]
    """Number of cells of each word that was read as missing, as it was written."""

    @property
    def texts(self) -> NDArray[np.object_]:
        """(n,) texts; `None` where the cell has none."""
        out: NDArray[np.object_] = np.array([*self.values.categories, None], dtype=object)[self.values.codes]
        return out

    @property
    def present(self) -> Bools:
        """(n,) which cells have a text."""
        return np.asarray(self.values.codes >= 0)

    @property
    def n_missing(self) -> int:
        """Number of cells without a text."""
        return int((~self.present).sum())

    def describe(self, what: str = "label") -> str:
        """Return how many cells have none, with their share and their words; "" if all have one."""
        n, n_missing = len(self.values), self.n_missing
        if not n_missing:
            return ""
        words = [f'"{word}"' for word in self.left_out]
        words = [*words[:_EXAMPLES], f"{len(words) - _EXAMPLES} more"] if len(words) > _EXAMPLES else words
        if words and n_missing > sum(self.left_out.values()):
            words.append("missing values")
        examples = f" ({', '.join(words)})" if words else ""
        return f"{n_missing:,} of {n:,} cells ({100 * n_missing / n:.1f} %) have no {what}{examples}"

    def report(self, source: str) -> None:
        """Log a line if cells of `source` have no label."""
        if line := self.describe():
            logger.info("%s: %s", source, line)


def read_labels(values: ArrayLike | pd.Series[Any] | pd.Categorical) -> Texts:
    """Read labels, (n,), of any dtype: blanks and quotes around them go, and words that mean "no label" are missing.

    The words are :data:`NO_LABEL` and those of `scim.settings.no_label`. Numbers, true and false become text, whole
    floats as whole numbers. TypeError is raised for what is no text, as lists.
    """
    return _read(values, is_no_label)


def read_names(values: ArrayLike | pd.Series[Any] | pd.Categorical) -> Texts:
    """Read names of studies, donors or samples, as labels; but "unknown" is a name, and only `MISSING` is missing."""
    return _read(values, is_missing)


def clean_text(text: str) -> str:
    """Return a text without blanks and quotes around it, and with one blank for several within."""
    text = " ".join(text.translate(_NO_WIDTH).split())
    if (literal := _BYTES.fullmatch(text)) is not None:
        text = literal["text"].strip()
    while len(text) > 1 and text[0] in _QUOTES and text[-1] == _PAIRS.get(text[0], text[0]):
        inner = text[1:-1].strip()
        if text[0] in inner.strip(text[0]):  # 'a' and 'b': the first and the last quote are no pair
            break
        text = inner
    return text


def is_missing(text: str) -> bool:
    """Return whether a text is a missing value in words."""
    compact = _compact(text)
    return not compact or compact in _MISSING


def is_no_label(text: str) -> bool:
    """Return whether a text means "no label"."""
    compact = _compact(text)
    return not compact or _NO_LABEL.fullmatch(compact) is not None or compact in _added(settings.no_label)


def _compact(text: str) -> str:
    """Return the letters and digits of a text in lower case."""
    return _BETWEEN.sub("", unicodedata.normalize("NFKC", text).casefold())


_MISSING = frozenset(map(_compact, MISSING))
_NO_LABEL = re.compile(
    "|".join(_MISSING)
    + r"|(?:(?:(?:cell)?type|(?:cell)?cluster)?"
    + f"(?:{'|'.join(_compact(word) for word in (*UNKNOWN, *NO_TYPE))})"
    # "Unknown cells", "unassigned_3", "unknown (low quality)": clusters without a type
    + r"(?:s|cells?|(?:cell)?types?|(?:cell)?clusters?)?\d*)+"
)


def _added(words: Sequence[str] | str) -> set[str]:
    return {_compact(word) for word in check_names("scim.settings.no_label", words)}


def _read(values: Any, left_out: Callable[[str], bool]) -> Texts:
    codes, distinct = coded(values)
    written = [_as_text(value) for value in distinct]
    cleaned = [None if left_out(text := clean_text(word)) else text for word in written]
    categories = pd.Index([text for text in dict.fromkeys(cleaned) if text is not None], dtype=object)
    new = np.append(categories.get_indexer(pd.Index(cleaned, dtype=object)), -1)  # the last is that of code -1
    n = _counts(codes, len(distinct))
    words: dict[str, int] = {}
    for word, label, n_cells in zip(written, cleaned, n.tolist(), strict=True):
        if label is None:
            words[word] = words.get(word, 0) + n_cells
    return Texts(pd.Categorical.from_codes(new[codes], categories=categories), words)


def coded(values: Any) -> tuple[Any, list[Any]]:
    """Return for each cell the position of its value, -1 = missing, and the values that occur."""
    column = values if isinstance(values, pd.Series | pd.Index | pd.Categorical) else pd.Series(_as_array(values))
    if isinstance(column.dtype, pd.CategoricalDtype):
        return _used(pd.Categorical(column))
    try:
        codes, distinct = pd.factorize(column)
    except TypeError as error:
        msg = f"Expected one text for each cell, got values such as {next(iter(column))!r}; call .astype(str) first."
        raise TypeError(msg) from error
    return codes, list(distinct)


def _used(column: pd.Categorical) -> tuple[Any, list[Any]]:
    """Return the codes of a categorical and its categories, without those that do not occur."""
    codes, categories = np.asarray(column.codes, dtype=np.int64), column.categories.tolist()
    occur = _counts(codes, len(categories)) > 0  # pandas sorts all codes for this
    if not occur.all():
        codes = np.append(np.where(occur, np.cumsum(occur) - 1, -1), -1)[codes]
    return codes, [category for category, occurs in zip(categories, occur, strict=True) if occurs]


def _counts(codes: Any, n: int) -> Any:
    """Return how often each of n codes occurs; -1 = missing."""
    return np.bincount(codes + 1, minlength=n + 1)[1:]


def _as_array(values: Iterable[Any]) -> Any:
    """Return an array as it is, and a list as objects: numpy would make texts of [1, "a"]."""
    if isinstance(values, pd.api.extensions.ExtensionArray):
        return values
    return np.asarray(values) if hasattr(values, "dtype") else np.fromiter(values, dtype=object)


def _as_text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))  # a column of whole numbers becomes float where one is missing
    return str(value)
