"""Measure the calibration of confidences, and how they separate known from unknown cells, on held-out studies.

    python benchmarks/confidence/run.py [FOLDER] [--python ENVIRONMENT/bin/python] [--tests ...] [--peers ...]
    python benchmarks/confidence/run.py --no-predictions --plot docs/_static/confidence.png  # of stored predictions

The tests and the scoring are those of benchmarks/quality: at the common level, the true term or a descendant is right.
scim is trained once for each held-out study, with the defaults of `scim.model.train` and seed 0, and predicts with
atlases of the same cells; peers are trained for each case, on the genes that it shares with the other studies.

1. Calibration: every cell gets a label; cells whose type is in the training count.
2. Known against unknown: a type and its related types are removed from the atlas, or, for a few tests, from the
   training too; cells of the pancreas with a reference of blood, and the reverse.
3. At most a tenth of errors: `max_error=0.1` of scim, a threshold of the peers at which held-out studies
   had at most a tenth, p_thres of CellTypist.
4. Balanced beside plain weights.

Peers can have another interpreter (benchmarks/quality/environment.txt). Models and predictions are stored under
`--data`, so an interrupted run resumes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

import _quality  # noqa: F401  (path of the next modules)
import cases
import data
import findings
import methods
import peer_jobs
import scim_predictions

import scim

PREDICTIONS = Path(tempfile.gettempdir()) / "scim-bench" / "confidence"
PEERS = ("LDA", "logistic regression", "kNN on PCA", "CellTypist", "NCA")


def main() -> None:
    """Predict all queries, and print the scores."""
    arguments = parsed()
    warnings.filterwarnings("ignore")
    scim.settings.n_threads, scim.settings.progress = 1, False
    cells = data.read(arguments.folder)
    if not arguments.no_predictions:
        predict_scim(arguments, cells)
        predict_peers(arguments, cells, runnable(arguments))
        predict_retrained(arguments, cells)
    print(findings.report(cells, arguments.tests, arguments.data, arguments.cap))
    if arguments.plot:
        import draw  # noqa: PLC0415  (only with --plot)

        draw.reliability(findings.confidences(cells, arguments.tests, arguments.data, arguments.cap), arguments.plot)


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=data.FOLDER, help="of the studies")
    parser.add_argument("--tests", nargs="+", choices=data.TESTS, default=list(data.TESTS))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--python", default=sys.executable, help="interpreter of the peers")
    parser.add_argument("--data", type=Path, default=PREDICTIONS, help="folder of models and predictions")
    parser.add_argument("--no-predictions", action="store_true", help="score stored predictions only")
    parser.add_argument("--cap", type=int, default=0, help="training cells per type and study for the peers; 0: all")
    parser.add_argument(
        "--limit", type=float, default=600, help="seconds for one training of peers with its predictions"
    )
    parser.add_argument("--memory", type=float, default=16, help="GB of address space for one training of peers")
    parser.add_argument("--plot", type=Path, help="where to draw reliability diagrams")
    return parser.parse_args()


def runnable(arguments: argparse.Namespace) -> list[str]:
    """Return the peers that the interpreter can run."""
    return [name for name in arguments.peers if name in methods.importable([name], arguments.python)]


def predict_scim(arguments: argparse.Namespace, cells: dict[str, data.ad.AnnData]) -> None:
    """Predict by the models trained without one study, with an atlas for each case."""
    for case in findings.of_fixed(cells, arguments.tests):
        scim_predictions.predict(cells, case, arguments.data, retrained=False)


def predict_retrained(arguments: argparse.Namespace, cells: dict[str, data.ad.AnnData]) -> None:
    """Predict by models trained without the unknown types and tissues."""
    for case in cases.chosen(arguments.tests) + cases.other_tissue(arguments.tests):
        scim_predictions.predict(cells, case, arguments.data, retrained=True)


def predict_peers(arguments: argparse.Namespace, cells: dict[str, data.ad.AnnData], names: list[str]) -> None:
    """Predict by the peers, which are trained for each case."""
    limits = peer_jobs.Limits(arguments.python, arguments.limit, arguments.memory)
    probabilistic = [name for name in names if name != "NCA"]  # NCA has no probability
    thresholded = [name for name in probabilistic if name != "CellTypist"]  # CellTypist has a threshold
    for case in cases.plain(arguments.tests):
        peer_jobs.predict(cells, case, probabilistic, arguments.data, limits, cap=arguments.cap)
    for case in cases.chosen(arguments.tests) + cases.other_tissue(arguments.tests):
        peer_jobs.predict(cells, case, names, arguments.data, limits, cap=arguments.cap)
    for case in cases.held_out(cells, arguments.tests):
        peer_jobs.predict(cells, case, thresholded, arguments.data, limits, cap=arguments.cap)


if __name__ == "__main__":
    main()
