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
    n_rows, n_columns = (int(length) for length in X.attrs["shape"])
    if X.attrs["encoding-type"] == "csr_matrix":
        return _counts(data, indices, indptr, n_rows, n_columns)
    return _counts(data, indices, indptr, n_columns, n_rows).T


def _counts(data: Any, indices: Any, indptr: Any, major: int, minor: int) -> np.ndarray[Any, Any]:
    """Return a compressed matrix as a dense one, (major, minor)."""
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
    return dense


def read_10x(path: Path) -> tuple[np.ndarray[Any, Any], list[str]]:
    """Return dense counts and the names of the genes of a file of Cell Ranger."""
    with h5py.File(path, "r") as file:
        matrix = file["matrix"]
        n_genes, n_obs = (int(length) for length in matrix["shape"][:])
        data, indices, indptr = (matrix[part][:] for part in ("data", "indices", "indptr"))
        names = [name.decode() for name in matrix["features/name"][:]]
        kinds = {kind.decode() for kind in matrix["features/feature_type"][:]}
        if len(names) != n_genes or len(matrix["barcodes"]) != n_obs or kinds != {"Gene Expression"}:
            msg = "impossible genes"
            raise ValueError(msg)
    return _counts(data, indices, indptr, n_obs, n_genes), names


def read_soma(path: Path) -> tuple[np.ndarray[Any, Any], list[str]]:
    """Return dense counts and the names of the genes of a SOMA experiment."""
    import tiledbsoma

    with tiledbsoma.Experiment.open(str(path)) as experiment:
        n_obs = len(experiment.obs.read(column_names=["soma_joinid"]).concat())
        names = experiment.ms["RNA"].var.read().concat().to_pandas().sort_values("soma_joinid")["feature_id"].tolist()
        table = experiment.ms["RNA"].X["raw"].read().tables().concat()
    counts = np.zeros((n_obs, len(names)))
    np.add.at(counts, (table["soma_dim_0"].to_numpy(), table["soma_dim_1"].to_numpy()), table["soma_data"].to_numpy())
    return counts, names
