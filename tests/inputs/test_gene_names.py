"""Test that names of genes that another program has changed are read as the genes they were, or named in an error."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scim
from helpers import fakes
from scim._core import GeneOverlapError
from scim.pp import find_counts
from scim.training.data._data_set import DataSet, read_data_set

PLAIN = scim.datasets.toy(3).var_names.tolist()
ID = dict(zip(PLAIN, scim.pp.canonical_genes(PLAIN), strict=True))
CASE, DOTS = "with other upper and lower case", "with the punctuation that R or Seurat replaced"
ID_INSIDE, QUOTES = "by the Ensembl id in them", "after removing blanks and quotes"


def prefix(text: str) -> str:
    return f"after removing the prefix {text}"


CHANGES = [
    # the report, how a name was changed, how it is read
    ("satijalab/seurat#2887", lambda name: f"GRCh38_{name}", prefix("GRCh38_")),
    ("", lambda name: f"GRCh38______{name}", prefix("GRCh38______")),
    ("", lambda name: f"GRCh38-{name}", prefix("GRCh38-")),
    ("", lambda name: f"hg19_{name}", prefix("hg19_")),
    ("", lambda name: f"GRCh38-2020-A_{name}", prefix("GRCh38-2020-A_")),
    ("", lambda name: f"Homo_sapiens_{name}", prefix("Homo_sapiens_")),
    ("", lambda name: f"HUMAN:{name}", prefix("HUMAN:")),
    ("", lambda name: f"rna_{name}", prefix("rna_")),
    ("", lambda name: f"gene:{ID[name]}", prefix("gene:")),
    ("", lambda name: f"sample.7|{name}", prefix("sample.7|")),
    ("", lambda name: f"{name}_hg38", "after removing the suffix _hg38"),
    ("satijalab/seurat#6441", lambda name: f"{name}-1", "after removing the suffix -1"),
    ("", lambda name: f"GRCh38_{ID[name]}", prefix("GRCh38_")),
    ("", lambda name: f"GRCh38_{name.lower()}", CASE),
    ("", lambda name: f"{name}_{ID[name]}", ID_INSIDE),
    ("", lambda name: f"{ID[name]}.11_{name}", ID_INSIDE),
    ("", lambda name: f"{name}|{ID[name]}", ID_INSIDE),
    ("", lambda name: f"{name};{ID[name]}.2", ID_INSIDE),
    ("", lambda name: f"{name} ({ID[name]})", ID_INSIDE),
    ("", lambda name: f"GRCh38_{name}_{ID[name]}", ID_INSIDE),
    ("", lambda name: f"{name}|{len(name)}", "after removing ids"),
    ("", lambda name: f"{name}|NM_{len(name):06d}.1", "after removing ids"),
    ("", lambda name: f" {name} ", QUOTES),
    ("", lambda name: f"\u00a0{name}\t", QUOTES),
    ("", lambda name: f'"{name}"', QUOTES),
    ("", lambda name: f"'{name}'", QUOTES),
    ("mojaveazure/seurat-disk#95", lambda name: f"b'{name}'", QUOTES),
    ("", lambda name: f"('{name}',)", QUOTES),
    ("grisslab/scAnnotatR#10", str.lower, CASE),
    ("", lambda name: f"{ID[name].lower()}.3", CASE),
    ("satijalab/seurat#2213", lambda name: name.replace("-", "."), DOTS),
    ("satijalab/seurat#1648", lambda name: name.replace("-", "_"), DOTS),
    ("satijalab/seurat#1942", lambda name: name.lower().replace("-", "."), CASE),
]
COLUMNS = [
    ("mojaveazure/seurat-disk#123", "_index"), ("", "features"), ("", "names"), ("", "Gene"), ("", "gene_short_name"),
    ("", "SYMBOL"), ("", "external_gene_name"), ("", "hgnc_symbol"), ("", "mine"), ("pachterlab/kb_python#93", "gene_name"),
]  # fmt: skip
ONE_NAME = [
    # the report, a name among others, the gene
    ("GangLiLab/genekitr#14", "2-Sep", "SEPTIN2"),
    ("cognoma/cancer-data#4", "12-Sep", "SEPTIN12"),
    ("datacarpentry/spreadsheet-ecology-lesson#5", "Sep-09", "SEPTIN9"),
    ("", "01-Sep", "SEPTIN1"),
    ("", "1-Sep-20", "SEPTIN1"),
    ("", "2020-09-01", "SEPTIN1"),
    ("", "2020-09-01 00:00:00", "SEPTIN1"),
    ("", "44075", "SEPTIN1"),  # the number of 2020-09-01
    ("", "X1.Sep", "SEPTIN1"),
    ("", "1-Dec", "DELEC1"),
    ("", "3-Mar", "MARCHF3"),
    ("", "Mar-11", "MARCHF11"),
    ("cognoma/cancer-data#4", "1-Mar", None),  # MARCH1 or MARC1
    ("GangLiLab/genekitr#14", "2-Mar", None),
    ("", "43891", None),  # the number of 2020-03-01
    ("", "2-Dec", None),  # there is no DEC2
    ("", "MARCH1", "MARCHF1"),
    ("", "SEPT2", "SEPTIN2"),
    ("", "X7SK", "7SK"),
    ("", "C1ORF112", "FIRRM"),
    ("", "HLA.DRB1", "HLA-DRB1"),
    ("", "MT.ND1", "MT-ND1"),
    ("", "NKX2.1", "NKX2-1"),
    ("", "TBCE_ENSG00000284770", "ENSG00000284770"),
    ("", "CD4|CD8A", None),  # two genes
    ("", "ENSG00000010610_ENSG00000153563", None),
    ("", "cd4", None),  # one in lower case may be a transgene
    ("", "Cd4", None),
    ("", "CD4-1", None),  # a second CD4, of what is not known
    ("", "CD4.1", None),
    ("satijalab/seurat#1910", "CD4|CD4-P", None),  # an antibody
    ("", "CD4_TotalSeqC", None),
    ("", "AB_CD4", None),
    ("", "mm10_Cd4", None),
    ("", "mouse_CD4", None),
    ("", "hla-dra", None),  # HLA-DRA has a column
    ("", "HLA.DRA", None),
    ("", "GRCh38_HLA-DRA", None),
]
IN_DATA = [
    ("1-Mar", "MTARC1", "MARCHF1"), ("1-Mar", "MARC1", "MARCHF1"), ("1-Mar", "MARCH1", "MTARC1"), ("43891", "MTARC1", "MARCHF1"),
]  # fmt: skip
NO_NAMES = [
    # the report, names, what the error says of them
    ("Teichlab/celltypist#148", [str(2 * i + 916) for i in range(99)], "numbers, as Entrez ids, of which scim has no table"),
    ("scverse/anndata#826", [str(i) for i in range(99)], "row numbers: set adata.var_names"),
    ("scverse/scanpy#914", ["GTGCCATATTCN", "TCGCAGCCTGCT", "CTGTAGCCCCCA"], "cell barcodes: if the genes are in rows, pass adata.T"),
    ("", ["s1_AAACCTGAGAAACCAT-1", "s1_AAACCTGAGAAACCTA-1"], "pass adata.T"),
    ("", ["ENST00000361763.9", "ENST00000361764"], "Ensembl ids of transcripts"),
    ("", ["ENSRNOG00000015227", "ENSRNOG00000015228"], "another species: pass species={id: human gene name}"),
    ("", ["NM_000732.4", "NM_000616"], "RefSeq ids of transcripts"),
    ("", ["1007_s_at", "AFFX-BioB-3_at", "117_at"], "names of probes"),
    ("", [f"mm10___{name.title()}" for name in PLAIN], "111 genes of mm10; pass species='mouse' to read these"),
    ("", [f"chr1:{i}00-{i}99" for i in range(1, 9)], "8 peaks"),
    ("", ["ENSMUSG00000032093", "ENSMUSG00000032094"], "ids of mouse genes"),
]  # fmt: skip


def ids_of(rows: list[tuple]) -> list[str]:
    return [f"{row[0]} {row[1] if isinstance(row[1], str) else row[-1]}" for row in rows]


@pytest.fixture(scope="module")
def model():
    return fakes.tiny_model()


@pytest.fixture(scope="module")
def plain(model):
    return embedding(pd.DataFrame(index=PLAIN), model)


def labelled_cells(adata) -> DataSet:
    """Read the cells as training does."""
    keys = {"study_key": None, "layer": None, "transform": None, "gene_key": None}
    return read_data_set("one", adata, "cell_type", **keys)


def embedding(var: pd.DataFrame, model, **kwargs) -> np.ndarray:
    adata = fakes.cells(12)
    adata.var = var
    scim.tl.embed(adata, model=model, **kwargs)
    return adata.obsm["X_scim"]


@pytest.mark.parametrize(("change", "how"), [row[1:] for row in CHANGES], ids=ids_of(CHANGES))
def test_changed_names_are_the_same_genes(change, how, model, plain, caplog):
    var = pd.DataFrame(index=[change(name) for name in PLAIN])
    with caplog.at_level("INFO", logger="scim"):
        found = scim.pp.match_genes(var, model.genes)
    assert found.names.tolist() == [*ID.values()] == scim.pp.genes_of(var).tolist()
    n_changed = sum(name not in PLAIN for name in var.index)
    assert f"{n_changed} names read {how}" in "; ".join(found.repairs)
    assert "; ".join(found.repairs) in caplog.text
    assert found.left_out == {}
    np.testing.assert_array_equal(embedding(var, model), plain)


def test_plain_names_are_not_changed(model):
    assert scim.pp.match_genes(pd.DataFrame(index=PLAIN), model.genes).repairs == ()


def test_names_as_bytes(model):
    found = scim.pp.match_genes(pd.DataFrame(index=[name.encode() for name in PLAIN]), model.genes)
    assert found.names.tolist() == [*ID.values()]


@pytest.mark.parametrize(("report", "gene"), [(row[1], row[2]) for row in ONE_NAME], ids=ids_of(ONE_NAME))
def test_one_name_among_others(report, gene):
    names = [*PLAIN, report]
    found = scim.pp.genes_of(pd.DataFrame(index=names))[-1]
    expected = scim.pp.canonical_genes([gene])[0] if gene else found
    assert found == expected
    assert gene is not None or not found.startswith("ENSG") or report.startswith("ENSG")
    again = scim.pp.match_genes(pd.DataFrame(index=names), np.array([*ID.values()], dtype=object))
    assert again.names[-1] == found


@pytest.mark.parametrize(("date", "other", "gene"), IN_DATA)
def test_a_date_of_two_genes_is_that_without_a_column(date, other, gene):
    found = scim.pp.genes_of(pd.DataFrame(index=[*PLAIN, date, other]))
    assert scim.pp.gene_symbols(found[-2:]).tolist() == [gene, scim.pp.gene_symbols(found[-1:])[0]]
    twice = scim.pp.genes_of(pd.DataFrame(index=[*PLAIN, date, date]))
    assert twice[-2:].tolist() == [date, date]


@pytest.mark.parametrize(("column", "kind"), [(row[1], kind) for row in COLUMNS for kind in (object, "category")])
def test_names_in_any_column(column, kind, model):
    var = pd.DataFrame(index=[str(i) for i in range(len(PLAIN))])
    var["n"], var["flag"], var["none"] = range(len(PLAIN)), True, None
    var[column] = pd.Series(PLAIN, index=var.index, dtype=kind)
    var["note"] = [f"note {i}" for i in range(len(PLAIN))]
    found = scim.pp.match_genes(var, model.genes)
    assert (found.source, found.names.tolist()) == (f"var[{column!r}]", [*ID.values()])


def test_a_missing_name_and_objects_of_any_kind_are_no_genes(model):
    names = [*PLAIN[:-4], None, np.nan, pd.NA, 3.0]
    var = pd.DataFrame({"names": pd.Series(names, dtype=object)})
    var["any"] = [[1], {"a": 2}, pd.Timestamp(0), *range(len(PLAIN) - 3)]
    found = scim.pp.match_genes(var, model.genes)
    assert found.columns.tolist() == [*range(len(PLAIN) - 4), -1, -1, -1, -1]


def test_columns_of_one_name_and_levels_of_an_index(model):
    var = pd.concat([pd.DataFrame({"gene_ids": [*ID.values()]}), pd.DataFrame({"gene_ids": PLAIN})], axis=1)
    assert scim.pp.match_genes(var, model.genes).names.tolist() == [*ID.values()]
    assert scim.pp.match_genes(var, model.genes, gene_key="gene_ids").names.tolist() == [*ID.values()]
    levels = pd.MultiIndex.from_arrays([range(len(PLAIN)), PLAIN])
    assert scim.pp.match_genes(pd.DataFrame(index=levels), model.genes).names.tolist() == [*ID.values()]


def test_columns_of_one_gene_are_still_summed(model):
    names = [f"GRCh38_{name}" for name in PLAIN[:-1]] + [f"GRCh38_{PLAIN[0]}"]
    found = scim.pp.match_genes(pd.DataFrame(index=names), model.genes)
    assert found.columns.tolist() == [*range(len(PLAIN) - 1), 0]


@pytest.mark.parametrize(("names", "message"), [row[1:] for row in NO_NAMES], ids=ids_of(NO_NAMES))
def test_names_of_no_genes_are_an_error_with_the_remedy(names, message, model):
    with pytest.raises(GeneOverlapError, match=f"Only 0 of the model's 111 genes.*{message}"):
        scim.pp.match_genes(pd.DataFrame(index=names), model.genes)


MOUSE = [
    ("satijalab/seurat#2022", str.upper), ("", str.lower), ("", lambda name: f"mm10___{name}"), ("", lambda name: f"mm10_{name}"),
    ("", lambda name: f"GRCm39_{name}"), ("", lambda name: f"{name}_ENSMUSG00000032093"), ("", lambda name: f" '{name}' "),
    ("", lambda name: name.replace("-", ".")),
]  # fmt: skip


@pytest.mark.parametrize("change", [row[1] for row in MOUSE])
def test_changed_names_of_a_mouse(change, model):
    mouse, _ = fakes.of_a_mouse(fakes.cells(12))
    scim.tl.embed(mouse, model=model, species="mouse")
    changed = mouse.copy()
    changed.var_names = [change(name) for name in mouse.var_names]
    scim.tl.embed(changed, model=model, species="mouse")
    np.testing.assert_array_equal(changed.obsm["X_scim"], mouse.obsm["X_scim"])


def test_a_date_of_a_mouse():
    genes = scim.pp.canonical_genes(["SEPTIN9", "MARCHF3", "CD4"])
    found = scim.pp.match_genes(pd.DataFrame(index=["Cd4", "3-Mar", "9-Sep"]), genes, species="mouse")
    assert found.columns.tolist() == [2, 1, 0]


def test_the_names_of_a_mapping_are_read_without_a_prefix(model):
    mapping = {f"fish{i}": name for i, name in enumerate(PLAIN)}
    found = scim.pp.match_genes(
        pd.DataFrame(index=[f"danRer11_{name}" for name in mapping]), model.genes, species=mapping
    )
    assert found.columns.tolist() == [*range(len(PLAIN))]


def test_names_of_a_zebrafish_are_no_human_ones():
    names = [*map(str.lower, PLAIN), "zgc:56493", "si:dkey-1"]
    assert not np.char.startswith(scim.pp.genes_of(pd.DataFrame(index=names)).astype(str), "ENSG").any()


def test_an_atlas_stores_the_genes_of_changed_names(tmp_path, model):
    changed, plain = fakes.cells(40), fakes.cells(40)
    changed.var_names = [f"GRCh38_{name}" for name in PLAIN]
    stored = []
    for name, adata in (("changed", changed), ("plain", plain)):
        with scim.atlas.create(tmp_path / name, model=model) as atlas:
            atlas.append(adata, study=name, label_key="cell_type", counts=True)
            (cells,) = atlas.cells(["label"])
            stored.append((cells.var_names.tolist(), cells.X[0:40].toarray()))
    assert stored[0][0] == stored[1][0] == [*ID.values()]
    np.testing.assert_array_equal(stored[0][1], stored[1][1])


def test_training_reads_changed_names():
    data_sets = []
    for change in (str, "GRCh38_{}".format, str.lower):
        adata = fakes.cells(40)
        adata.var_names = [change(name) for name in PLAIN]
        data_sets.append(labelled_cells(adata))
    genes = np.array([*ID.values()], dtype=object)
    plain, *changed = [np.vstack([X.toarray() for _, X in data.blocks(genes)]) for data in data_sets]
    for data, X in zip(data_sets[1:], changed, strict=True):
        assert data.genes.tolist() == genes.tolist()
        np.testing.assert_array_equal(X, plain)


def test_genes_in_rows_are_an_error(model):
    adata = fakes.cells(40).T
    with pytest.raises(GeneOverlapError, match=r"obs_names are genes, as \['MALAT1'.*pass adata.T"):
        scim.tl.embed(adata, model=model)
    adata.var_names = [str(i) for i in range(40)]
    with pytest.raises(GeneOverlapError, match=r"obs_names are genes"):
        find_counts(adata)


def test_rows_named_by_genes_are_no_genes(model, plain):
    adata = fakes.cells(12)
    adata.obs_names = PLAIN[:12]  # as sums of the cells in which these are perturbed
    adata.var["mine"] = PLAIN
    adata.var_names = [str(i) for i in range(len(PLAIN))]
    scim.tl.embed(adata, model=model)
    np.testing.assert_array_equal(adata.obsm["X_scim"], plain)
