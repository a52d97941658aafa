"""Test what a query's embedding may be: rows of any length, made by what made the atlas, and nothing else unasked."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scim
from helpers import fakes
from helpers.unchanged import state
from scim.label_transfer import LabelTransfer
from scim.tl import _representation

UNCHECKED = "has no record, and counts of few genes or none to check it"


def lengths(n):
    return np.geomspace(1e-6, 1e6, n)[:, None]


FORMS = [
    # the report, the same coordinates in another form
    ("mem0ai/mem0#5959", lambda X: 10 * X),
    ("facebookresearch/faiss#3187", lambda X: X * lengths(len(X))),
    ("", lambda X: X.astype(np.float64) * 1e200),
    ("", lambda X: (X * 1e-30).astype(np.float32)),
    ("", lambda X: X.astype(np.float64)),
    ("", lambda X: sparse.csr_matrix(3 * X)),
    ("", lambda X: np.asfortranarray(2 * X)),
]


def results(adata, atlas_path, **how):
    """Return what the tools that read an embedding find."""
    scim.tl.annotate(adata, atlas_path, groupby="cell_type", max_error=1.0, **how)
    scim.tl.search(adata, atlas_path, k=5, **how)
    scim.tl.search(adata, atlas_path, groupby="cell_type", k=5, centroid="embedding", key_added="groups", **how)
    scim.tl.novel(adata, atlas_path, threshold=0.0, min_cells=1)
    return {
        "label": adata.obs["scim_label"].astype(str).tolist(),
        "confidence": adata.obs["scim_label_confidence"].to_numpy(),
        "novelty": adata.obs["scim_label_novelty"].to_numpy(),
        "hits": adata.obsm["scim_search_ids"],
        "distances": adata.obsm["scim_search_distances"],
        "hits of groups": adata.uns["groups"]["ids"],
        "coherence": adata.uns["groups"]["coherence"],
        "clusters": adata.obs["scim_novel"].astype(str).tolist(),
        "scores": scim.tl.score_similarity(adata, "cell_type", atlas_path, centroid="embedding", **how).to_numpy(),
    }


def assert_equal(found, expected):
    for name, values in expected.items():
        if isinstance(values, list) or values.dtype.kind in "iu":
            np.testing.assert_array_equal(found[name], values, err_msg=name)
        else:
            np.testing.assert_allclose(found[name], values, atol=2e-5, err_msg=name)


@pytest.fixture(scope="module")
def expected(_embedded, atlas_path):
    return results(_embedded.copy(), atlas_path)


@pytest.mark.parametrize(("report", "form"), FORMS)
def test_the_length_of_rows_does_not_matter(report, form, adata, atlas_path, expected):
    adata.obsm["X_scim"] = form(adata.obsm["X_scim"])
    assert_equal(results(adata, atlas_path), expected)


def test_a_frame_is_an_embedding(adata, atlas_path, expected):
    adata.obsm["X_scim"] = pd.DataFrame(5 * adata.obsm["X_scim"], index=adata.obs_names)
    assert_equal(results(adata, atlas_path), expected)


def test_a_copy_under_another_name_is_recognised_by_its_counts(adata, atlas_path, expected, caplog):
    adata.obsm["E"] = 10 * adata.obsm["X_scim"]
    with caplog.at_level("INFO", logger="scim"):
        found = results(adata, atlas_path, use_rep="E")
    assert_equal(found, expected)
    assert "obsm['E'] has no record; cells embedded again show that the model of the atlas made it" in caplog.text


def random_rows(adata):
    return 8 * np.random.default_rng(0).normal(size=(adata.n_obs, 16))


def pca(adata):
    X = np.log1p(adata.X.toarray())
    return np.linalg.svd(X - X.mean(axis=0), full_matrices=False)[0][:, :16]


def of_another_model(adata):
    return scim.tl.embed(adata, model=fakes.tiny_model(7), copy=True).obsm["X_scim"]


def turned(adata):
    return np.roll(adata.obsm["X_scim"], 5, axis=1)


FOREIGN = [
    # the report, coordinates that are not those of the atlas's model
    ("", random_rows),
    ("lkmklsmn/insct#1", pca),
    ("", of_another_model),
    ("", turned),
]
TOOLS = [
    lambda a, t, rep: scim.tl.annotate(a, t, use_rep=rep),
    lambda a, t, rep: scim.tl.search(a, t, use_rep=rep),
    lambda a, t, rep: scim.tl.score_similarity(a, "cell_type", t, use_rep=rep),
    lambda a, t, rep: scim.tl.rank_systems(a, "cell_type", t, system_key="tissue", sample_key="study", use_rep=rep),
]


@pytest.mark.parametrize(("report", "foreign"), FOREIGN)
@pytest.mark.parametrize("key", ["E", "X_scim"])
def test_foreign_coordinates_are_refused_with_a_remedy(report, foreign, key, adata, atlas_path):
    adata.obsm[key] = foreign(adata)
    del adata.uns["scim"]
    before = state(adata)
    for tool in TOOLS:
        with pytest.raises(
            ValueError, match=rf"obsm\['{key}'\] was not made by the model of the atlas.*scim.tl.embed"
        ) as error:
            tool(adata, atlas_path, key)
    assert state(adata) == before
    remedy = str(error.value).split("record that: ")[1].removesuffix(".")
    exec(remedy, {"adata": adata})  # the line that the message names states the origin
    scim.tl.search(adata, atlas_path, use_rep=key, k=3)
    scaled = adata.obsm[key] / np.linalg.norm(adata.obsm[key], axis=1, keepdims=True)
    with scim.atlas.open(atlas_path) as atlas:
        nearest = np.sort(1 - scaled @ atlas.embeddings().T, axis=1)[:, :3]
    np.testing.assert_allclose(adata.obsm["scim_search_distances"], nearest, atol=1e-5)


@pytest.mark.parametrize("of", ["view", "copy"])
def test_the_remedy_works_on_views_too(of, adata, atlas_path):
    part = adata[:20] if of == "view" else adata[:20].copy()
    with scim.atlas.open(atlas_path) as atlas:
        uid = atlas.model_uid
    if of == "view":
        with pytest.warns(anndata.ImplicitModificationWarning):
            part.uns["scim"] = part.uns.get("scim", {}) | {"E": {"model": uid}}
    else:
        part.uns["scim"] = part.uns.get("scim", {}) | {"E": {"model": uid}}
    part.obsm["E"] = 7 * part.obsm["X_scim"]
    scim.tl.annotate(part, atlas_path, use_rep="E", max_error=1.0)
    assert part.obs["scim_label"].notna().all()


def test_records_of_other_models_are_refused(adata, atlas_path):
    scim.tl.embed(adata, model=fakes.tiny_model(3))
    with pytest.raises(ValueError, match="was made by model .*, the atlas by .*; run scim.tl.embed"):
        scim.tl.annotate(adata, atlas_path)


@pytest.mark.parametrize("merge", [None, "same"])
def test_concatenated_cells_are_those_that_were_embedded(merge, adata, atlas_path, expected):
    """scverse/anndata#263, scverse/anndata#2068: uns is dropped by default."""
    joined = anndata.concat([adata[:20].copy(), adata[20:].copy()], uns_merge=merge)
    assert ("scim" in joined.uns) == (merge == "same")
    assert_equal(results(joined, atlas_path), expected)
    plain = scim.tl.search(adata, atlas_path, groupby="cell_type", k=4, copy=True)
    scim.tl.search(joined, atlas_path, groupby="cell_type", k=4)
    np.testing.assert_array_equal(joined.uns["scim_search"]["ids"], plain.uns["scim_search"]["ids"])
    assert joined.uns["scim_search"]["params"]["centroid"] == "counts"


