"""The array `cell_embedding`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray


def write_embedding(
    path: Path,
    vectors: NDArray[np.float32] | Iterable[NDArray[np.float32]],
    n: int,
    dim: int,
    *,
    version: str = "1.1",
) -> None:
    """Write a dense array (n, dim): of version 1.1 with int32 dimensions and `vals`, later with uint32 and `data`."""
    import tiledb

    kind, name = (np.int32, "vals") if version == "1.1" else (np.uint32, "data")
    domain = tiledb.Domain(
        tiledb.Dim(name="x", domain=(0, max(n - 1, 0)), tile=min(10_000, max(n, 1)), dtype=kind),
        tiledb.Dim(name="y", domain=(0, dim - 1), tile=dim, dtype=kind),
    )
    filters = tiledb.FilterList([tiledb.LZ4Filter()])
    attribute = tiledb.Attr(name=name, dtype=np.float32, filters=filters)
    tiledb.Array.create(str(path), tiledb.ArraySchema(domain=domain, attrs=[attribute]))
    start = 0
    with tiledb.open(str(path), "w") as array:
        for block in [vectors] if isinstance(vectors, np.ndarray) else vectors:
            if len(block):
                array[start : start + len(block)] = np.ascontiguousarray(block, np.float32)
            start += len(block)
    assert start == n, f"expected {n} vectors, got {start}"
