"""Folders that the published package made, and its results; skipped where its environment is absent."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import scim
from helpers import published
from oracle.package import outputs
from scim import ontology

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
PACKAGE = Path(__file__).parent / "package"
OUTDATED = {"": "nan", "B cell": "B lymphocyte"}
"""Labels as a folder may have them: none, and names that the Cell Ontology no longer uses."""
N_GENES_SMALL = 8_000  # the package refuses a query that has fewer than 5,000 of a model's genes


def pytest_collection_modifyitems(items):
    here = str(Path(__file__).parent)
    for item in items:
        if str(item.path).startswith(here):
            item.add_marker(pytest.mark.oracle)


@pytest.fixture(scope="session")
def run_python() -> Callable[..., None]:
    """Run the interpreter that has the published package."""
    python = Path(os.environ.get("SCIM_SCIMILARITY_PYTHON", ROOT / ".scimilarity" / "bin" / "python"))
    if not python.exists():
        pytest.skip("no published package: run scripts/make_scimilarity_env.sh, or set SCIM_SCIMILARITY_PYTHON")

    def run(*arguments: object) -> None:
        done = subprocess.run([str(python), *map(str, arguments)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]

    return run


@pytest.fixture(scope="session")
def run_package(run_python) -> Callable[..., None]:
    """Run a job of the folder `package`."""
    return lambda *arguments: run_python(PACKAGE, *arguments)


@pytest.fixture(scope="session")
def package_output(run_package, tmp_path_factory) -> Callable[..., dict]:
    """Results of the package: `package_output(folder, query_path, part)`, computed once each."""
    known: dict[tuple, dict] = {}
    out = tmp_path_factory.mktemp("package_output")

    def output(folder: Path, query: Path, part: str, knn: str = "hnswlib") -> dict:
        key = (str(folder), str(query), part, knn)
        if key not in known:
            place = out / str(len(known))
            run_package("outputs", folder, query, place, "--only", part, "--knn", knn)
            known[key] = outputs.load(place, part)
        return known[key]

    return output


def with_counts(adata: anndata.AnnData) -> anndata.AnnData:
    """Return the cells as the package wants them: counts in a layer, no X."""
    counts = sp.csr_matrix(adata.X).astype(np.float32)
    return anndata.AnnData(obs=adata.obs, var=pd.DataFrame(index=adata.var_names), layers={"counts": counts})


@pytest.fixture(scope="session")
def real_genes(data_folder) -> list[str]:
    """28,231 symbols: what the files measure, and HGNC's, among them outdated ones, as in the published gene order."""
    return published.gene_symbols(data_folder)


@pytest.fixture(scope="session")
def full_shape(run_package, data_folder, real_genes, tmp_path_factory) -> Path:
    """A network of full shape, 28,231 genes x 1,024 x 3 x 128."""
    folder = tmp_path_factory.mktemp("full") / "model"
    cells = published.real_cells(data_folder, real_genes, 1000)
    frame = pd.DataFrame({"label": cells.label.astype(str)}, index=[f"c{i}" for i in range(1000)])
    path = folder.with_name("cells.h5ad")
    anndata.AnnData(cells.X, frame, pd.DataFrame(index=real_genes)).write_h5ad(path)
    run_package("network", folder, path)
    return folder


@pytest.fixture(scope="session")
def small_cells(data_folder) -> anndata.AnnData:
    """Cells of three files and five studies, log-normalised in genes that all have, with 25 columns in the end."""
    files = {name: published.read_cells(data_folder, name) for name in ("zheng_facs", "pbmc3k", "baron_human234")}
    genes = common_genes(list(files.values()))
    rng, parts = np.random.default_rng(0), []
    for name, adata in files.items():
        donors = adata.obs["donor"].astype(str) if "donor" in adata.obs else None
        counts = published.aligned(adata, genes)
        obs = pd.DataFrame(index=[f"{name}-{i}" for i in range(adata.n_obs)])
        obs["celltype_name"] = adata.obs["label"].astype(str).replace(OUTDATED).to_numpy()
        obs["study"] = name if donors is None else (name + "-" + donors).to_numpy()
        obs["sample"] = [f"{name}-s{i}" for i in rng.integers(0, 4, len(obs))]
        obs["tissue"] = "pancreas" if donors is not None else "blood"
        part = anndata.AnnData(published.lognorm(counts), obs, pd.DataFrame(index=genes))
        parts.append(part[np.sort(rng.permutation(len(obs))[:2000])])
    adata = anndata.concat(parts)
    add_columns(adata.obs, adata, rng)
    return adata


