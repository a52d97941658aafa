"""Cells of h5ad and zarr files and of SOMA experiments, read by rows and never loaded whole."""

from scim.io._cells import Cells
from scim.io._experiment import Experiment, SparseRows
from scim.io._files import opened

__all__ = ["Cells", "Experiment", "SparseRows", "opened"]
