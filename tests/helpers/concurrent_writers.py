"""Simultaneous writers: the data that each appended, against the data that it appends alone."""

from __future__ import annotations

import platform
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

import scim
from helpers import changes
from helpers.crashes import check_clean
from helpers.state import State, differences
from scim.atlas.soma import read_counts

if TYPE_CHECKING:
    from pathlib import Path


def studies_of(path: Path) -> dict[str, State]:
    """Return the content of each study of an atlas, independent of ids of cells and the order of genes and columns."""
    with scim.atlas.open(path) as atlas:
        obs, experiment = atlas.obs().astype(object), atlas.snapshot.experiment
        genes = experiment.ms["RNA"].var.read().concat().to_pandas().set_index("soma_joinid")["gene_id"].sort_index()
        counts, order = (
            read_counts(experiment, 0, atlas.snapshot.manifest.n_rows).toarray(),
            np.argsort(genes.to_numpy()),
        )
        studies = {}
        for study, rows in obs.groupby("study"):
            ids = rows.index.to_numpy()
            some = counts[ids][:, order]
            hits = atlas.index.query(atlas.embeddings(ids), 1, allowed=ids)
            studies[str(study)] = {
                "cells": rows["cell_id"].tolist(),
                "labels": rows["label"].tolist(),
                "obs": {name: rows[name].tolist() for name in sorted(rows) if rows[name].notna().all()},
                "embeddings": atlas.embeddings(ids),
                "counts": some[:, some.any(axis=0)],
                "genes": genes.to_numpy()[order][some.any(axis=0)].tolist(),
                "found": (hits.ids[:, 0] == ids).tolist(),
            }
        return studies


def alone(workers: changes.Workers, base: Path, room: Path, n_writers: int = changes.N_WRITERS) -> dict[str, State]:
    """Return the studies that each writer appends alone, and the studies before."""
    studies = studies_of(base)
    for number in range(n_writers):
        path = changes.copy_atlas(base, room / f"alone{number}")
        result = workers.run(change=f"writer_{number}", uri=str(path), inputs=str(base.parent))
        assert result["error"] is None, result
        studies |= {name: state for name, state in studies_of(path).items() if name not in studies}
    return studies


def trial(
    workers: changes.Workers,
    base: Path,
    expected: dict[str, State],
    room: Path,
    n_writers: int,
    *,
    timeout: float,
    dies: int = 0,
) -> Counter[str]:
    """Append by simultaneous writers, and check the atlas.

    Parameters
    ----------
    timeout
        Seconds for which each waits for the others.
    dies
        The last writer is killed when it writes its progress for the n-th time; 0: it is not killed.
    """
    path = changes.copy_atlas(base, room)
    begin = time.time() + 0.5
    jobs: list[dict[str, Any]] = [
        {
            "change": f"writer_{number}",
            "uri": str(path),
            "inputs": str(base.parent),
            "timeout": timeout,
            "begin": begin,
            "result": str(room / f"result{number}.json"),
        }
        for number in range(n_writers)
    ]
    if dies:
        where = "scim.atlas.commit._transaction:Transaction._write_journal"
        jobs[-1]["kills"] = [{"where": where, "call": dies, "when": "after"}]
    ended = Counter[str]()
    there = {"one", "two"}
    for number, result in enumerate(workers.all(jobs)):
        if result["status"] == -9:
            ended["killed"] += 1
        elif result["error"] is None:
            ended["succeeded"] += 1
            there.add(f"writer {number}")
        else:
            assert timeout < 1, result
            _check_refusal(result["error"])
            ended["refused by the lock"] += 1
    assert ended["succeeded"], "no writer succeeded"
    _check_studies(path, {name: expected[name] for name in there}, may_undo=bool(dies))
    return ended


def _check_refusal(error: dict[str, Any]) -> None:
    assert "LockedError" in error["type"], error
    for part in (platform.node(), "process", "append of 40 cells", "last heartbeat"):
        assert part in error["text"], error


def _check_studies(path: Path, expected: dict[str, State], *, may_undo: bool) -> None:
    studies = studies_of(path)
    assert set(studies) == set(expected), f"there are {sorted(studies)}, expected {sorted(expected)}"
    for name, state in studies.items():
        wrong = differences(state, expected[name])
        assert not wrong, f"{wrong} of {name!r} are not what its writer appended"
    problems = [problem for problem in scim.atlas.verify(path) if not (may_undo and problem.part == "leftover")]
    assert not problems, [str(problem) for problem in problems]
    if not may_undo:
        check_clean(path)
