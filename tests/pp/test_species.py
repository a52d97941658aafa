from __future__ import annotations

import logging
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scim
from scim._core import GeneOverlapError, ScimWarning
from scim.pp._species import species_token


def ids(*symbols: str) -> np.ndarray:
    return scim.pp.canonical_genes(symbols)


def found(names, genes, species="mouse", **kwargs):
    return scim.pp.match_genes(pd.DataFrame(index=names), genes, species=species, **kwargs)


@pytest.mark.parametrize(
    ("mouse", "human"),
    [
        ("Cd3e", "CD3E"),
        ("mt-Nd1", "MT-ND1"),
        ("Ins1", "INS"),
        ("Ins2", "INS"),
        ("Xcl1", "XCL1"),  # an ortholog of XCL2 too, by another name
        ("Trbc2", "TRBC2"),  # of TRBC1 too; neither codes for a protein by its type
        ("Hba-a1", "HBA1"),  # of HBA1 and HBA2, none of its name
        ("S100a9", "S100A9"),  # which Ensembl 105 does not have
        ("Tmsb4x", "TMSB4X"),  # which Ensembl 105 has as TMSB4Y
    ],
)
def test_a_mouse_gene_is_one_human_gene(mouse, human):
    assert scim.pp.canonical_genes([mouse], species="mouse").tolist() == ids(human).tolist()


@pytest.mark.parametrize("name", ["Gm42418", "CD3E", "cd3e", "ENSG00000198851", "Meg3"])
def test_genes_without_an_ortholog_are_unmapped(name):
    assert scim.pp.canonical_genes([name], species="mouse").tolist() == [f"mouse:{name}"]


def test_orthologs_of_one_gene_are_summed_before_counts_are_normalised():
    genes = found(["Ins1", "Gm42418", "Cd3e", "Ins2"], ids("CD3E", "INS"))
    assert genes.columns.tolist() == [1, -1, 0, 1]
    assert (genes.species, genes.n_mapped, genes.n_matched, genes.kind) == ("mouse", 3, 2, "symbol")
    X = sparse.csr_matrix(np.array([[3, 90, 2, 5], [1, 0, 0, 0]], dtype=np.float32))
    aligned = scim.pp.align(X, genes)
    assert aligned.toarray().tolist() == [[2, 8], [0, 1]]
    expected = np.log1p([[1e4 * 2 / 10, 1e4 * 8 / 10], [0, 1e4]])  # of the sum over genes of the model: 10, 1
    np.testing.assert_allclose(scim.pp.lognorm(aligned).toarray(), expected, rtol=1e-6)


def test_a_count_goes_to_one_of_several_orthologs():
    genes = found(["Xcl1", "Hba-a1"], ids("XCL2", "XCL1", "HBA2", "HBA1"))
    assert genes.columns.tolist() == [1, 3]
    assert genes.observed.tolist() == [False, True, False, True]  # the others are unknown, not zero


@pytest.mark.parametrize("form", [dict, pd.Series])
def test_a_mapping_of_any_species(form):
    mapping = form({"cd4-1": "CD4", "mll": "MLL", "by-id": "ENSG00000198851.4", "none": None, "hole": np.nan})
    genes = found(["mll", "CD8A", "none", "cd4-1", "hole", "by-id"], ids("CD3E", "CD4", "CD8A", "KMT2A"), mapping)
    assert genes.columns.tolist() == [3, -1, -1, 1, -1, 0]  # CD8A is not in the mapping
    prefix, _, _ = genes.names[1].partition(":")
    assert re.fullmatch("mapping-[0-9a-f]{8}", prefix)
    assert genes.names[[1, 2, 4]].tolist() == [f"{prefix}:CD8A", f"{prefix}:none", f"{prefix}:hole"]
    assert (genes.species, genes.n_mapped) == ("mapping", 3)


def test_species_share_no_gene_that_neither_maps():
    fish, fly = {"cd4-1": "CD4", "mll": "MLL"}, {"trx": "KMT2A", "cd4-1": "CD4"}
    names = ["cd4-1", "orphan", "mapping-00000000:own"]
    of_fish, of_fly = (scim.pp.canonical_genes(names, species=species) for species in (fish, fly))
    assert of_fish[0] == of_fly[0] == ids("CD4")[0]
    assert not set(of_fish[1:]) & set(of_fly[1:])
    again = scim.pp.canonical_genes(names, species=pd.Series(dict(reversed(fish.items()))))
    assert again.tolist() == of_fish.tolist()  # the same pairs in another order
    assert found(names, ids("CD4"), fish).n_mapped == 1


def test_human_genes_are_all_mapped():
    genes = found(["CD4", "mouse:x"], ids("CD4"), "human")
    assert (genes.species, genes.n_mapped) == ("human", 2)


def test_the_mapped_share_is_logged(caplog):
    with caplog.at_level(logging.INFO, logger="scim"):
        found(["Cd4", "Cd8a", "Ins1", "Gm42418"], ids("CD4", "CD8A"))
    assert "3 of 4 genes (75.0%) have a human ortholog" in caplog.text


def test_symbols_in_a_column_of_var_are_found():
    var = pd.DataFrame({"feature_name": ["Cd4", "Cd8a"]}, index=["ENSMUSG00000023274", "ENSMUSG00000053977"])
    genes = scim.pp.match_genes(var, ids("CD8A", "CD4"), species="mouse")
    assert (genes.columns.tolist(), genes.source) == ([1, 0], "var['feature_name']")


