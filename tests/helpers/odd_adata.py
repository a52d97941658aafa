"""The same toy cells in the odd forms in which people have them.

Each table names what is odd, and maps it to the function that makes it; the first entry of each is the plain form.
`build` puts one entry of each table together.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

import scim

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

N_CELLS = 12
N_EMPTY = 2

try:
    import dask.array
    import xarray  # noqa: F401  # anndata needs it to read files lazily
except ImportError:
    dask = None


@dataclass
class Table:
    """Cells before they are an AnnData. The column `row` of obs holds the number of the plain cell, -1 if empty."""

    counts: NDArray[np.float64]
    obs: pd.DataFrame
    var: pd.DataFrame

    def cells(self, rows: NDArray[np.int64]) -> Table:
        return Table(self.counts[rows], self.obs.iloc[rows], self.var)

    def genes(self, columns: NDArray[np.int64]) -> Table:
        return Table(self.counts[:, columns], self.obs, self.var.iloc[columns])

    def beside(self, counts: NDArray[np.float64], names: list[str], kind: str = "Gene Expression") -> Table:
        """Add columns, and a column of var that states what each of them is."""
        old = self.var.assign(feature_types=self.var.get("feature_types", "Gene Expression"))
        new = pd.DataFrame({"feature_types": kind}, index=names)
        return Table(np.hstack([self.counts, counts]), self.obs, pd.concat([old, new]))


def plain_table() -> Table:
    adata = scim.datasets.toy(N_CELLS, rng=9)
    obs = pd.DataFrame({"row": np.arange(N_CELLS)}, index=adata.obs_names)
    return Table(adata.X.toarray().astype(float), obs, pd.DataFrame(index=adata.var_names))


def _same(value: Any) -> Any:
    return value


# -- cells


def _empty_cells(table: Table) -> Table:
    empty = np.arange(N_CELLS) < N_EMPTY
    counts = np.where(empty[:, None], 0, table.counts)
    return Table(counts, table.obs.assign(row=np.where(empty, -1, table.obs["row"])), table.var)


def _named(names: Callable[[int], str]) -> Callable[[Table], Table]:
    return lambda table: Table(table.counts, table.obs.set_axis(map(names, range(len(table.obs)))), table.var)


CELLS: dict[str, Callable[[Table], Table]] = {
    "in order": _same,
    "in another order": lambda table: table.cells(np.random.default_rng(1).permutation(N_CELLS)),
    "some without counts": _empty_cells,
    "a single one": lambda table: table.cells(np.array([4])),
    "named alike": _named(lambda i: f"cell{i // 2}"),
    "named by numbers": _named(str),
    "named by nothing": _named(lambda i: ""),
}

# -- columns


def _split_gene(table: Table) -> Table:
    """The counts of three genes are in two columns of the same name."""
    half = np.floor(table.counts[:, :3] / 2)
    counts = table.counts.copy()
    counts[:, :3] -= half
    return Table(counts, table.obs, table.var).beside(half, table.var.index[:3].tolist())


def _antibodies(table: Table) -> Table:
    high = np.random.default_rng(3).poisson(300, size=(len(table.obs), 3)).astype(float)
    return table.beside(high, ["CD3D", "CD19", "CD14"], kind="Antibody Capture")


def _not_genes(*names: str, kind: str = "Gene Expression") -> Callable[[Table], Table]:
    return lambda table: table.beside(np.full((len(table.obs), len(names)), 100.0), list(names), kind)


COLUMNS: dict[str, Callable[[Table], Table]] = {
    "in order": _same,
    "in another order": lambda table: table.genes(np.random.default_rng(2).permutation(len(table.var))),
    "a gene in two columns": _split_gene,
    "with antibodies": _antibodies,
    "with proteins named as such": _not_genes("AB_CD3D", "CD19_TotalSeqB", "CD14|CD14-P", "HTO-1"),
    "with control probes": _not_genes("NegControlProbe_00042", "BLANK_0001", kind="Negative Control Probe"),
    "with genes that no model has": _not_genes("LOC100287102", "my transgene", "ERCC-00002"),
    "with a column of zeros": lambda table: table.beside(np.zeros((len(table.obs), 1)), ["no-such-gene"]),
}

# -- names of genes


def _ids(var: pd.DataFrame) -> NDArray[np.object_]:
    return scim.pp.canonical_genes(var.index)


def _index(names: Callable[[pd.DataFrame], Any]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda var: var.set_axis(pd.Index(names(var)))


def _column(column: str, values: Callable[[pd.DataFrame], Any]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Names in a column, row numbers as the index."""
    return lambda var: var.assign(**{column: values(var)}).set_axis(map(str, range(len(var))))


