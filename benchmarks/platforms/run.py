"""Measure labels and search by platform, each study left out of model, atlas and calibration.

    python benchmarks/platforms/run.py [FOLDER] [--data CACHE]

Labels of cells of known types: macro-F1 and accuracy at the common level of benchmarks/quality with every cell
labelled, expected calibration error (an ancestor of the true term is right), and at the default settings the share of
labelled cells and of wrong ones among them. Search in the other studies: of single cells, precision at 50, or at the
number of relevant cells where there are fewer; of the centroid of a type, average precision. Cells of the type or of a
descendant are relevant, those of an ancestor are left out. Scores are means over types, then over queries. Models,
atlases and predictions are stored under `--data`.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import rows

import scim

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from tissue_cases import Cells

    from scim.atlas import Atlas

import data  # of the folders that rows.py adds to the path
import measures
import retrieval
import scores
import tables
import tissue_cases
import tissue_scim
import tissue_tables

CACHE = Path(tempfile.gettempdir()) / "scim-bench" / "platforms"
K = 50
LEAST_CELLS = 5
"""Types with fewer cells in the query or in the other studies do not count."""
RELEVANT, OTHER, IGNORED = 1, 0, -1


def main() -> None:
    """Print the table, and write it and its parts by query."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=data.FOLDER, help="of the studies")
    parser.add_argument("--data", type=Path, default=CACHE, help="folder of models, atlases and predictions")
    parser.add_argument("--cases", nargs="+", choices=[case.name for case in rows.CASES], default=None)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    scim.settings.n_threads, scim.settings.progress = 1, False
    cells = tissue_cases.read(arguments.folder)
    cache = tissue_scim.Cache(arguments.data, "default", "present")
    cases = [case for case in rows.CASES if case.name in (arguments.cases or (case.name,))]
    found = pd.DataFrame([measured for case in cases for measured in of_case(cells, case, cache)])
    found.to_csv(arguments.data / "queries.csv", index=False)
    table = found.drop(columns=["query", "cells", "types"]).groupby("platform", sort=False).mean()
    print(tables.markdown(table.reindex([row.platform for row in rows.ROWS]).dropna(how="all")))
    print(f"\nNot measured, no labelled file at hand: {', '.join(rows.NOT_MEASURED)}.")


def of_case(cells: Cells, case: tissue_cases.Case, cache: tissue_scim.Cache) -> list[dict[str, object]]:
    """Return the scores of all queries of a case, one atlas for all of them."""
    tissue_scim.prepare(cells, case, cache)
    found = []
    with scim.atlas.open(cache.atlas(case)) as atlas:
        base = atlas.obs(columns=["label_id"])["label_id"].astype(str).map(data.common)
        for row in rows.ROWS:
            for query in (query for query in row.queries if query in case.queries):
                adata = rows.dressed(cells, query, row.dress)
                predictions = predicted(adata, cells, case, query, row.dress, cache, atlas)
                label_scores = of_labels(cells, case, predictions)
                scim.tl.embed(adata, atlas)
                values = label_scores | of_search(adata, predictions, atlas, base)
                found.append({"platform": row.platform, "query": query} | values)
                tissue_scim.say(f"{row.platform}, {query}: {values}")
    return found


def predicted(
    adata: AnnData,
    cells: Cells,
    case: tissue_cases.Case,
    query: str,
    dress: str,
    cache: tissue_scim.Cache,
    atlas: Atlas,
) -> pd.DataFrame:
    """Return the predictions for a query with `truth` and `known`, from the cache if they are there."""
    path = cache.predictions(cache.run, case, query, dress)
    if not path.exists():
        level = sorted({scim.ontology.term_name(term) for term in tissue_cases.trained(cells, case)})
        tissue_scim.store(tissue_scim.annotated(adata.copy(), atlas, level), adata.obs_names, path)
    truth = tissue_cases.truth(cells, case, query).reset_index(drop=True)
    above = set().union(*(scim.ontology.ancestors(term) for term in tissue_cases.trained(cells, case)))
    truth["known"] |= truth["truth"].isin(above)  # also what was sorted as neurons, where others name their types
    return pd.concat([tissue_scim.read(path).reset_index(drop=True), truth], axis=1)


def of_labels(cells: Cells, case: tissue_cases.Case, predictions: pd.DataFrame) -> dict[str, float]:
    """Return the scores of the labels of cells of known types."""
    known = predictions[predictions["known"]]
    truth = known["truth"].to_numpy()
    scored = scores.score(known["truth"], known["level"].to_numpy(dtype=object), tissue_cases.trained(cells, case))
    each = measures.score_predictions(truth, known["label"].to_numpy(), known["confidence"].to_numpy())
    related = each._replace(right=each.right | each.broader)
    default = tissue_tables.selective(known)
    return {
        "cells": len(known),
        "macro-F1": scored.macro_f1,
        "accuracy": scored.accuracy,
        "calibration error": measures.calibration_error(related),
        "labelled": default["answered"],
        "wrong among labelled": default["wrong among answers"],
    }


def of_search(adata: AnnData, predictions: pd.DataFrame, atlas: Atlas, base: pd.Series) -> dict[str, float]:
    """Return the scores of searches in the other studies, means over the types of the query."""
    truth = predictions["truth"].where(predictions["known"]).to_numpy()
    adata.obs["type"] = pd.Categorical(truth)
    distances = scim.tl.score_similarity(adata[predictions["known"].to_numpy()].copy(), "type", atlas)
    reference = atlas.embeddings()
    single, centroid = [], []
    for term in pd.unique(truth[~pd.isna(truth)]):
        relevance, chosen = relevance_of(term, base), truth == term
        if chosen.sum() >= LEAST_CELLS and (relevance == RELEVANT).sum() >= LEAST_CELLS:
            single.append(precision(adata.obsm["X_scim"][chosen], reference, relevance))
            centroid.append(retrieval.measure(-distances[term].to_numpy(), relevance)["AP"])
    return {"types": len(single), f"precision@{K} of cells": np.mean(single), "AP of centroids": np.mean(centroid)}


def relevance_of(term: str, base: pd.Series) -> NDArray[np.int8]:
    """Return which cells are of a type or a descendant of it, of an ancestor (`IGNORED`), or of neither."""
    above = scim.ontology.ancestors(term)
    values = {
        other: RELEVANT
        if other == term or term in scim.ontology.ancestors(other)
        else IGNORED
        if other in above
        else OTHER
        for other in base.unique()
    }
    return base.map(values).to_numpy(dtype=np.int8)


def precision(queries: NDArray[np.float32], reference: NDArray[np.float32], relevance: NDArray[np.int8]) -> float:
    """Return the mean share of relevant cells among the nearest `K`, or R of R relevant cells if R is less."""
    kept = relevance != IGNORED
    relevant = relevance[kept] == RELEVANT
    k = min(K, int(relevant.sum()))
    similarity = queries @ reference[kept].T
    nearest = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
    return float(relevant[nearest].mean())


if __name__ == "__main__":
    main()
