"""The TileDB-SOMA experiment inside an atlas."""

from scim.atlas.soma._failure import failure_named, tiledb_errors
from scim.atlas.soma._guard import Guard
from scim.atlas.soma._layout import (
    COUNTS,
    COUNTS_PATH,
    MEASUREMENT,
    OBSM_PATH,
    VAR_PATH,
    context,
    create_experiment,
    damage_named,
    embedding_path,
    open_experiment,
)
from scim.atlas.soma._read import NULLABLE, obs_columns, read_counts, read_embeddings, read_obs
from scim.atlas.soma._write import Writer

__all__ = [
    "COUNTS",
    "COUNTS_PATH",
    "MEASUREMENT",
    "NULLABLE",
    "OBSM_PATH",
    "VAR_PATH",
    "Guard",
    "Writer",
    "context",
    "create_experiment",
    "damage_named",
    "embedding_path",
    "failure_named",
    "obs_columns",
    "open_experiment",
    "read_counts",
    "read_embeddings",
    "read_obs",
    "tiledb_errors",
]
