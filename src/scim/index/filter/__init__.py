"""Filters of rows: columns of integer codes, and the `where` language over them."""

from __future__ import annotations

from scim.index.filter._coding import Kind
from scim.index.filter._column import SEPARATOR, Column, LazyColumns, columns_of
from scim.index.filter._combined import CombinedColumn
from scim.index.filter._filter import Filter

__all__ = ["SEPARATOR", "Column", "CombinedColumn", "Filter", "Kind", "LazyColumns", "columns_of"]
