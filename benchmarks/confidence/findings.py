"""Predictions to tables: calibration, known against unknown, answers with few errors, and two votes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import data
import measures
import numpy as np
import pandas as pd
import peer_jobs
import questions
import scim_answers
import scores
import tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import anndata as ad

    Cells = dict[str, ad.AnnData]

OWN = {
    "scim": ("label", "confidence"),
    "scim, asked for the common level": ("level", "level_confidence"),
    "scim, atlas of the common level": ("coarse", "coarse_confidence"),
    "share of the plain vote": ("paper", "share"),
}
PEERS = ("LDA", "logistic regression", "kNN on PCA", "CellTypist")
SURE = 0.9
"""Of scim's label, without terms above it, beside what `max_error` says."""
P_THRES = 0.5
"""Of CellTypist's "prob match"."""
NEW = 0.2
"""Share of cells of new types for which the error of all is stated."""


def of_fixed(cells: Cells, tests: list[str]) -> list[questions.Question]:
    """Return the questions to the models of the studies left out."""
    return questions.plain(tests) + questions.unknown_types(cells, tests) + questions.other_tissue(tests)


def report(cells: Cells, tests: list[str], folder: Path, cap: int) -> str:
    """Return all tables of what is answered."""
    found = confidences(cells, tests, folder, cap)
    chosen = questions.chosen(tests)
    every = unknown_each(cells, folder, questions.unknown_types(cells, tests), cap)
    parts = [
        ("Expected calibration error, 15 bins", by_test(found, measures.calibration_error)),
        ("Mean confidence less share of right answers", by_test(found, excess)),
        ("Right against wrong answers, AUROC", by_test(found, ranking)),
        ("Mean squared error of the confidence (Brier)", by_test(found, brier)),
        ("Share of right answers", by_test(found, lambda each: float(each.right.mean()))),
        (f"Known against unknown: all {every.shape[1] - 1} types, models fixed", unknown_means(every)),
        ("Known against unknown: some types, each", unknown_each(cells, folder, chosen, cap)),
        ("Known against unknown: another tissue", unknown_each(cells, folder, questions.other_tissue(tests), cap)),
        ("At most a tenth of errors", few_errors(cells, tests, folder, cap)),
        ("Macro-F1", macro_f1(cells, tests, folder)),
        ("Packaged atlas, pbmc_2chem", packaged(cells)),
    ]
    return "\n\n".join(f"{title}\n\n{tables.markdown(table)}" for title, table in parts if len(table))


def confidences(cells: Cells, tests: list[str], folder: Path, cap: int) -> dict[str, dict[str, measures.Judged]]:
    """Return the answers by method and test: every cell has one, and those count whose type the training has."""
    found: dict[str, dict[str, measures.Judged]] = {}
    for question in questions.plain(tests):
        true = questions.truth(cells, question)
        for name, (labels, confidence) in said(question, folder, cap).items():
            known = true["known"].to_numpy()
            answers = measures.judged(true["truth"].to_numpy()[known], labels[known], confidence[known])
            found.setdefault(name, {})[question.test] = answers
    return {name: found[name] for name in (*OWN, *PEERS) if name in found}


