"""Print the tables of what run.py measured."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import recipes

if TYPE_CHECKING:
    from pathlib import Path

N_GENES = 10
EMBEDDING = {"ontology_silhouette": "silhouette", "batch_silhouette": "studies mixed", "knn_purity_across": "purity"}


def show(folder: Path) -> None:
    """Print recipes, ablations and genes, as far as they were measured."""
    found = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    mains = {name: found[name] for name in (recipes.MAIN, recipes.DEFAULT) if name in found}
    _print("By held-out study", by_study(mains))
    _print("The two recipes", pd.DataFrame({name: summary(one) for name, one in mains.items()}).T)
    _print("Ablations", ablations(found))
    if recipes.MAIN in found:
        _print("Genes, of the paper's recipe", genes(found[recipes.MAIN]["genes"]))


def by_study(found: dict[str, Any]) -> pd.DataFrame:
    """Return the scores of labels, studies in rows."""
    return pd.concat({name: pd.DataFrame(one["studies"]).T for name, one in found.items()}, axis=1)


def summary(found: dict[str, Any]) -> dict[str, float]:
    """Return the mean over the held-out studies of each score of labels, and the other measures."""
    labels = pd.DataFrame(found["studies"]).T.mean().to_dict()
    embedding = {short: found["embedding"][name] for name, short in EMBEDDING.items()}
    error = {f"MSE {name}": value for name, value in found.get("error", {}).items()}
    return labels | embedding | error | {"CPU s": found["cpu_seconds"] or float("nan")}


def ablations(found: dict[str, Any]) -> pd.DataFrame:
    """Return a row for each changed recipe, below the base with its standard deviation over the seeds."""
    bases = [summary(one) for name, one in sorted(found.items()) if name.startswith(recipes.BASE)]
    if not bases:
        return pd.DataFrame()
    base = pd.DataFrame(bases)
    rows = {"base: mean of seeds": base.mean(), "base: standard deviation": base.std()}
    for group, options in recipes.ABLATIONS.items():
        names = [recipes.changed(group, **changes) for changes in options]
        rows |= {name: pd.Series(summary(found[name])) for name in names if name in found}
    return pd.DataFrame(rows).T


def genes(found: dict[str, Any]) -> pd.DataFrame:
    """Return how the explained variance is spread, and the best and the worst genes of the held-out studies."""
    frames = {name: pd.DataFrame(one) for name, one in found.items()}
    for name, frame in frames.items():
        quantiles = frame["explained"].quantile([0.1, 0.25, 0.5, 0.75, 0.9])
        share = (frame["explained"] > 0).mean()
        r = frame["correlation"].median()
        print(
            f"{name}: quantiles {np.round(quantiles.to_numpy(), 3)}; above 0: {share:.2f}; median correlation {r:.2f}"
        )
    frame = frames["held out"].sort_values("explained", ascending=False)
    expressed = frame[frame["variance"] > frame["variance"].quantile(0.5)]
    return pd.concat([expressed.head(N_GENES), expressed.tail(N_GENES)]).drop(columns="variance_of_all")


def _print(title: str, table: pd.DataFrame) -> None:
    print(f"\n{title}\n")
    if len(table):
        print(table.round(3).to_string())
