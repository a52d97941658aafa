"""Handing questions to the peers, in a process of another interpreter, and keeping what they say."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import handover
import methods
import numpy as np
import pandas as pd
import questions

if TYPE_CHECKING:
    import anndata as ad

SETS = (("LDA", "kNN on PCA", "NCA"), ("logistic regression", "CellTypist"))
"""Peers that read the same genes, and are run one after the other."""


class Terms(NamedTuple):
    """What a peer may take."""

    python: str
    limit: float  # seconds for a training with its answers
    memory: float  # GB of address space


def kept(question: questions.Question, folder: Path, cap: int) -> pd.DataFrame:
    """Return what peers said of all queries of a question: of each a column of its name, and one of its confidence.

    A peer that failed, or was not asked yet, has none.
    """
    columns = {}
    for first in sorted((folder / f"peers {cap}").glob(f"{question.name}, * 0.npy")):
        names = first.name.removeprefix(f"{question.name}, ").removesuffix(" 0.npy")
        parts = [path_of(first.with_name(f"{question.name}, {names}"), n) for n in range(1 + question.other_tissue)]
        if not all(part.exists() for part in parts):
            continue
        table = np.concatenate([np.load(part) for part in parts])
        for place, name in enumerate(names.split("+")):
            columns[name] = table[:, 2 * place]
            columns[f"{name} confidence"] = table[:, 2 * place + 1].astype(float)
    return pd.DataFrame(columns)


def answer(
    cells: dict[str, ad.AnnData],
    question: questions.Question,
    names: list[str],
    folder: Path,
    terms: Terms,
    *,
    cap: int = 0,
) -> None:
    """Ask the peers of these names a question, unless their answers are in the folder."""
    sets = [tuple(name for name in names if name in some) for some in SETS]
    paths = [folder / f"peers {cap}" / f"{question.name}, {'+'.join(some)}" for some in sets]
    numbers = range(1 + question.other_tissue)
    left = [at for at, some in enumerate(sets) if some and not all(path_of(paths[at], n).exists() for n in numbers)]
    if left:
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        work = [(sets[at], [str(path_of(paths[at], n)) for n in numbers]) for at in left]
        _run(cells, question, work, terms, cap)


def path_of(path: Path, query: int) -> Path:
    """Return where the answers to one of the queries are."""
    return path.with_name(f"{path.name} {query}.npy")


def _run(
    cells: dict[str, ad.AnnData],
    question: questions.Question,
    work: list[tuple[tuple[str, ...], list[str]]],
    terms: Terms,
    cap: int,
) -> None:
    """Write the cells, let the worker train and answer, and say what it took."""
    with tempfile.TemporaryDirectory() as folder:
        train, queries = handed_over(cells, question, cap)
        written = {"label_key": "common"}
        written["train"] = [_written(adata, Path(folder) / f"train-{n}.h5ad") for n, adata in enumerate(train)]
        written["tests"] = [_written(adata, Path(folder) / f"test-{n}.h5ad") for n, adata in enumerate(queries)]
        tasks = [
            {"method": "peer_answers", "sets": [0], "answers": [paths], "options": {"seed": 0, "names": list(some)}}
            for some, paths in work
        ]
        job = {"sets": [written], "tasks": tasks, "limit": terms.limit, "memory": int(terms.memory * 1e9)}
        os.environ["PYTHONPATH"] = str(Path(__file__).parent)
        for (some, _), took in zip(work, methods.run(job, Path(folder), terms.python, threads=1), strict=True):
            print(f"{', '.join(some)}: {question.name} {took}", file=sys.stderr, flush=True)


def handed_over(
    cells: dict[str, ad.AnnData], question: questions.Question, cap: int
) -> tuple[list[ad.AnnData], list[ad.AnnData]]:
    """Return training cells and queries with the genes that all share, chosen as for the whole test."""
    asked = questions.asked(cells, question)
    whole = question._replace(held="")
    files, genes = handover.shared(questions.training(cells, whole), questions.asked(cells, whole)[0])
    for adata in asked[1:]:
        genes = sorted(set(genes) & handover.measured(adata))
    train = questions.training(cells, question)
    some = questions.capped({name: train[name] for name in files if name in train}, cap)
    return [handover.aligned(adata, genes) for adata in some.values()], [handover.aligned(q, genes) for q in asked]


def _written(adata: ad.AnnData, path: Path) -> str:
    """Write cells with the columns that peers read."""
    adata.obs = adata.obs[["label", "common", "study"]].astype(object)
    adata.write_h5ad(path)
    return str(path)
