"""From the user's studies to what training reads; counts stay on disk until they are needed."""

from scim.training.data._cells import TrainingCells, combine, pick_genes
from scim.training.data._filters import CellFilters
from scim.training.data._gather import check_shared, gathered, split_studies
from scim.training.data._inputs import Inputs, opened_inputs
from scim.training.data._read import DataSet

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
