"""Labels and confidences as a user of scim gets them, of a model and an atlas that have not seen the study."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import data
import pandas as pd
import questions

import scim

if TYPE_CHECKING:
    import anndata as ad

EVERY = 1.0
"""Share of the answers that may be wrong, so that every cell gets one."""


def kept(question: questions.Question, folder: Path, *, retrained: bool) -> pd.DataFrame | None:
    """Return the predictions for all queries of a question, one row a cell; `None`: there are none yet.

    `label`, `confidence`, `distance`: of every cell. `said`: with at most a tenth of wrong answers, "" = unknown.
    `paper`, `share`: the plain vote by distance and the share of its winner. `level`, `level_confidence`: the same
    atlas, asked for terms of the common level. `coarse`, `coarse_confidence`: an atlas whose labels are of that level.
    """
    path = _path(question, folder, retrained=retrained)
    return pd.read_csv(path, keep_default_na=False) if path.exists() else None


def answer(cells: dict[str, ad.AnnData], question: questions.Question, folder: Path, *, retrained: bool) -> None:
    """Ask a question, unless there is an answer in the folder."""
    path = _path(question, folder, retrained=retrained)
    if path.exists():
        return
    left = question if retrained and questions.removes(cells, question) else questions.Question(question.test)
    encoder = model(cells, left, folder)
    train = list(questions.training(cells, question).values())
    queries = questions.asked(cells, question)
    fine = votes(encoder, train, queries, "label")
    if not (question.without or question.other_tissue):
        coarse = votes(encoder, train, queries, "common")
        fine = fine.assign(coarse=coarse["label"], coarse_confidence=coarse["confidence"])
    path.parent.mkdir(parents=True, exist_ok=True)
    fine.to_csv(path, index=False)
    print(f"{path.parent.name}: {question.name}", file=sys.stderr, flush=True)


def _path(question: questions.Question, folder: Path, *, retrained: bool) -> Path:
    """Return where the answers to a question are."""
    return folder / f"scim{' retrained' if retrained else ''}" / f"{question.name}.csv"


def model(cells: dict[str, ad.AnnData], question: questions.Question, folder: Path) -> scim.model.Model:
    """Return the model of the training studies of a question, with the defaults of training; kept in the folder."""
    study = data.TESTS[question.test].left_out
    name = question._replace(test=study).name
    if question.other_tissue:
        name += " " + data.TESTS[question.test].tissue
    path = folder / "models" / name.replace(" ", "_")
    if not path.exists():
        began = time.perf_counter()
        train = list(questions.training(cells, question).values())
        found = scim.model.train(train, label_key="label", study_key="study", rng=0)
        path.parent.mkdir(parents=True, exist_ok=True)
        found.save(path)
        print(f"model: {name}, {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    return scim.model.load(path)


def votes(
    encoder: scim.model.Model, train: list[ad.AnnData], queries: list[ad.AnnData], label_key: str
) -> pd.DataFrame:
    """Return the answers of an atlas of the training cells, whose labels are a column of theirs."""
    wanted = sorted({term for adata in train for term in adata.obs["common"]})
    parts = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reference.scim"
        with scim.atlas.create(path, model=encoder) as atlas:
            atlas.append(train, study_key="study", label_key=label_key)
            atlas.build_index(seed=0)
        with scim.atlas.open(path) as atlas:
            for adata in queries:
                scim.tl.embed(adata, atlas)
                parts.append(annotated(adata, atlas, wanted if label_key == "label" else None))
    return pd.concat(parts, ignore_index=True)


def annotated(adata: ad.AnnData, atlas: scim.atlas.Atlas, level: list[str] | None) -> pd.DataFrame:
    """Return the answers to one query; with a level also those, what is said with few errors, and the plain vote."""
    scim.tl.annotate(adata, atlas, max_error=EVERY)
    frame = labels(adata, "scim_label", "label", "confidence")
    frame["distance"] = adata.obs["scim_label_distance"].to_numpy()
    if level is None:
        return frame
    scim.tl.annotate(adata, atlas, level=level, max_error=EVERY, key_added="level")
    scim.tl.annotate(adata, atlas, key_added="said")
    scim.tl.annotate(adata, atlas, weights="distance", max_error=EVERY, key_added="paper")
    frame = frame.join(labels(adata, "level", "level", "level_confidence"))
    frame = frame.join(labels(adata, "said", "said", "said_confidence"))
    frame["paper"] = labels(adata, "paper", "paper", "")["paper"]
    frame["share"] = adata.obsm["paper_shares"][:, 0]
    return frame


def labels(adata: ad.AnnData, key: str, name: str, confidence: str) -> pd.DataFrame:
    """Return the ids of the labels, "" = unknown, and their confidences."""
    found = {name: adata.obs[f"{key}_id"].astype(object).fillna("").to_numpy()}
    if confidence:
        found[confidence] = adata.obs[f"{key}_confidence"].to_numpy()
    return pd.DataFrame(found)


def packaged(cells: dict[str, ad.AnnData]) -> pd.DataFrame:
    """Return label and confidence of both chemistries of pbmc_2chem, which the packaged atlas has not seen."""
    parts = []
    with scim.atlas.open() as atlas:
        for test in ("2chem_3prime", "2chem_5prime"):
            adata = data.query(cells, data.TESTS[test]).copy()
            scim.tl.embed(adata, atlas)
            scim.tl.annotate(adata, atlas, max_error=EVERY)
            parts.append(labels(adata, "scim_label", "label", "confidence").assign(test=test))
            parts[-1]["truth"] = adata.obs["common"].astype(object).to_numpy()
    return pd.concat(parts, ignore_index=True)