def said(question: questions.Question, folder: Path, cap: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return labels and confidences of all methods that have answered a test, or a study held out."""
    found = {}
    own = scim_answers.kept(question, folder, retrained=False)
    if own is not None:
        found |= {name: (own[one].to_numpy(), own[two].to_numpy()) for name, (one, two) in OWN.items()}
    peers = peer_jobs.kept(question, folder, cap)
    return found | pairs_of(peers)


def pairs_of(peers: pd.DataFrame) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return labels and confidences of each peer in a table."""
    names = [name for name in peers if f"{name} confidence" in peers]
    return {name: (peers[name].to_numpy(), peers[f"{name} confidence"].to_numpy()) for name in names}


def by_test(found: dict[str, dict[str, measures.Judged]], value: Callable[[measures.Judged], float]) -> pd.DataFrame:
    """Return methods x tests, and the means of the studies, those of one study being averaged first."""
    rows = {name: {test: value(answers) for test, answers in each.items()} for name, each in found.items()}
    return with_means(pd.DataFrame(rows).T)


def with_means(table: pd.DataFrame) -> pd.DataFrame:
    """Return methods x tests with the means of blood studies, and of all."""
    table = table[[test for test in data.TESTS if test in table]]
    studies = table.T.groupby([data.TESTS[test].left_out for test in table]).mean().T
    blood = [data.TESTS[test].left_out for test in table if data.TESTS[test].tissue == "blood"]
    whole = table.assign(blood=studies[sorted(set(blood))].mean(axis=1, skipna=False))
    whole["all"] = studies.mean(axis=1, skipna=False)
    return whole


def excess(answers: measures.Judged) -> float:
    """Return how much surer the answers are than right."""
    return float(answers.confidence.mean() - answers.right.mean())


def ranking(answers: measures.Judged) -> float:
    """Return how often a right answer is surer than a wrong one."""
    p, right = answers.confidence, answers.right
    return measures.auroc(p[right], p[~right]) if right.any() and not right.all() else np.nan


def brier(answers: measures.Judged) -> float:
    """Return the mean squared distance of confidence from what happened."""
    return float(((answers.confidence - answers.right) ** 2).mean())


def scored(question: questions.Question, folder: Path, cap: int) -> dict[str, np.ndarray]:
    """Return the scores of all cells by what gave them: high is known."""
    found = {}
    for retrained in (False, True):
        own = scim_answers.kept(question, folder, retrained=retrained)
        what = "new model" if retrained else "model fixed"
        if own is not None:
            found[f"scim, {what}"] = own["confidence"].to_numpy()
            found[f"scim, {what}: distance"] = -own["distance"].to_numpy()
            found[f"share of the plain vote, {what}"] = own["share"].to_numpy()
    peers = peer_jobs.kept(question, folder, cap)
    found |= {f"{name}{': distance' if name == 'NCA' else ''}": p for name, (_, p) in pairs_of(peers).items()}
    return found


def unknown_means(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean AUROC of the fixed models over tests and types, and those of blood and pancreas apart."""
    table = table[[name.endswith(("fixed", "fixed: distance")) for name in table.index]].drop(columns="mean")
    tissue = [data.TESTS[name.split()[0]].tissue for name in table]
    means = table.T.groupby(tissue).mean().T.assign(all=table.mean(axis=1))
    return means.assign(median=table.median(axis=1), least=table.min(axis=1))


def unknown_each(cells: Cells, folder: Path, asked: list[questions.Question], cap: int) -> pd.DataFrame:
    """Return the AUROC of known against unknown cells, methods x questions, and the mean."""
    rows: dict[str, dict[str, float]] = {}
    for question in asked:
        true = questions.truth(cells, question)
        known, unknown = true["known"].to_numpy(), true["unknown"].to_numpy()
        if not (known.any() and unknown.any()):
            continue
        for name, score in scored(question, folder, cap).items():
            rows.setdefault(name, {})[short(question)] = measures.auroc(score[known], score[unknown])
    table = pd.DataFrame(rows).T
    return table.assign(mean=table.mean(axis=1, skipna=False)) if len(table) else table


def short(question: questions.Question) -> str:
    """Return the head of a column."""
    what = questions.NAMES.get(question.without, question.without) if question.without else ""
    return f"{question.test} {what}".strip()


def few_errors(cells: Cells, tests: list[str], folder: Path, cap: int) -> pd.DataFrame:
    """Return what is answered, and how, of known cells and of cells of new types, means of studies and of questions.

    `error` is that of the answers to known cells, a term above the true one being wrong, `less above` being right; `one
    in five new`: of all answers, if so many cells are of a new type; a term above the true one is right.
    """
    limits = {name: thresholds(cells, tests, folder, cap, name) for name in PEERS}
    known = kept_answers(cells, folder, questions.plain(tests), limits, cap)
    new = kept_answers(cells, folder, questions.chosen(tests), limits, cap)
    rows = {}
    for name in known | new:
        old = mean_of_studies(known[name.replace(", new model", "")])
        row = {"answered": old["answered"], "right": old["right"], "above": old["above"], "wrong": old["wrong"]}
        row["error"] = 1 - old["right"] / old["answered"]
        row["less above"] = old["wrong"] / old["answered"]
        if name in new:
            fresh = pd.DataFrame(new[name]).mean(axis=1)
            row |= {"new: unknown": 1 - fresh["answered"], "new: above": fresh["above"], "new: wrong": fresh["wrong"]}
            wrong = (1 - NEW) * old["wrong"] + NEW * fresh["wrong"]
            row["one in five new"] = wrong / ((1 - NEW) * old["answered"] + NEW * fresh["answered"])
        limit = list(limits.get(name, {}).values())
        rows[name] = row | {"threshold": float(np.mean(limit)) if limit else np.nan}
    return pd.DataFrame(rows).T


def thresholds(cells: Cells, tests: list[str], folder: Path, cap: int, name: str) -> dict[str, float]:
    """Return the least confidence of a peer's answers by test: of CellTypist its own, of others by studies held out."""
    if name == "CellTypist":
        return dict.fromkeys(tests, P_THRES)
    studies: dict[str, list[measures.Judged]] = {}
    for question in questions.held_out(cells, tests):
        found = pairs_of(peer_jobs.kept(question, folder, cap))
        if name in found:
            true = questions.truth(cells, question)
            rows = true["known"].to_numpy()
            labels, p = (column[rows] for column in found[name])
            answers = measures.judged(true["truth"].to_numpy()[rows], labels, p)
            studies.setdefault(question.test, []).append(answers)
    return {test: measures.threshold(each) for test, each in studies.items()}


def kept_answers(
    cells: Cells, folder: Path, asked: list[questions.Question], limits: dict[str, dict[str, float]], cap: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Return by method and question what is answered: of known cells, or of those of the type that was taken out."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for question in asked:
        true = questions.truth(cells, question)
        rows = true["unknown" if question.without else "known"].to_numpy()
        true, answers = true["truth"].to_numpy(), {}
        for retrained in (False, True) if question.without else (False,):
            own = scim_answers.kept(question, folder, retrained=retrained)
            if own is not None:
                said, p = own["said"].to_numpy()[rows], own["said_confidence"].to_numpy()[rows]
                name = "scim, new model" if retrained else "scim"
                answers[name] = measures.judged(true[rows], said, p)
                labels, p = own["label"].to_numpy()[rows], own["confidence"].to_numpy()[rows]
                sure = measures.only(measures.judged(true[rows], labels, p), SURE)
                answers[f"{name}, confidence >= {SURE}"] = sure
        for name, (labels, p) in pairs_of(peer_jobs.kept(question, folder, cap)).items():
            if question.test in limits.get(name, {}):
                each = measures.judged(true[rows], labels[rows], p[rows])
                answers[name] = measures.only(each, limits[name][question.test])
        for name, each in answers.items():
            found.setdefault(name, {})[question.name] = measures.selective(each)
    return found


def mean_of_studies(values: dict[str, dict[str, float]]) -> pd.Series:
    """Return the mean of studies, tests of one being averaged first."""
    table = pd.DataFrame(values)
    return table.T.groupby([data.TESTS[test].left_out for test in table]).mean().mean()


def macro_f1(cells: Cells, tests: list[str], folder: Path) -> pd.DataFrame:
    """Return macro-F1 of the balanced and the plain vote of the same neighbours, and of the common level."""
    rows: dict[str, dict[str, float]] = {}
    columns = {"balanced": "label", "distance": "paper", "balanced, asked for the common level": "level",
               "balanced, atlas of the common level": "coarse"}  # fmt: skip
    for question in questions.plain(tests):
        own = scim_answers.kept(question, folder, retrained=False)
        if own is None:
            continue
        true = questions.truth(cells, question)["truth"]
        trained = questions.trained(cells, question)
        for name, column in columns.items():
            value = scores.score(true, own[column].to_numpy(dtype=object), trained).macro_f1
            rows.setdefault(name, {})[question.test] = value
    table = pd.DataFrame(rows).T
    return table.assign(mean=table.mean(axis=1)) if len(table) else table


def packaged(cells: Cells) -> pd.DataFrame:
    """Return calibration error, excess of confidence and share of right answers of the packaged atlas by chemistry."""
    frame, rows = scim_answers.packaged(cells), {}
    for test, some in frame.groupby("test"):
        each = measures.judged(some["truth"].to_numpy(), some["label"].to_numpy(), some["confidence"].to_numpy())
        rows[test] = {"calibration error": measures.calibration_error(each), "excess": excess(each)}
        rows[test] |= {"right": float(each.right.mean()), "above": float(each.broader.mean())}
    return pd.DataFrame(rows).T
