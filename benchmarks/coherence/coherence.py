"""Measure whether coherence tells types from mixtures of types, of studies that are not in the training.

    python benchmarks/coherence/coherence.py [FOLDER]

Each case of benchmarks/confidence/tissue_cases.py has a model that was trained without its queries (`tissues.py` makes
them in its cache). Pure groups are the types of a query that the training has, mixtures those of two to five types of
one query, none above another at the common level of benchmarks/quality: in random parts (the largest at most .9), or
with .9 of the cells of one type. The distance between types is taken as 1: in these atlases it is .99 to 1.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "confidence"))

import _quality  # noqa: F401  (path of the next modules)
import data
import tables
import tissue_cases
import tissue_scim
import tissues

import scim
from scim.tl._coherence import _HALF, dispersion

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZES, N_MIXTURES, LEAST_CELLS, MOST = (20, 50, 200, 2000), 200, 15, 0.9
PANELS = ("heart", *tissue_cases.BRAIN)  # queries with 1,000 to 2,000 genes
MIXED = ("CL:0000542", "CL:0000540", "CL:0000084")  # lymphocyte, neuron, T cell: authors' labels of several types


class Group(NamedTuple):
    """Cells that are measured together."""

    is_pure: bool
    name: str
    query: str
    X: NDArray[np.float32]


def main() -> None:
    """Print the AUROC and the values of pure groups and mixtures by number of cells, and the lowest pure groups."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=data.FOLDER)
    parser.add_argument("--name", default="default")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    scim.settings.n_threads, scim.settings.progress = 1, False
    types = read_types(arguments.folder, tissue_scim.Cache(tissues.CACHE, arguments.name, arguments.name))
    rng, rows = np.random.default_rng(1), {}
    for size in SIZES:
        pure = pure_groups(types, size, rng)
        for ninety in (False, True):
            groups = pure + mixtures(types, size, rng, ninety=ninety)
            rows[f"{size} cells, {'one type has .9' if ninety else 'unequal parts'}"] = figures(groups)
        low = sorted((coherence(group), group.query, group.name) for group in pure)[:8]
        print(f"{size} cells, lowest pure groups: " + "; ".join(f"{query} {name} {c:.0f}" for c, query, name in low))
    print(tables.markdown(pd.DataFrame(rows).T))


def read_types(folder: Path, cache: tissue_scim.Cache) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Return the embedded cells of each type of each query, by Cell Ontology id."""
    cells, found = tissue_cases.read(folder), {}
    for case in tissue_cases.CASES.values():
        if not cache.model(case).exists():
            continue
        model = scim.model.load(cache.model(case))
        for query in case.queries:
            adata = tissue_cases.query(cells, query)
            known = tissue_cases.truth(cells, case, query)["known"].to_numpy()
            adata = adata[known & adata.obs["label"].notna().to_numpy()].copy()
            try:
                scim.tl.embed(adata, model=model)
            except ValueError:  # too few genes
                continue
            labels = adata.obs["label"].to_numpy(dtype=str)
            parts = {label: adata.obsm["X_scim"][labels == label] for label in np.unique(labels)}
            kept = {label: X for label, X in parts.items() if len(X) >= LEAST_CELLS and label not in MIXED}
            found.setdefault(query, kept)  # the first case of a query leaves out its own study alone
    return found


def pure_groups(types: dict[str, dict[str, NDArray[np.float32]]], size: int, rng: np.random.Generator) -> list[Group]:
    """Return a group of about this size of each type that has so many cells."""
    return [
        Group(is_pure=True, name=scim.ontology.term_name(label), query=query, X=X[rng.permutation(len(X))[:size]])
        for query, parts in types.items()
        for label, X in parts.items()
        if len(X) >= 0.7 * size
    ]


def mixtures(
    types: dict[str, dict[str, NDArray[np.float32]]], size: int, rng: np.random.Generator, *, ninety: bool
) -> list[Group]:
    """Return random mixtures of types of one query, of about this size."""
    queries, found = [query for query, parts in types.items() if len(parts) > 1], []
    for _ in range(100 * N_MIXTURES):
        query = queries[rng.integers(len(queries))]
        labels = rng.permutation(sorted(types[query]))[: rng.integers(2, 6)]
        related = scim.ontology.related([scim.ontology.term_name(data.common(label)) for label in labels])
        n = len(labels)
        parts = np.r_[MOST, np.full(n - 1, (1 - MOST) / (n - 1))] if ninety else rng.dirichlet(np.ones(n))
        sizes = [min(max(1, round(p * size)), len(types[query][a])) for p, a in zip(parts, labels, strict=True)]
        if related.sum() > n or max(sizes) > (MOST + 0.02) * sum(sizes) or sum(sizes) < 0.6 * size:
            continue
        cells = [types[query][a][rng.permutation(len(types[query][a]))[:m]] for a, m in zip(labels, sizes, strict=True)]
        found.append(Group(is_pure=False, name=" + ".join(labels), query=query, X=np.concatenate(cells)))
        if len(found) == N_MIXTURES:
            break
    return found


def coherence(group: Group) -> float:
    """Return the coherence of a group in an atlas whose types are 1 apart."""
    return float(100 * 0.5 ** (dispersion(group.X) / _HALF))


def figures(groups: list[Group]) -> dict[str, float]:
    """Return AUROC, medians, and the shares of at least 50."""
    pure, value = np.array([group.is_pure for group in groups]), np.array([coherence(group) for group in groups])
    whole = np.array([group.query not in PANELS for group in groups])
    return {
        "pure": pure.sum(), "mixtures": (~pure).sum(), "AUROC": roc_auc_score(pure, value),
        "AUROC without gene panels": roc_auc_score(pure[whole], value[whole]),
        "median of pure": np.median(value[pure]), "of mixtures": np.median(value[~pure]),
        "pure at 50 and more": (value[pure] >= 50).mean(), "mixtures at 50 and more": (value[~pure] >= 50).mean(),
    }  # fmt: skip


if __name__ == "__main__":
    main()
