"""What of an atlas may be found: turned into the filter of a search, inside the index where it has the columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core import keys
from scim.index.filter import Where

if TYPE_CHECKING:
    from scim.atlas import Atlas
    from scim.index import Neighbors


def query_filter(atlas: Atlas, *conditions: str | None) -> dict[str, Any]:
    """Return the arguments of a query of the atlas's index by which only cells that pass all conditions are found."""
    given = [condition for condition in conditions if condition is not None]
    columns: set[str] = set()
    for condition in given:
        parsed = Where(condition)  # each by itself, so that an error names what the user wrote
        parsed.check_columns(atlas.columns)
        columns |= set(parsed.columns)
    if not given:
        return {}
    # The bracket is on a line of its own: a condition may end in a comment.
    both = given[0] if len(given) == 1 else " and ".join(f"({condition}\n)" for condition in given)
    return {"where": both} if atlas.indexes(sorted(columns)) else {"allowed": atlas.select(both)}


def primary_condition(atlas: Atlas) -> str | None:
    """Return the filter by which a cell that was published several times is found once; `None` if the atlas has none.

    The CELLxGENE Census marks with `is_primary_data` one of the copies of each cell. Cells of which it is not known
    are found too.
    """
    return f"{keys.ATLAS_PRIMARY} != False" if atlas.marks_primary else None


def found_nothing(neighbors: Neighbors) -> bool:
    """Say whether no cell of the atlas passed the filter of a query."""
    return bool(len(neighbors.ids)) and not np.any(neighbors.ids[:, 0] >= 0)
