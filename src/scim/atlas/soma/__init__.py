"""The TileDB-SOMA experiment inside an atlas."""

from scim.atlas.soma._context import context
from scim.atlas.soma._experiment import (
    COUNTS,
    COUNTS_PATH,
    MEASUREMENT,
    OBSM_PATH,
    VAR_PATH,
    create_experiment,
    embedding_path,
    obs_columns,
    open_experiment,
    read_counts,
    read_embeddings,
    read_obs,
)
from scim.atlas.soma._integrity import IntegrityChecker, named_damage, named_failure, tiledb_errors
from scim.atlas.soma._write import Writer

__all__ = [
    "COUNTS",
    "COUNTS_PATH",
    "MEASUREMENT",
    "OBSM_PATH",
    "VAR_PATH",
    "IntegrityChecker",
    "Writer",
    "context",
    "create_experiment",
    "embedding_path",
    "named_damage",
    "named_failure",
    "obs_columns",
    "open_experiment",
    "read_counts",
    "read_embeddings",
    "read_obs",
    "tiledb_errors",
]
