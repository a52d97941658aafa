"""What comes into an atlas: AnnData in memory, h5ad and zarr files, SOMA experiments; checked, and not loaded whole."""

from scim.atlas.source._cells import Cells
from scim.atlas.source._columns import TEXT, arrow_type, as_type, check_columns, missing
from scim.atlas.source._experiment import read_experiment
from scim.atlas.source._experiment_rows import DenseRows, EmbeddingRows, ExperimentMatrix
from scim.atlas.source._files import opened
from scim.atlas.source._source import Source
from scim.atlas.source._token import token_of

__all__ = [
    "TEXT",
    "Cells",
    "DenseRows",
    "EmbeddingRows",
    "ExperimentMatrix",
    "Source",
    "arrow_type",
    "as_type",
    "check_columns",
    "missing",
    "opened",
    "read_experiment",
    "token_of",
]
