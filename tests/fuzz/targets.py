"""All targets by name."""

from __future__ import annotations

from fuzz import of_arrays, of_atlas, of_cells

TARGETS = {target.name: target for part in (of_atlas, of_arrays, of_cells) for target in part.targets()}
