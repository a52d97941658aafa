"""Judge what came of a case.

right    the same result as without damage, or what an independent reader makes of the damaged file
refused  an error that scim raises by intention, with the name of the file or of the argument
valid    other values that a forger sealed, and that are possible: finite, in range
wrong    another result without a word; or values that no data has
raw      an error of Python or a library, or one that names nothing
died     the process ended by a signal
hung     no end in the time limit
memory   more than twice the file beyond what the undamaged case needs
outside  a file outside was written, changed or deleted
"""

from __future__ import annotations

import linecache
import traceback
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import scim

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ORDER = ("right", "valid", "refused", "raw", "wrong", "memory", "hung", "died", "outside", "suite")
BAD = frozenset(ORDER[3:])
SOURCE = scim.__path__[0]


def worst(outcomes: list[tuple[str, str]]) -> tuple[str, str]:
    """Return the worst of several outcomes."""
    return max(outcomes, key=lambda outcome: ORDER.index(outcome[0]), default=("right", ""))


def judge_error(error: BaseException, sandbox: Path) -> tuple[str, str]:
    """Return whether an error is a clear refusal: raised by a statement of scim, or by the system, with a name."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if isinstance(error, CommandError):
        return ("refused" if error.is_clear else "raw"), text
    ours = last is not None and last.filename.startswith(SOURCE)
    line = linecache.getline(last.filename, last.lineno or 0).strip() if last is not None else ""
    raised = type(error).__module__.startswith("scim.") or (ours and line.startswith("raise"))
    is_usual = isinstance(error, ValueError | TypeError | KeyError | OSError | ImportError)
    message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    named = "input/" in message or "s3://bucket/" in message
    if is_usual and ((raised and (named or names_part(message))) or (isinstance(error, OSError) and error.filename)):
        return "refused", text
    place = (
        ""
        if last is None
        else f" at {last.filename.rpartition('/site-packages/')[2].removeprefix(SOURCE)}:{last.lineno}"
    )
    called = [
        f"{frame.filename.removeprefix(SOURCE)}:{frame.lineno}" for frame in frames if frame.filename.startswith(SOURCE)
    ]
    return "raw", f"{text}{place} via {' '.join(called[-2:])}"


def names_part(message: str) -> bool:
    """Return whether a message names an argument or a part of the data: something in quotes, backticks or `name=`."""
    return any(mark in message for mark in ("'", '"', "`", "=", "X", "obs", "var"))


class CommandError(Exception):
    """A command line that ended with an exit code other than 0."""

    def __init__(self, code: int, output: str) -> None:
        lines = [line for line in output.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("scim: error:")]
        super().__init__(f"exit code {code}: {errors[-1] if errors else ' '.join(lines)[-200:]}")
        is_plain = all(character.isprintable() or character in "\n\t" for character in output)
        self.is_clear = (
            code in (1, 2)
            and is_plain
            and "Traceback" not in output
            and (len(errors) == 1 or (not errors and bool(lines)))
        )


def judge_result(result: Any, truth: Any, kind: str, says: Callable[[], Any] | None) -> tuple[str, str]:
    """Return whether a result is right, or valid for what a forger sealed."""
    if same(result, truth):
        return "right", ""
    if says is not None:
        try:
            expected = says()
        except BaseException as error:  # noqa: BLE001  (an independent reader cannot read it: nor can scim)
            return "wrong", f"another result, of a file that an independent reader refuses ({error!r:.200})"
        return (
            ("right", "")
            if same(result, expected)
            else ("wrong", f"another result than an independent reader's: {differs(result, expected)}")
        )
    if kind == "forge":
        return ("valid", "") if is_possible(result) else ("wrong", f"impossible values: {str(result)[:200]}")
    return "wrong", f"another result without a word: {differs(result, truth)}"


def same(one: Any, other: Any) -> bool:
    """Return whether two results are equal, up to rounding."""
    if isinstance(one, pd.DataFrame) and isinstance(other, pd.DataFrame):
        try:
            pd.testing.assert_frame_equal(one, other, check_dtype=False, check_categorical=False)
        except AssertionError:
            return False
        return True
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        if one.shape != other.shape:
            return False
        if one.dtype.kind == "f" and other.dtype.kind == "f":
            return bool(np.allclose(one, other, atol=2e-5, equal_nan=True))
        return bool((one == other).all())
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


def differs(one: Any, other: Any) -> str:
    """Describe where two results differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one:
            if key not in other or not same(one[key], other[key]):
                return f"{key}: {differs(one[key], other.get(key))}"
    if (
        isinstance(one, np.ndarray)
        and isinstance(other, np.ndarray)
        and one.shape == other.shape
        and one.dtype.kind == "f"
    ):
        return f"by {np.nanmax(np.abs(one - other)):.3g}, {int(np.isnan(one).sum())} NaN"
    return f"{str(one)[:100]} / {str(other)[:100]}".replace("\n", " ")


def is_possible(result: Any) -> bool:
    """Return whether numbers are finite, or infinite as the distance of no neighbour is."""
    if isinstance(result, dict):
        return all(map(is_possible, result.values()))
    if isinstance(result, list | tuple):
        return all(map(is_possible, result))
    if isinstance(result, np.ndarray) and result.dtype.kind == "f":
        return not bool(np.isnan(result).any())
    return True