def _columns_twice(var: pd.DataFrame) -> pd.DataFrame:
    note = pd.DataFrame({"note": "", "gene_ids": _ids(var)}, index=var.index)
    return pd.concat([var, note, note], axis=1)


GENE_NAMES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "symbols": _same,
    "ids": _index(_ids),
    "ids with a version": _index(lambda var: [f"{name}.7" if name.startswith("ENSG") else name for name in _ids(var)]),
    "symbols and ids mixed": _index(lambda var: np.where(np.arange(len(var)) % 2, _ids(var), var.index)),
    "symbols in a column": _column("gene_symbols", lambda var: var.index.to_numpy()),
    "ids as categories in a column": _column("gene_ids", lambda var: pd.Categorical(_ids(var))),
    "an empty column of ids": lambda var: var.assign(gene_ids=np.nan),
    "columns of var twice": _columns_twice,
    "lower case": _index(lambda var: var.index.str.lower()),
    "with a genome": _index(lambda var: "GRCh38_" + var.index),
    "with a blank": _index(lambda var: var.index + " "),
    "in quotes": _index(lambda var: '"' + var.index + '"'),
    "symbol and id": _index(lambda var: var.index + "_" + _ids(var)),
    "symbol:id": _index(lambda var: var.index + ":" + _ids(var)),
    "with a dash and a genome": _index(lambda var: "GRCh38-" + var.index),
    "with a suffix": _index(lambda var: var.index + "-1"),
    "bytes": _index(lambda var: [str(name.encode()) for name in var.index]),
    "dots for dashes": _index(lambda var: var.index.str.replace("-", ".")),
    "a named index": lambda var: var.rename_axis("gene"),
    "nullable strings": _index(lambda var: pd.array(var.index, dtype="string")),
}

# -- numbers of the matrix

DTYPES = ["float32", "float64", "int64", "int32", "int16", "uint8", "uint16", "uint64", "float16", ">f4", ">i8"]


