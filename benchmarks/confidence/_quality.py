"""Add benchmarks/quality, with the studies, the handover of cells and the worker, to the module path."""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "quality"
sys.path.insert(0, str(FOLDER))
