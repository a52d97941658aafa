"""Which groups of cells are explained, and which cells each of their cells is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.checks import check_names
from scim._core.groups import groups_of
from scim._core.log import logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from scim._core.groups import Groups
    from scim.model.explain import Pairs

REST = "rest"
"""All other types of cells."""


def labelled_groups(adata: AnnData, groupby: str) -> Groups:
    if groupby not in adata.obs:
        msg = f"obs[{groupby!r}] not found; run scim.tl.annotate(adata) first, or name another column with groupby=."
        msg += f" Present: {list(adata.obs.columns)}."
        raise KeyError(msg)
    return groups_of(adata, groupby)


def chosen_groups(found: Groups, groups: Sequence[str] | str | None, reference: str, groupby: str) -> NDArray[np.int64]:
    """Return the numbers of the groups to explain."""
    names = found.names.tolist()
    against = set() if reference == REST else {reference}
    wanted = _comparable(names, against) if groups is None else check_names("groups", groups)
    absent = [name for name in wanted if name not in names]
    if not against <= set(names):
        msg = f"reference={reference!r} is neither 'rest' nor a value of obs[{groupby!r}]. Present: {names}."
        raise KeyError(msg)
    if absent:
        msg = f"groups {absent} are no values of obs[{groupby!r}]. Present: {names}."
        raise KeyError(msg)
    if not wanted or against & set(wanted):
        msg = f"Expected groups of obs[{groupby!r}] other than reference={reference!r}, got {wanted} of {names}."
        raise ValueError(msg)
    return np.array([names.index(name) for name in wanted], dtype=np.int64)


def _comparable(names: list[str], against: set[str]) -> list[str]:
    """Return all groups but those that can be compared with no other, as a term above all others."""
    if against:
        return [name for name in names if name not in against]
    from scim.model.explain import rivals  # noqa: PLC0415  (torch is needed here, not to search)

    some: NDArray[np.bool_] = np.any(rivals(names), axis=1)
    if some.any() and not some.all():
        alone = [name for name, has in zip(names, some, strict=True) if not has]
        logger.warning("left out %s: above or below every other group", alone)
        return [name for name in names if name not in alone]
    return names


def pairs_of_groups(
    found: Groups, chosen: NDArray[np.int64], reference: str, n_pairs: int, rng: np.random.Generator
) -> list[Pairs]:
    from scim.model.explain import draw_pairs, rivals  # noqa: PLC0415  (torch is needed here, not to search)

    if reference == REST:
        others = rivals(found.names.tolist())
    else:
        others = np.tile(found.names == reference, (found.names.size, 1))
    alone = [str(found.names[group]) for group in chosen if not others[group].any()]
    if alone:
        msg = (
            f"Nothing to compare {alone} with: expected other types of cells among {found.names.tolist()}. "
            "Leave them out with groups=, or name a group with reference=."
        )
        raise ValueError(msg)
    return [draw_pairs(found.codes, int(group), np.flatnonzero(others[group]), n_pairs, rng) for group in chosen]