def _split_entries(matrix: Any) -> None:
    """Each entry twice, with half of the value."""
    data = np.concatenate([matrix.data // 2, matrix.data - matrix.data // 2])
    if matrix.dtype.kind == "f":
        data = np.concatenate([matrix.data / 2] * 2).astype(matrix.dtype)
    order = np.argsort(np.tile(np.repeat(np.arange(matrix.indptr.size - 1), np.diff(matrix.indptr)), 2), kind="stable")
    matrix.data, matrix.indices = data[order], np.tile(matrix.indices, 2)[order]
    matrix.indptr = matrix.indptr * 2


def _reverse_entries(matrix: Any) -> None:
    matrix.sort_indices()
    line = np.repeat(np.arange(matrix.indptr.size - 1), np.diff(matrix.indptr))
    order = np.lexsort([-matrix.indices, line])
    matrix.data, matrix.indices = matrix.data[order], matrix.indices[order]


def _store_zeros(matrix: Any) -> None:
    full = type(matrix)(np.ones(matrix.shape, dtype=matrix.dtype))
    full.data[:] = matrix.toarray(order="C" if matrix.format == "csr" else "F").ravel(order="K")
    matrix.data, matrix.indices, matrix.indptr = full.data, full.indices, full.indptr


def _long_indices(matrix: Any) -> None:
    matrix.indices, matrix.indptr = matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)


def _mixed_indices(matrix: Any) -> None:
    matrix.indptr = matrix.indptr.astype(np.int64)


def _spare_room(matrix: Any) -> None:
    """The arrays are longer than the matrix."""
    matrix.data = np.append(matrix.data, matrix.data[:5])
    matrix.indices = np.append(matrix.indices, matrix.indices[:5])


def _read_only(matrix: Any) -> None:
    for array in (matrix.data, matrix.indices, matrix.indptr):
        array.flags.writeable = False


ENTRIES: dict[str, Callable[[Any], Any]] = {
    "canonical": _same,
    "in reverse": _reverse_entries,
    "each twice": _split_entries,
    "zeros stored": _store_zeros,
    "64-bit indices": _long_indices,
    "indices of two types": _mixed_indices,
    "longer arrays": _spare_room,
    "read-only": _read_only,
}

# -- types of the matrix


def _dense(values: NDArray[Any]) -> NDArray[Any]:
    return values


SPARSE = ("csr_matrix", "csc_matrix", "csr_array", "csc_array", "dask of csr")
FORMATS: dict[str, Callable[[NDArray[Any]], Any]] = {
    "csr_matrix": sparse.csr_matrix,
    "csc_matrix": sparse.csc_matrix,
    "csr_array": sparse.csr_array,
    "csc_array": sparse.csc_array,
    "array": _dense,
    "array by column": np.asfortranarray,
    "masked array": np.ma.MaskedArray,
}
if dask is not None:
    FORMATS |= {
        "dask": lambda values: dask.array.from_array(values, chunks=(5, -1)),
        "dask of csr": lambda values: dask.array.from_array(values, chunks=(5, -1)).map_blocks(sparse.csr_matrix),
    }

# -- the place of the matrix


def _lognorm(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    totals = counts.sum(axis=1, keepdims=True)
    return np.log1p(np.divide(counts * 1e4, totals, out=np.zeros_like(counts), where=totals > 0))


def _beside(table: Table) -> sparse.csr_matrix:
    return sparse.csr_matrix(_lognorm(table.counts), dtype=np.float32)


def _in_raw(matrix: Any, table: Table) -> AnnData:
    """Scanpy's standard workflow: few genes, scaled, in X; the counts of all in raw."""
    adata = anndata.AnnData(matrix, obs=table.obs, var=table.var)
    few = anndata.AnnData(_lognorm(table.counts)[:, :40] - 1.0, obs=table.obs, var=table.var.iloc[:40])
    few.raw = adata
    return few


def _variable_in_X(matrix: Any, table: Table) -> AnnData:
    adata = _in_raw(matrix, table)
    adata.X = table.counts[:, :40].astype(np.float32)
    return adata


PLACES: dict[str, Callable[[Any, Table], AnnData]] = {
    "X": lambda matrix, table: anndata.AnnData(matrix, obs=table.obs, var=table.var),
    "X, logged": lambda matrix, table: anndata.AnnData(matrix, obs=table.obs, var=table.var),
    "layers['counts']": lambda matrix, table: anndata.AnnData(
        _beside(table), obs=table.obs, var=table.var, layers={"counts": matrix}
    ),
    "a layer, without X": lambda matrix, table: anndata.AnnData(
        None, obs=table.obs, var=table.var, layers={"counts": matrix}
    ),
    "layer=": lambda matrix, table: anndata.AnnData(
        _beside(table), obs=table.obs, var=table.var, layers={"my umis": matrix}
    ),
    "raw, few genes scaled in X": _in_raw,
    "raw, counts of few genes in X": _variable_in_X,
}

# -- columns of obs, and the rest


def _obs(**columns: Callable[[int], Any]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda obs: obs.assign(**{name: values(len(obs)) for name, values in columns.items()})


def _categories(n: int) -> pd.Categorical:
    return pd.Categorical(["b"] * n, categories=["a", "b", "c"], ordered=True)


OBS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "numbers": _same,
    "categories without cells": _obs(group=_categories),
    "nullable": _obs(
        count=lambda n: pd.array([None] * n, dtype="Int64"), flag=lambda n: pd.array([True] * n, dtype="boolean")
    ),
    "nothing but NaN": _obs(age=lambda n: np.full(n, np.nan)),
    "an annotation of earlier": _obs(
        scim_label=lambda n: ["old"] * n, scim_label_confidence=lambda n: pd.Categorical(["high"] * n)
    ),
    "objects of any type": _obs(any=lambda n: pd.Series([1, "a", None, 2.5] * n, dtype=object)[:n].to_numpy()),
    "dates": _obs(day=lambda n: pd.date_range("2024-01-01", periods=n)),
    "columns twice": lambda obs: pd.concat([obs, obs[["row"]].rename(columns={"row": "x"})] * 2, axis=1).iloc[
        :, [0, 1, 3]
    ],
    "numbers as names": lambda obs: obs.assign(**{"5": 1}).rename(columns={"5": 5}),
}


def _crowded(adata: AnnData) -> None:
    n = adata.n_obs
    adata.uns |= {"log1p": {}, "neighbors": {"params": {"k": 3}}, "colors": np.array(["red"]), "empty": np.zeros(0)}
    adata.obsm["X_pca"] = np.ones((n, 2))
    adata.obsm["frame"] = pd.DataFrame({"a": np.zeros(n)}, index=adata.obs_names)
    adata.obsm["X_sparse"] = sparse.csr_matrix(np.ones((n, 2)))
    adata.varm["PCs"] = np.ones((adata.n_vars, 2))
    adata.obsp["distances"] = sparse.csr_matrix((n, n))


REST: dict[str, Callable[[AnnData], Any]] = {
    "nothing else": _same,
    "crowded": _crowded,
    "a base of the logarithm that is None": lambda adata: adata.uns.update(log1p={"base": None}),
}

# -- where the AnnData is


def _written(adata: AnnData, folder: Path, suffix: str) -> Path:
    path = folder / f"odd{suffix}"
    getattr(adata, f"write_{suffix[1:]}")(path)
    return path


HOLDERS: dict[str, Callable[[AnnData, Path], AnnData]] = {
    "memory": lambda adata, folder: adata,
    "a copy": lambda adata, folder: adata,
    "a view": lambda adata, folder: adata[::-1],
    "a view of a view": lambda adata, folder: adata[::-1][::-1, :],
    "read from h5ad": lambda adata, folder: anndata.read_h5ad(_written(adata, folder, ".h5ad")),
    "read from zarr": lambda adata, folder: anndata.read_zarr(_written(adata, folder, ".zarr")),
    "backed": lambda adata, folder: anndata.read_h5ad(_written(adata, folder, ".h5ad"), backed="r"),
}
if dask is not None:
    HOLDERS["read lazily"] = lambda adata, folder: anndata.experimental.read_lazy(_written(adata, folder, ".h5ad"))

_FILES = ("read from h5ad", "read from zarr", "backed", "read lazily")
_VIEWS = ("a view", "a view of a view")
IMPOSSIBLE = {  # what anndata or scipy refuses; of longer arrays scipy writes beyond those of a slice, and scim reads no
    # rows of a file: values of the last row may be missing
    "objects of any type": _FILES,
    "dates": _FILES,
    "numbers as names": _FILES,
    "nullable strings": _FILES,
    "columns of var twice": (*_VIEWS, *_FILES),
    "columns twice": (*_VIEWS, *_FILES),
    "longer arrays": (*_VIEWS, "backed", "read lazily"),
    "indices of two types": _VIEWS,
}

TABLES = {
    "cells": CELLS, "columns": COLUMNS, "gene_names": GENE_NAMES, "dtype": dict.fromkeys(DTYPES), "format": FORMATS,
    "entries": ENTRIES, "place": PLACES, "obs": OBS, "rest": REST, "holder": HOLDERS,
}  # fmt: skip
PLAIN = {name: next(iter(table)) for name, table in TABLES.items()}


def build(form: dict[str, str], folder: Path, spoil: Callable[[NDArray[Any]], NDArray[Any]] = _same) -> AnnData:
    """Return the toy cells with one entry of each table. `spoil` changes the counts; a file goes into `folder`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of anndata and zarr, about names and types
        return _build(PLAIN | form, folder, spoil)


def _build(form: dict[str, str], folder: Path, spoil: Callable[[NDArray[Any]], NDArray[Any]]) -> AnnData:
    table = COLUMNS[form["columns"]](CELLS[form["cells"]](plain_table()))
    for name in ("obs", "gene_names", "entries"):
        if form["holder"] in IMPOSSIBLE.get(form[name], ()):
            form[name] = PLAIN[name]
    table = Table(table.counts, OBS[form["obs"]](table.obs), GENE_NAMES[form["gene_names"]](table.var))
    values, dtype = table.counts, np.dtype(form["dtype"])
    if form["place"] == "X, logged":
        values, dtype = _lognorm(values), np.dtype("f8" if dtype.itemsize == 8 else "f4")
    if form["format"] in SPARSE:  # scipy has no matrices of these types
        dtype = np.dtype("f4") if dtype == np.float16 else dtype.newbyteorder("=")
    matrix = FORMATS[form["format"]](spoil(values).astype(dtype))
    if sparse.issparse(matrix):
        ENTRIES[form["entries"]](matrix)
    adata = PLACES[form["place"]](matrix, table)
    REST[form["rest"]](adata)
    return HOLDERS[form["holder"]](adata, folder)
