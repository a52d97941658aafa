"""The parts of an AnnData in an HDF5 file or a zarr store; matrices are opened, not loaded."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import anndata
import pandas as pd

from scim._core.checks import refuse_absent
from scim._core.errors import FormatError
from scim.io._cells import Cells, Lazy, Raw

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scim.io._cells import Opener

MAX_CSC_BYTES = 10**9
"""A matrix by column gives no single row without all of it: up to this size it is loaded and turned."""


class DiskMatrix:
    """A matrix on disk, of which rows are read by slice: csr if it is sparse, else an array.

    Parameters
    ----------
    matrix
        An HDF5 or zarr array, or a sparse dataset of anndata.
    file
        Name of its file, for errors.
    dense
        Whether to return arrays of sparse rows too.
    """

    def __init__(self, matrix: Any, file: str, *, dense: bool = False) -> None:
        self.shape: tuple[int, ...] = tuple(matrix.shape)
        self.dtype = matrix.dtype
        self._matrix, self._file, self._dense = matrix, file, dense

    def __repr__(self) -> str:
        return f"DiskMatrix({self.shape}, {self.dtype}, of {self._file!r})"

    def __getitem__(self, rows: slice) -> Any:
        with damage_named(self._file):
            part = self._matrix[rows]
        return part.toarray() if self._dense and hasattr(part, "toarray") else part


def read_cells(root: Any, file: str, keep: Sequence[str]) -> Cells:
    """Return the cells of an open HDF5 file or zarr group.

    Raises
    ------
    FormatError
        It holds no AnnData, or is damaged.
    KeyError
        A column of `keep` does not exist.
    """
    with damage_named(file):
        absent = [name for name in ("obs", "var") if name not in root]
        present = sorted(root)
    if "mod" in present:
        msg = f"{file!r} holds a MuData; read it with mudata.read(path) and pass one modality, as mdata['rna']."
        raise FormatError(msg)
    if absent:
        msg = f"{file!r} holds no AnnData: it has no {' and no '.join(absent)}. Present: {present}."
        raise FormatError(msg)
    obs = _read_obs(root, file, keep)
    with damage_named(file):
        var = _frame(root["var"], file)
        raw = Raw(_frame(root["raw/var"], file), _opener(root, "raw/X", file)) if "raw/X" in root else None
        layers = {name: _opener(root, f"layers/{name}", file) for name in root.get("layers", ())}
        obsm = {name: _opener(root, f"obsm/{name}", file, dense=True) for name in root.get("obsm", ())}
        uns = {"log1p": anndata.io.read_elem(root["uns/log1p"])} if "uns/log1p" in root else {}
    return Cells(obs, var, _opener(root, "X", file), Lazy(layers), Lazy(obsm), raw, uns)


@contextlib.contextmanager
def damage_named(file: str) -> Iterator[None]:
    """Say which file it is that cannot be read."""
    try:
        yield
    except FormatError:
        raise
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # no permission, another process has it open: not the file's fault
        cause = str(error).partition("\n")[0]
        msg = f"{file!r} cannot be read ({cause}): it is damaged or incomplete. Write or copy it again."
        raise FormatError(msg) from error


def _read_obs(root: Any, file: str, keep: Sequence[str]) -> pd.DataFrame:
    """Read the index and some columns of obs."""
    with damage_named(file):
        obs = root["obs"]
        modern = obs.attrs.get("encoding-version") == "0.2.0"
        frame = None if modern else _frame(obs, file)
        columns = list(map(str, obs.attrs["column-order"] if frame is None else frame))
    refuse_absent(keep, columns, of=f"obs of {file!r}")
    if frame is not None:
        return frame[list(keep)]
    with damage_named(file):
        values = {name: anndata.io.read_elem(obs[name]) for name in keep}
        return pd.DataFrame(values, index=anndata.io.read_elem(obs[obs.attrs["_index"]]))


def _frame(element: Any, file: str) -> pd.DataFrame:
    if "encoding-type" not in element.attrs:
        msg = f"{file!r} was written by an anndata older than 0.7; read it and write it again: "
        msg += "anndata.read_h5ad(path).write_h5ad(other_path)."
        raise FormatError(msg)
    frame: pd.DataFrame = anndata.io.read_elem(element)
    return frame


def _opener(root: Any, name: str, file: str, *, dense: bool = False) -> Opener:
    return lambda: _open_matrix(root, name, file, dense=dense)


def _open_matrix(root: Any, name: str, file: str, *, dense: bool) -> Any:
    """Open a matrix; what has no rows to be read by slice, as a frame, is loaded."""
    if name not in root:
        return None
    with damage_named(file):
        element = root[name]
        kind = element.attrs.get("encoding-type", element.attrs.get("h5sparse_format", "array"))
        if kind in ("array", "string-array"):
            return DiskMatrix(element, file)
        if kind not in ("csr_matrix", "csc_matrix", "csr", "csc"):
            return anndata.io.read_elem(element)
        matrix = anndata.io.sparse_dataset(element)
    if matrix.format == "csr":
        return DiskMatrix(matrix, file, dense=dense)
    n_bytes = sum(element[part].nbytes for part in ("data", "indices"))
    if n_bytes > MAX_CSC_BYTES:
        msg = (
            f"{name} of {file!r} is stored by column (csc, {n_bytes / 1e9:.1f} GB), and cells cannot be read from it "
            "one after the other. Convert it once, adata.X = adata.X.tocsr(), and write the file again, or name "
            "another matrix."
        )
        raise ValueError(msg)
    with damage_named(file):
        loaded = matrix.to_memory()
    return loaded.toarray() if dense else loaded.tocsr()
