"""Test that what was done to counts is recognised by the values, or asked for: the embedding is that of the counts."""

from __future__ import annotations

import warnings

import anndata
import numpy as np
import pytest
from scipy import sparse

import scim
from helpers import fakes
from scim._core import CountsError, ScimWarning

COUNTS = fakes.cells(60).X.toarray().astype(np.float64)
SHARES = np.random.default_rng(0).uniform(0.85, 1, COUNTS.shape)
LENGTHS = np.random.default_rng(1).gamma(2, 0.5, COUNTS.shape[1]) + 0.3
UNCLEAR = (
    r"do not tell how they were made.*Name it with transform= \('none', 'log1p', 'log2', 'log10', 'sqrt', 'arcsinh'"
)


def norm(counts, total=1e4):
    return counts / counts.sum(axis=1, keepdims=True) * total


def tpm(counts):
    return norm(counts / LENGTHS, 1e6)


def soup(counts):
    """Take away what a droplet has of the soup, as SoupX does without rounding."""
    return np.maximum(counts - 0.02 * counts.mean(axis=0), 0) * (counts > 0)


def salmon(counts):
    """Add fractions to some counts, of reads that fit several genes."""
    return counts + (counts > 2) * 4 * (1 - SHARES[: len(counts)])


def scran(counts):
    sizes = counts.sum(axis=1, keepdims=True) * np.linspace(0.9, 1.1, len(counts))[:, None]
    return np.log2(counts / sizes * sizes.mean() + 1)


def clr(counts):
    """Seurat's CLR, of each cell."""
    return np.log1p(counts / np.exp(np.log1p(counts).mean(axis=1, keepdims=True)))


# what, its values, the transform and the kind that are found, the public report it stands for
RECOGNISED = [
    ("counts", lambda c: c, "none", "counts", ""),
    ("counts that were divided by 3", lambda c: c / 3, "none", "normalised", ""),
    ("shares of a cell", lambda c: norm(c, 1), "none", "normalised", ""),
    ("CPM", lambda c: norm(c, 1e6), "none", "normalised", ""),
    ("CPM, whole", lambda c: np.rint(norm(c, 1e6)), "none", "normalised", ""),
    ("CPM, rounded", lambda c: np.rint(norm(c, 1e6)), "none", "normalised", ""),
    ("log1p of 10,000", lambda c: np.log1p(norm(c)), "log1p", "lognorm", "Teichlab/celltypist#24"),
    ("log1p of a million", lambda c: np.log1p(norm(c, 1e6)), "log1p", "lognorm", ""),
    ("log1p of the median", lambda c: np.log1p(norm(c, np.median(c.sum(axis=1)))), "log1p", "lognorm", ""),
    ("log1p of counts", np.log1p, "log1p", "lognorm", ""),
    ("log1p, three decimals", lambda c: np.round(np.log1p(norm(c)), 3), "log1p", "lognorm", ""),
    ("log2 of CPM", lambda c: np.log2(norm(c, 1e6) + 1), "log2", "lognorm", "scverse/anndata#865"),
    ("log2 of CPM, two decimals", lambda c: np.round(np.log2(norm(c, 1e6) + 1), 2), "log2", "lognorm", ""),
    ("scran", scran, "log2", "lognorm", "openproblems-bio/openproblems#695"),
    ("log10", lambda c: np.log10(norm(c) + 1), "log10", "lognorm", "scverse/scanpy#2181"),
    ("square root", np.sqrt, "sqrt", "sqrt", ""),
    ("square root of 10,000", lambda c: np.sqrt(norm(c)), "sqrt", "sqrt", ""),
    ("arcsinh", lambda c: np.arcsinh(c / 5), "arcsinh", "arcsinh", ""),
    ("CLR of cells", clr, "log1p", "lognorm", ""),
]
# the same, and the relative counts that they stand for
FRACTIONS = [
    ("SoupX", soup, soup, "none", "fractional", "scverse/scvi-tutorials#66"),
    ("a share of each count", lambda c: c * SHARES[: len(c)], lambda c: c * SHARES[: len(c)], "none", "fractional", ""),
    ("salmon", salmon, salmon, "none", "fractional", ""),
    ("TPM", tpm, tpm, "none", "normalised", ""),
    ("log2 of TPM", lambda c: np.log2(tpm(c) + 1), tpm, "log2", "lognorm", ""),
    ("log2 of a tenth of TPM", lambda c: np.log2(tpm(c) / 10 + 1), tpm, "log2", "lognorm", ""),
    ("log1p of SoupX", lambda c: np.log1p(norm(soup(c))), soup, "log1p", "lognorm", ""),
]
# what, its values, the message
REFUSED = [
    ("Pearson residuals", lambda c: (c - c.mean(axis=0)) / np.sqrt(c.mean(axis=0) + 1), "negative values.*with layer="),
    ("scaled", lambda c: c - c.mean(axis=0), "negative values.*looks scaled"),
    ("scaled, not centred", lambda c: np.log1p(norm(c)) / np.log1p(norm(c)).std(axis=0), "same standard deviation"),
    ("CLR of genes", lambda c: np.log1p(c / np.exp(np.log1p(c).mean(axis=0))), UNCLEAR),
    ("log2 of TPM, few genes", lambda c: np.log2(tpm(c)[:, ::4] + 1), UNCLEAR),
    ("log1p twice", lambda c: np.log1p(np.log1p(norm(c))), "logarithm was taken twice; undo one"),
    ("Freeman-Tukey", lambda c: np.sqrt(c) + np.sqrt(c + 1), "no value that is 0, and many are 1"),
    ("Anscombe", lambda c: 2 * np.sqrt(c + 0.375), "no value that is 0, and many are 1.22"),
    (
        "counts and logarithms",
        lambda c: np.vstack([c[:30], np.log1p(norm(c[30:]))]),
        "50 % are whole counts, others lognorm",
    ),
]


