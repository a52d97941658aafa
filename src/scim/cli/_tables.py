"""Tables as files and on the terminal, and lines on the terminal: values come from files and may hold any character."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING, Any

from scim._core import printable, shown
from scim.cli._files import CELLS, whole_file, write_cells

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData

_WIDEST = 80  # characters of a value on the terminal
# What spreadsheets take for the beginning of a formula, also in the width of Chinese letters; numbers are none.
_FORMULA = re.compile(r"(?![+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$)[=+\-@\t\r\n＝＋－＠]")


def show(line: str = "") -> None:
    """Print one line on standard output, without secrets and control characters."""
    try:
        print(shown(line))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritable(error) from error


def show_table(frame: pd.DataFrame, **how: Any) -> None:
    """Print a table, a row a line."""
    plain = _on_texts(frame, printable)
    for line in plain.to_string(index=False, max_colwidth=_WIDEST, **how).split("\n"):
        show(line)


def unwritable(error: OSError) -> OSError:
    """Return the error that standard output takes no more."""
    return OSError(f"Standard output cannot be written: {error.strerror}. Send it elsewhere.")


def write_result(adata: AnnData, path: Path, table: Callable[[], pd.DataFrame], *, spreadsheet: bool) -> None:
    """Write the cells, or the table, as the ending of the path says."""
    if path.suffix in CELLS:
        write_cells(adata, path)
    else:
        write_table(table(), path, spreadsheet=spreadsheet)


def write_table(frame: pd.DataFrame, path: Path, *, spreadsheet: bool = False) -> None:
    """Write a data frame as `.csv`, `.tsv` or `.parquet`; the file takes its name when it is complete.

    In the first two every text is read back as it is by pandas, R and the csv module of Python. With `spreadsheet` a
    text with which a formula could begin has `'` before it.
    """
    with whole_file(path) as temporary:
        _check_texts(frame, path)
        if path.suffix == ".parquet":
            frame.to_parquet(temporary, index=False)
            return
        frame = _on_texts(frame, _as_text) if spreadsheet else frame
        how: dict[str, Any] = {"sep": "\t" if path.suffix == ".tsv" else ",", "lineterminator": "\n"}
        # pandas quotes a return only if it quotes all texts, and readers take it for the end of a row; a spreadsheet
        # in some languages takes the semicolon of a text for the end of a cell.
        how["quoting"] = csv.QUOTE_NONNUMERIC if spreadsheet or "\r" in _texts(frame) else csv.QUOTE_MINIMAL
        frame.to_csv(temporary, index=False, **how)


def _check_texts(frame: pd.DataFrame, path: Path) -> None:
    """Refuse characters that no reader of such a file gives back."""
    bad = re.search("[\ud800-\udfff]" if path.suffix == ".parquet" else "[\0\ud800-\udfff]", _texts(frame))
    if bad is not None:
        msg = f"{str(path)!r} cannot hold the character {bad[0]!r} of a value or of the name of a column; rename it."
        raise ValueError(msg)


def _texts(frame: pd.DataFrame) -> str:
    """Return all texts of a table, each once, in one."""
    values = [str(name) for name in frame.columns]
    for name in frame.select_dtypes(exclude="number").columns:
        values += [value for value in frame[name].drop_duplicates() if isinstance(value, str)]
    return "\x1f".join(values)


def _on_texts(frame: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """Return a table with every text, also the names of columns, changed."""

    def changed(value: Any) -> Any:
        return change(value) if isinstance(value, str) else value

    columns = frame.select_dtypes(exclude="number").columns
    texts = {name: frame[name].astype(object).map(changed) for name in columns}
    return frame.assign(**texts).rename(columns=changed)


def _as_text(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) else text
