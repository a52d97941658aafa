"""Puts benchmarks/quality, whose studies, handing over and worker are used here, where Python looks for modules."""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "quality"
sys.path.insert(0, str(FOLDER))