def test_fewer_genes_after_a_concatenation_are_no_other_model(adata, atlas_path):
    part = adata[:, ::2].copy()
    joined = anndata.concat([part[:20].copy(), part[20:].copy()])
    scim.tl.annotate(joined, atlas_path, max_error=1.0)
    assert joined.obs["scim_label"].notna().all()


def test_without_counts_only_unit_rows_of_the_default_name_are_taken(adata, atlas_path, caplog):
    X = adata.obsm["X_scim"]
    X[0] = 0
    bare = anndata.AnnData(obs=adata.obs[["cell_type"]], obsm={"X_scim": X, "E": X, "X_long": 3 * X})
    scim.tl.search(bare, atlas_path, k=3)
    assert UNCHECKED in caplog.text
    with pytest.raises(
        ValueError, match=r"obsm\['E'\] has no record of the model that made it, expected .*, that of the"
    ):
        scim.tl.search(bare, atlas_path, use_rep="E")
    bare.obsm["X_scim"] = bare.obsm["X_long"]
    with pytest.raises(ValueError, match=r"obsm\['X_scim'\] has no record of the model"):
        scim.tl.annotate(bare, atlas_path)


def test_few_genes_cannot_tell_the_origin(adata, atlas_path, caplog, monkeypatch):
    monkeypatch.setattr(_representation, "_FEW_GENES", 2)
    adata.obsm["X_scim"] = adata.obsm["E"] = turned(adata)
    del adata.uns["scim"]
    scim.tl.search(adata, atlas_path, k=3)
    assert UNCHECKED in caplog.text
    with pytest.raises(ValueError, match=r"obsm\['E'\] has no record of the model"):
        scim.tl.search(adata, atlas_path, use_rep="E")


