"""Train the packaged model and write the packaged atlas, `src/scim/atlas/blood_pancreas.scim`.

The same seed on the same machine gives the same weights, labels and embeddings; the names of TileDB's files and the
identifier of the atlas are new each time.

    python scripts/make_packaged_atlas.py FOLDER_OF_DATA [--out FOLDER] [--measures RESULTS.json]

The folder holds the five permissively licensed studies named in `STUDIES`, and `label_to_cl.csv`, which maps their
labels to Cell Ontology terms. `--measures` is the file that benchmarks/quality/run.py writes: the scores of the same
recipe on held-out studies go into the model's config.json, as part of its card.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import anndata
import pandas as pd

import scim

TARGET = Path(__file__).parents[1] / "src" / "scim" / "atlas" / "blood_pancreas.scim"
SEED = 0


LIMITS = [
    "Knows the cell types of healthy blood and pancreas named in labels.tsv, and no others.",
    "Five small studies: dendritic cells, platelets and pancreatic gamma cells are learned from tens of cells.",
    "Below some hundred of its genes, or on random panels of them, labels are much less certain.",
    "The confidence of a label is a share of votes, not a probability.",
]


@dataclass(frozen=True)
class Study:
    """A file, and the columns of its labels and studies."""

    file: str
    study: str
    labels: str
    tissue: str
    assay: str
    licence: str
    donor: str | None = None
    ids: bool = False
    """Whether the labels are Cell Ontology ids already."""


STUDIES = (
    Study("zheng_facs", "zheng", "celltype", "blood", "10x 3' v1", "BSD-2-Clause"),
    Study("zheng_sorted_scminer", "zheng", "trueLabel", "blood", "10x 3' v1", "Apache-2.0"),
    Study("pbmc3k", "pbmc3k", "cell_type", "blood", "10x 3' v1", "MIT"),
    Study("onek1k", "onek1k", "cell_type", "blood", "10x 3' v2", "MIT", donor="indiv"),
    Study("baron_human234", "baron", "cell_ontology_id", "pancreas", "inDrop", "MIT", donor="donor", ids=True),
)


def read(folder: Path) -> dict[str, anndata.AnnData]:
    """Read the studies; obs gets `cell_type` (Cell Ontology id), `study`, `donor`, `tissue` and `assay`."""
    terms = pd.read_csv(folder / "label_to_cl.csv").set_index(["file", "label"])["cell_type_ontology_term_id"]
    cells = {}
    for study in STUDIES:
        adata = anndata.read_h5ad(folder / f"{study.file}.h5ad")
        labels = adata.obs[study.labels].astype(object)
        adata.obs["cell_type"] = labels if study.ids else labels.map(terms[study.file])
        adata.obs["study"], adata.obs["tissue"], adata.obs["assay"] = study.study, study.tissue, study.assay
        adata.obs["donor"] = "unknown" if study.donor is None else adata.obs[study.donor].astype(str)
        cells[study.file] = adata
    cells["zheng_sorted_scminer"] = without_shared_cells(cells["zheng_sorted_scminer"], cells["zheng_facs"])
    return cells


def without_shared_cells(adata: anndata.AnnData, other: anndata.AnnData) -> anndata.AnnData:
    """Drop the cells that another sample of the same study has too: same barcode."""
    known = set(other.obs["barcode"].str.split("-").str[0])
    return adata[~adata.obs_names.str.split("-").str[0].isin(known)].copy()


def train(cells: dict[str, anndata.AnnData]) -> scim.model.Model:
    """Train on all studies; the donors of the pancreas study count as studies, so that its labels have positives."""
    for adata in cells.values():
        pancreas = adata.obs["study"] == "baron"
        adata.obs["training_study"] = adata.obs["study"].where(~pancreas, "baron " + adata.obs["donor"])
    model = scim.model.train(cells, label_key="cell_type", study_key="training_study", rng=SEED)
    model.name = "blood and pancreas"
    return model


def card(cells: dict[str, anndata.AnnData], measures: Path | None) -> dict[str, object]:
    """Return the model card as JSON: data, licences, measures, limits; docs/model_card.md is the card for readers."""
    data = [
        {
            "file": study.file,
            "study": study.study,
            "tissue": study.tissue,
            "assay": study.assay,
            "licence": study.licence,
            "n_labelled": int(cells[study.file].obs["cell_type"].notna().sum()),
        }
        for study in STUDIES
    ]
    found = [] if measures is None else json.loads(measures.read_text())
    ours = [one for one in found if one["method"] == "scim" and one["variant"] == "full"]
    tests = sorted({one["test"] for one in ours})
    return {
        "organism": "Homo sapiens",
        "data": data,
        "macro_f1_of_studies_left_out": {
            test: round(statistics.mean(one["macro_f1"] for one in ours if one["test"] == test), 3) for test in tests
        },
        "limits": LIMITS,
    }


def build(model: scim.model.Model, cells: dict[str, anndata.AnnData], target: Path) -> None:
    """Append all labelled cells, without their counts."""
    labelled = [adata[adata.obs["cell_type"].notna()].copy() for adata in cells.values()]
    columns = ["donor", "tissue", "assay"]
    with scim.atlas.create(target, model=model, overwrite=True) as atlas:
        atlas.append(labelled, study_key="study", label_key="cell_type", obs_columns=columns)
        atlas.build_index(seed=SEED)
        atlas.compact()
        atlas.vacuum()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=TARGET)
    parser.add_argument("--measures", type=Path, help="results.json of benchmarks/quality/run.py")
    arguments = parser.parse_args()
    scim.settings.n_threads = 1  # sums in one order, so that the same seed gives the same weights
    started = time.perf_counter()
    cells = read(arguments.folder)
    trained = train(cells)
    trained.metadata["card"] = card(cells, arguments.measures)
    print(f"trained in {time.perf_counter() - started:.0f} s")
    # The decoder is left out and the weights have half precision; cells are embedded with the weights as they are read.
    rounded = arguments.out.with_name("rounded")
    trained.save(rounded, dtype="float16", decoder=False, overwrite=True)
    model = scim.model.load(rounded)
    shutil.rmtree(rounded)
    build(model, cells, arguments.out)
    size = sum(file.stat().st_size for file in arguments.out.rglob("*") if file.is_file())
    with scim.atlas.open(arguments.out) as atlas:
        print(f"{atlas}: {size / 1e6:.1f} MB, {time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    main()
