"""Test what users of other tools reported: files and machines that broke a tool, or got wrong results without a word.

Each report is one of: a form of the cells, whose results are those of the plain form (`SAME`); a function below, which
makes the input and asserts the right value or error (`REPORTS`); or a test of another file (`ELSEWHERE`).
"""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scim
from helpers import fakes
from helpers.odd_adata import build, plain_table
from helpers.same_results import check_form, check_same, run, run_plain
from scim._core import CountsError, GeneOverlapError

SAME = [
    # the report, what the user had, the form in helpers/odd_adata.py
    ("Teichlab/celltypist#62", "antibodies beside genes, as Cell Ranger writes them", {"columns": "with antibodies"}),
    ("Teichlab/celltypist#14", "proteins among the genes, named AB_CD3", {"columns": "with proteins named as such"}),
    ("satijalab/seurat#1910", "proteins named CD14|CD14-P", {"columns": "with proteins named as such", "gene_names": "ids"}),
    ("prism-oncology/sopa#144", "control probes and blank codewords of Xenium", {"columns": "with control probes"}),
    ("deweylab/CellO#5", "a gene name of two columns", {"columns": "a gene in two columns"}),
    ("scverse/scvi-tools#2089", "duplicate gene names in raw", {"columns": "a gene in two columns", "place": "raw, few genes scaled in X"}),
    ("nf-core/scdownstream#72", "gene ids as names, symbols elsewhere", {"gene_names": "ids"}),
    ("theislab/scarches#171", "some genes as ids, some as symbols", {"gene_names": "symbols and ids mixed"}),
    ("umccr/RNAsum#110", "gene ids with a version", {"gene_names": "ids with a version"}),
    ("samuel-marsh/scCustomize#195", "row numbers as names, symbols in a column", {"gene_names": "symbols in a column"}),
    ("mojaveazure/seurat-disk#95", "gene names as bytes", {"gene_names": "bytes"}),
    ("satijalab/seurat#421", "symbol:id as names", {"gene_names": "symbol:id"}),
    ("stuart-lab/signac#1577", "names with a genome, '_' replaced by '-'", {"gene_names": "with a dash and a genome"}),
    ("satijalab/seurat#2213", "dots for dashes in names", {"gene_names": "dots for dashes"}),
    ("Teichlab/celltypist#83", "scaled variable genes in X, all genes log-normalised in raw", {"place": "raw, few genes scaled in X"}),
    ("scverse/scanpy#2228", "counts of variable genes only, all genes in raw", {"place": "raw, counts of few genes in X"}),
    ("Teichlab/celltypist#24", "values that are log-transformed already", {"place": "X, logged"}),
    ("scverse/anndata#865", "uns['log1p'] without its base, lost when written", {"place": "X, logged", "rest": "crowded", "holder": "read from h5ad"}),
    ("scverse/scanpy#2181", "a base of None in uns['log1p']", {"place": "X, logged", "rest": "a base of the logarithm that is None"}),
    ("openproblems-bio/openproblems#695", "log-normalised X beside a layer of counts", {"place": "layers['counts']"}),
    ("theislab/scib#378", "counts in a layer of another name than X", {"place": "layer="}),
    ("theislab/single-cell-best-practices#224", "a dense matrix, without toarray()", {"format": "array"}),
    ("Teichlab/celltypist#159", "a sparse matrix where a dense one worked", {"format": "csc_array"}),
    ("scverse/scanpy#3331", "indices and indptr of two types", {"entries": "indices of two types"}),
    ("scverse/anndata#859", "64-bit indices", {"entries": "64-bit indices"}),
    ("chanzuckerberg/single-cell-curation#602", "entries that are stored twice", {"entries": "each twice"}),
    ("scipy/scipy#5807", "zeros that are stored", {"entries": "zeros stored", "format": "csc_matrix"}),
    ("scverse/scanpy#2764", "a sparse file in backed mode", {"holder": "backed"}),
    ("scverse/scanpy#1153", "raw of a backed file", {"holder": "backed", "place": "raw, few genes scaled in X"}),
    ("scverse/anndata#1288", "a sparse layer of a backed file", {"holder": "backed", "place": "layers['counts']"}),
    ("theislab/scvelo#122", "a view, and its layers", {"holder": "a view", "place": "layers['counts']"}),
    ("scverse/scvi-tools#681", "a single cell", {"cells": "a single one"}),
    ("scverse/scanpy#4251", "cells without counts, in another sparse format", {"cells": "some without counts", "format": "csc_matrix"}),
    ("scverse/scvi-tools#2792", "cells without counts, dense", {"cells": "some without counts", "format": "array"}),
    ("scverse/scanpy#55", "cells of the same name", {"cells": "named alike"}),
    ("scverse/anndata#84", "numbers as names of cells", {"cells": "named by numbers"}),
    ("scverse/anndata#726", "a column of objects of any type", {"obs": "objects of any type"}),
    ("scverse/anndata#1068", "nullable columns", {"obs": "nullable", "holder": "read from h5ad"}),
    ("scverse/anndata#498", "numbers as names of columns", {"obs": "numbers as names"}),
]  # fmt: skip
LAZY = [
    ("scverse/rapids-singlecell#521", "a file that is read lazily", {"holder": "read lazily"}),
    ("scverse/anndata#1356", "a dask array of csr blocks", {"format": "dask of csr"}),
]
REPORTS = []
ELSEWHERE: list[tuple[str, str, str]] = []