def embedded(values, model, **arguments):
    """Return the embedding of values, and the record of what was read."""
    adata = anndata.AnnData(values, var=fakes.cells(3).var[: values.shape[1]].copy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScimWarning)
        scim.tl.embed(adata, model=model, **arguments)
    return adata.obsm["X_scim"], adata.uns["scim"]["X_scim"]


@pytest.fixture(scope="module")
def model():
    return fakes.tiny_model()


VALUES = [*((n, f, lambda c: c, t, k, r) for n, f, t, k, r in RECOGNISED), *FRACTIONS]


@pytest.mark.parametrize("case", VALUES, ids=[f"{case[0]} {case[-1]}" for case in VALUES])
@pytest.mark.parametrize("form", ["csr", "dense", "few cells"])
def test_values_that_tell_what_was_done(case, form, model):
    _, transformed, plain, transform, kind, _ = case
    counts = COUNTS[:5] if form == "few cells" else COUNTS
    values = transformed(counts).astype(np.float32)
    found, record = embedded(values if form == "dense" else sparse.csr_matrix(values), model)
    expected, _ = embedded(plain(counts).astype(np.float32), model, transform="none")
    assert (record["transform"], record["kind"]) == (transform, kind)
    assert np.sum(found * expected, axis=1).min() > 0.999


@pytest.mark.parametrize(("_name", "transformed", "message"), REFUSED, ids=[case[0] for case in REFUSED])
def test_values_that_do_not_tell(_name, transformed, message, model):
    with pytest.raises(CountsError, match=message):
        embedded(transformed(COUNTS).astype(np.float32), model)


@pytest.mark.parametrize("transform", ["log1p", "log2", "log10", "sqrt", "arcsinh", "none"])
def test_a_transform_that_is_named_is_undone(transform, model):
    do = {"log2": lambda x: np.log2(x + 1), "log10": lambda x: np.log10(x + 1), "none": lambda x: x}
    few = tpm(COUNTS)[:, ::2] / 100  # the values alone do not tell
    values = do.get(transform, getattr(np, transform, None))(few).astype(np.float32)
    adata = anndata.AnnData(values, var=fakes.cells(3).var[::2].copy())
    found = scim.pp.find_counts(adata, transform=transform)
    assert (found.source, found.transform, found.reason) == ("X", transform, "named by transform=")
    np.testing.assert_allclose(found.rows(0, 60).toarray(), few, rtol=1e-4, atol=1e-3)


def test_a_step_of_a_cell_is_a_count_of_one():
    for values in (np.log1p(norm(COUNTS)), np.log1p(norm(COUNTS)).astype(np.float16), np.sqrt(norm(COUNTS, 1e6))):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ScimWarning)
            found = scim.pp.find_counts(anndata.AnnData(values))
        assert found.are_counts
        np.testing.assert_array_equal(found.whole_rows(0, 60).toarray(), COUNTS)


def test_cells_whose_least_count_is_two():
    counts = 2 * COUNTS + (COUNTS > 2)  # 2, 4, 7, 9, ...
    with pytest.warns(ScimWarning, match="logarithm undone"):
        found = scim.pp.find_counts(anndata.AnnData(np.log1p(norm(counts))))
    np.testing.assert_array_equal(found.whole_rows(0, 60).toarray(), counts)


def test_a_note_that_is_left_over_does_not_decide(model):
    expected, _ = embedded(COUNTS, model)
    for values in (COUNTS, np.log2(norm(COUNTS) + 1)):
        adata = anndata.AnnData(values, var=fakes.cells(3).var.copy(), uns={"log1p": {"base": None}})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ScimWarning)
            scim.tl.embed(adata, model=model)
        assert np.sum(adata.obsm["X_scim"] * expected, axis=1).min() > 0.999


def test_a_note_decides_where_values_do_not():
    adata = anndata.AnnData(np.log2(tpm(COUNTS) / 100 + 1)[:, ::4], uns={"log1p": {"base": 2}})
    with pytest.warns(ScimWarning, match=r"log to the base 2 of 1 \+ x: uns\['log1p'\]"):
        found = scim.pp.find_counts(adata)
    np.testing.assert_allclose(found.rows(0, 60).toarray(), tpm(COUNTS)[:, ::4] / 100, rtol=1e-4)