def common_genes(files: list[anndata.AnnData]) -> list[str]:
    """Return the genes with most counts among those that all files have, in order."""
    common = sorted(set.intersection(*(set(adata.var_names) for adata in files)))
    shares = [np.asarray(adata[:, common].X.sum(axis=0)).ravel() / adata.X.sum() for adata in files]
    best = np.argsort(-np.sum(shares, axis=0), kind="stable")[:N_GENES_SMALL]
    return sorted(np.array(common)[best].tolist())


def add_columns(obs: pd.DataFrame, adata: anndata.AnnData, rng: np.random.Generator) -> None:
    """Add columns like those of the published metadata."""
    disease = {sample: ["healthy", "NA", "COVID-19"][i % 3] for i, sample in enumerate(sorted(set(obs["sample"])))}
    obs["disease"] = obs["sample"].map(disease).to_numpy()
    obs["n_genes_by_counts"] = np.diff(adata.X.indptr).astype(float)
    obs["pct_counts_mt"] = rng.random(len(obs)) * 20
    obs["in_vivo"] = np.where(obs["sample"].str.endswith("s0"), "False", "True")
    obs["cell_line"] = np.where(obs["in_vivo"] == "True", "NA", "K-562")
    obs["sex_cleaned"] = rng.choice(["male", "female", "NA"], len(obs))


def write_obo(path: Path, labels: list[str]) -> None:
    """Write the types as an ontology, each under the nearest types above it; a label is a name, be it outdated or not."""
    terms = {ontology.term_id(label): label for label in labels}
    above = {term: ontology.ancestors(term) & set(terms) for term in terms}
    lines = ["format-version: 1.2", ""]
    for term, label in sorted(terms.items()):
        lines += ["[Term]", f"id: {term}", f"name: {label}"]
        near = [up for up in above[term] if not any(up in above[other] for other in above[term])]
        lines += [*(f"is_a: {up}" for up in sorted(near)), ""]
    path.write_text("\n".join(lines))


@pytest.fixture(scope="session")
def trained(run_package, small_cells, tmp_path_factory) -> Path:
    """A folder of a small trained model and its cells; beside it `model_vectors` and `model_deleted`."""
    folder = tmp_path_factory.mktemp("trained") / "model"
    cells, terms = folder.with_name("cells.h5ad"), folder.with_name("cells.obo")
    small_cells.write_h5ad(cells)
    write_obo(terms, sorted(set(small_cells.obs["celltype_name"]) - {"nan"}))
    run_package("train", folder, cells, terms)
    run_package("build", folder, cells)
    return folder


@pytest.fixture(scope="session")
def imported(trained) -> Callable[[str], Path]:
    """The atlas of the trained folder, or of one beside it: `imported("model_deleted")`."""
    made: dict[str, Path] = {}

    def atlas(name: str = "model") -> Path:
        if name not in made:
            made[name] = trained.with_name(f"{name}.scim")
            scim.scimilarity.import_atlas(trained.with_name(name), made[name]).close()
        return made[name]

    return atlas


@pytest.fixture(scope="session")
def scim_output(imported, query) -> Callable[..., dict]:
    """Results of scim.scimilarity for the same calls: `scim_output(part)`."""
    from scim import scimilarity

    def output(part: str, name: str = "model") -> dict:
        return outputs.PARTS[part](scimilarity, str(imported(name)), anndata.read_h5ad(query))

    return output


@pytest.fixture(scope="session")
def query(data_folder, tmp_path_factory) -> Path:
    """400 cells of a study that no folder has, with counts, and clusters by a few markers."""
    adata = anndata.read_h5ad(data_folder / "pbmc_donorA_unlabelled.h5ad")[:400]
    markers = {
        "T": ["CD3D", "CD3E", "IL7R"],
        "B": ["CD79A", "MS4A1"],
        "NK": ["GNLY", "NKG7"],
        "mono": ["LYZ", "S100A8"],
    }
    scores = np.stack([np.asarray(adata[:, names].X.sum(axis=1)).ravel() for names in markers.values()], axis=1)
    cells = with_counts(adata)
    cells.obs["cluster"] = np.array(list(markers))[scores.argmax(axis=1)]
    path = tmp_path_factory.mktemp("query") / "query.h5ad"
    cells.write_h5ad(path)
    return path
