"""Train a model for each case, make an atlas of the same cells, and predict the queries; all of it is cached on disk.

    FOLDER/models/NAME/CASE            the model
    FOLDER/atlases/RUN/CASE.scim       the atlas
    FOLDER/predictions/RUN/CASE, QUERY, VARIANT.csv

`NAME` names the recipe of training, `RUN` also the code that builds atlases and annotates.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
import tissue_cases
import tissue_panels

import scim

if TYPE_CHECKING:
    from pathlib import Path

    import anndata as ad

EVERY = 1.0
"""`max_error` at which every cell gets a label."""
NOVELTY = "scim_label_novelty"
CELL = "cell"


class Cache(NamedTuple):
    """Where models, atlases and predictions are kept."""

    folder: Path
    name: str
    run: str

    def model(self, case: tissue_cases.Case) -> Path:
        """Return the folder of a model."""
        return self.folder / "models" / self.name / _word(case.name)

    def atlas(self, case: tissue_cases.Case) -> Path:
        """Return the folder of an atlas."""
        return self.folder / "atlases" / self.run / f"{_word(case.name)}.scim"

    def predictions(self, method: str, case: tissue_cases.Case, query: str, variant: str) -> Path:
        """Return the file of the predictions of a query."""
        names = "-".join(_word(part) for part in (case.name, query, variant))
        return self.folder / "predictions" / method / f"{names}.csv"


def _word(name: str) -> str:
    return name.replace(" ", "_")


def load(cache: Cache, case: tissue_cases.Case, query: str, variant: str) -> pd.DataFrame | None:
    """Return stored predictions by the names of the cells; `None` if there are none. Labels are ids, "" = unknown.

    `label`, `confidence`: every cell labelled. `level`, `level_confidence`: with terms of the common level alone.
    `limited`: at the default `max_error`. `novelty`: 0 to 1, or 1 - confidence of a version without novelty.
    """
    return read(cache.predictions(cache.run, case, query, variant))


def read(path: Path) -> pd.DataFrame | None:
    """Read stored predictions."""
    if not path.exists():
        return None
    return pd.read_csv(path, keep_default_na=False, dtype={CELL: str}).set_index(CELL)


def store(found: pd.DataFrame, cells: pd.Index, path: Path) -> None:
    """Write predictions with the names of their cells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    found.set_axis(cells.rename(CELL), axis=0).to_csv(draft)
    draft.rename(path)


def predict(cells: tissue_cases.Cells, case: tissue_cases.Case, variants: list[str], cache: Cache) -> None:
    """Predict the queries of a case and their variants, unless the predictions are in the cache."""
    wanted = [(query, variant) for query in case.queries for variant in tissue_panels.of_query(query, variants)]
    left = [pair for pair in wanted if not cache.predictions(cache.run, case, *pair).exists()]
    if not left:
        return
    prepare(cells, case, cache)
    level = sorted({scim.ontology.term_name(term) for term in tissue_cases.trained(cells, case)})
    with scim.atlas.open(cache.atlas(case)) as atlas:
        for query, variant in left:
            began = time.perf_counter()
            adata = tissue_panels.variant(cells, query, variant)
            found = annotated(adata, atlas, level)
            store(found, adata.obs_names, cache.predictions(cache.run, case, query, variant))
            say(f"{case.name}: {query}, {variant}, {time.perf_counter() - began:.0f} s")


def prepare(cells: tissue_cases.Cells, case: tissue_cases.Case, cache: Cache) -> None:
    """Train the model and make the atlas of a case, unless they are in the cache."""
    path = cache.atlas(case)
    if path.exists():
        return
    train = list(tissue_cases.training(cells, case).values())
    encoder, began = model(train, cache.model(case)), time.perf_counter()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    with scim.atlas.create(draft, model=encoder, overwrite=True) as atlas:
        atlas.append(train, study_key="study", label_key="label", obs_columns=["tissue"])
        atlas.build_index(seed=0)
    draft.rename(path)
    say(f"{case.name}: atlas of {sum(adata.n_obs for adata in train)} cells, {time.perf_counter() - began:.0f} s")


def model(train: list[ad.AnnData], path: Path) -> scim.model.Model:
    """Return the model of a case, with the defaults of training."""
    if not path.exists():
        began = time.perf_counter()
        found = scim.model.train(train, label_key="label", study_key="study", rng=0)
        path.parent.mkdir(parents=True, exist_ok=True)
        found.save(path)
        say(f"{path.name}: model, {time.perf_counter() - began:.0f} s")
    return scim.model.load(path)


def annotated(adata: ad.AnnData, atlas: scim.atlas.Atlas, level: list[str]) -> pd.DataFrame:
    """Return the predictions for one query; unknown and novel, where the query has too few genes to embed."""
    try:
        scim.tl.embed(adata, atlas)
    except ValueError as error:
        if "too few to embed" not in str(error):
            raise
        nothing = {"label": "", "confidence": 0.0, "level": "", "level_confidence": 0.0, "limited": "", "novelty": 1.0}
        return pd.DataFrame(nothing, index=range(adata.n_obs))
    scim.tl.annotate(adata, atlas, max_error=EVERY)
    frame = _labels(adata, "scim_label", "label").assign(confidence=adata.obs["scim_label_confidence"].to_numpy())
    scim.tl.annotate(adata, atlas, level=level, max_error=EVERY, key_added="level")
    frame["level"], frame["level_confidence"] = _labels(adata, "level", "level"), adata.obs["level_confidence"].array
    scim.tl.annotate(adata, atlas)
    frame["limited"] = _labels(adata, "scim_label", "limited")
    frame["novelty"] = adata.obs[NOVELTY].array if NOVELTY in adata.obs else 1 - frame["confidence"]
    return frame


def _labels(adata: ad.AnnData, key: str, name: str) -> pd.DataFrame:
    return pd.DataFrame({name: adata.obs[f"{key}_id"].astype(object).fillna("").to_numpy()})


def say(text: str) -> None:
    """Print progress."""
    print(text, file=sys.stderr, flush=True)