def report(number, brought):
    def add(test):
        REPORTS.append(pytest.param(test, id=f"{number} {brought}"))
        return test

    return add


@pytest.fixture(scope="module")
def plain(atlas_path, tmp_path_factory):
    return run_plain(atlas_path, tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def growing(tmp_path_factory):
    """An atlas to which studies are appended."""
    with scim.atlas.create(tmp_path_factory.mktemp("atlas") / "a.scim", model=fakes.tiny_model()) as atlas:
        yield atlas


@pytest.fixture
def given(request, atlas_path, plain, tmp_path):
    """What a report needs: toy cells, an atlas, results of the plain cells, a folder."""
    adata = fakes.cells(12, seed=9)
    lazily = lambda: request.getfixturevalue("growing")  # noqa: E731
    return SimpleNamespace(adata=adata, atlas=atlas_path, plain=plain, folder=tmp_path, growing=lazily)


@pytest.mark.parametrize("form", [pytest.param(form, id=f"{number} {brought}") for number, brought, form in SAME])
def test_cells_in_this_form_get_the_results_of_their_plain_form(form, atlas_path, plain, tmp_path):
    check_form(form, atlas_path, plain, tmp_path)


@pytest.mark.parametrize("form", [pytest.param(form, id=f"{number} {brought}") for number, brought, form in LAZY])
def test_cells_that_are_read_lazily_get_the_results_of_their_plain_form(form, atlas_path, plain, tmp_path):
    pytest.importorskip("dask")
    check_form(form, atlas_path, plain, tmp_path)


@pytest.mark.parametrize("test", REPORTS)
def test_report(test, given):
    test(given)


# -- genes


def scaled_with_raw(var):
    """A few scaled genes in X, and the counts of all genes in raw."""
    table = plain_table()
    adata = anndata.AnnData(table.counts[:, :30] - 1.5, obs=table.obs, var=var.iloc[:30])
    adata.raw = anndata.AnnData(sparse.csr_matrix(table.counts), obs=table.obs, var=var)
    return adata


@report("mojaveazure/seurat-disk#123", "row numbers as names of raw, symbols in raw.var['_index']")
def names_in_raw(given):
    symbols = plain_table().var.index
    adata = scaled_with_raw(pd.DataFrame({"_index": symbols}, index=map(str, range(len(symbols)))))
    check_same(run(adata, given.atlas), given.plain, np.arange(12))


@report("mojaveazure/seurat-disk#115", "row numbers as names, and no column of names")
def numbers_only(given):
    given.adata.var_names = [str(i) for i in range(given.adata.n_vars)]
    with pytest.raises(GeneOverlapError, match=r"row numbers: set adata.var_names, or .* gene_key="):
        scim.tl.embed(given.adata, given.atlas)


@report("scverse/scanpy#1862", "genes in rows")
def genes_in_rows(given):
    with pytest.raises(GeneOverlapError, match=r"transpose|\.T\b"):
        scim.tl.embed(given.adata.T, given.atlas)


@report("samuel-marsh/scCustomize#202", "genes of a mouse in a tool for human genes")
def genes_of_a_mouse(given):
    mouse, _ = fakes.of_a_mouse(given.adata)
    with pytest.raises(GeneOverlapError, match="pass species='mouse'"):
        scim.tl.embed(mouse, given.atlas)


@report("satijalab/seurat#2022", "genes of a mouse in capitals")
def capital_genes_of_a_mouse(given):
    mouse, _ = fakes.of_a_mouse(given.adata)
    scim.tl.embed(mouse, given.atlas, species="mouse")
    capitals = mouse.copy()
    capitals.var_names = capitals.var_names.str.upper()
    scim.tl.embed(capitals, given.atlas, species="mouse")
    np.testing.assert_allclose(capitals.obsm["X_scim"], mouse.obsm["X_scim"], atol=1e-6)


@report("scverse/scanpy#2149", "a human and a mouse genome in one file")
def two_genomes(given):
    human, counts = plain_table(), plain_table().counts
    names = [f"GRCh38_{name}" for name in human.var.index] + [f"mm10___{name.title()}" for name in human.var.index]
    adata = anndata.AnnData(np.hstack([counts, counts[:, ::-1]]), obs=human.obs, var=pd.DataFrame(index=names))
    check_same(run(adata, given.atlas), given.plain, np.arange(12))


@report("datacarpentry/spreadsheet-ecology-lesson#5", "symbols that a spreadsheet turned into dates")
def dates(given):
    today = scim.pp.canonical_genes(["SEPTIN9", "SEPTIN2"]).tolist()
    assert scim.pp.canonical_genes(["9-Sep", "2-Sep"]).tolist() == today
    assert scim.pp.canonical_genes(["1-Mar"]).tolist() == ["1-Mar"]  # MARCH1 or MARC1


@report("scverse/anndata#1834", "a gene name with a slash")
def slash_in_a_gene(given):
    names = given.adata.var_names.tolist()
    given.adata.var_names = [*names[:-1], "CH17-360D5.1/2"]
    scim.tl.embed(given.adata, given.atlas)
    assert given.adata.uns["scim"]["X_scim"]["n_genes_shared"] == len(names) - 1


# -- counts


@report("scverse/scvi-tutorials#66", "counts that SoupX corrected, not whole and small")
def corrected_counts(given):
    table = plain_table()
    share = np.linspace(0.17, 0.31, 12)[:, None]  # of the counts of a cell that are its own
    adata = anndata.AnnData(None, obs=table.obs, var=table.var, layers={"counts": table.counts * share})
    check_same(run(adata, given.atlas), given.plain, np.arange(12), exact=False)


@report("Teichlab/celltypist#44", "normalised values that were not log-transformed")
def normalised(given):
    table = plain_table()
    adata = anndata.AnnData(table.counts * 1e4 / table.counts.sum(1, keepdims=True), obs=table.obs, var=table.var)
    check_same(run(adata, given.atlas), given.plain, np.arange(12), exact=False)


@report("scverse/scanpy#581", "NaN from scaling genes without variance")
def scaled_to_nan(given):
    X = given.adata.X.toarray() - 1.0
    X[:, 3] = np.nan
    given.adata.X = X
    with pytest.raises(CountsError, match=r"NaN or infinite values.*layer="):
        scim.tl.embed(given.adata, given.atlas)


@report("scverse/scanpy#121", "no cell left after filtering")
def no_cells(given):
    with pytest.raises(CountsError, match="got an AnnData of 0 cells"):
        scim.tl.embed(given.adata[:0].copy(), given.atlas)


@report("scverse/scanpy#263", "a view of a backed file")
def view_of_a_file(given):
    adata = build({"holder": "backed"}, given.folder)
    with pytest.raises(ValueError, match=r"adata.to_memory\(\)"):
        scim.tl.embed(adata[:5], given.atlas)


# -- few cells, many cells


@report("scverse/scvi-tools#2314", "a last batch of one cell")
def last_batch_of_one(given):
    many = scim.datasets.toy(257)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scim.pp._align._CHUNK_VALUES", 1)  # chunks of 256 cells
        scim.tl.embed(many, given.atlas)
    last = many[-1].copy()
    scim.tl.embed(last, given.atlas)
    np.testing.assert_allclose(many.obsm["X_scim"][-1:], last.obsm["X_scim"], atol=1e-6)


@report("bowang-lab/scGPT#281", "embeddings that depend on the other cells of a call")
def parts_of_the_cells(given):
    parts = [given.adata[rows].copy() for rows in (slice(0, 5), slice(5, 12))]
    for adata in (given.adata, *parts):
        scim.tl.embed(adata, given.atlas)
    np.testing.assert_allclose(
        np.vstack([part.obsm["X_scim"] for part in parts]), given.adata.obsm["X_scim"], atol=1e-6
    )


@report("satijalab/azimuth#144", "fewer cells than neighbours")
def three_cells(given):
    three = build({}, given.folder)[[2, 0, 1]].copy()
    check_same(run(three, given.atlas), given.plain, np.array([2, 0, 1]))


@report("satijalab/azimuth#197", "more neighbours than the reference has cells")
def more_neighbours_than_cells(given):
    scim.tl.embed(given.adata, given.atlas)
    scim.tl.search(given.adata, given.atlas, k=100_000)
    found = given.adata.obsm["scim_search_ids"]
    assert found.shape[1] <= 150  # the atlas has 150 cells
    assert all(sorted(row[row >= 0]) == list(range(150)) for row in found)


@report("scverse/scvi-tools#1449", "a query without the column of labels")
def no_columns(given):
    adata = build({}, given.folder)
    adata.obs = adata.obs[[]]
    check_same(run(adata, given.atlas), given.plain, np.arange(12))


# -- labels


def fit(labels):
    """Two groups of cells in two studies, with these labels, and what is predicted of the groups."""
    random = np.random.default_rng(0)
    centres = np.repeat(np.eye(2, 8), 20, axis=0)
    X = centres + 0.05 * random.normal(size=centres.shape)
    transfer = scim.label_transfer.LabelTransfer.fit(X, labels, np.tile(["one", "two"], 20))
    return transfer.labels.tolist(), transfer.predict(np.eye(2, 8), max_error=1.0).labels.tolist()


def with_words(words):
    """Half of the cells of each group have another word for their label."""
    labels = np.repeat(np.array(["B cell", "T cell"], dtype=object), 20)
    labels[::2] = np.resize(np.array(words, dtype=object), 20)
    return labels


@report("SingleR-inc/SingleR#183", "missing labels in the reference")
def missing_labels(given):
    assert fit(with_words([None, np.nan, pd.NA])) == (["B cell", "T cell"], ["B cell", "T cell"])


@report("YosefLab/popV#27", "cells that are labelled 'unknown'")
def unknown_as_label(given):
    assert fit(with_words(["unknown", "Unknown "])) == (["B cell", "T cell"], ["B cell", "T cell"])


@report("openpipelines-bio/openpipeline#395", "other words for no label")
def words_for_no_label(given):
    words = ["Unassigned", "nan", "None", "N/A", "", " ", "<NA>", "-", "not available", "UNKNOWN"]
    assert fit(with_words(words)) == (["B cell", "T cell"], ["B cell", "T cell"])


@report("chanzuckerberg/cellxgene-census#1434", "labels in quotes beside the same without")
def quoted_labels(given):
    labels = np.repeat(np.array(['"B cell"', "'T cell'"], dtype=object), 20)
    labels[::2] = [label.strip("\"'") for label in labels[::2]]
    assert fit(labels) == (["B cell", "T cell"], ["B cell", "T cell"])


@report("ventolab/CellphoneDB#12", "numbers of clusters as labels")
def numbers_as_labels(given):
    assert fit(np.repeat([3, 11], 20)) == (["11", "3"], ["3", "11"])


@report("YosefLab/popV#28", "labels that are no terms of the Cell Ontology")
def labels_of_ones_own(given):
    own = np.repeat(np.array(["my type 1", "B cell"], dtype=object), 20)
    assert fit(own) == (["B cell", "my type 1"], ["my type 1", "B cell"])


@report("scverse/anndata#15", "a single label")
def single_label(given):
    assert fit(pd.Categorical(["T cell"] * 40)) == (["T cell"], ["T cell", "T cell"])


@report("scverse/anndata#963", "categories of the type string")
def categories_of_strings(given):
    labels = pd.Series(np.repeat(["B cell", "T cell"], 20), dtype="string").astype("category")
    assert fit(labels) == (["B cell", "T cell"], ["B cell", "T cell"])


@report("lilab-bcb/pegasus#323", "labels with a slash, that a file cannot have as keys")
def labels_with_a_slash(given):
    study = given.growing()
    cells = fakes.cells(12, seed=5)
    cells.obs["phase"] = np.resize(["G1/S", "G2/M"], 12)
    study.append(cells, study="slash", obs_columns=["phase"])
    study.build_index()
    scim.tl.embed(given.adata, study)
    scim.tl.annotate(given.adata, study, label_key="phase", max_error=1)
    given.adata.write_h5ad(given.folder / "a.h5ad")
    assert set(anndata.read_h5ad(given.folder / "a.h5ad").obs["scim_label"]) <= {"G1/S", "G2/M"}


@report("single-cell-data/TileDB-SOMA#2696", "a column of NaN in the first file, of text in the next")
def text_after_nan(given):
    for name, values in (("empty", np.nan), ("text", "naive"), ("empty again", None)):
        cells = fakes.cells(6, seed=len(name))
        cells.obs["author_cell_type"] = values
        given.growing().append(cells, study=name, obs_columns=["author_cell_type"])
    obs = given.growing().obs(columns=["study", "author_cell_type"])
    found = obs[obs["study"].isin(["empty", "text", "empty again"])].groupby("study", observed=True)["author_cell_type"]
    assert found.count().to_dict() == {"empty": 0, "text": 6, "empty again": 0}


# -- search


def unit(n=30, dim=8, seed=0):
    X = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    return X / np.linalg.norm(X, axis=1, keepdims=True)


@report("facebookresearch/faiss#1731", "k larger than the number of rows, and -1 read as an id")
def k_larger_than_the_index(given):
    found = scim.index.build(unit(5)).query(unit(2, seed=1), k=8)
    assert [sorted(row[row >= 0]) for row in found.ids] == [[0, 1, 2, 3, 4]] * 2
    assert (found.ids[:, 5:] == -1).all()
    assert np.isinf(found.distances[:, 5:]).all()


@report("facebookresearch/faiss#3830", "a search of an index without rows")
def index_without_rows(given):
    with pytest.raises(ValueError, match=r"(?i)no rows|at least one|empty|0 rows"):
        scim.index.build(np.empty((0, 8), dtype=np.float32))


@report("nmslib/hnswlib#93", "an index of one row")
def index_of_one_row(given):
    found = scim.index.build(unit(1), ids=[8512]).query(unit(1), k=4)
    assert found.ids.tolist() == [[8512, -1, -1, -1]]
    assert found.distances[0, 0] == 0


@report("nmslib/hnswlib#244", "k larger than what is left after deleting")
def k_larger_than_what_is_left(given):
    index = scim.index.build(unit(10))
    index.delete(np.arange(8))
    assert sorted(index.query(unit(1), k=3).ids[0].tolist()) == [-1, 8, 9]


@report("nmslib/hnswlib#465", "a filter that fewer than k rows pass")
def filter_of_few(given):
    index = scim.index.build(unit(10), obs=pd.DataFrame({"kept": np.arange(10) < 2}))
    assert sorted(index.query(unit(1), k=4, where="kept").ids[0].tolist()) == [-1, -1, 0, 1]


@report("nmslib/hnswlib#373", "many equal rows, which hide the others")
def equal_rows(given):
    X = np.vstack([np.repeat(unit(1), 50, axis=0), unit(3, seed=2)])
    found = scim.index.build(X).query(unit(1), k=4, distinct=True)
    assert found.ids[0, 0] == 0
    assert sorted(found.ids[0, 1:].tolist()) == [50, 51, 52]


@report("scverse/scanpy#2244", "equal cells that are not neighbours of each other")
def equal_cells(given):
    X = unit(6)
    found = scim.index.build(np.vstack([X, 10 * X])).query(3 * X, k=2)
    assert found.ids.tolist() == [[i, i + 6] for i in range(6)]
    assert not found.distances.any()


@report("lmcinnes/pynndescent#99", "rows of zeros, whose neighbours are always the same rows")
def rows_of_zeros(given):
    X = unit(6)
    X[2] = 0
    found = scim.index.build(X).query(X, k=6)
    assert found.ids[2].tolist() == [-1] * 6
    assert 2 not in found.ids
    assert (found.ids[[0, 1, 3, 4, 5], -1] == -1).all()


@report("facebookresearch/faiss#244", "a query of NaN")
def query_of_nan(given):
    with pytest.raises(ValueError, match="1 of 1 queries hold NaN or infinity"):
        scim.index.build(unit()).query(np.full((1, 8), np.nan), k=3)


# -- names of results


@report("scverse/anndata#321", "a slash in the name of a result, found when the file is written")
def slash_in_a_key(given):
    for tool in (scim.tl.embed, scim.tl.annotate, scim.tl.search):
        with pytest.raises(ValueError, match="no '/'"):
            tool(given.adata, given.atlas, key_added="a/b")


@report("scverse/scanpy#1656", "a list in place of the name of a column")
def list_as_groupby(given):
    scim.tl.embed(given.adata, given.atlas)
    for tool in (scim.tl.annotate, scim.tl.search):
        with pytest.raises(TypeError, match=r"groupby must be .*\['cell_type'\]"):
            tool(given.adata, given.atlas, groupby=["cell_type"])


# -- the whole


def test_the_tests_elsewhere_exist():
    root = Path(__file__).parents[1]
    for _, _, place in ELSEWHERE:
        file, name = place.split("::")
        tree = ast.parse((root / file).read_text())
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, place


def test_sixty_reports_are_kept():
    numbers = [row[0] for row in (*SAME, *LAZY, *ELSEWHERE)] + [param.id.split()[0] for param in REPORTS]
    assert len(set(numbers)) == len(numbers) >= 60
