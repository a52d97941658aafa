from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scim
from scim.model import CellFilters
from scim.training.data import gathered
from scim.training.data._data_set import read_data_set
from scim.training.data._filters import keep_good

MITO = ["MT-CO1", "MT-CO2", "MT-CO3", "MT-ND4"]


def toy(n=6):
    """Cells with one count in each of the genes that are no mitochondrial ones."""
    adata = scim.datasets.toy(n)
    X = np.ones((n, adata.n_vars), dtype=np.float32)
    X[:, adata.var_names.isin(MITO)] = 0
    adata.X = sparse.csr_matrix(X)
    return adata


def kept(adata, **rules):
    """Rows that pass, and how many each rule left out."""
    filters = rules.pop("filters", None) or CellFilters(**rules)
    data = read_data_set("x", adata, label_key="cell_type", study_key=None, layer=None, transform=None, gene_key=None)
    good, dropped = keep_good(data, adata, filters)
    return good.rows.tolist(), dropped


def set_counts(adata, row, **counts):
    X = adata.X.toarray()
    for gene, value in counts.items():
        X[row, adata.var_names.get_loc(gene.replace("_", "-"))] = value
    adata.X = sparse.csr_matrix(X)


def test_nothing_is_left_out_by_default():
    assert kept(toy()) == ([0, 1, 2, 3, 4, 5], {})


def test_counts_by_hand():
    """107 counts each; cell 2 has 10 more, cell 4 one less."""
    adata = toy()
    set_counts(adata, 2, CD19=11)
    set_counts(adata, 4, CD19=0)
    assert kept(adata, min_counts=107) == ([0, 1, 2, 3, 5], {"fewer than 107 counts": 1})
    assert kept(adata, min_counts=108) == ([2], {"fewer than 108 counts": 5})
    assert kept(adata, min_counts=106) == ([0, 1, 2, 3, 4, 5], {"fewer than 106 counts": 0})


def test_genes_by_hand():
    """Genes are counted, not names of genes: an id and a symbol of one gene are one."""
    adata = toy()
    set_counts(adata, 1, CD19=0)
    set_counts(adata, 3, CD19=0, CD14=50)
    assert kept(adata, min_genes=107) == ([0, 2, 4, 5], {"fewer than 107 genes": 2})
    adata.var_names = [{"CD14": "CD19", "CD19": "ENSG00000177455"}.get(name, name) for name in adata.var_names]
    assert kept(adata, min_genes=106)[0] == [0, 1, 2, 3, 4, 5]
    with pytest.warns(UserWarning, match="none of 6 cells"):
        assert kept(adata, min_genes=107)[0] == []


def test_mitochondrial_share_by_hand():
    """20 of 120 counts are a sixth, 107 of 214 a half; exactly the share that is allowed passes."""
    adata = toy()
    set_counts(adata, 1, MT_CO1=20, MT_ND4=6, CD19=0)  # 26 of 132
    set_counts(adata, 2, MT_CO1=107)
    assert kept(adata, max_mito=0.5) == ([0, 1, 2, 3, 4, 5], {"more than 50% mitochondrial": 0})
    assert kept(adata, max_mito=0.499) == ([0, 1, 3, 4, 5], {"more than 50% mitochondrial": 1})
    assert kept(adata, max_mito=26 / 132 + 1e-6)[0] == [0, 1, 3, 4, 5]
    assert kept(adata, max_mito=26 / 132 - 1e-6)[0] == [0, 3, 4, 5]
    adata.var_names = scim.pp.canonical_genes(adata.var_names).astype(str)
    assert kept(adata, max_mito=0.1)[0] == [0, 3, 4, 5]


def test_a_cell_counts_for_the_first_rule_that_it_fails():
    adata = toy()
    set_counts(adata, 2, CD19=0, CD14=0, MT_CO1=1)  # fewer counts, fewer genes, some mitochondrial
    set_counts(adata, 3, CD19=0, CD14=2)
    adata.obs["doublet"] = [False, False, False, False, True, False]
    rows, dropped = kept(adata, min_counts=107, min_genes=107, max_mito=0.0, doublet_key="doublet")
    assert rows == [0, 1, 5]
    assert dropped == {
        "doublets": 1,
        "fewer than 107 counts": 1,
        "fewer than 107 genes": 1,
        "more than 0% mitochondrial": 0,
    }


def test_logarithms_have_no_number_of_counts():
    adata = scim.datasets.toy(30)
    adata.X = sparse.csr_matrix(np.log1p(adata.X.toarray() / adata.X.sum(1) * 100))
    with pytest.warns(UserWarning, match="log-normalised"):
        rows, dropped = kept(adata, min_counts=10**6, min_genes=1)
    assert rows == list(range(30))
    assert dropped["fewer than 1000000 counts"] == 0
    with pytest.warns(UserWarning, match="log-normalised"), pytest.warns(UserWarning, match="none of 30 cells"):
        assert kept(adata, min_genes=200)[0] == []


