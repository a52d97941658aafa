"""Groups of cells: what `groupby` means, the same to the tool that searches and to the picture that draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


class Groups(NamedTuple):
    """Cells by group."""

    names: NDArray[np.object_]
    """(n_groups,) names as text, in the order of the categories."""

    codes: NDArray[np.int64]
    """(n_obs,) group of each cell; -1 = in none."""


def groups_of(adata: AnnData, groupby: str) -> Groups:
    """Return the groups that a column of obs makes; missing values belong to none.

    Raises
    ------
    ValueError
        All values are missing.
    """
    categories = pd.Categorical(adata.obs[groupby]).remove_unused_categories()
    if len(categories.categories) == 0:
        msg = f"obs[{groupby!r}] has only missing values; expected a group for at least one cell."
        raise ValueError(msg)
    texts = [str(name) for name in categories.categories]  # 1 and "1" are one group
    names = list(dict.fromkeys(texts))
    place = np.array([*map(names.index, texts), -1])
    return Groups(np.array(names, dtype=object), place[categories.codes].astype(np.int64))
