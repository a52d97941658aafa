"""Files of AnnData, h5ad and zarr: their cells are read by rows, and never loaded whole."""

from scim.io._cells import Cells, Opener
from scim.io._open import opened

__all__ = ["Cells", "Opener", "opened"]
