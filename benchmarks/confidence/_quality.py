"""Add benchmarks/quality (tests, handover of cells, worker) and scripts (packaged studies) to the module path."""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "quality"
sys.path.insert(0, str(FOLDER))
sys.path.append(str(FOLDER.parents[1] / "scripts"))
