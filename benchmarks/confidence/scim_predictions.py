"""Predict labels and confidences by scim's public functions, with a model and an atlas without the study."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cases
import data
import pandas as pd

import scim

if TYPE_CHECKING:
    import anndata as ad

EVERY = 1.0
"""`max_error` at which every cell gets a label."""


def load(case: cases.Case, folder: Path, *, retrained: bool) -> pd.DataFrame | None:
    """Return the stored predictions for all queries of a case, one row per cell; `None` if there are none.

    `label`, `confidence`, `distance`: of every cell. `limited`: label with the default `max_error`, "" = unknown.
    `paper`, `share`: label by plain distance weights, and its share. `level`, `level_confidence`: the same
    atlas, with terms of the common level allowed. `coarse`, `coarse_confidence`: an atlas with labels of that level.
    """
    path = _path(case, folder, retrained=retrained)
    return pd.read_csv(path, keep_default_na=False) if path.exists() else None


def predict(cells: dict[str, ad.AnnData], case: cases.Case, folder: Path, *, retrained: bool) -> None:
    """Predict the queries of a case, unless the predictions are in the folder."""
    path = _path(case, folder, retrained=retrained)
    if path.exists():
        return
    left = case if retrained and cases.removes(cells, case) else cases.Case(case.test)
    encoder = model(cells, left, folder)
    train = list(cases.training(cells, case).values())
    queries = cases.queries(cells, case)
    fine = atlas_predictions(encoder, train, queries, "label")
    if not (case.without or case.other_tissue):
        coarse = atlas_predictions(encoder, train, queries, "common")
        fine = fine.assign(coarse=coarse["label"], coarse_confidence=coarse["confidence"])
    path.parent.mkdir(parents=True, exist_ok=True)
    fine.to_csv(path, index=False)
    print(f"{path.parent.name}: {case.name}", file=sys.stderr, flush=True)


def _path(case: cases.Case, folder: Path, *, retrained: bool) -> Path:
    """Return the path of the predictions of a case."""
    return folder / f"scim{' retrained' if retrained else ''}" / f"{case.name}.csv"


def model(cells: dict[str, ad.AnnData], case: cases.Case, folder: Path) -> scim.model.Model:
    """Return the model of the training studies of a case, with the defaults of training; cached in the folder."""
    study = data.TESTS[case.test].left_out
    name = case._replace(test=study).name
    if case.other_tissue:
        name += " " + data.TESTS[case.test].tissue
    path = folder / "models" / name.replace(" ", "_")
    if not path.exists():
        began = time.perf_counter()
        train = list(cases.training(cells, case).values())
        found = scim.model.train(train, label_key="label", study_key="study", rng=0)
        path.parent.mkdir(parents=True, exist_ok=True)
        found.save(path)
        print(f"model: {name}, {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    return scim.model.load(path)


def atlas_predictions(
    encoder: scim.model.Model, train: list[ad.AnnData], queries: list[ad.AnnData], label_key: str
) -> pd.DataFrame:
    """Return the predictions of an atlas of the training cells, with the labels of one column."""
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
    """Return the predictions for one query; with a level also at that level, with few errors, and by plain weights."""
    scim.tl.annotate(adata, atlas, max_error=EVERY)
    frame = labels(adata, "scim_label", "label", "confidence")
    frame["distance"] = adata.obs["scim_label_distance"].to_numpy()
    if level is None:
        return frame
    scim.tl.annotate(adata, atlas, level=level, max_error=EVERY, key_added="level")
    scim.tl.annotate(adata, atlas, key_added="limited")
    scim.tl.annotate(adata, atlas, weights="distance", max_error=EVERY, key_added="paper")
    frame = frame.join(labels(adata, "level", "level", "level_confidence"))
    frame = frame.join(labels(adata, "limited", "limited", "limited_confidence"))
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
    """Return label and confidence of both chemistries of pbmc_2chem, which is not in the packaged atlas."""
    parts = []
    with scim.atlas.open() as atlas:
        for test in ("2chem_3prime", "2chem_5prime"):
            adata = data.query(cells, data.TESTS[test]).copy()
            scim.tl.embed(adata, atlas)
            scim.tl.annotate(adata, atlas, max_error=EVERY)
            parts.append(labels(adata, "scim_label", "label", "confidence").assign(test=test))
            parts[-1]["truth"] = adata.obs["common"].astype(object).to_numpy()
    return pd.concat(parts, ignore_index=True)
