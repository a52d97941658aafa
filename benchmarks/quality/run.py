"""Label held-out studies: one fixed scim model beside peers that are retrained for every query.

    python benchmarks/quality/run.py [FOLDER] [--python ENVIRONMENT/bin/python] [--tests ...] [--methods ...]
    python benchmarks/quality/run.py --methods --plot docs/_static/quality.png  # of stored predictions

scim, and the recipe of the paper, are trained once for each held-out study, on blood and pancreas together. Peers are
trained for each query on the genes that it shares with the other studies, and on coarser labels, at the level that the
studies share; with `--references apart` on the studies of its tissue only. Queries are whole, with fewer genes (of
those in at least 1 % of their cells), with fewer counts, and log-normalised without counts. A prediction that is the
true term or a descendant in the Cell Ontology is right; unknown is wrong. Classes that are in no training study, or
have fewer than five cells, do not count.

Some peers need another environment, named by `--python`; environment.txt beside this file has the commands to make it.
Predictions are stored under `--data`; those of the methods named by `--again` (scim) are recomputed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import data
import jobs
import methods
import numpy as np
import scores
import tables

if TYPE_CHECKING:
    import anndata as ad

PREDICTIONS = Path(tempfile.gettempdir()) / "scim-bench" / "quality"


def main() -> None:
    arguments = parsed()
    warnings.filterwarnings("ignore")
    cells = data.read(arguments.folder)
    names = methods.importable(arguments.methods, arguments.python)
    fixed, peers = ([name for name in names if name in kind] for kind in (methods.FIXED, methods.PEERS))
    if fixed:
        for group in jobs.fixed(cells, arguments.tests, arguments.variants, 0):
            tasks = [task(arguments, group, name, seed) for name in fixed for seed in range(arguments.seeds)]
            predict(arguments, group, tasks, sys.executable)
    if peers:
        for reference in arguments.references:
            for group in jobs.peers(cells, arguments.tests, arguments.variants, 0, apart=reference == "apart"):
                predict(arguments, group, [task(arguments, group, name, 0) for name in peers], arguments.python)
    found = [finding for path in sorted(arguments.data.glob("*/*.json")) for finding in scored(arguments, cells, path)]
    (arguments.data / "results.json").write_text(json.dumps(found, indent=1))
    if not found:
        sys.exit("there are no predictions")
    print(tables.all_tables(found))
    if arguments.plot:
        import plot  # noqa: PLC0415  (only with --plot)

        plot.draw(found, arguments.plot)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=data.FOLDER, help="of the studies")
    everything = [*methods.FIXED, *methods.PEERS]
    parser.add_argument(
        "--methods",
        nargs="*",
        choices=everything,
        default=everything,
        help="methods to run; all with stored predictions are shown",
    )
    parser.add_argument("--tests", nargs="+", choices=data.TESTS, default=list(data.TESTS))
    parser.add_argument("--variants", nargs="+", choices=data.VARIANTS, default=list(data.VARIANTS))
    parser.add_argument("--references", nargs="+", choices=["together", "apart"], default=["together"])
    parser.add_argument("--seeds", type=int, default=1, help="models per held-out study, of scim and the paper")
    parser.add_argument("--steps", type=int, help="batches to train scim with; default: that of scim")
    parser.add_argument("--paper-steps", type=int, help="batches to train the paper's recipe with")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the peers")
    parser.add_argument("--data", type=Path, default=PREDICTIONS, help="folder of predictions and results")
    parser.add_argument("--again", nargs="*", choices=everything, default=["scim"], help="methods to run again")
    parser.add_argument("--limit", type=float, default=3600, help="seconds for one training with its predictions")
    parser.add_argument("--memory", type=float, default=16, help="GB of address space for one training")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--plot", type=Path, help="where to draw the results")
    return parser.parse_args()


def task(arguments: argparse.Namespace, group: jobs.Group, name: str, seed: int) -> dict[str, Any]:
    """Return the task of a method for a group: the sets without predictions, or to be recomputed."""
    options: dict[str, Any] = {"seed": seed}
    if name in methods.FIXED:
        options["steps"] = arguments.steps if name == "scim" else arguments.paper_steps
    folder = arguments.data / f"{name} {group.reference} {seed}".replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    files = [[str(folder / f"{query.test}, {query.variant}.npy") for query in queries] for queries in group.sets]
    wanted = [n for n, paths in enumerate(files) if name in arguments.again or not all(map(is_complete, paths))]
    work = {"sets": wanted, "predictions": [files[n] for n in wanted], "options": options}
    return {"name": name, "method": methods.MODULES[name]} | work


def is_complete(path: str) -> bool:
    """Return whether a prediction is stored; its JSON file is written last."""
    return Path(path).exists() and Path(path).with_suffix(".json").exists()


def predict(arguments: argparse.Namespace, group: jobs.Group, tasks: list[dict[str, Any]], python: str) -> None:
    """Run the tasks that have sets to predict."""
    tasks = [task for task in tasks if task["sets"]]
    if not tasks:
        return
    with tempfile.TemporaryDirectory() as folder:
        needed = set().union(*(task["sets"] for task in tasks))
        sets = [group.write(n, Path(folder)) if n in needed else {} for n in range(len(group.sets))]
        job = {"sets": sets, "tasks": tasks, "limit": arguments.limit, "memory": int(arguments.memory * 1e9)}
        took = methods.run(job, Path(folder), python, threads=arguments.threads)
        for done in tasks:
            for paths in done["predictions"]:
                keep(group, done, paths, next(took))


def keep(group: jobs.Group, done: dict[str, Any], paths: list[str], took: dict[str, Any]) -> None:
    """Write a JSON file beside each prediction: method, query, seconds and memory."""
    trained = Path(paths[0]).stem
    print(f"{done['name']}, {group.reference}: {trained} {done['options'] | took}", file=sys.stderr, flush=True)
    about = {"method": done["name"], "reference": group.reference, "trained": trained} | done["options"] | took
    for query, path in zip(group.sets[took["set"]], paths, strict=True):
        Path(path).with_suffix(".json").write_text(json.dumps(about | query._asdict()))


def scored(arguments: argparse.Namespace, cells: dict[str, ad.AnnData], path: Path) -> list[dict[str, Any]]:
    """Return the scores of a prediction with its seconds and memory."""
    finding = json.loads(path.read_text())
    if finding["test"] not in arguments.tests or "error" in finding:
        return []
    test = data.TESTS[finding["test"]]
    truth = data.query(cells, test).obs["common"].astype(object)
    trained = {term for adata in data.training(cells, test.left_out).values() for term in adata.obs["common"]}
    values = scores.score(truth, np.load(path.with_suffix(".npy")), trained)
    return [finding | values._asdict() | {"tissue": test.tissue}]


if __name__ == "__main__":
    main()
