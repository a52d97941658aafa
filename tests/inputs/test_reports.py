"""Test what users of other tools reported: files and machines that broke a tool, or got wrong results without a word.

Each report is one of: a form of the cells, whose results are those of the plain form (`SAME`); a function, here or in
`test_reports_reference.py`, which makes the input and asserts the right value or error; a test of another file
(`ELSEWHERE`).
"""

from __future__ import annotations

import re
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
from helpers.reports import Reports
from helpers.same_results import check_form, check_same, run, run_plain
from scim._core import CountsError, GeneOverlapError

SAME = [
    # the report, what the user had, the form in helpers/odd_adata.py
    ("Teichlab/celltypist#62", "antibodies beside genes, as Cell Ranger writes them", {"columns": "with antibodies"}),
    ("Teichlab/celltypist#14", "proteins among the genes, named AB_CD3", {"columns": "with proteins named as such"}),
    ("prism-oncology/sopa#144", "control probes and blank codewords of Xenium", {"columns": "with control probes"}),
    ("deweylab/CellO#5", "a gene name of two columns", {"columns": "a gene in two columns"}),
    ("scverse/scvi-tools#2089", "duplicate gene names in raw", {"columns": "a gene in two columns", "place": "raw, few genes scaled in X"}),
    ("nf-core/scdownstream#72", "gene ids as names, symbols elsewhere", {"gene_names": "ids"}),
    ("theislab/scarches#171", "some genes as ids, some as symbols", {"gene_names": "symbols and ids mixed"}),
    ("umccr/RNAsum#110", "gene ids with a version", {"gene_names": "ids with a version"}),
    ("samuel-marsh/scCustomize#195", "row numbers as names, symbols in a column", {"gene_names": "symbols in a column"}),
    ("satijalab/seurat#421", "symbol:id as names", {"gene_names": "symbol:id"}),
    ("stuart-lab/signac#1577", "names with a genome, '_' replaced by '-'", {"gene_names": "with a dash and a genome"}),
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
report = Reports()
ELSEWHERE = [
    # the report, what the user had, the test
    ("YosefLab/popV#27", "cells that are labelled 'unknown'", "test_no_label.py::test_words_that_mean_no_label"),
    ("SingleR-inc/SingleR#183", "missing labels in the reference", "test_no_label.py::test_words_that_mean_no_label"),
    ("scverse/scvi-tools#867", "cells that are labelled 'unlabeled'", "test_no_label.py::test_words_that_mean_no_label"),
    ("chanzuckerberg/cellxgene-census#1434", "labels in quotes beside the same without", "test_no_label.py::test_labels_are_cleaned"),
    ("ventolab/CellphoneDB#12", "numbers of clusters as labels", "test_no_label.py::test_labels_are_cleaned"),
    ("single-cell-data/TileDB-SOMA#2696", "a column of NaN in the first file, of text in the next", "test_columns.py::test_values_come_back"),
    ("scverse/anndata#724", "true and false as categories", "test_columns.py::test_values_come_back"),
    ("satijalab/seurat#2213", "dots for dashes in names", "test_gene_names.py::test_changed_names_are_the_same_genes"),
    ("satijalab/seurat#6441", "names that all end in -1", "test_gene_names.py::test_changed_names_are_the_same_genes"),
    ("mojaveazure/seurat-disk#95", "gene names as bytes", "test_gene_names.py::test_changed_names_are_the_same_genes"),
    ("satijalab/seurat#1910", "an antibody CD4|CD4-P", "test_gene_names.py::test_one_name_among_others"),
    ("datacarpentry/spreadsheet-ecology-lesson#5", "symbols that a spreadsheet made dates of", "test_gene_names.py::test_one_name_among_others"),
    ("satijalab/seurat#2022", "genes of a mouse in capitals", "test_gene_names.py::test_changed_names_of_a_mouse"),
    ("theislab/scarches#236", "a reference of one study", "test_few_cells.py::test_what_cannot_be_kept_is_stated"),
    ("facebookresearch/faiss#3187", "rows that were not scaled to one length", "test_representation.py::test_the_length_of_rows_does_not_matter"),
    ("scverse/fast-array-utils#179", "a process that is forked after threads were used", "test_processes.py::test_forks_work_on_one_thread"),
    ("TileDB-Inc/TileDB-Py#127", "a fork that reads a store, and hangs", "test_processes.py::test_forks_work_on_one_thread"),
    ("numba/numba#5566", "no folder for compiled kernels", "test_processes.py::test_kernels_are_kept_in_a_private_temporary_folder"),
    ("numba/numba#4032", "a read-only container", "test_processes.py::test_a_read_only_file_system"),
    ("tqdm/tqdm#1654", "no standard error under pythonw", "test_streams.py::test_bars_switch_themselves_off"),
    ("mar-file-system/GUFI#126", "a path with %", "test_paths.py::test_a_name_works_for_atlas_model_and_index"),
    ("consbio/mbtileserver#96", "a path with ?", "test_paths.py::test_an_atlas_is_refused_before_anything_is_written"),
    ("satijalab/seurat#7346", "unassigned codewords of Xenium", "test_features.py::test_columns_of_another_type_are_left_out"),
    ("scverse/scanpy#2398", "CRISPR guides beside genes", "test_features.py::test_columns_of_another_type_are_left_out"),
    ("scverse/anndata#1330", "a column of obs that is there twice", "test_arguments.py::test_a_column_that_is_there_twice_is_refused"),
]  # fmt: skip


@pytest.fixture(scope="module")
def plain(atlas_path, tmp_path_factory):
    return run_plain(atlas_path, tmp_path_factory.mktemp("plain"))


@pytest.fixture
def given(atlas_path, plain, tmp_path):
    """What a report needs: toy cells, an atlas, results of the plain cells, a folder."""
    return SimpleNamespace(adata=fakes.cells(12, seed=9), atlas=atlas_path, plain=plain, folder=tmp_path)


@pytest.mark.parametrize("form", [pytest.param(form, id=f"{number} {brought}") for number, brought, form in SAME])
def test_cells_in_this_form_get_the_results_of_their_plain_form(form, atlas_path, plain, tmp_path):
    check_form(form, atlas_path, plain, tmp_path)


@pytest.mark.parametrize("form", [pytest.param(form, id=f"{number} {brought}") for number, brought, form in LAZY])
def test_cells_that_are_read_lazily_get_the_results_of_their_plain_form(form, atlas_path, plain, tmp_path):
    pytest.importorskip("dask")
    check_form(form, atlas_path, plain, tmp_path)


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


@report("scverse/scanpy#2149", "a human and a mouse genome in one file")
def two_genomes(given):
    human, counts = plain_table(), plain_table().counts
    names = [f"GRCh38_{name}" for name in human.var.index] + [f"mm10___{name.title()}" for name in human.var.index]
    adata = anndata.AnnData(np.hstack([counts, counts[:, ::-1]]), obs=human.obs, var=pd.DataFrame(index=names))
    check_same(run(adata, given.atlas), given.plain, np.arange(12))


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


@pytest.mark.parametrize("test", report)
def test_report(test, given):
    test(given)


# -- the whole


def test_the_tests_elsewhere_exist():
    for number, _, place in ELSEWHERE:
        file, name = place.split("::")
        text = (Path(__file__).parent / file).read_text()
        assert number in text
        assert f"def {name}(" in text


def test_sixty_reports_are_kept():
    reference = (Path(__file__).parent / "test_reports_reference.py").read_text()
    numbers = re.findall(r'report\("([\w.-]+/[\w.-]+#\d+)"', reference)
    numbers += [row[0] for row in (*SAME, *LAZY, *ELSEWHERE)] + [param.id.split()[0] for param in report]
    assert len(set(numbers)) == len(numbers) >= 60
