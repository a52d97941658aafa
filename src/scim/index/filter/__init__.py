"""Filters: columns of integer codes, and the `where` language over them."""

from __future__ import annotations

from scim.index.filter._column import JOINT, Column
from scim.index.filter._united import Rows, United
from scim.index.filter._where import Where

__all__ = ["JOINT", "Column", "Rows", "United", "Where"]
