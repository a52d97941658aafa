"""Make tables of the predictions: calibration, known against novel types, few errors, and weights of neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cases
import data
import measures
import numpy as np
import pandas as pd
import peer_jobs
import scim_predictions
import scores
import tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import anndata as ad

    Cells = dict[str, ad.AnnData]

SCIM_COLUMNS = {
    "scim": ("label", "confidence"),
    "scim, common level allowed": ("level", "level_confidence"),
    "scim, atlas of the common level": ("coarse", "coarse_confidence"),
    "share of the plain weights": ("paper", "share"),
}
PEERS = ("LDA", "logistic regression", "kNN on PCA", "CellTypist")
HIGH_CONFIDENCE = 0.9
"""Confidence of scim's label, without ancestors, to compare with `max_error`."""
P_THRES = 0.5
"""Threshold of CellTypist's "prob match"."""
NEW = 0.2
"""Share of cells of novel types in the column "one in five new"."""


def of_fixed(cells: Cells, tests: list[str]) -> list[cases.Case]:
    """Return the cases of the models trained without one study."""
    return cases.plain(tests) + cases.unknown_types(cells, tests) + cases.other_tissue(tests)


def report(cells: Cells, tests: list[str], folder: Path, cap: int) -> str:
    """Return all tables."""
    found = confidences(cells, tests, folder, cap)
    chosen = cases.chosen(tests)
    every = unknown_each(cells, folder, cases.unknown_types(cells, tests), cap)
    parts = [
        ("Expected calibration error, 15 bins", by_test(found, measures.calibration_error)),
        ("Mean confidence less share of right labels", by_test(found, excess)),
        ("Right against wrong labels, AUROC", by_test(found, ranking)),
        ("Mean squared error of the confidence (Brier)", by_test(found, brier)),
        ("Share of right labels", by_test(found, lambda scored: float(scored.right.mean()))),
        (f"Known against unknown: all {every.shape[1] - 1} types, models fixed", unknown_means(every)),
        ("Known against unknown: selected types", unknown_each(cells, folder, chosen, cap)),
        ("Known against unknown: another tissue", unknown_each(cells, folder, cases.other_tissue(tests), cap)),
        ("At most a tenth of errors", few_errors(cells, tests, folder, cap)),
        ("Macro-F1", macro_f1(cells, tests, folder)),
        ("Packaged atlas, pbmc_2chem", packaged(cells)),
    ]
    return "\n\n".join(f"{title}\n\n{tables.markdown(table)}" for title, table in parts if len(table))


def confidences(cells: Cells, tests: list[str], folder: Path, cap: int) -> dict[str, dict[str, measures.Scored]]:
    """Return scored predictions by method and test, of the cells of known types; every cell has a label."""
    found: dict[str, dict[str, measures.Scored]] = {}
    for case in cases.plain(tests):
        true = cases.truth(cells, case)
        for name, (labels, confidence) in predictions(case, folder, cap).items():
            known = true["known"].to_numpy()
            scored = measures.score_predictions(true["truth"].to_numpy()[known], labels[known], confidence[known])
            found.setdefault(name, {})[case.test] = scored
    return {name: found[name] for name in (*SCIM_COLUMNS, *PEERS) if name in found}


