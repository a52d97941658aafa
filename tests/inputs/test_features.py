"""Test that columns which are no genes are left out and counted: the result is that of the genes alone."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scim
from helpers import fakes
from scim._core import CountsError, GeneOverlapError
from scim.pp._features import gene_columns, species_of_genome
from scim.scimilarity.utils import align_dataset, consolidate_duplicate_symbols, convert_id2symbol
from scim.training.data._data_set import read_data_set

pytestmark = pytest.mark.filterwarnings("ignore:Variable names are not unique")
PLAIN = scim.datasets.toy(3).var_names.tolist()
IDS = scim.pp.canonical_genes(PLAIN).tolist()
GENES = [*PLAIN[:5]]  # names of features that are no genes, unless a table gives others
N = len(GENES)
GENE_COUNT = 7.0  # of each feature that is no gene in each cell


def var_of(names: list[str] | None = None, **columns: tuple[object, object]) -> pd.DataFrame:
    """Genes, and features that are none with these names; a column has a value for genes and one for the others."""
    names = GENES if names is None else names
    frame = pd.DataFrame(index=[*PLAIN, *names])
    for name, (of_genes, of_others) in columns.items():
        first = of_genes if isinstance(of_genes, list) else [of_genes] * len(PLAIN)
        last = of_others if isinstance(of_others, list) else [of_others] * len(names)
        frame[name] = [*first, *last]
    return frame


TYPED = [
    # the report, the column, its value of genes, its value of others, what is reported
    ("Teichlab/celltypist#62", "feature_types", "Gene Expression", "Antibody Capture", "Antibody Capture"),
    ("scverse/scanpy#2398", "feature_types", "Gene Expression", "CRISPR Guide Capture", "CRISPR Guide Capture"),
    ("plasslab/SCALPEL#30", "feature_types", "Gene Expression", "Peaks", "Peaks"),
    ("satijalab/seurat#7346", "feature_types", "Gene Expression", "Unassigned Codeword", "Unassigned Codeword"),
    ("", "feature_types", "Gene Expression", "Blank Codeword", "Blank Codeword"),
    ("", "feature_types", "Gene Expression", "Deprecated Codeword", "Deprecated Codeword"),
    ("", "feature_types", "Gene Expression", "Negative Control Probe/Codeword", "Negative Control Probe or Codeword"),
    ("", "feature_types", "Gene Expression", "Multiplexing Capture", "Multiplexing Capture"),
    ("", "feature_types", "Gene Expression", "Custom", "Custom"),
    ("", "feature_types", "Gene Expression", "Protein Expression", "Protein Expression"),
    ("", "feature_types", "Gene Expression", "whatever comes next", "whatever comes next"),
    ("", "feature_type", "gene expression ", "Antibody Capture ", "Antibody Capture"),
    ("", "Feature Type", "GEX", "ADT", "ADT"),
    ("", "feature_types", "protein_coding", "Antibody Capture", "Antibody Capture"),
    ("", "feature_types", np.nan, "Antibody Capture", "Antibody Capture"),
    ("", "modality", "rna", "prot", "prot"),
    ("", "modality", "RNA", "atac", "atac"),
    ("", "CodeClass", "Endogenous", "Negative", "Negative"),
    ("chanzuckerberg/single-cell-curation#108", "feature_biotype", "gene", "spike-in", "spike-in"),
    ("chanzuckerberg/single-cell-curation#108", "feature_type", "protein_coding", "synthetic", "synthetic"),
    ("", "feature_reference", "NCBITaxon:9606", "NCBITaxon:2697049", "genes of NCBITaxon:2697049"),
    ("", "genome", "GRCh38", "mm10", "genes of mm10"),
    ("", "genome", "GRCh38", "mm10___GRCm38", "genes of mm10___GRCm38"),
    ("", "feature_is_filtered", False, True, "filtered genes"),
    ("", "feature_is_filtered", "False", "True", "filtered genes"),
]
NO_TYPES = [
    # columns that say nothing of types: all are genes
    ("feature_types", "Gene Expression"), ("feature_types", "protein_coding"), ("feature_type", "lncRNA"), ("gene_type", "TEC"),
    ("biotype", "IG_C_gene"), ("feature_types", ""), ("feature_types", None), ("feature_types", "some words"), ("feature_types", 3),
    ("genome", "mm10"), ("genome", ""), ("genome", "GRCh38_and_mm10"), ("feature_is_filtered", False), ("type", "marker"),
    ("type", "housekeeping"), ("type", "surface marker"), ("feature_class", "control gene"), ("highly_variable", True),
]  # fmt: skip
NAMED = [
    # the report, a name, what it is reported as
    ("chanzuckerberg/single-cell-curation#108", "ERCC-00002", "spike-ins"),
    ("", "gSpikein_ERCC_00002", "spike-ins"),
    ("", "ERCC.00171", "spike-ins"),
    ("", "NegControlProbe_00042", "control probes"),
    ("", "NegControlCodeword_0500", "control probes"),
    ("satijalab/seurat#7346", "BLANK_0006", "control probes"),
    ("", "Blank-12", "control probes"),
    ("", "UnassignedCodeword_0001", "control probes"),
    ("", "DeprecatedCodeword_0318", "control probes"),
    ("", "antisense_PROKR2", "control probes"),
    ("Nanostring-Biostats/CosMx-Analysis-Scratch-Space#167", "SystemControl10", "control probes"),
    ("", "FalseCode3", "control probes"),
    ("", "Negative1", "control probes"),
    ("", "NegPrb23", "control probes"),
    ("", "NegProbe-WTX", "control probes"),
    ("plasslab/SCALPEL#30", "chr1:9848-10355", "peaks"),
    ("", "chr1-9848-10355", "peaks"),
    ("", "chrX_9848_10355", "peaks"),
    ("", "1:9848-10355", "peaks"),
    ("", "GL000194.1:55716-56623", "peaks"),
    ("", "CD4_TotalSeqC", "antibodies"),
    ("", "CD4-TotalSeqB", "antibodies"),
    ("", "AB_CD4", "antibodies"),
    ("", "adt_CD4", "antibodies"),
    ("chanzuckerberg/single-cell-curation#47", "CD4:AB", "antibodies"),
    ("", "prot:CD4", "antibodies"),
    ("", "Hashtag1", "antibodies"),
    ("", "HTO_3", "antibodies"),
    ("", "CMO301", "antibodies"),
    ("", "Mouse_IgG1_isotype", "antibodies"),
    ("satijalab/seurat#1910", "CD4:SK3|CD4|AHS0032|pAbO", "antibodies"),
    ("", "sgCD4_1", "guides"),
    ("", "CD4_sgRNA2", "guides"),
    ("", "non-targeting_00012", "guides"),
    ("", "mm10___Cd4", "genes of mm10"),
    ("", "ENSMUSG00000023274", None),  # unknown, as before
    ("", "eGFP", None),
    ("", "ERCC1", "gene"),
    ("", "NEGR1", "gene"),
    ("", "PROC", "gene"),
    ("", "ADTRP", "gene"),
    ("", "SYS1", "gene"),
]
ANTIBODIES = [
    # the report, name of the antibody, its gene_ids
    ("bedapub/besca#161", PLAIN[0], "1"),
    ("bedapub/besca#161", PLAIN[0], PLAIN[0]),
    ("bedapub/besca#161", f"{PLAIN[0]}.1", PLAIN[0]),
    ("", f"{PLAIN[0]}-1", PLAIN[0]),
    ("", f"{PLAIN[0]}-1", f"{PLAIN[0]}_TotalC"),
    ("", PLAIN[0], np.nan),
    ("", PLAIN[0], ""),
]


def cells(var: pd.DataFrame, n: int = 12) -> anndata.AnnData:
    """Toy cells with these columns; those behind the genes have the same large count in each cell."""
    plain = fakes.cells(n)
    others = sparse.csr_matrix(np.full((n, len(var) - plain.n_vars), GENE_COUNT, np.float32))
    return anndata.AnnData(sparse.hstack([plain.X, others], format="csr"), obs=plain.obs, var=var)


def ids_of(rows: list[tuple]) -> list[str]:
    return [" ".join(map(str, row[:-1])) for row in rows]


@pytest.fixture(scope="module")
def model():
    return fakes.tiny_model()


@pytest.fixture(scope="module")
def plain(model):
    adata = fakes.cells(12)
    scim.tl.embed(adata, model=model)
    return adata.obsm["X_scim"]


def check_left_out(var: pd.DataFrame, left_out: dict[str, int], model, plain) -> None:
    found = scim.pp.match_genes(var, model.genes)
    assert found.left_out == left_out
    assert found.names.tolist() == [*IDS, *[""] * (len(var) - len(PLAIN))] == scim.pp.genes_of(var).tolist()
    assert found.unique_names.tolist() == IDS
    assert (found.n_columns, found.n_mapped, found.n_matched) == (len(PLAIN), len(PLAIN), len(PLAIN))
    adata = cells(var)
    scim.tl.embed(adata, model=model)
    np.testing.assert_array_equal(adata.obsm["X_scim"], plain)


@pytest.mark.parametrize(("column", "gene", "other", "report"), [row[1:] for row in TYPED], ids=ids_of(TYPED))
def test_columns_of_another_type_are_left_out(column, gene, other, report, model, plain):
    check_left_out(var_of(**{column: (gene, other)}), {report: N}, model, plain)


@pytest.mark.parametrize("kind", ["category", "string"])
def test_types_of_any_dtype(kind, model, plain):
    var = var_of(feature_types=(None, "Antibody Capture")).astype(kind)
    check_left_out(var, {"Antibody Capture": N}, model, plain)


@pytest.mark.parametrize(("column", "value"), NO_TYPES)
def test_what_says_nothing_of_types_leaves_nothing_out(column, value, model):
    var = pd.DataFrame({column: [value] * len(PLAIN)}, index=PLAIN)
    assert scim.pp.match_genes(var, model.genes).left_out == {}
    assert gene_columns(var).all()


def test_several_types_are_counted_each(model, plain, caplog):
    types = ["Antibody Capture", "Antibody Capture", "Custom", "Peaks", "Antibody Capture"]
    with caplog.at_level("INFO", logger="scim"):
        check_left_out(
            var_of(feature_types=("Gene Expression", types)),
            {"Antibody Capture": 3, "Custom": 1, "Peaks": 1},
            model,
            plain,
        )
    assert "5 of 116 columns are left out: 3 Antibody Capture, 1 Custom, 1 Peaks" in caplog.text


@pytest.mark.parametrize(("name", "report"), [row[1:] for row in NAMED], ids=ids_of(NAMED))
def test_names_decide_without_a_column(name, report, model):
    found = scim.pp.match_genes(pd.DataFrame(index=[*PLAIN, name]), model.genes)
    assert found.left_out == ({} if report in (None, "gene") else {report: 1})
    assert found.names[-1] == {None: name, "gene": scim.pp.canonical_genes([name])[0]}.get(report, "")


@pytest.mark.parametrize(("name", "gene_id"), [row[1:] for row in ANTIBODIES], ids=ids_of(ANTIBODIES))
def test_an_antibody_beside_its_gene_has_no_ensembl_id(name, gene_id, model, plain):
    check_left_out(var_of([name], gene_ids=(IDS, gene_id)), {"antibodies (no Ensembl id)": 1}, model, plain)


def test_columns_of_one_gene_are_summed_where_nothing_tells_them_apart(model):
    for var in (var_of(PLAIN[:2]), var_of(PLAIN[:2], gene_ids=(IDS, IDS[:2])), var_of(PLAIN[:2], gene_ids=("", ""))):
        found = scim.pp.match_genes(var, model.genes)
        assert found.columns.tolist() == [*range(len(PLAIN)), 0, 1]
        assert found.left_out == {}
    assert scim.pp.genes_of(pd.DataFrame(index=["CD4", "CD4-1"])).tolist() == ["ENSG00000010610", "CD4-1"]


def test_a_gene_without_an_id_stays_a_gene(model):
    var = pd.DataFrame({"gene_ids": [*IDS[:-1], PLAIN[-1]]}, index=PLAIN)
    assert scim.pp.match_genes(var, model.genes).names.tolist() == IDS


def test_a_column_of_genes_near_peaks_makes_no_genes(model):
    peaks = [f"chr1:{i}00-{i}99" for i in range(1, 6)]
    found = scim.pp.match_genes(var_of(peaks, gene_symbol=(PLAIN, PLAIN[:5])), model.genes)
    assert (found.left_out, found.names.tolist()) == ({"peaks": 5}, [*IDS, *[""] * 5])


def test_two_genomes_in_one_file(model, plain):
    names = [f"GRCh38_{name}" for name in PLAIN] + [f"mm10___{name.title()}" for name in PLAIN]
    found = scim.pp.match_genes(pd.DataFrame(index=names), model.genes)
    assert (found.left_out, found.names[: len(PLAIN)].tolist()) == ({"genes of mm10": len(PLAIN)}, IDS)
    mouse = scim.pp.match_genes(pd.DataFrame(index=names), model.genes, species="mouse")
    assert mouse.left_out == {"genes of GRCh38": len(PLAIN)}
    adata = cells(pd.DataFrame({"genome": ["GRCh38"] * 111 + ["mm10"] * 111}, index=names))
    scim.tl.embed(adata, model=model)
    np.testing.assert_array_equal(adata.obsm["X_scim"], plain)


def test_values_of_antibodies_may_be_of_any_kind(model, plain):
    adata = cells(var_of(feature_types=("Gene Expression", "Antibody Capture")))
    X = adata.X.tolil()
    X[:, -N:] = -1.25  # as CLR leaves them
    adata.X = X.tocsr()
    scim.tl.embed(adata, model=model)
    np.testing.assert_array_equal(adata.obsm["X_scim"], plain)


def test_filtered_genes_are_those_of_x_alone(model, plain):
    adata = fakes.cells(12)
    adata.var["feature_is_filtered"] = np.arange(111) > 80
    adata.layers["counts"], adata.X = adata.X, adata.X.multiply(np.arange(111) <= 80).tocsr()
    scim.tl.embed(adata, model=model)
    np.testing.assert_array_equal(adata.obsm["X_scim"], plain)
    scim.tl.embed(adata, model=model, layer="X")
    assert adata.uns["scim"]["X_scim"]["left_out"] == {"filtered genes": 30}
    assert adata.uns["scim"]["X_scim"]["n_genes_shared"] == 81


@pytest.mark.parametrize(
    ("var", "message"),
    [
        (pd.DataFrame({"feature_types": "Antibody Capture"}, index=PLAIN), "111 of 111 columns are no human genes: 111 Antibody Capture; correct var if they are"),
        (pd.DataFrame(index=[f"AB_{name}" for name in PLAIN]), "111 antibodies"),
        (pd.DataFrame(index=[f"mm10_{name}" for name in PLAIN]), "pass species='mouse' to read these"),
    ],
)  # fmt: skip
def test_data_without_genes_are_refused(var, message, model):
    with pytest.raises(GeneOverlapError, match=message):
        scim.pp.match_genes(var, model.genes)


def test_counts_of_antibodies_alone_are_refused(model):
    adata = cells(pd.DataFrame({"feature_types": "Antibody Capture"}, index=PLAIN))
    with pytest.raises(CountsError, match=r"all columns are Antibody Capture; correct var\['feature_types'\]"):
        scim.tl.embed(adata, model=model)


@pytest.mark.parametrize(
    ("genome", "species"),
    [("GRCh38", "human"), ("hg19", "human"), ("GRCh38-2020-A", "human"), ("NCBITaxon:9606", "human"), ("mm10", "mouse"), ("GRCm39", "mouse"),
     ("Mus musculus", "mouse"), ("NCBITaxon:32630", "another"), ("RN7SK", None), ("HS3ST1", None), ("MMP9", None), ("", None),
     ("GRCh38_and_mm10", None)],
)  # fmt: skip
def test_the_species_of_a_genome(genome, species):
    assert species_of_genome(genome) == species


# -- every reader


@pytest.fixture
def mixed():
    """Cells with antibodies, peaks and an unknown gene beside their genes."""
    names = [PLAIN[0], PLAIN[1], "CD4_TotalSeqC", "chr1:100-200", "eGFP"]
    types = ["Antibody Capture", "Antibody Capture", "Antibody Capture", "Peaks", "Gene Expression"]
    adata = cells(var_of([f"{name}-9" for name in names], feature_types=("Gene Expression", types)), 40)
    adata.var["symbol"] = [*PLAIN, *names]
    adata.var_names = adata.var["symbol"].tolist()
    return adata


def test_training_reads_genes_alone(mixed):
    data = read_data_set("one", mixed, "cell_type", study_key=None, layer=None, transform=None, gene_key=None)
    assert data.genes.tolist() == [*IDS, "eGFP"]
    counts = np.vstack([X.toarray() for _, X in data.blocks(data.genes)])
    np.testing.assert_array_equal(counts, np.delete(mixed.X.toarray(), slice(111, 115), axis=1))


def test_an_atlas_stores_genes_alone(mixed, tmp_path, model):
    with scim.atlas.create(tmp_path / "a", model=model) as atlas:
        atlas.append(mixed, study="one", label_key="cell_type", counts=True)
        (stored,) = atlas.cells(["label"])
        assert stored.var_names.tolist() == [*IDS, "eGFP"]
        np.testing.assert_array_equal(stored.X[0:40].toarray(), np.delete(mixed.X.toarray(), slice(111, 115), axis=1))


def test_explain_reads_genes_alone(mixed, model):
    plain = mixed[:, :111].copy()
    for adata in (mixed, plain):
        scim.tl.embed(adata, model=model)
        scim.tl.explain(adata, model=model, groupby="cell_type", n_pairs=4, n_steps=2)
    np.testing.assert_array_equal(mixed.uns["scim_explain"]["mean"], plain.uns["scim_explain"]["mean"])


def test_the_published_package_reads_genes_alone(mixed):
    mixed.layers["counts"] = mixed.X.copy()
    plain = mixed[:, :111]
    aligned = align_dataset(mixed, PLAIN, gene_overlap_threshold=10)
    np.testing.assert_array_equal(aligned.X.toarray(), plain.X.toarray())
    summed = consolidate_duplicate_symbols(mixed)
    assert summed.var_names.tolist() == [*PLAIN, "eGFP"]
    mixed.var_names = [*IDS, IDS[0], IDS[1], "x", "y", "z"]
    assert convert_id2symbol(mixed).var_names.tolist() == scim.pp.gene_symbols(IDS).tolist()
