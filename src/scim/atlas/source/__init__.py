"""What comes into an atlas: AnnData, files of it, SOMA experiments; checked, and not loaded whole."""

from scim.atlas.source._columns import TEXT, arrow_type, as_type, check_columns, missing
from scim.atlas.source._experiment import cells_of, read_experiment
from scim.atlas.source._experiment_rows import DenseRows, EmbeddingRows, ExperimentMatrix
from scim.atlas.source._source import Source
from scim.atlas.source._token import token_of

__all__ = [
    "TEXT",
    "DenseRows",
    "EmbeddingRows",
    "ExperimentMatrix",
    "Source",
    "arrow_type",
    "as_type",
    "cells_of",
    "check_columns",
    "missing",
    "read_experiment",
    "token_of",
]
