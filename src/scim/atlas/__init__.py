"""A store of embedded, labelled cells: a TileDB-SOMA experiment, the model that embedded it, and a search index."""

from scim.atlas._atlas import Atlas
from scim.atlas._import import from_embedding, from_soma
from scim.atlas._labels import Labels
from scim.atlas._open import PACKAGED, create
from scim.atlas._open import open_atlas as open  # noqa: A004  (`scim.atlas.open`, as everyone expects)
from scim.atlas._snapshot import Snapshot
from scim.atlas.verify import Problem, verify

__all__ = [
    "PACKAGED",
    "Atlas",
    "Labels",
    "Problem",
    "Snapshot",
    "create",
    "from_embedding",
    "from_soma",
    "open",
    "verify",
]
