"""Cells of h5ad and zarr files and SOMA experiments, read by rows; every matrix of cells becomes csr rows, checked."""

from scim.io.cells._adata import check_matrices, check_view, read_adata
from scim.io.cells._cells import Cells
from scim.io.cells._experiment import Experiment, SparseRows
from scim.io.cells._files import opened
from scim.io.cells._rows import canonical, check_numbers, csr_rows, readable
from scim.io.cells._sparse import check_sparse, dense

__all__ = [
    "Cells",
    "Experiment",
    "SparseRows",
    "canonical",
    "check_matrices",
    "check_numbers",
    "check_sparse",
    "check_view",
    "csr_rows",
    "dense",
    "opened",
    "read_adata",
    "readable",
]
