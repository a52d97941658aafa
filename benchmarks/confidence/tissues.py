"""Measure labels, confidence and novelty on ten tissues, with whole studies left out of model, atlas and calibration.

    python benchmarks/confidence/tissues.py [FOLDER] [--cases ...] [--variants ...] [--run NAME]
    python benchmarks/confidence/tissues.py --peers --python ENVIRONMENT/bin/python [--pan-human OTHER/bin/python]
    python benchmarks/confidence/tissues.py --no-predictions --run NAME  # tables of stored predictions

Each case (tissue_cases.py) has one model, trained with the defaults of `scim.model.train` and seed 0 on the labelled
cells of all other studies, and one atlas of the same cells. Cells are novel if the training has neither their type nor
one above or below it in the Cell Ontology. Models, atlases and predictions are stored under `--data`, so an
interrupted run resumes: models by `--name`, the recipe of training; atlases and predictions by `--run`.

The peers are trained on the same cells, at most `--cap` of a type in a study; environment.txt of benchmarks/quality
describes their environment, and `--pan-human` is an interpreter with actinn-jax 0.3.1. The tables of peers call a cell
unknown below the confidence that .95 of the known cells of blood and pancreas reach.
"""

from __future__ import annotations

import argparse
import functools
import json
import tempfile
import warnings
from pathlib import Path

import _quality  # noqa: F401  (path of the next modules)
import data
import pandas as pd
import peer_jobs
import tables
import tissue_cases
import tissue_panels
import tissue_peers
import tissue_predictions
import tissue_scim
import tissue_speed
import tissue_tables

import scim

CACHE = Path(tempfile.gettempdir()) / "scim-bench" / "tissues"


def main() -> None:
    """Predict all queries, print the tables and write them to a file."""
    arguments = parsed()
    warnings.filterwarnings("ignore")
    scim.settings.n_threads, scim.settings.progress = 1, False
    cells = tissue_cases.read(arguments.folder)
    cache = tissue_scim.Cache(arguments.data, arguments.name, arguments.run or arguments.name)
    chosen = [tissue_cases.CASES[name] for name in arguments.cases]
    if not arguments.no_predictions:
        for case in chosen:
            tissue_scim.predict(cells, case, arguments.variants, cache)
        if arguments.peers:
            limits = peer_jobs.Limits(arguments.python, arguments.limit, memory=16)
            for case in chosen:
                tissue_peers.predict(cells, case, cache, limits, arguments.cap)
        if arguments.pan_human:
            tissue_peers.predict_pan_human(cells, cache, arguments.pan_human)
    found = tissue_predictions.Predictions(cells, functools.partial(tissue_scim.load, cache))
    parts = tissue_tables.report(found) | panels_and_peers(cells, found, cache)
    if arguments.speed:
        parts["Speed"] = tissue_speed.speeds(cells["pbmc3k"])
    for title, table in parts.items():
        print(f"{title}\n\n{tables.markdown(table)}\n")
    results = {title: json.loads(table.to_json(orient="index")) for title, table in parts.items()}
    (arguments.data / f"results {cache.run}.json").write_text(json.dumps(results, indent=1))


def panels_and_peers(
    cells: tissue_cases.Cells, found: tissue_predictions.Predictions, cache: tissue_scim.Cache
) -> dict[str, pd.DataFrame]:
    """Return a row of means for each gene panel of the queries, and for each method."""
    panels = pd.DataFrame({name: tissue_tables.summary(found, name) for name in tissue_panels.VARIANTS}).T
    panels["macro-F1 of the whole"] = panels["macro-F1"] / panels["macro-F1"].iloc[0]
    peers = {f"scim, {cache.run}": tissue_tables.summary(found)}
    for name in tissue_peers.NAMES:
        every = tissue_predictions.Predictions(cells, functools.partial(tissue_peers.load, cache, name, 0.0))
        least = tissue_predictions.confidence_reached(every, 0.95)
        limited = tissue_predictions.Predictions(cells, functools.partial(tissue_peers.load, cache, name, least))
        peers[name] = tissue_tables.summary(limited) | {"threshold": least}
    by_test = tissue_tables.macro_f1(found, tissue_panels.VARIANTS)
    methods = pd.DataFrame(peers)
    return {"Gene panels": panels.T, "Gene panels, macro-F1 by test": by_test, "Methods": methods}


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=data.FOLDER, help="of the studies")
    parser.add_argument("--cases", nargs="+", choices=tissue_cases.CASES, default=list(tissue_cases.CASES))
    parser.add_argument("--variants", nargs="+", choices=tissue_panels.VARIANTS, default=list(tissue_panels.VARIANTS))
    parser.add_argument("--name", default="default", help="of the recipe of training, for its models")
    parser.add_argument("--run", help="name for atlases and predictions; default: as the recipe")
    parser.add_argument("--data", type=Path, default=CACHE, help="folder of models, atlases and predictions")
    parser.add_argument("--no-predictions", action="store_true", help="make tables of stored predictions only")
    parser.add_argument("--speed", action="store_true", help="measure the speed of the packaged atlas too")
    parser.add_argument("--peers", action="store_true", help="train and run the peers too")
    parser.add_argument("--python", help="interpreter of the peers")
    parser.add_argument("--pan-human", help="interpreter with actinn-jax")
    parser.add_argument("--cap", type=int, default=60, help="training cells per type and study for the peers")
    parser.add_argument("--limit", type=float, default=300, help="seconds for one training of peers")
    return parser.parse_args()


if __name__ == "__main__":
    main()