def predictions(case: cases.Case, folder: Path, cap: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return labels and confidences of all methods for a test, or for a held-out study."""
    found = {}
    frame = scim_predictions.load(case, folder, retrained=False)
    if frame is not None:
        found |= {
            name: (frame[label].to_numpy(), frame[confidence].to_numpy())
            for name, (label, confidence) in SCIM_COLUMNS.items()
        }
    peers = peer_jobs.load(case, folder, cap)
    return found | pairs_of(peers)


def pairs_of(peers: pd.DataFrame) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return labels and confidences of each peer in a table."""
    names = [name for name in peers if f"{name} confidence" in peers]
    return {name: (peers[name].to_numpy(), peers[f"{name} confidence"].to_numpy()) for name in names}


def by_test(found: dict[str, dict[str, measures.Scored]], value: Callable[[measures.Scored], float]) -> pd.DataFrame:
    """Return methods x tests, and the means of the studies; tests of one study are averaged first."""
    rows = {name: {test: value(scored) for test, scored in tests.items()} for name, tests in found.items()}
    return with_means(pd.DataFrame(rows).T)


def with_means(table: pd.DataFrame) -> pd.DataFrame:
    """Return methods x tests with the means of blood studies, and of all."""
    table = table[[test for test in data.TESTS if test in table]]
    studies = table.T.groupby([data.TESTS[test].left_out for test in table]).mean().T
    blood = [data.TESTS[test].left_out for test in table if data.TESTS[test].tissue == "blood"]
    whole = table.assign(blood=studies[sorted(set(blood))].mean(axis=1, skipna=False))
    whole["all"] = studies.mean(axis=1, skipna=False)
    return whole


def excess(scored: measures.Scored) -> float:
    """Return the mean confidence less the share of right labels."""
    return float(scored.confidence.mean() - scored.right.mean())


def ranking(scored: measures.Scored) -> float:
    """Return the probability that a right label has a higher confidence than a wrong one."""
    p, right = scored.confidence, scored.right
    return measures.auroc(p[right], p[~right]) if right.any() and not right.all() else np.nan


def brier(scored: measures.Scored) -> float:
    """Return the mean squared difference of confidence and outcome."""
    return float(((scored.confidence - scored.right) ** 2).mean())


def novelty_scores(case: cases.Case, folder: Path, cap: int) -> dict[str, np.ndarray]:
    """Return the scores of all cells by method; a high score means a known type."""
    found = {}
    for retrained in (False, True):
        frame = scim_predictions.load(case, folder, retrained=retrained)
        what = "new model" if retrained else "model fixed"
        if frame is not None:
            found[f"scim, {what}"] = frame["confidence"].to_numpy()
            found[f"scim, {what}: distance"] = -frame["distance"].to_numpy()
            found[f"share of the plain weights, {what}"] = frame["share"].to_numpy()
    peers = peer_jobs.load(case, folder, cap)
    found |= {f"{name}{': distance' if name == 'NCA' else ''}": p for name, (_, p) in pairs_of(peers).items()}
    return found


def unknown_means(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean AUROC of the fixed models over tests and types, of all, of blood and of pancreas."""
    table = table[[name.endswith(("fixed", "fixed: distance")) for name in table.index]].drop(columns="mean")
    tissue = [data.TESTS[name.split()[0]].tissue for name in table]
    means = table.T.groupby(tissue).mean().T.assign(all=table.mean(axis=1))
    return means.assign(median=table.median(axis=1), least=table.min(axis=1))


def unknown_each(cells: Cells, folder: Path, selected: list[cases.Case], cap: int) -> pd.DataFrame:
    """Return the AUROC of known against unknown cells, methods x cases, and the mean."""
    rows: dict[str, dict[str, float]] = {}
    for case in selected:
        true = cases.truth(cells, case)
        known, unknown = true["known"].to_numpy(), true["unknown"].to_numpy()
        if not (known.any() and unknown.any()):
            continue
        for name, score in novelty_scores(case, folder, cap).items():
            rows.setdefault(name, {})[short(case)] = measures.auroc(score[known], score[unknown])
    table = pd.DataFrame(rows).T
    return table.assign(mean=table.mean(axis=1, skipna=False)) if len(table) else table


def short(case: cases.Case) -> str:
    """Return the head of a column."""
    what = cases.NAMES.get(case.without, case.without) if case.without else ""
    return f"{case.test} {what}".strip()


def few_errors(cells: Cells, tests: list[str], folder: Path, cap: int) -> pd.DataFrame:
    """Return coverage and errors of known cells and of cells of novel types, means of studies and of cases.

    `error` is the share of wrong labels of known cells; an ancestor of the true term counts as wrong, in `less above`
    as right. `one in five new` is the error of all labels if a fifth of the cells is of a novel type, with ancestors
    as right.
    """
    limits = {name: thresholds(cells, tests, folder, cap, name) for name in PEERS}
    known = selective_scores(cells, folder, cases.plain(tests), limits, cap)
    new = selective_scores(cells, folder, cases.chosen(tests), limits, cap)
    rows = {}
    for name in known | new:
        old = mean_of_studies(known[name.replace(", new model", "")])
        row = {"coverage": old["coverage"], "right": old["right"], "above": old["above"], "wrong": old["wrong"]}
        row["error"] = 1 - old["right"] / old["coverage"]
        row["less above"] = old["wrong"] / old["coverage"]
        if name in new:
            fresh = pd.DataFrame(new[name]).mean(axis=1)
            row |= {"new: unknown": 1 - fresh["coverage"], "new: above": fresh["above"], "new: wrong": fresh["wrong"]}
            wrong = (1 - NEW) * old["wrong"] + NEW * fresh["wrong"]
            row["one in five new"] = wrong / ((1 - NEW) * old["coverage"] + NEW * fresh["coverage"])
        limit = list(limits.get(name, {}).values())
        rows[name] = row | {"threshold": float(np.mean(limit)) if limit else np.nan}
    return pd.DataFrame(rows).T


def thresholds(cells: Cells, tests: list[str], folder: Path, cap: int, name: str) -> dict[str, float]:
    """Return the lowest confidence of a peer's labels by test: CellTypist's default, others by held-out studies."""
    if name == "CellTypist":
        return dict.fromkeys(tests, P_THRES)
    studies: dict[str, list[measures.Scored]] = {}
    for case in cases.held_out(cells, tests):
        found = pairs_of(peer_jobs.load(case, folder, cap))
        if name in found:
            true = cases.truth(cells, case)
            rows = true["known"].to_numpy()
            labels, p = (column[rows] for column in found[name])
            scored = measures.score_predictions(true["truth"].to_numpy()[rows], labels, p)
            studies.setdefault(case.test, []).append(scored)
    return {test: measures.threshold(held_out) for test, held_out in studies.items()}


def selective_scores(
    cells: Cells, folder: Path, selected: list[cases.Case], limits: dict[str, dict[str, float]], cap: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Return coverage and errors by method and case: of known cells, or of cells of the novel type."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for case in selected:
        true = cases.truth(cells, case)
        rows = true["unknown" if case.without else "known"].to_numpy()
        true, scored = true["truth"].to_numpy(), {}
        for retrained in (False, True) if case.without else (False,):
            frame = scim_predictions.load(case, folder, retrained=retrained)
            if frame is not None:
                labels, p = frame["limited"].to_numpy()[rows], frame["limited_confidence"].to_numpy()[rows]
                name = "scim, new model" if retrained else "scim"
                scored[name] = measures.score_predictions(true[rows], labels, p)
                labels, p = frame["label"].to_numpy()[rows], frame["confidence"].to_numpy()[rows]
                confident = measures.at_least(measures.score_predictions(true[rows], labels, p), HIGH_CONFIDENCE)
                scored[f"{name}, confidence >= {HIGH_CONFIDENCE}"] = confident
        for name, (labels, p) in pairs_of(peer_jobs.load(case, folder, cap)).items():
            if case.test in limits.get(name, {}):
                labelled = measures.score_predictions(true[rows], labels[rows], p[rows])
                scored[name] = measures.at_least(labelled, limits[name][case.test])
        for name, of_method in scored.items():
            found.setdefault(name, {})[case.name] = measures.selective(of_method)
    return found


def mean_of_studies(values: dict[str, dict[str, float]]) -> pd.Series:
    """Return the mean of studies; tests of one study are averaged first."""
    table = pd.DataFrame(values)
    return table.T.groupby([data.TESTS[test].left_out for test in table]).mean().mean()


def macro_f1(cells: Cells, tests: list[str], folder: Path) -> pd.DataFrame:
    """Return macro-F1 of balanced and plain weights of the same neighbours, and of the common level."""
    rows: dict[str, dict[str, float]] = {}
    columns = {"balanced": "label", "distance": "paper", "balanced, common level allowed": "level",
               "balanced, atlas of the common level": "coarse"}  # fmt: skip
    for case in cases.plain(tests):
        frame = scim_predictions.load(case, folder, retrained=False)
        if frame is None:
            continue
        true = cases.truth(cells, case)["truth"]
        trained = cases.trained(cells, case)
        for name, column in columns.items():
            value = scores.score(true, frame[column].to_numpy(dtype=object), trained).macro_f1
            rows.setdefault(name, {})[case.test] = value
    table = pd.DataFrame(rows).T
    return table.assign(mean=table.mean(axis=1)) if len(table) else table


def packaged(cells: Cells) -> pd.DataFrame:
    """Return calibration error, overconfidence and share of right labels of the packaged atlas by chemistry."""
    frame, rows = scim_predictions.packaged(cells), {}
    for test, part in frame.groupby("test"):
        scored = measures.score_predictions(
            part["truth"].to_numpy(), part["label"].to_numpy(), part["confidence"].to_numpy()
        )
        rows[test] = {"calibration error": measures.calibration_error(scored), "excess": excess(scored)}
        rows[test] |= {"right": float(scored.right.mean()), "above": float(scored.broader.mean())}
    return pd.DataFrame(rows).T