def test_a_column_of_human_ids_is_what_training_reads():
    var = pd.DataFrame(index=["Ins1", "Ins2", "Gm42418"])
    var["gene_ids"] = scim.pp.canonical_genes(var.index, species="mouse")
    assert scim.pp.genes_of(var).tolist() == [*ids("INS", "INS"), "mouse:Gm42418"]
    assert scim.pp.match_genes(var, ids("CD4", "INS")).columns.tolist() == [1, 1, -1]


@pytest.mark.parametrize(
    ("names", "species", "expected"),
    [
        (["MLL", "KMT2A", "CD4"], "human", [2, 0, 1]),
        (["Kmt2a", "Cd4"], "mouse", [0, 1]),
        (["old", "new"], {"old": "MLL", "new": "KMT2A"}, [2, 0]),
    ],
)
def test_a_name_that_the_model_uses_is_that_gene(names, species, expected):
    # Of two published symbols with one id, the older stays a symbol: the model has both.
    genes = np.array([*ids("KMT2A", "CD4"), "MLL"], dtype=object)
    match = found(names, genes, species)
    assert match.columns.tolist() == expected
    assert match.onto(genes[::-1]).columns.tolist() == [2 - column for column in expected]


def test_a_name_that_the_model_does_not_use_is_translated():
    assert found(["MLL"], ids("KMT2A"), "human").columns.tolist() == [0]


MANY = np.array([f"gene{i}" for i in range(1000)], dtype=object)
CLONES = [f"{i:07d}P{i:02d}Rik" for i in range(20)]


@pytest.mark.parametrize(
    ("names", "species", "message"),
    [
        ([*CLONES, *(f"Gene{i}" for i in range(80))], "human", r"\(they look like mouse genes: pass species='mouse'\)"),
        (["ENSMUSG00000023274"], "human", 'mouse symbols with gene_key=, and pass species="mouse"'),
        (["ENSMUSG00000023274"], "mouse", r"mouse symbols with gene_key=\)"),
        (["CD4", "CD8A", "CD3E"], "mouse", "Expected mouse symbols, got .*human genes: pass species='human'"),
        (["ENSG00000198851"], "mouse", "look like human genes"),
        (["Cd4", "Cd8a"], {"cd4": "CD4"}, "Expected the names that species= maps to human genes.*pass gene_key="),
        (["1", "2"], {"cd4": "CD4"}, "row numbers"),
    ],
)
def test_names_of_another_species_are_an_error_with_the_remedy(names, species, message):
    with pytest.raises(GeneOverlapError, match=f"Only 0 of the model's 1000 genes.*{message}"):
        found(names, MANY, species)


def test_few_genes_of_what_looks_like_a_mouse_are_a_warning_with_the_remedy():
    names = [*MANY[:150], *(f"Gene{i}" for i in range(500))]
    with pytest.warns(ScimWarning, match=r"150 of the model's 1000 .*look like mouse genes: pass species='mouse'"):
        found(names, MANY, "human")


@pytest.mark.parametrize(
    ("species", "error", "message"),
    [
        ("rat", ValueError, "species='rat': expected 'human', 'mouse', or a mapping"),
        ("Mouse", ValueError, "species='Mouse': expected"),
        (None, TypeError, "species must be .* got NoneType"),
        (["Cd4"], TypeError, "got list"),
        (pd.DataFrame({"a": ["CD4"]}), TypeError, "got DataFrame"),
        ({}, ValueError, "species is an empty mapping"),
        ({"cd4": ["CD4", "CD8A"]}, TypeError, r"species maps 'cd4' to \['CD4', 'CD8A'\]; expected the name of one"),
        ({"cd4": 4}, TypeError, "species maps 'cd4' to 4"),
        (pd.Series(["CD4", "CD8A"], index=["a", "a"]), ValueError, r"species names genes twice, as \['a'\]"),
    ],
)
def test_invalid_species_are_refused(species, error, message):
    with pytest.raises(error, match=message):
        found(["Cd4"], ids("CD4"), species)
    with pytest.raises(error, match=message):
        species_token(species)


def test_tokens_are_those_of_equal_mappings():
    mapping = {"a": "CD4", "b": "CD8A"}
    assert species_token(mapping) == species_token(pd.Series({"b": "CD8A", "a": "CD4"}))
    tokens = ["human", "mouse", mapping, {"a": "CD4"}, {"a": "CD8A", "b": "CD4"}]
    assert len({species_token(species) for species in tokens}) == len(tokens)
    assert len(species_token({f"g{i}": "CD4" for i in range(20_000)})) < 100  # it is part of a file


def test_the_table_equals_that_of_the_script(data_folder, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    import make_ortholog_table as script

    table = script.one_each(script.read_pairs(data_folder), script.named_pairs(data_folder))
    assert scim.pp.canonical_genes(table["mouse"], species="mouse").tolist() == table["human"].tolist()
    assert table["mouse"].is_unique
    assert len(table) == len(pd.read_csv(script.TARGET, sep="\t", keep_default_na=False))
    monkeypatch.delitem(sys.modules, "make_ortholog_table")
