"""Read the studies of the benchmarks of quality, and split them: six held-out ones, and those that train a model.

    python benchmarks/state/cells.py [FOLDER_OF_DATA] --model FOLDER

trains the default recipe on the training part, unless the folder is there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

BENCHMARKS = Path(__file__).resolve().parents[1]
sys.path += [str(BENCHMARKS / "confidence"), str(BENCHMARKS / "quality")]
sys.path.append(str(BENCHMARKS.parent / "scripts"))

import anndata as ad  # noqa: E402
import data  # noqa: E402  (found by the path above)
import tissue_cases  # noqa: E402

import scim  # noqa: E402

if TYPE_CHECKING:
    from tissue_cases import Cells

HELD_OUT = ("pbmc3k", "onek1k", "baron human3", "Kong 2023", "He 2020", "Wu 2021")
"""Studies, as in obs["study"], that no model of these benchmarks is trained on. Donors of the pancreas are studies."""
FINER_LABELS = {"he2020_liver_2839": "cell_type_fine", "wu2021_breast_tnbc_1564": "cell_type_subset"}
"""Columns of the authors' finest labels, where `author_cell_type` has broader ones."""


def read(folder: Path | str = data.FOLDER) -> Cells:
    """Read all studies by file: counts (csr), every cell with a name that is unique among all files.

    obs has `label` (Cell Ontology id, missing where a cell has none), `author_cell_type`, `study`, `donor`, `tissue`,
    `disease`, `assay`, `common` (the term at the common level of blood), and `finer_cell_type`, empty without one.
    `pbmc_2chem`, which is in no training, has the assays of its two chemistries.
    """
    folder = Path(folder)
    cells = tissue_cases.read(folder)
    chemistries = cells["pbmc_2chem"].obs
    chemistries["assay"] = chemistries["tech"].map({"V3": "10x 3' v3", "VDJ": "10x 5' v1"}).astype(str)
    chemistries["author_cell_type"] = chemistries["cell_type"].astype(str)
    chemistries[["donor", "disease"]] = "unknown", "normal"
    for file, adata in cells.items():
        adata.obs_names = file + " " + adata.obs_names
        adata.obs["finer_cell_type"] = ""
        if (column := FINER_LABELS.get(file)) is not None:
            finer = ad.read_h5ad(folder / "tissues" / f"{file}.h5ad", backed="r").obs[column]
            adata.obs["finer_cell_type"] = finer.astype(str).to_numpy()
    return cells


def training(cells: Cells) -> Cells:
    """Return the labelled cells of the studies that are not held out, by file."""
    chosen = {}
    for file, adata in cells.items():
        keep = adata.obs["label"].notna() & ~adata.obs["study"].isin(HELD_OUT)
        if file not in tissue_cases.QUERY_ONLY and keep.any():
            chosen[file] = adata[keep].copy()
    return chosen


def held_out(cells: Cells) -> Cells:
    """Return the cells of the held-out studies by file, labelled or not."""
    kept = {file: adata[adata.obs["study"].isin(HELD_OUT)].copy() for file, adata in cells.items()}
    return {file: adata for file, adata in kept.items() if adata.n_obs}


def main() -> None:
    """Train the default recipe on the training part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=data.FOLDER)
    parser.add_argument("--model", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.model.exists():
        return
    scim.settings.n_threads, scim.settings.progress = 1, False
    train = list(training(read(arguments.folder)).values())
    model = scim.model.train(train, label_key="label", study_key="study", rng=0)
    arguments.model.parent.mkdir(parents=True, exist_ok=True)
    model.save(arguments.model)


if __name__ == "__main__":
    main()
