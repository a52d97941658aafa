"""Make the tables of the tissues: novel cells, known cells of other tissues, blood and pancreas, calibration, F1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import data
import measures
import numpy as np
import pandas as pd
import scores
import tissue_cases
from tissue_panels import WHOLE

import scim

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tissue_predictions import Predictions

LEAST_CELLS = 15
"""Queries with fewer cells, of a novel type or of known types, do not count."""
LEUKOCYTE = "CL:0000738"
TESTS = tuple(data.TESTS)
TISSUES = tuple(tissue_cases.TISSUE_FILES)
LEFT_OUT = ("zheng", "kong", "he", "spacexr", "wu", "kim", "heart", "brain", "pancreas")
LINEAGES = tuple(case.name for case in tissue_cases.LINEAGES)
BLOOD_ALONE = ("blood and pancreas",)


def report(found: Predictions) -> dict[str, pd.DataFrame]:
    """Return the tables of one method by title."""
    parts = {}
    cases = {"studies": LEFT_OUT, "lineages of blood": LINEAGES, "no other tissue in the training": BLOOD_ALONE}
    for what, names in cases.items():
        parts[f"Novel cells at the default settings: {what}"] = novel_labels(found, names)
        parts[f"Novel against known cells, AUROC: {what}"] = novel_against_known(found, names)
    parts["Immune cells of known types in other tissues"] = answers(found, tissue_cases.IMMUNE, immune=True)
    parts["Known types of blood and pancreas"] = answers(found, TESTS)
    parts["Known types of other tissues"] = answers(found, TISSUES)
    parts["Expected calibration error: blood and pancreas"] = calibration(found, TESTS)
    parts["Expected calibration error: other tissues"] = calibration(found, TISSUES)
    parts["Macro-F1, every cell labelled"] = macro_f1(found)
    parts["F1 by class, every cell labelled"] = f1_by_class(found)
    return {title: table for title, table in parts.items() if len(table)}


def summary(found: Predictions, variant: str = WHOLE) -> dict[str, float]:
    """Return the means of the tables of one method, or of one gene panel."""
    novel, ranked = novel_labels(found, LEFT_OUT, variant), novel_against_known(found, LEFT_OUT, variant)
    lineages, of_lineages = novel_labels(found, LINEAGES, variant), novel_against_known(found, LINEAGES, variant)
    immune = answers(found, tissue_cases.IMMUNE, variant, immune=True)
    blood = answers(found, TESTS, variant)
    return {
        "novel: wrong": _last(novel, "wrong"),
        "AUROC, blood and pancreas": _last(ranked, "blood and pancreas"),
        "AUROC, all others": _last(ranked, "all other studies"),
        "AUROC, same study": _last(ranked, "same study"),
        "lineages: wrong": _last(lineages, "wrong"),
        "lineages: AUROC": _last(of_lineages, "same study"),
        "immune: answered": _last(immune, "answered"),
        "immune: wrong": _last(immune, "wrong among answers"),
        "blood and pancreas: answered": _last(blood, "answered"),
        "blood and pancreas: wrong": _last(blood, "wrong among answers"),
        "calibration: blood and pancreas": _last(calibration(found, TESTS, variant), "related"),
        "calibration: other tissues": _last(calibration(found, TISSUES, variant), "related"),
        "macro-F1": _last(macro_f1(found, [variant]).T, variant),
    }


def _last(table: pd.DataFrame, column: str) -> float:
    """Return the mean of a table."""
    return float(table[column].iloc[-1]) if len(table) else np.nan


def mean_of_studies(table: pd.DataFrame, *, donors: bool = False) -> pd.DataFrame:
    """Append the mean; queries of one study are averaged first. Donors of the pancreas can count as studies."""
    if table.empty:
        return table
    studies = [tissue_cases.QUERIES[name.split(": ")[-1]].study for name in table.index]
    studies = table.groupby([study if donors else study.split()[0] for study in studies]).mean()
    return pd.concat([table, studies.mean().to_frame("mean").T])


def selective(frame: pd.DataFrame) -> dict[str, float]:
    """Return the shares of cells without a label, with an ancestor of the true term, and with a wrong label."""
    none = np.zeros(len(frame))
    scored = measures.score_predictions(frame["truth"].to_numpy(), frame["limited"].to_numpy(), none)
    shares = measures.selective(scored)
    answered = shares["coverage"]
    rates = {"n_cells": len(frame), "answered": answered, "above": shares["above"], "wrong": shares["wrong"]}
    return rates | {"wrong among answers": shares["wrong"] / answered if answered else np.nan}


def novel_labels(found: Predictions, names: Iterable[str], variant: str = WHOLE) -> pd.DataFrame:
    """Return what novel cells are labelled; an ancestor of the true term is not wrong."""
    rows = {}
    for (case, query), frame in found.of_cases(names, variant).items():
        novel = frame[frame["novel"]]
        if len(novel) >= LEAST_CELLS:
            mean = {"confidence": novel["confidence"].mean(), "novelty": novel["novelty"].mean()}
            rows[_row(case, query)] = selective(novel) | mean
    return mean_of_studies(pd.DataFrame(rows).T)


def novel_against_known(found: Predictions, names: Iterable[str], variant: str = WHOLE) -> pd.DataFrame:
    """Return the AUROC of novelty: cells of novel types against known types of other studies and of the same."""
    others = {name: _known(frame) for name, frame in found.of_queries(tissue_cases.QUERIES, variant).items()}
    rows = {}
    for (case, query), frame in found.of_cases(names, variant).items():
        novel = frame["novelty"][frame["novel"]].to_numpy()
        if len(novel) < LEAST_CELLS:
            continue
        rows[_row(case, query)] = {
            "blood and pancreas": _mean_auroc(novel, others, TESTS, query),
            "all other studies": _mean_auroc(novel, others, tissue_cases.QUERIES, query),
            "same study": _auroc(_known(frame), novel),
        }
    return mean_of_studies(pd.DataFrame(rows).T)


def _row(case: str, query: str) -> str:
    return query if case == query else f"{case}: {query}"


def _known(frame: pd.DataFrame) -> np.ndarray:
    return frame["novelty"][frame["known"]].to_numpy()


def _mean_auroc(novel: np.ndarray, others: dict[str, np.ndarray], names: Iterable[str], query: str) -> float:
    """Return the AUROC against the known cells of other studies, which have equal weights."""
    study = tissue_cases.QUERIES[query].study.split()[0]
    rows = {
        name: {"auroc": _auroc(others[name], novel)}
        for name in names
        if name in others and tissue_cases.QUERIES[name].study.split()[0] != study
    }
    return float(mean_of_studies(pd.DataFrame(rows).T)["auroc"].iloc[-1]) if rows else np.nan


def _auroc(known: np.ndarray, novel: np.ndarray) -> float:
    return measures.auroc(-known, -novel) if len(known) >= LEAST_CELLS else np.nan


def answers(found: Predictions, names: Iterable[str], variant: str = WHOLE, *, immune: bool = False) -> pd.DataFrame:
    """Return the shares of labelled and of wrongly labelled cells of known types."""
    wanted = {LEUKOCYTE} | scim.ontology.descendants(LEUKOCYTE)
    rows = {}
    for name, frame in found.of_queries(names, variant).items():
        known = frame[frame["known"] & (frame["truth"].isin(wanted) | (not immune))]
        if len(known) >= LEAST_CELLS:
            rows[name] = selective(known)
    return mean_of_studies(pd.DataFrame(rows).T, donors=True)


def calibration(found: Predictions, names: Iterable[str], variant: str = WHOLE) -> pd.DataFrame:
    """Return the expected calibration error of known cells.

    `descendants`: the true term or one below it is right. `related`: one above it too, as the confidence is defined.
    `common level`: terms of the common level are allowed only. Every cell gets a label.
    """
    rows = {}
    for name, frame in found.of_queries(names, variant).items():
        known = frame[frame["known"]]
        if len(known) >= LEAST_CELLS:
            rows[name] = _calibration_errors(known)
    return mean_of_studies(pd.DataFrame(rows).T, donors=True)


def _calibration_errors(known: pd.DataFrame) -> dict[str, float]:
    columns = {"descendants": ("label", "confidence"), "common level": ("level", "level_confidence")}
    scored = {
        name: measures.score_predictions(known["truth"].to_numpy(), known[label].to_numpy(), known[confidence])
        for name, (label, confidence) in columns.items()
    }
    strict = scored["descendants"]
    scored["related"] = strict._replace(right=strict.right | strict.broader)
    errors = {name: measures.calibration_error(values) for name, values in scored.items()}
    related = scored["related"]
    return errors | {"confidence": float(related.confidence.mean()), "right or above": float(related.right.mean())}


def macro_f1(found: Predictions, variants: Iterable[str] = (WHOLE,)) -> pd.DataFrame:
    """Return macro-F1 at the common level by variant and test of blood and pancreas."""
    rows = {variant: {name: score.macro_f1 for name, score in _scores(found, variant).items()} for variant in variants}
    table = pd.DataFrame(rows).T
    return table.assign(mean=table.mean(axis=1)) if table.size else table


def f1_by_class(found: Predictions, variant: str = WHOLE) -> pd.DataFrame:
    """Return the F1 of each class of the common level by test."""
    rows = {name: score.f1 for name, score in _scores(found, variant).items()}
    table = pd.DataFrame(rows)
    return table.assign(mean=table.mean(axis=1))


def _scores(found: Predictions, variant: str) -> dict[str, scores.Scores]:
    scored = {}
    for name, frame in found.of_queries(TESTS, variant).items():
        types = tissue_cases.trained(found.cells, tissue_cases.first_case(name))
        scored[name] = scores.score(frame["truth"], frame["level"].to_numpy(dtype=object), types)
    return scored
