"""Make the toy atlases and the processes of the tests for crash.py, writers.py and readers.py."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
logging.getLogger("scim").setLevel(logging.ERROR)
warnings.simplefilter("ignore")


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows as Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
