"""Cells of h5ad and zarr files and of SOMA experiments, read by rows and never loaded whole."""

from scim.io.cells._cells import Cells
from scim.io.cells._experiment import Experiment, SparseRows
from scim.io.cells._files import opened
from scim.io.cells._rows import canonical, check_numbers, csr_rows, readable

__all__ = ["Cells", "Experiment", "SparseRows", "canonical", "check_numbers", "csr_rows", "opened", "readable"]
