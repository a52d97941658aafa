"""Try the arguments of a tool on a single cell, so that wrong ones are refused before many cells are embedded."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from scim._core import keys, logger, refuse_absent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def try_on_one_cell(
    tool: Callable[..., Any], atlas: str | None, *, columns: Sequence[str] = (), **arguments: Any
) -> None:
    """Run a tool on one cell of the atlas, without a word; raise what it raises, and KeyError for a missing column."""
    import anndata
    import pandas as pd

    from scim.atlas._open import opened

    with opened(atlas) as source:
        refuse_absent(columns, source.columns, of="The atlas")
        if not len(source.ids):
            return  # the tool states what an empty atlas lacks
        X = source.embeddings(source.ids[:1])
        cell = anndata.AnnData(obs=pd.DataFrame(index=["0"]), obsm={keys.EMBEDDING: X})
        was_disabled, logger.disabled = logger.disabled, True
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tool(cell, source, **arguments)
        finally:
            logger.disabled = was_disabled