def test_the_rules_of_the_paper():
    paper = CellFilters.paper(doublet_key="doublet", disease_key="disease")
    assert paper == CellFilters(1001, 501, 0.2, "doublet", "disease", 2)
    assert paper.columns == ["doublet", "disease"]
    assert CellFilters.paper() == CellFilters(min_counts=1001, min_genes=501, max_mito=0.2, min_studies=2)


def test_the_limits_of_the_paper_are_exclusive():
    """'> 1000 counts' and '> 500 genes' leave out 1000 and 500."""
    adata = scim.datasets.toy(3)[:, [0]].copy()
    wide = pd.DataFrame(index=[f"GENE{i}" for i in range(600)])
    X = np.zeros((3, 600), dtype=np.float32)
    X[:, :501] = 1
    X[1, 500] = 0  # 500 genes
    X[:, 0] += (1001 - 501, 1001 - 500, 1000 - 501)  # cell 2 has 1000 counts
    adata = scim.datasets.toy(3)
    adata = type(adata)(sparse.csr_matrix(X), obs=adata.obs, var=wide)
    rows, dropped = kept(adata, filters=CellFilters.paper())
    assert rows == [0]
    assert dropped == {
        "fewer than 1001 counts": 1,
        "fewer than 501 genes": 1,
        "more than 20% mitochondrial": 0,
    }


@pytest.mark.parametrize(
    "column",
    [
        [True, False, False, True, False, False],
        pd.array([True, False, None, True, False, None], dtype="boolean"),
        pd.Categorical(["doublet", "singlet", "singlet", "doublet", None, "singlet"]),
        ["True", "False", "false", "TRUE", "0", ""],
        [1, 0, 0, 1, 0, 0],
        [1.0, 0.0, np.nan, 1.0, 0.0, 0.0],
        ["Doublet", "Singlet", "no", "yes", "Negative", "Singlet"],
    ],
)
def test_doublets_in_every_form(column):
    adata = toy()
    adata.obs["doublet"] = column
    assert kept(adata, doublet_key="doublet") == ([1, 2, 4, 5], {"doublets": 2})


def test_cancer_by_words():
    adata = toy(12)
    bad = ["lung adenocarcinoma", "B-cell non-Hodgkin lymphoma", "Acute Myeloid Leukemia", "breast cancer", "tumour"]
    good = ["normal", "COVID-19", "lupus erythematosus", "type 2 diabetes mellitus", "influenza", "", "asthma"]
    adata.obs["disease"] = pd.Categorical([*bad, *good])
    rows, dropped = kept(adata, disease_key="disease")
    assert rows == list(range(5, 12))
    assert dropped == {"cancer samples": 5}
    adata.obs["disease"] = [np.nan] * 6 + ["glioblastoma"] * 6
    assert kept(adata, disease_key="disease")[0] == [0, 1, 2, 3, 4, 5]


def test_columns_are_those_of_the_labelled_cells():
    """The filters read the remaining rows, not the first ones."""
    adata = toy()
    adata.obs["doublet"] = [True, False, False, False, True, False]
    adata.obs.loc[adata.obs_names[[0, 2]], "cell_type"] = np.nan
    assert kept(adata, doublet_key="doublet") == ([1, 3, 5], {"doublets": 1})


@pytest.mark.parametrize("key", ["doublet_key", "disease_key"])
def test_a_missing_column_is_named(key, tmp_path):
    with pytest.raises(KeyError, match=r"obs\['gone'\] of 'x' not found, needed by filters. Present: \['cell_type"):
        kept(toy(), **{key: "gone"})
    toy().write_h5ad(tmp_path / "a.h5ad")
    with (
        pytest.raises(KeyError, match=r"has no column \['gone'\]"),
        gathered(tmp_path / "a.h5ad", label_key="cell_type", study_key=None, filters=CellFilters(**{key: "gone"})),
    ):
        pass


@pytest.mark.parametrize(
    ("rules", "error", "match"),
    [
        ({"min_counts": -1}, ValueError, "min_counts must lie"),
        ({"min_genes": 0.5}, TypeError, "min_genes must be a whole number"),
        ({"max_mito": 1.5}, ValueError, "max_mito must lie between 0.0 and 1"),
        ({"min_studies": 0}, ValueError, "min_studies must lie"),
    ],
)
def test_bad_rules_are_named(rules, error, match):
    with pytest.raises(error, match=match):
        CellFilters(**rules)


def test_a_data_set_of_which_no_cell_is_left_is_named():
    """For example a gene panel with few counts in few genes; the study must not disappear silently."""
    with pytest.warns(UserWarning, match=r"x: none of 6 cells passes .*fewer than 501 genes: 6.*for a panel") as got:
        assert kept(toy(), filters=CellFilters(min_genes=501)) == ([], {"fewer than 501 genes": 6})
    assert len(got) == 1