def test_scaled_counts_cannot_tell_the_origin(adata, atlas_path):
    adata.obsm["E"] = adata.obsm["X_scim"]
    adata.X = adata.X.toarray() - 1.5
    with pytest.raises(ValueError, match=r"obsm\['E'\] has no record of the model"):
        scim.tl.annotate(adata, atlas_path, use_rep="E")


# An atlas of an embedding that was made elsewhere has no model of ours.


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """An atlas of a PCA of two studies."""
    cells = fakes.cells(80, seed=4)
    cells.obsm["X_pca"] = np.random.default_rng(1).normal(size=(80, 6)) + 5
    path = tmp_path_factory.mktemp("elsewhere") / "pca.scim"
    scim.atlas.from_embedding(cells, path, obsm="X_pca", study_key="sample", label_key="cell_type").close()
    return path, cells


def test_the_users_own_embedding_is_searched_without_fuss(elsewhere, caplog):
    path, cells = elsewhere
    query = cells[::4].copy()
    query.obsm["X_pca"] = 3 * query.obsm["X_pca"]
    with caplog.at_level("WARNING", logger="scim"):
        scim.tl.search(query, path, use_rep="X_pca", k=1)
        scim.tl.annotate(query, path, use_rep="X_pca", max_error=1.0)
    assert query.obsm["scim_search_ids"].ravel().tolist() == list(range(0, 80, 4))
    assert "has no record" not in caplog.text


def test_an_embedding_of_another_name_is_logged(elsewhere, caplog):
    path, cells = elsewhere
    query = cells[:9].copy()
    query.obsm["X_mapped"] = query.obsm["X_pca"]
    scim.tl.search(query, path, use_rep="X_mapped", k=1)
    assert "made of an embedding named 'X_pca', the cells have 'X_mapped'" in caplog.text
    with pytest.raises(KeyError, match=r"obsm\['X_scim'\] not found. This atlas has no model.*called 'X_pca'"):
        scim.tl.search(query, path)


def test_an_embedding_of_scim_is_refused_by_an_atlas_of_another_method(elsewhere):
    path, cells = elsewhere
    query = cells[:9].copy()
    scim.tl.embed(query, model=fakes.tiny_model())
    query.obsm["X_scim"] = query.obsm["X_scim"][:, :6]
    with pytest.raises(ValueError, match=r"was made by model .*, the atlas by another method; name with use_rep="):
        scim.tl.search(query, path)


@pytest.mark.parametrize("form", ["anndata", "h5ad"])
def test_an_atlas_of_embedded_cells_knows_their_model(form, adata, tmp_path):
    data = adata if form == "anndata" else tmp_path / "a.h5ad"
    if form == "h5ad":
        adata.write_h5ad(data)
    names = {"obsm": "X_scim", "study_key": "sample", "label_key": "cell_type"}
    with scim.atlas.from_embedding(data, tmp_path / "a.scim", **names) as atlas:
        assert atlas.model_uid == adata.uns["scim"]["X_scim"]["model"]
        scim.tl.search(adata, atlas, k=1)
        assert adata.obsm["scim_search_ids"].ravel().tolist() == list(range(45))
        other = scim.tl.embed(adata, model=fakes.tiny_model(5), copy=True)
        with pytest.raises(ValueError, match="was made by model .*, the atlas by"):
            scim.tl.search(other, atlas)
        with pytest.raises(ValueError, match="The embedding was made by model .*, that of the atlas by"):
            atlas.append(other, study="more", obsm="X_scim")
        assert atlas.append(adata, study="more", obsm="X_scim") == 45
        assert scim.atlas.verify(atlas.path) == []


# Arrays have no record; their rows may be of any length.


def test_arrays_are_scaled():
    rng = np.random.default_rng(0)
    centers, types = rng.normal(size=(3, 16)), rng.integers(0, 3, 120)
    X = (centers[types] + rng.normal(scale=0.3, size=(120, 16))).astype(np.float32)
    labels, studies = np.array(["T cell", "B cell", "monocyte"])[types], np.repeat(["a", "b", "c"], 40)
    plain = LabelTransfer.fit(X, labels, studies)
    longer = LabelTransfer.fit(X * lengths(120), labels, studies)
    one, other = plain.predict(X[:20], max_error=1.0), longer.predict(X[:20] * 10, max_error=1.0)
    assert one.labels.tolist() == other.labels.tolist()
    np.testing.assert_allclose(one.confidence, other.confidence, atol=1e-4)
    first, second = scim.index.build(X), scim.index.build(X * lengths(120))
    found, again = first.query(X[:20], 5), second.query(X[:20] * lengths(20), 5)
    np.testing.assert_array_equal(found.ids, again.ids)
    np.testing.assert_allclose(found.distances, again.distances, atol=1e-5)