def test_a_transform_that_is_unknown_or_impossible():
    with pytest.raises(ValueError, match=r"transform must be one of \['none', 'log1p', .*\], got 'log'"):
        scim.pp.find_counts(anndata.AnnData(COUNTS), transform="log")
    found = scim.pp.find_counts(anndata.AnnData(COUNTS * 10), transform="log10")
    with pytest.raises(CountsError, match="too large for log to the base 10 of 1 .*name another transform="):
        found.rows(0, 60)


def workflow(**places):
    """Return 25 variable genes in X, and all genes in raw, as Scanpy's tutorials leave them."""
    full = anndata.AnnData(places["raw"], var=fakes.cells(3).var.copy())
    adata = full[:, ::4].copy()
    adata.X = places["X"][:, ::4]
    if "layer" in places:
        adata.layers["counts"] = places["layer"][:, ::4]
    adata.raw = full
    return adata


LOGGED = np.log1p(norm(COUNTS))


@pytest.mark.parametrize(
    "places",
    [
        {"X": LOGGED - LOGGED.mean(axis=0), "raw": LOGGED},
        {"X": LOGGED, "raw": LOGGED},
        {"X": COUNTS, "raw": LOGGED},
        {"X": LOGGED, "raw": COUNTS},
        {"X": LOGGED - LOGGED.mean(axis=0), "raw": LOGGED, "layer": COUNTS},
    ],
)
def test_all_genes_in_raw_win_over_variable_ones(places, model):
    adata = workflow(**places)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScimWarning)
        scim.tl.embed(adata, model=model)
    record = adata.uns["scim"]["X_scim"]
    expected, _ = embedded(COUNTS, model)
    assert (record["counts"], record["n_genes_shared"]) == ("raw.X", COUNTS.shape[1])
    assert np.sum(adata.obsm["X_scim"] * expected, axis=1).min() > 0.999
    if "layer" in places:
        assert record["counts_why"] == "genes measured: layers['counts'] 28, raw.X 111; it has most"
        scim.tl.embed(adata, model=model, layer="counts")
        assert adata.uns["scim"]["X_scim"]["counts_why"] == "named by layer="
        assert adata.uns["scim"]["X_scim"]["n_genes_shared"] == 28


def test_counts_of_nearly_all_genes_win_over_logarithms_of_all(model):
    full = anndata.AnnData(LOGGED, var=fakes.cells(3).var.copy())
    adata = full[:, 10:].copy()
    adata.raw, adata.X = full, COUNTS[:, 10:]
    assert scim.pp.find_counts(adata).source == "X"


@pytest.mark.parametrize("name", ["Counts", "raw_counts", "UMI", "umi-counts", "RAW", "soupX_counts"])
def test_usual_names_of_layers(name):
    adata = anndata.AnnData(LOGGED, layers={name: COUNTS})
    assert scim.pp.find_counts(adata).source == f"layers[{name!r}]"


@pytest.mark.parametrize("name", ["logcounts", "log1p_norm", "normalized"])
def test_layers_of_normalised_values_are_the_last_resort(name):
    adata = anndata.AnnData(LOGGED - LOGGED.mean(axis=0), layers={name: LOGGED})
    with pytest.warns(ScimWarning, match="looks log-normalised"):
        assert scim.pp.find_counts(adata).source == f"layers[{name!r}]"


def test_the_record_says_what_was_read(model, tmp_path):
    values = np.log2(norm(COUNTS) + 1)
    values[7] = 0
    _, record = embedded(values, model)
    assert (record["counts"], record["kind"], record["transform"]) == ("X", "lognorm", "log2")
    assert record["counts_why"] == "the only one that can be used"
    assert record["kind_reason"] == "once it is undone, the values of a cell are whole multiples of one step"
    assert (record["n_cells_empty"], record["layer"], record["transform_given"]) == (1, "", "")
    _, record = embedded(values, model, layer="X", transform="log2")
    assert (record["counts_why"], record["kind_reason"]) == ("named by layer=", "named by transform=")
    assert (record["layer"], record["transform_given"]) == ("X", "log2")
    adata = anndata.AnnData(COUNTS, uns={"scim": {"X_scim": record}})
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert anndata.read_h5ad(tmp_path / "a.h5ad").uns["scim"]["X_scim"]["transform"] == "log2"


def test_counts_that_are_found_again_are_those_that_were_read(atlas_path):
    plain, logged = fakes.cells(45, seed=9), fakes.cells(45, seed=9)
    logged.X = np.log2(logged.X.toarray() + 1)
    scim.tl.embed(plain, atlas_path)
    scim.tl.embed(logged, atlas_path, layer="X", transform="log2")
    for adata in (plain, logged):
        scim.tl.annotate(adata, atlas_path)
        scim.tl.search(adata, atlas_path, groupby="cell_type", k=3)
    np.testing.assert_allclose(logged.obs["scim_label_confidence"], plain.obs["scim_label_confidence"], atol=1e-5)
    np.testing.assert_array_equal(logged.uns["scim_search"]["ids"], plain.uns["scim_search"]["ids"])
