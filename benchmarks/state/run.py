"""Find thirty states of held-out studies in the other studies, by scim and by what would be used instead.

    python benchmarks/state/run.py --models scim=FOLDS "scim, six studies unseen=FOLDER" "paper's recipe=FOLDER"
        [--python ENVIRONMENT/bin/python] [--latents scVI=FILE.npz ...] [--data CACHE] [--out FILE.json]

FOLDS has a model for each study left out, as benchmarks/confidence/tissues.py trains them; `cells.py` trains the one
that saw none of the six studies of the queries. `states.py` defines states and relevance, `scorers.py` the methods. All
rank the labelled cells of the other studies. Four tables: all of them; files of the whole transcriptome; studies of
another platform; the six studies. `--python` has harmonypy and decoupler.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import cells
import latent_scores
import numpy as np
import pandas as pd
import retrieval
import scorers
import states

import scim

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scorers import Scores

CACHE = Path(tempfile.gettempdir()) / "scim-bench" / "state"
SIGNATURE = "score_genes"


def main() -> None:
    """Score, measure, and print the tables."""
    arguments = parsed()
    warnings.filterwarnings("ignore")
    scim.settings.n_threads, scim.settings.progress = 1, False
    inputs = inputs_of(arguments)
    scores = scorers.all_scores(inputs)
    obs, whole = inputs.obs, latent_scores.is_whole(inputs.cells)
    tables = {
        "all studies": measured(scores, obs, np.ones(len(obs), dtype=bool)),
        "whole transcriptome": measured(scores, obs, whole),
        "another platform": measured(scores, obs, *(states.of_other_platform(obs, state) for state in states.STATES)),
        "the six studies": measured(scores, obs, obs["study"].isin(cells.HELD_OUT).to_numpy()),
    }
    for name, frame in tables.items():
        print(f"\n## {name}\n\n{means(frame).round(3).to_markdown()}")
    print(f"\n## average precision by state\n\n{by_state(tables['all studies']).round(3).to_markdown()}")
    agreement = correlations(scores, obs, whole, next(iter(inputs.models)))
    print(f"\n## Spearman with {SIGNATURE} within the lineage\n\n{agreement.round(3).to_markdown()}")
    for column in ("tissue", "disease"):
        print(f"\n## recall by {column}\n\n{recall(scores, obs, column).round(3).to_markdown()}")
    if arguments.out is not None:
        found = {name: json.loads(frame.reset_index().to_json(orient="records")) for name, frame in tables.items()}
        arguments.out.write_text(json.dumps(found | {"spearman": agreement.to_dict()}), encoding="utf-8")


def inputs_of(arguments: argparse.Namespace) -> scorers.Inputs:
    """Read the cells."""
    studies = cells.read(arguments.folder)
    obs = pd.concat([adata.obs for adata in studies.values()])
    paths = [dict(pair.split("=", 1) for pair in pairs) for pairs in (arguments.models, arguments.latents)]
    models, latents = ({name: Path(path) for name, path in named.items()} for named in paths)
    return scorers.Inputs(studies, obs, arguments.data, models, latents, arguments.python)


def measured(scores: dict[str, Scores], obs: pd.DataFrame, *targets: NDArray[np.bool_]) -> pd.DataFrame:
    """Return the measures by method and state; `targets`, of all states or of each, are the cells that are ranked."""
    rankings: dict[str, dict[str, dict[str, float] | None]] = {method: {} for method in scores}
    for i, state in enumerate(states.STATES):
        ranked = targets[i % len(targets)]
        relevance = np.where(ranked, states.relevance(obs, state), states.IGNORED).astype(np.int8)
        for method, by_state in scores.items():
            if state.name in by_state:
                rankings[method][state.name] = retrieval.measure(by_state[state.name], relevance)
    return retrieval.table(rankings)


def means(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the means over the states that a method has, and how many these are, best average precision first."""
    grouped = frame.groupby(level="method")
    found = grouped.mean()
    found.insert(0, "states", grouped.size())
    return found.sort_values("AP", ascending=False)


def by_state(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the average precision of each state (rows) by method (columns, best first)."""
    return frame["AP"].unstack("method").reindex([state.name for state in states.STATES])[means(frame).index]


def correlations(scores: dict[str, Scores], obs: pd.DataFrame, whole: NDArray[np.bool_], method: str) -> pd.DataFrame:
    """Return Spearman's correlation of a method with the signature over the lineage of each state.

    `whole`: all cells of the lineage in the other studies of the whole transcriptome, where scores of the signature are
    of the same genes; `within studies`: the mean over the studies with fifty of them.
    """
    rows = {}
    for state in states.STATES:
        similar, signature = (pd.Series(scores[name][state.name]) for name in (method, SIGNATURE))
        inside = states.in_lineage(obs, state) & signature.notna().to_numpy()
        chosen = inside & whole
        groups = obs["study"].to_numpy()
        studies = [study for study in np.unique(groups[chosen]) if (chosen & (groups == study)).sum() >= 50]
        within = [similar[keep].corr(signature[keep], "spearman") for keep in (chosen & (groups == s) for s in studies)]
        rows[state.name] = {
            "cells": int(chosen.sum()),
            "whole": similar[chosen].corr(signature[chosen], "spearman"),
            "within studies": float(np.mean(within)) if within else np.nan,
        }
    found = pd.DataFrame.from_dict(rows, orient="index")
    found.loc["mean"] = found.mean()
    return found


def recall(scores: dict[str, Scores], obs: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the mean over states of the recall among the first R, by tissue or disease (rows) and method."""
    found = {}
    for method, by_state_scores in scores.items():
        parts = [
            retrieval.recalls(by_state_scores[state.name], states.relevance(obs, state), obs[column])
            for state in states.STATES
            if state.name in by_state_scores
        ]
        found[method] = pd.concat(parts).groupby(level=0).mean()
    return pd.DataFrame(found)


def parsed() -> argparse.Namespace:
    """Return the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=cells.data.FOLDER)
    parser.add_argument("--models", nargs="+", required=True, metavar="METHOD=FOLDER")
    parser.add_argument("--latents", nargs="*", default=[], metavar="METHOD=FILE")
    parser.add_argument("--data", type=Path, default=CACHE)
    parser.add_argument("--python")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
