"""Train the packaged model and write the packaged atlas, `src/scim/atlas/human_tissues.scim`.

The same seed on the same machine gives the same weights, labels and embeddings; the names of TileDB's files and the
identifier of the atlas are new each time.

    python scripts/make_packaged_atlas.py FOLDER_OF_DATA [--out FOLDER] [--model FOLDER]

The folder holds the permissively licensed studies named in `packaged_studies.py`, and `label_to_cl.csv`. With
`--model`, the model of an earlier run, as `src/scim/atlas/human_tissues.scim/model`, nothing is trained, and only the
atlas is made anew.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import packaged_studies
import pandas as pd

import scim

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    Cells = Mapping[str, AnnData]

TARGET = Path(__file__).parents[1] / "src" / "scim" / "atlas" / "human_tissues.scim"
SEED = 0
RECIPE = scim.model.TrainConfig()
NET = scim.model.ModelConfig()

PARTS = {"baron": "donor", "Tran 2021": "donor", "Kong 2023": "disease"}
"""Columns whose values count as studies in training, where a label is in one study only.

Not the 69 donors of Kong 2023: few have two cells of a label, and together they would be drawn more often than blood.
"""

MOST = 400
"""Cells of a label of a study in the atlas, drawn at random: each takes half a kilobyte of a wheel of at most 20 MB.

Training sees all cells. Only 27 pairs of a label and a study have more. Of eight studies left out, seven are labelled
as well with 400 as with all, or better, and one loses .003 of the mean recall of its labels.
"""

STUDY_FACTS = ("tissue", "tissue_type", "suspension_type", "disease", "assay", "licence")
"""Columns whose values the card names for each study."""

FEW = 30
"""A label of fewer cells is marked in the card."""

PANEL_CURVE = {
    "n_genes": [20, 50, 100, 200, 400, 800, 1750],
    "macro_f1_share": [0.11, 0.36, 0.52, 0.68, 0.87, 0.93, 1.0],
}
"""Macro-F1 with some of the model's genes, drawn at random, over that with all of them: mean of three studies left out
(pbmc3k, He 2020, Kong 2023) at the level of their labels (benchmarks/NOTES.md, Confidence). Marker panels lose less."""

MACRO_F1 = {
    "zheng_facs": 0.855, "zheng_sorted": 0.764, "pbmc3k": 0.896, "onek1k": 0.986, "pbmc_2chem 3'": 0.965,
    "pbmc_2chem 5'": 0.973, "baron donor 2": 0.985, "baron donor 3": 0.776, "baron donor 4": 0.965,
}  # fmt: skip
"""Macro-F1 of the same recipe on studies left out, blood and pancreas: the first column of docs/model_card.md."""

LIMITS = [
    "Knows the cell types named in labels.tsv, and no others: of most tissues it has some of their types only.",
    "The liver has no hepatocytes, the breast and the lung are one tumour each, the heart has three groups of types.",
    "Many labels come from one study or one donor; those named under labels_of_few_cells from a few tens of cells.",
    "The heart and the brain were measured on 1,000 to 2,000 genes, the fetal cortex after 11 days of culture.",
    "Below some hundred of its genes, or on random panels of them, labels are much less certain: see panel_curve.",
]


def train(cells: Cells, config: scim.model.TrainConfig = RECIPE) -> scim.model.Model:
    """Train on all studies."""
    for adata in cells.values():
        adata.obs["training_study"] = training_studies(adata.obs)
    model = scim.model.train(
        dict(cells), label_key="cell_type", study_key="training_study", model=NET, config=config, rng=SEED
    )
    model.name = "human tissues"
    return model


def training_studies(obs: pd.DataFrame) -> pd.Series:
    """Return the study of each cell, or its part of the study."""
    studies = obs["study"].astype(str)
    for study, column in PARTS.items():
        studies = studies.where(obs["study"] != study, study + " " + obs[column].astype(str))
    return studies


def card(cells: Cells) -> dict[str, object]:
    """Return the model card as JSON: studies, labels, measures, limits; docs/model_card.md is the card for readers."""
    counts = packaged_studies.count_labels(cells).sum(axis=1)
    return {
        "organism": "Homo sapiens",
        "studies": studies(cells),
        "labels": {label: int(n) for label, n in counts.items()},
        "labels_of_few_cells": counts.index[counts < FEW].tolist(),
        "macro_f1_of_studies_left_out": MACRO_F1,
        "limits": LIMITS,
    }


def studies(cells: Cells) -> list[dict[str, object]]:
    """Return for each study its paper, the licences of its files, and what its cells are."""
    licences = {file.name: file.licence for file in packaged_studies.FILES}
    obs = pd.concat([adata.obs.assign(licence=licences[name]) for name, adata in cells.items()])
    about = []
    for study, rows in obs.groupby("study", sort=False):
        values = {key: sorted(rows[key].unique()) for key in STUDY_FACTS}
        n_labelled = int(rows["cell_type"].notna().sum())
        about.append({"study": study, "paper": packaged_studies.PAPERS[study], "n_labelled": n_labelled, **values})
    return about


def drawn_cells(cells: Cells, most: int = MOST) -> list[AnnData]:
    """Return the cells of the atlas: of each label of each study all, or as many as `most`, drawn at random."""
    obs = pd.concat([adata.obs[["study", "cell_type"]] for adata in cells.values()], ignore_index=True)
    shuffled = obs.dropna().sample(frac=1, random_state=np.random.default_rng(SEED))
    kept = shuffled.index[shuffled.groupby(["study", "cell_type"]).cumcount() < most]
    parts = np.split(obs.index.isin(kept), np.cumsum([adata.n_obs for adata in cells.values()])[:-1])
    return [adata[keep].copy() for adata, keep in zip(cells.values(), parts, strict=True)]


def build(model: scim.model.Model, cells: list[AnnData], target: Path) -> None:
    """Append the cells, without their counts, and index them."""
    with scim.atlas.create(target, model=model, overwrite=True) as atlas:
        atlas.append(cells, study_key="study", label_key="cell_type", obs_columns=list(packaged_studies.ABOUT))
        atlas.build_index(seed=SEED)
        atlas.compact(samples=False)  # the expression of the labels stays
        atlas.vacuum()


def rounded(model: scim.model.Model, folder: Path) -> scim.model.Model:
    """Return the model without its decoder and with weights of half precision, as an atlas keeps it."""
    model.save(folder, dtype="float16", decoder=False, overwrite=True)
    read = scim.model.load(folder)
    shutil.rmtree(folder)
    return read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=TARGET)
    parser.add_argument("--model", type=Path, help="folder of a model of an earlier run, instead of training one")
    arguments = parser.parse_args()
    scim.settings.n_threads = 1  # sums in one order, so that the same seed gives the same weights
    started = time.perf_counter()
    cells = packaged_studies.read(arguments.folder)
    model = train(cells) if arguments.model is None else scim.model.load(arguments.model)
    model.metadata |= {"card": card(cells), "panel_curve": PANEL_CURVE}
    print(f"model: {time.perf_counter() - started:.0f} s")
    # Cells are embedded with the weights as they are read.
    model = rounded(model, arguments.out.with_name("rounded"))
    build(model, drawn_cells(cells), arguments.out)
    size = sum(file.stat().st_size for file in arguments.out.rglob("*") if file.is_file())
    with scim.atlas.open(arguments.out) as atlas:
        print(f"{atlas}: {size / 1e6:.1f} MB, {time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    main()
