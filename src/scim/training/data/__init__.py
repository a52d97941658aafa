"""From inputs to training cells: data sets, filters, coarsening, genes; counts stay on disk until they are needed."""

from scim.training.data._cells import TrainingCells, combine
from scim.training.data._data_set import DataSet, check_shared, split_studies
from scim.training.data._filters import CellFilters
from scim.training.data._genes import pick_genes
from scim.training.data._inputs import Inputs, gathered, opened_inputs

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
