from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scim
from scim._core import GeneOverlapError, ScimWarning
from scim.pp._gene_names import gene_id_kind


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CD3E", "ENSG00000198851"),  # symbol
        ("ENSG00000198851", "ENSG00000198851"),
        ("ENSG00000198851.11", "ENSG00000198851"),  # version suffix
        ("MLL", "ENSG00000118058"),  # previous symbol of KMT2A
        ("FAM46C", "ENSG00000183508"),  # previous symbol of TENT5C
        ("SEPT1", "ENSG00000180096"),  # now SEPTIN1
        ("ENSG00000161570", "ENSG00000271503"),  # CCL5 before 2014
        ("nothing-like-a-gene", "nothing-like-a-gene"),
    ],
)
def test_names_become_canonical(name, expected):
    assert scim.pp.canonical_genes([name]).tolist() == [expected]


def test_a_current_symbol_precedes_the_previous_symbol_of_another_gene():
    # every current symbol must resolve to its own gene
    symbols = ["CD4", "CD8A", "MS4A1", "GNLY", "PPBP", "INS", "GCG"]
    ids = scim.pp.canonical_genes(symbols)
    assert scim.pp.gene_symbols(ids).tolist() == symbols
    assert len(set(ids)) == len(symbols)


def test_an_unknown_id_stands_for_itself():
    assert scim.pp.gene_symbols(["ENSG99999999999", "x"]).tolist() == ["ENSG99999999999", "x"]


@pytest.mark.parametrize(
    ("names", "kind"), [(["CD3E", "CD4"], "symbol"), (["ENSG00000198851.2", "ENSG00000010610", "MT-CO1"], "ensembl")]
)
def test_kind_of_ids(names, kind):
    assert gene_id_kind(names) == kind


GENES = scim.pp.canonical_genes(["CD3E", "CD4", "CD8A", "MS4A1"])


def test_columns_are_mapped_by_any_name():
    var = pd.DataFrame(index=["MS4A1", "junk", "ENSG00000198851.9", "CD4"])
    found = scim.pp.match_genes(var, GENES)
    assert found.columns.tolist() == [3, -1, 0, 1]
    assert found.observed.tolist() == [True, True, False, True]
    assert (found.n_matched, found.share, found.source) == (3, 0.75, "var_names")


def test_the_column_of_var_with_most_genes_is_used():
    var = pd.DataFrame({"gene_ids": ["ENSG00000198851", "ENSG00000010610"]}, index=["one", "two"])
    found = scim.pp.match_genes(var, GENES)
    assert (found.source, found.kind, found.columns.tolist()) == ("var['gene_ids']", "ensembl", [0, 1])


def test_gene_key_names_the_column():
    var = pd.DataFrame({"mine": ["CD8A", "x"]}, index=["CD3E", "CD4"])
    assert scim.pp.match_genes(var, GENES, gene_key="mine").columns.tolist() == [2, -1]
    with pytest.raises(KeyError, match=r"gene_key='yours' is not a column of var. Present: \['mine'\]"):
        scim.pp.match_genes(var, GENES, gene_key="yours")


def test_onto_maps_the_same_columns_to_other_genes():
    found = scim.pp.match_genes(pd.DataFrame(index=["CD4", "junk", "CD3E"]), GENES)
    assert found.onto(np.array(["junk", GENES[1]], dtype=object)).columns.tolist() == [1, 0, -1]


def many(n: int) -> np.ndarray:
    return scim.pp.canonical_genes([f"gene{i}" for i in range(n)])


def test_the_names_with_most_human_genes_are_taken():
    var = pd.DataFrame({"gene_symbols": ["CD4", "CD8A", "x"]}, index=["0", "1", "2"])
    assert scim.pp.gene_symbols(scim.pp.genes_of(var)).tolist() == ["CD4", "CD8A", "x"]
    assert scim.pp.genes_of(pd.DataFrame(index=["made", "up"])).tolist() == ["made", "up"]
    with pytest.raises(KeyError, match="gene_key='y' is not a column of var"):
        scim.pp.genes_of(var, gene_key="y")


def test_little_overlap_is_a_warning_with_the_share():
    var = pd.DataFrame(index=[f"gene{i}" for i in range(100)])
    with pytest.warns(ScimWarning, match=r"100 of the model's 1000 genes \(10.0%\) are in var_names"):
        scim.pp.match_genes(var, many(1000))


CURVE = {"n_genes": [100, 400, 900], "macro_f1_share": [0.6, 0.8, 0.97]}


@pytest.mark.parametrize(
    ("n_genes", "cost"),
    [(200, "0.70 of the macro-F1 of all genes"), (50, "at most 0.60 of"), (400, "0.80 of")],  # 200: halfway in the log
)
def test_the_warning_states_what_the_panel_costs(n_genes, cost):
    var = pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)])
    with pytest.warns(ScimWarning, match=f"Only {n_genes} of the model's 1000 genes .*panels of this size {cost}"):
        scim.pp.match_genes(var, many(1000), panel_curve=CURVE)


def test_a_panel_that_costs_little_is_no_warning():
    var = pd.DataFrame(index=[f"gene{i}" for i in range(240)])
    cheap = {"n_genes": [50, 1000], "macro_f1_share": [0.96, 1.0]}
    assert scim.pp.match_genes(var, many(1000), panel_curve=cheap).n_matched == 240


def test_twenty_genes_are_enough():
    var = pd.DataFrame(index=[f"gene{i}" for i in range(20)])
    with pytest.warns(ScimWarning, match="Only 20 of the model's 1000 genes"):
        assert scim.pp.match_genes(var, many(1000)).n_matched == 20
    with pytest.raises(GeneOverlapError, match="Only 19 of the model's 1000 genes.*too few to embed"):
        scim.pp.match_genes(var[:19], many(1000))


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        (["Cd3e", "Cd4", "Ms4a1"], "mouse genes"),
        (["0", "1", "2"], "row numbers"),
        (["what", "is", "this"], "pass gene_key="),
    ],
)
def test_too_little_overlap_is_an_error_with_a_hint(names, hint):
    with pytest.raises(GeneOverlapError, match=f"Only 0 of the model's 1000 genes.*{hint}"):
        scim.pp.match_genes(pd.DataFrame(index=names), many(1000))
