"""Train by the recipe of the paper, with its ablations, and measure held-out studies beside our default recipe.

    python benchmarks/paper/run.py FOLDER [--recipes NAME ...] [--data FOLDER_OF_DATA] [--tables]

Models and measures are kept in FOLDER, so that an interrupted run goes on; `FOLDER/models/paper` is the paper's model,
`FOLDER/models/default` ours. The studies and their split are those of benchmarks/state/cells.py.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import recipes

sys.path.append(str(Path(__file__).resolve().parents[1] / "state"))

import cells
import measures
import tables

import scim

if TYPE_CHECKING:
    from recipes import Recipe


def trained(folder: Path, recipe: Recipe, training: cells.Cells) -> scim.model.Model:
    """Return the model of a folder, or train it, resuming an interrupted training."""
    if folder.exists():
        return scim.model.load(folder)
    options = {"model": recipe.net, "config": recipe.config, "filters": recipe.filters, "rng": recipe.seed}
    began = time.process_time()
    state = folder.with_name(f"{folder.name}.state")
    keys = {"label_key": "label", "study_key": "study"}
    model = scim.model.train(list(training.values()), **keys, **options, checkpoint=state)
    model.metadata["cpu_seconds"] = time.process_time() - began
    folder.parent.mkdir(parents=True, exist_ok=True)
    model.save(folder)
    return model


def main() -> None:
    """Train, measure and print what is not there yet."""
    known = dict(recipes.recipes())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, default=cells.data.FOLDER)
    parser.add_argument("--recipes", nargs="+", choices=known, default=list(known))
    parser.add_argument("--tables", action="store_true", help="print the tables of what was measured, and no more")
    given = parser.parse_args()
    if not given.tables:
        warnings.filterwarnings("ignore")
        scim.settings.n_threads, scim.settings.progress = 1, False
        everything = cells.read(given.data)
        training, held_out = cells.training(everything), cells.held_out(everything)
        for name in given.recipes:
            path = given.folder / "measures" / f"{name}.json"
            model = trained(given.folder / "models" / name, known[name], training)
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                found = measures.measure(model, training, held_out, full=name in (recipes.MAIN, recipes.DEFAULT))
                path.write_text(json.dumps(found, indent=1))
            print(f"{name} measured", file=sys.stderr, flush=True)
    tables.show(given.folder / "measures")


if __name__ == "__main__":
    main()
