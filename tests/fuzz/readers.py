"""Read counts and names of genes of an h5ad or zarr file by hand: what a result is compared with."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import zarr

if TYPE_CHECKING:
    from pathlib import Path


def read_counts(path: Path) -> tuple[np.ndarray[Any, Any], list[str]]:
    """Return dense counts and the names of the genes; ValueError if the file contradicts itself."""
    with contextlib.ExitStack() as stack:
        if path.suffix == ".zip":
            store: Any = stack.enter_context(zarr.storage.ZipStore(path, mode="r"))
            root = zarr.open_group(store, mode="r")
        else:
            root = zarr.open_group(str(path), mode="r") if path.is_dir() else stack.enter_context(h5py.File(path, "r"))
        names = root["var"][root["var"].attrs["_index"]][:]
        n_obs = len(root["obs"][root["obs"].attrs["_index"]][:])
        X = root["X"]
        counts = X[:] if hasattr(X, "shape") else _dense(X)
    if counts.shape != (n_obs, len(names)) or not np.isfinite(counts).all() or (counts < 0).any():
        msg = "impossible counts"
        raise ValueError(msg)
    return counts, [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _dense(X: Any) -> np.ndarray[Any, Any]:
    data, indices, indptr = (np.asarray(X[part][:]) for part in ("data", "indices", "indptr"))
    shape = [int(length) for length in X.attrs["shape"]]
    major, minor = shape if X.attrs["encoding-type"] == "csr_matrix" else shape[::-1]
    whole = indices.dtype.kind in "iu" and indptr.dtype.kind in "iu"
    if not whole or len(indptr) != major + 1 or indptr[0] != 0 or (np.diff(indptr) < 0).any() or indptr[-1] > len(data):
        msg = "impossible pointers"
        raise ValueError(msg)
    if len(indices) != len(data) or (indices < 0).any() or (indices >= minor).any() or major * minor > 1 << 24:
        msg = "impossible indices"
        raise ValueError(msg)
    dense = np.zeros((major, minor))
    at = np.repeat(np.arange(major), np.diff(indptr))
    np.add.at(dense, (at, indices[: len(at)]), data[: len(at)])
    return dense if X.attrs["encoding-type"] == "csr_matrix" else dense.T


__all__ = ["read_counts"]
