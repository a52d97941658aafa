"""From the user's studies to what training reads; counts stay on disk until they are needed."""

from scim.model.data._cells import TrainingCells, combine, pick_genes
from scim.model.data._filters import CellFilters
from scim.model.data._gather import check_shared, gathered, split_studies
from scim.model.data._inputs import Inputs, opened_inputs
from scim.model.data._read import DataSet

__all__ = [
    "CellFilters",
    "DataSet",
    "Inputs",
    "TrainingCells",
    "check_shared",
    "combine",
    "gathered",
    "opened_inputs",
    "pick_genes",
    "split_studies",
]
