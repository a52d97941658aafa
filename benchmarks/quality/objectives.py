"""Compare the objectives on the same splits: macro-F1 of held-out studies, labelled by `scim.tl.annotate`.

    python benchmarks/quality/objectives.py [FOLDER] [--tests ...] [--objectives ...] [--seeds 1] [--members 1]

The first is the default. All are trained on the same cells and genes with the same augmentations. simclr and moco use
no labels, except to select the genes and the sampling weights of the cells.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from pathlib import Path

import data
import scores
from fixed._atlas import annotated

import scim

LINEAR = ("whitening", "lda", "linear_nca", "lmnn", "itml")
DEEP = ("prototypes", "triplet", "contrastive", "nca", "supcon", "simclr", "moco")
OBJECTIVES = (*DEEP, *LINEAR)
TESTS = ("pbmc3k", "zheng_facs", "zheng_sorted", "baron_human3")


def trained(objective: str, train: list, seed: int, **changes: int) -> scim.model.Model:
    config = scim.model.TrainConfig(objective=objective, **changes)
    return scim.model.train(train, label_key="label", study_key="study", config=config, rng=seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=data.FOLDER)
    parser.add_argument("--tests", nargs="+", choices=data.TESTS, default=TESTS)
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=OBJECTIVES)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--members", type=int, default=1, help="encoders that are trained and merged into one")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    scim.settings.n_threads, scim.settings.progress = given.threads, False
    changes = {"n_members": given.members} | ({} if given.steps is None else {"n_steps": given.steps})
    cells = data.read(given.folder)
    found: dict[tuple[str, str], list[float]] = {}
    seconds: dict[str, list[float]] = {}
    for study in dict.fromkeys(data.TESTS[name].left_out for name in given.tests):
        names = [name for name in given.tests if data.TESTS[name].left_out == study]
        train = list(data.training(cells, study).values())
        queries = [data.query(cells, data.TESTS[name]) for name in names]
        seen = {term for adata in train for term in adata.obs["common"]}
        for objective in given.objectives:
            for seed in range(given.seeds):
                began = time.process_time()
                model = trained(objective, train, seed, **changes)
                seconds.setdefault(objective, []).append(time.process_time() - began)
                for name, adata, labels in zip(names, queries, annotated(model, train, queries, "label"), strict=True):
                    value = scores.score(adata.obs["common"].astype(object), labels, seen).macro_f1
                    found.setdefault((objective, name), []).append(value)
                print(f"{objective} without {study}, seed {seed}", file=sys.stderr, flush=True)
    print(f"| objective | {' | '.join(given.tests)} | mean | CPU s per training |\n|{'---|' * (len(given.tests) + 3)}")
    for objective in given.objectives:
        means = [statistics.mean(found[objective, name]) for name in given.tests]
        row = [*(f"{value:.3f}" for value in (*means, statistics.mean(means)))]
        print(f"| {objective} | {' | '.join(row)} | {statistics.mean(seconds[objective]):.0f} |")


if __name__ == "__main__":
    main()
