"""Measure which hits of a search are marked as like their query, with filters that leave few or no true ones.

    python benchmarks/hits/hits.py [FOLDER] [--cases ...]

The states are the labels of studies that are left out of model and atlas (benchmarks/confidence/tissue_cases.py;
`tissues.py` makes the models and atlases in its cache). A filter leaves 0, 5, 30, 100 or 500 true cells and the others
of a random part of the studies; `k` is 1,000. True: the label of the hit is that of the state at the common level of
benchmarks/quality, or below it. Hits of labels above that of the state are neither right nor wrong.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "confidence"))

import _quality  # noqa: F401  (path of the next modules)
import data
import tables
import tissue_cases
import tissue_scim
import tissues

import scim
from scim._core.adata import group_values
from scim.tl._similar_hits import atlas_labels, query_votes, similar_hits

if TYPE_CHECKING:
    import anndata as ad
    from numpy.typing import NDArray

N_LEFT = (0, 5, 30, 100, 500)
K, LEAST_CELLS, N_SINGLE = 1_000, 15, 10
CASES = ("pbmc3k", "he", "kong", "wu", "baron_human3")
_STUDIES = 0.6  # share of the studies from which the filter leaves cells of other types


def main() -> None:
    """Print precision and recall by number left, for groups and for single cells, and the worst states."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=data.FOLDER)
    parser.add_argument("--cases", nargs="+", default=CASES)
    parser.add_argument("--name", default="default")
    parser.add_argument("--run", default="final3")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    scim.settings.n_threads, scim.settings.progress = 1, False
    cells = tissue_cases.read(arguments.folder)
    cache = tissue_scim.Cache(tissues.CACHE, arguments.name, arguments.run)
    rows = []
    for name in arguments.cases:
        case = tissue_cases.CASES[name]
        tissue_scim.prepare(cells, case, cache)
        with scim.atlas.open(cache.atlas(case)) as atlas:
            for query in case.queries:
                rows += measure(tissue_cases.query(cells, query), atlas, query)
    frame = pd.DataFrame(rows)
    for kind, part in frame.groupby("kind"):
        print(f"\n{kind}: {part['state'].nunique()} states\n\n{tables.markdown(summary(part))}")
    groups = frame[(frame["kind"] == "group") & frame["in_atlas"]]
    means = groups.groupby("state")[["precision", "recall", "recall_hits"]].mean().round(2)
    print(f"\nmedian state: {means.median().to_dict()}; worst:\n\n{means.sort_values('precision').head(12)}")
    print(means.sort_values("recall").head(12))


def measure(adata: ad.AnnData, atlas: scim.atlas.Atlas, query: str) -> list[dict[str, object]]:
    """Return a row for each state, number left and kind of query."""
    adata = adata[adata.obs["label"].notna()].copy()
    scim.tl.embed(adata, atlas)
    labels = adata.obs["label"].to_numpy(dtype=str)
    obs = atlas.obs(columns=["label_id", "study"])
    X, rows, transfer = adata.obsm["X_scim"], [], atlas_labels(atlas)
    for position, label in enumerate(np.unique(labels)):
        members = X[labels == label]
        if len(members) < LEAST_CELLS:
            continue
        true, neutral = truth(obs["label_id"].astype(str), label)
        single = members[np.linspace(0, len(members) - 1, N_SINGLE).astype(int)]
        state_name = f"{query}: {scim.ontology.term_name(label)}"
        mean, state = members.mean(axis=0, keepdims=True), group_values(["state"] * len(members), "groups")
        votes = {
            "group": query_votes(members, state, atlas, transfer),
            "cell": query_votes(single, None, atlas, transfer),
        }
        for n_left in N_LEFT:
            if n_left > true.sum():
                continue
            rng = np.random.default_rng([position, n_left])
            allowed = filtered(obs["study"].astype(str), true, n_left, rng)
            for kind, queries in (("group", mean), ("cell", single)):
                neighbors = atlas.index.query(queries, K, allowed=allowed, distinct=True)
                marked = similar_hits(neighbors, atlas, transfer, votes[kind])
                rows.append({"kind": kind, "state": state_name, "n_left": n_left, "in_atlas": bool(true.any())}
                            | scores(neighbors.ids, marked, true, neutral, n_left))  # fmt: skip
    return rows


def scores(
    ids: NDArray[np.int64], marked: NDArray[np.bool_], true: NDArray[np.bool_], neutral: NDArray[np.bool_], n_left: int
) -> dict[str, float]:
    """Return the means over queries: a query without true cells and without marks has precision 1, with marks 0.

    `recall` is of the true cells that the filter left, `recall_hits` of those among the hits.
    """
    found = ids >= 0
    is_true, is_neutral = found & true[ids], found & neutral[ids]
    right, wrong = (marked & is_true).sum(axis=1), (marked & ~is_true & ~is_neutral).sum(axis=1)
    n_hits = is_true.sum(axis=1)
    with np.errstate(invalid="ignore"):
        precision = np.where(right + wrong > 0, right / (right + wrong), 1.0 if n_left == 0 else np.nan)
        recalls = [right / n_left if n_left else right * np.nan, np.where(n_hits > 0, right / n_hits, np.nan)]
    means = [float(np.nanmean(values)) if np.isfinite(values).any() else np.nan for values in (precision, *recalls)]
    return {
        "right": right.sum(),
        "wrong": wrong.sum(),
        "precision": means[0],
        "recall": means[1],
        "recall_hits": means[2],
    }


def truth(label_ids: pd.Series, label: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which cells of the atlas are of the type of a state, and which have a label above it."""
    names = label_ids.unique()
    common = data.common(label)
    true = [data.common(name) == common or label in scim.ontology.ancestors(name) for name in names]
    above = [name in scim.ontology.ancestors(label) for name in names]
    return label_ids.isin(names[true]).to_numpy(), label_ids.isin(names[above]).to_numpy()


def filtered(studies: pd.Series, true: NDArray[np.bool_], n_left: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return ids of a random sample of the true cells, and of all others of some of the studies."""
    names = studies.unique()
    kept = studies.isin(names[rng.random(len(names)) < _STUDIES]).to_numpy() & ~true
    kept[rng.permutation(np.flatnonzero(true))[:n_left]] = True
    return studies.index.to_numpy()[kept]


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Return precision and recall by number left: means over states, and the precision of all marks together."""
    present = frame[frame["in_atlas"]]
    rows = {str(n): _figures(part) for n, part in present.groupby("n_left")} | {"all": _figures(present)}
    return pd.DataFrame(rows | {"type not in the atlas": _figures(frame[~frame["in_atlas"]])}).T


def _figures(part: pd.DataFrame) -> dict[str, float]:
    return {
        "states": part["state"].nunique(), "precision": part["precision"].mean(), "recall": part["recall"].mean(),
        "recall of hits": part["recall_hits"].mean(), "share with precision >= .95": (part["precision"] >= 0.95).mean(),
        "all marks": part["right"].sum() / max(part["right"].sum() + part["wrong"].sum(), 1),
    }  # fmt: skip


if __name__ == "__main__":
    main()
