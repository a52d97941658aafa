"""Whether confidences are probabilities, and whether they tell known from unknown cells: studies left out whole.

    python benchmarks/confidence/run.py [FOLDER] [--python ENVIRONMENT/bin/python] [--tests ...] [--peers ...]
    python benchmarks/confidence/run.py --no-answers --plot docs/_static/confidence.png  # of what was answered before

The tests are those of benchmarks/quality, and so is what is right: at the common level, the true term or one below it.
scim is trained once for each study left out, with the defaults of `scim.model.train` and seed 0, and asked with atlases
of the same cells; peers are trained for each question, on the genes that it shares with the other studies.

1. Calibration: every cell gets a label; cells whose type the training has count.
2. Known against unknown: a type and its relatives taken out of the atlas, or, for a few tests, of the training
   altogether; cells of the pancreas with a reference of blood, and reverse.
3. Answers with at most a tenth of errors: `max_error=0.1` of scim, a threshold of the peers at which studies held out
   of their training had no more, p_thres of CellTypist.
4. The balanced vote beside the plain one.

Peers can have an interpreter of their own (benchmarks/quality/environment.txt). Models and answers are kept under
`--data`, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

import _quality  # noqa: F401  (the next modules are there)
import data
import findings
import methods
import peer_jobs
import questions
import scim_answers

import scim

ANSWERS = Path(tempfile.gettempdir()) / "scim-bench" / "confidence"
PEERS = ("LDA", "logistic regression", "kNN on PCA", "CellTypist", "NCA")


def main() -> None:
    """Predict all queries, and print how good the predictions are."""
    arguments = parsed()
    warnings.filterwarnings("ignore")
    scim.settings.n_threads, scim.settings.progress = 1, False
    cells = data.read(arguments.folder)
    if not arguments.no_answers:
        ask_scim(arguments, cells)
        ask_peers(arguments, cells, able(arguments))
        predict_retrained(arguments, cells)
    print(findings.report(cells, arguments.tests, arguments.data, arguments.cap))
    if arguments.plot:
        import draw  # noqa: PLC0415  (only when asked)

        draw.reliability(findings.confidences(cells, arguments.tests, arguments.data, arguments.cap), arguments.plot)


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=data.FOLDER, help="of the studies")
    parser.add_argument("--tests", nargs="+", choices=data.TESTS, default=list(data.TESTS))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--python", default=sys.executable, help="interpreter of the peers")
    parser.add_argument("--data", type=Path, default=ANSWERS, help="folder of models and answers")
    parser.add_argument("--no-answers", action="store_true", help="judge what was answered before")
    parser.add_argument("--cap", type=int, default=0, help="cells of a type and study that peers get; 0: all")
    parser.add_argument("--limit", type=float, default=600, help="seconds for one training of peers with its answers")
    parser.add_argument("--memory", type=float, default=16, help="GB of address space for one training of peers")
    parser.add_argument("--plot", type=Path, help="where to draw reliability diagrams")
    return parser.parse_args()


def able(arguments: argparse.Namespace) -> list[str]:
    """Return the peers that the interpreter can run."""
    return [name for name in arguments.peers if name in methods.importable([name], arguments.python)]


def ask_scim(arguments: argparse.Namespace, cells: dict[str, data.ad.AnnData]) -> None:
    """Ask the models of the studies left out, with an atlas for each question."""
    for question in findings.of_fixed(cells, arguments.tests):
        scim_answers.answer(cells, question, arguments.data, retrained=False)


def predict_retrained(arguments: argparse.Namespace, cells: dict[str, data.ad.AnnData]) -> None:
    """Ask models that were trained without the types and tissues that are unknown."""
    for question in questions.chosen(arguments.tests) + questions.other_tissue(arguments.tests):
        scim_answers.answer(cells, question, arguments.data, retrained=True)


def ask_peers(arguments: argparse.Namespace, cells: dict[str, data.ad.AnnData], names: list[str]) -> None:
    """Ask the peers, each question with a training of its own."""
    terms = peer_jobs.Terms(arguments.python, arguments.limit, arguments.memory)
    sure = [name for name in names if name != "NCA"]  # it has no probability
    thresholded = [name for name in sure if name != "CellTypist"]  # it brings one
    for question in questions.plain(arguments.tests):
        peer_jobs.answer(cells, question, sure, arguments.data, terms, cap=arguments.cap)
    for question in questions.chosen(arguments.tests) + questions.other_tissue(arguments.tests):
        peer_jobs.answer(cells, question, names, arguments.data, terms, cap=arguments.cap)
    for question in questions.held_out(cells, arguments.tests):
        peer_jobs.answer(cells, question, thresholded, arguments.data, terms, cap=arguments.cap)


if __name__ == "__main__":
    main()
