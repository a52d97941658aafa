"""Read cells, and write cells and tables, for the command line."""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData

_OUTPUTS = (".h5ad", ".csv", ".tsv", ".parquet")


def read_cells(path: Path) -> AnnData:
    """Read an `.h5ad` or `.zarr` AnnData, or a 10x `.h5` file; raise ValueError for anything else."""
    import anndata

    if not path.exists():
        msg = f"{path}: no such file."
        raise FileNotFoundError(msg)
    try:
        if path.suffix == ".h5ad":
            return anndata.read_h5ad(path)
        if path.suffix == ".zarr":
            return anndata.read_zarr(path)
        if path.suffix == ".h5":
            import scanpy as sc

            adata = sc.read_10x_h5(path)
            adata.var_names_make_unique()
            return adata
    except (OSError, KeyError, AttributeError) as error:
        msg = f"{path} cannot be read as a {path.suffix} file: {error}."
        raise ValueError(msg) from error
    msg = f"{path}: expected an .h5ad, .zarr or 10x .h5 file."
    raise ValueError(msg)


def check_output(path: Path, *, overwrite: bool) -> None:
    """Refuse an output that cannot be written, before any work: wrong kind, file there, or folder missing."""
    if path.suffix not in _OUTPUTS:
        msg = f"{path}: expected an output ending in {', '.join(_OUTPUTS)}."
        raise ValueError(msg)
    if path.exists() and not overwrite:
        msg = f"{path} exists already; pass --overwrite to replace it."
        raise FileExistsError(msg)
    if not path.absolute().parent.is_dir():
        msg = f"{path}: its folder does not exist."
        raise FileNotFoundError(msg)


def write_cells(adata: AnnData, path: Path) -> None:
    """Write an AnnData as `.h5ad`; the file takes its name when it is complete."""
    with _whole_file(path) as temporary:
        adata.write_h5ad(temporary, compression="gzip")


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a data frame as `.csv`, `.tsv` or `.parquet`; the file takes its name when it is complete."""
    with _whole_file(path) as temporary:
        if path.suffix == ".parquet":
            frame.to_parquet(temporary, index=False)
        else:
            frame.to_csv(temporary, sep="\t" if path.suffix == ".tsv" else ",", index=False)


@contextlib.contextmanager
def _whole_file(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
