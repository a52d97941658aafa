"""Make filters of all selectivities, some random and some correlated with the position of the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from data import Data
    from numpy.typing import NDArray

SHARES = {"r50": 0.5, "r10": 0.1, "r1": 0.01, "r01": 0.001, "r00001": 0.00001}


class Filter(NamedTuple):
    """A condition on the columns, and the rows that pass it."""

    name: str
    where: str
    mask: NDArray[np.bool_]


def with_random(data: Data) -> Data:
    """Add columns that are 1 for a random share of the rows, or for one row, and 0 for the others."""
    n = len(data.base)
    rng = np.random.default_rng(0)
    columns = {}
    for name, n_ones in {**{c: max(1, round(n * share)) for c, share in SHARES.items()}, "one": 1}.items():
        columns[name] = np.zeros(n, dtype=np.int16)
        columns[name][rng.choice(n, n_ones, replace=False, shuffle=False)] = 1
    return data._replace(obs={**data.obs, **columns})


def filters(data: Data) -> list[Filter]:
    """Return the filters on the columns of `with_random`."""
    obs = data.obs
    found = [Filter(f"random {share:.3%}", f"{c} == 1", obs[c] == 1) for c, share in SHARES.items()]
    found.append(Filter("one row", "one == 1", obs["one"] == 1))
    found.append(Filter("no row", "r50 == 1 and r50 == 0", np.zeros(len(data.base), dtype=np.bool_)))
    tissues, types = by_abundance(obs["tissue"]), by_abundance(obs["cell_type"])
    tissue, common, cell_type = tissues[len(tissues) // 2], tissues[0], types[len(types) // 2]
    found.append(Filter("a tissue", f"tissue == {tissue}", obs["tissue"] == tissue))
    found.append(Filter("all but a tissue", f"tissue != {common}", obs["tissue"] != common))
    found.append(Filter("a cell type", f"cell_type == {cell_type}", obs["cell_type"] == cell_type))
    some = types[:: max(1, len(types) // 20)][:20]
    found.append(Filter("20 cell types", f"cell_type in {some}", np.isin(obs["cell_type"], some)))
    return found


def by_abundance(codes: NDArray[np.int16]) -> list[int]:
    """Return the codes that occur, the most frequent first."""
    counts = np.bincount(codes)
    return [int(code) for code in np.argsort(-counts, kind="stable") if counts[code]]
