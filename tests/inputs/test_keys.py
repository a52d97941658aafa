"""Test what the tools may write over: their own results, never those of others, and nothing after an error."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

import scim
from helpers import fakes
from helpers.unchanged import state
from scim.tl import _embed, _slots


@pytest.fixture(scope="module")
def made(atlas_path):
    """Cells with clusters and a map of the user, and results of every tool, also under a name of the user."""
    adata = fakes.cells(45, seed=9)
    adata.obs["leiden"] = pd.Categorical(["0", "1", "2"] * 15)
    adata.obsm["X_pca"] = np.arange(90.0).reshape(45, 2)
    adata.uns["pca"] = {"params": {"zero_center": True}, "variance": np.ones(2)}
    adata.uns["note"] = "of the user"
    scim.tl.embed(adata, atlas_path)
    scim.tl.embed(adata, atlas_path, key_added="X_mine")
    for key in ("scim_label", "my_label"):
        scim.tl.annotate(adata, atlas_path, groupby="leiden", max_error=1.0, statistics=True, key_added=key)
    scim.tl.search(adata, atlas_path, k=5)
    scim.tl.search(adata, atlas_path, k=5, groupby="leiden", key_added="my_search")
    scim.tl.enrichment(adata, "tissue", sample_key="study", key="my_search")
    scim.tl.explain(adata, atlas_path, groupby="cell_type", n_pairs=2, n_steps=2)
    scim.tl.novel(adata, groupby="cell_type", threshold=0.0, min_cells=1)
    return adata


@pytest.fixture
def written(made):
    return made.copy()


def annotate(key, **how):
    return lambda a, t: scim.tl.annotate(a, t, key_added=key, max_error=1.0, **how)


def search(key, **how):
    return lambda a, t: scim.tl.search(a, t, key_added=key, k=5, **how)


def embed(key):
    return lambda a, t: scim.tl.embed(a, t, key_added=key)


def novel(key, **how):
    return lambda a, t: scim.tl.novel(a, t, key_added=key, **{"groupby": "cell_type", **how})


def explain(key):
    return lambda a, t: scim.tl.explain(a, t, groupby="cell_type", n_pairs=2, key_added=key)


def enrichment(key):
    return lambda a, t: scim.tl.enrichment(a, "tissue", sample_key="study", key="my_search", key_added=key)


NOT_OURS = "and scim.tl.{} did not write it"
REFUSED = [
    # the call, what the message says
    (annotate("leiden", groupby="leiden"), r"obs\['leiden'\] is there already, " + NOT_OURS.format("annotate")),
    (annotate("leiden"), r"del adata.obs\['leiden'\]"),
    (annotate("pca"), r"uns\['pca'\] is there already"),
    (annotate("scim_search"), r"uns\['scim_search'\] is of scim.tl.search"),
    (annotate("scim_novel"), r"is of scim.tl.novel"),
    (annotate("scim_label_id"), r"obs\['scim_label_id'\] is of scim.tl.annotate"),
    (annotate("my_label_group"), r"obs\['my_label_group'\] is of scim.tl.annotate"),
    (annotate("my_search"), r"uns\['my_search'\] is of scim.tl.search"),
    (annotate("scim"), "scim keeps something else there"),
    (annotate("scim_label", groupby="scim_label"), "groupby='scim_label' names a column that this call replaces"),
    (annotate("my_label", groupby="my_label_group"), "groupby='my_label_group' names a column that this call replaces"),
    (search("scim_label"), r"uns\['scim_label'\] is of scim.tl.annotate"),
    (search("my_label"), r"uns\['my_label'\] is of scim.tl.annotate"),
    (search("note"), r"uns\['note'\] is there already"),
    (search("scim_enrichment"), "is of scim.tl.enrichment"),
    (search("scim_explain", groupby="leiden"), "is of scim.tl.explain"),
    (search("scim"), "scim keeps something else there"),
    (embed("scim_search_ids"), r"obsm\['scim_search_ids'\] is of scim.tl.search"),
    (embed("scim_search_similar"), "is of scim.tl.search"),
    (embed("scim_label_shares"), "is of scim.tl.annotate"),
    (embed("my_label_hits"), "is of scim.tl.annotate"),
    (embed("X_pca"), r"obsm\['X_pca'\] is there already, " + NOT_OURS.format("embed")),
    (novel("leiden"), r"obs\['leiden'\] is there already"),
    (novel("my_label"), "is of scim.tl.annotate"),
    (novel("scim_novel", groupby="scim_novel"), "names a column that this call replaces"),
    (explain("note"), r"uns\['note'\] is there already"),
    (explain("my_label"), "is of scim.tl.annotate"),
    (explain("scim_novel"), "is of scim.tl.novel"),
    (enrichment("my_search"), "is of scim.tl.search"),
    (enrichment("scim_search"), "is of scim.tl.search"),
    (enrichment("pca"), r"uns\['pca'\] is there already"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_others_wrote_stays(call, message, written, atlas_path):
    before = state(written)
    with pytest.raises(ValueError, match=message):
        call(written, atlas_path)
    assert state(written) == before


def fresh(made):
    """Return the cells before any tool wrote but `embed`."""
    adata = made.copy()
    for place in (adata.obs, adata.obsm, adata.uns):
        for name in [name for name in place if name.startswith(("scim_", "my_"))]:
            del place[name]
    return adata


AGAIN = [
    # the first call, the second, which leaves what it would leave alone
    (annotate("scim_label", groupby="leiden"), annotate("scim_label")),
    (annotate("scim_label", statistics=True), annotate("scim_label")),
    (annotate("scim_label", statistics=True), annotate("scim_label", groupby="leiden")),
    (annotate("other", groupby="leiden", statistics=True), annotate("other")),
    (annotate("other"), annotate("other", groupby="leiden")),
    (annotate("scim_label", top=3), annotate("scim_label", top=1)),
    (search("scim_search"), search("scim_search", groupby="leiden")),
    (search("scim_search", groupby="leiden"), search("scim_search")),
    (search("other"), search("other", groupby="leiden")),
    (embed("other"), embed("other")),
    (explain("other"), explain("other")),
]


@pytest.mark.parametrize(("first", "second"), AGAIN)
def test_a_tool_that_runs_again_leaves_nothing_of_the_first_run(first, second, made, atlas_path):
    alone, again = fresh(made), fresh(made)
    second(alone, atlas_path)
    first(again, atlas_path)
    second(again, atlas_path)
    one, other = state(alone), state(again)
    for found in (one, other):
        found["order"] = [sorted(names) for names in found["order"]]
    assert one == other


def test_columns_of_the_user_stay_where_the_last_run_wrote_none(made, atlas_path):
    adata = fresh(made)
    annotate("scim_label")(adata, atlas_path)
    adata.obs["scim_label_group"] = "mine"
    annotate("scim_label")(adata, atlas_path)
    assert (adata.obs["scim_label_group"] == "mine").all()
    with pytest.raises(ValueError, match=r"obs\['scim_label_group'\] is there already"):
        annotate("scim_label", groupby="leiden")(adata, atlas_path)


@pytest.mark.parametrize("key", ["scim_label", "other"])
def test_results_without_their_record_are_still_ours(key, made, atlas_path):
    """scverse/anndata#263: a concatenation keeps obs and obsm, and drops uns."""
    adata = fresh(made)
    annotate(key, groupby="leiden")(adata, atlas_path)
    joined = anndata.concat([adata[:20].copy(), adata[20:].copy()])
    assert key not in joined.uns
    annotate(key)(joined, atlas_path)
    assert f"{key}_group" not in joined.obs
    pd.testing.assert_series_equal(joined.obs[f"{key}_confidence"], adata.obs[f"{key}_confidence"])


@pytest.mark.parametrize("value", ["a text", 5, ["a"], np.ones(3)])
def test_uns_of_another_type_under_our_name(value, made, atlas_path):
    adata = fresh(made)
    adata.uns["scim"] = value
    before = state(adata)
    with pytest.raises(
        TypeError, match=r"uns\['scim'\] holds .*; rename it: adata.uns\['other name'\] = adata.uns.pop"
    ):
        scim.tl.embed(adata, atlas_path)
    assert state(adata) == before
    annotate("scim_label")(adata, atlas_path)  # reads no record, and finds the origin by the counts
    adata.uns["scim_label"] = value
    with pytest.raises(ValueError, match=r"uns\['scim_label'\]"):
        annotate("scim_label")(adata, atlas_path)


LATE = [
    # the call, where it writes
    (annotate("scim_label"), ("obs", "obsm", "uns")),
    (annotate("new", groupby="leiden"), ("obs", "obsm", "uns")),
    (search("scim_search"), ("obsm", "uns")),
    (novel("scim_novel"), ("obs", "uns")),
    (explain("scim_explain"), ("uns",)),
    (embed("X_scim"), ("obsm", "uns")),
    (embed("X_new"), ("obsm", "uns")),
]


@pytest.mark.parametrize(("call", "place"), [(call, place) for call, places in LATE for place in places])
def test_an_error_while_results_are_written_leaves_all_as_it_was(call, place, written, atlas_path, monkeypatch):
    """A full disk, an interruption, a wrong shape: whatever comes when half is written."""
    before, reached = state(written), []
    armed = False

    def failing(original):
        def set_item(self, name, value):
            original(self, name, value)
            if armed and (self is getattr(written, place) or getattr(self, "parent", None) is written):
                reached.append(name)
                raise KeyboardInterrupt

        return set_item

    def write(*args):
        nonlocal armed
        armed = True
        try:
            replace_slots(*args)
        finally:
            armed = False

    class Uns(dict):
        pass

    written._uns = Uns(written.uns)
    kind = {"obs": pd.DataFrame, "obsm": type(written.obsm), "uns": Uns}[place]
    replace_slots = _slots.replace_slots
    monkeypatch.setattr(_slots, "replace_slots", write)
    monkeypatch.setattr(_embed, "replace_slots", write)
    monkeypatch.setattr(kind, "__setitem__", failing(kind.__setitem__))
    with pytest.raises(KeyboardInterrupt):
        call(written, atlas_path)
    assert reached
    assert state(written) == before


@pytest.mark.parametrize("form", ["copy", "view", "backed"])
def test_copies_views_and_files(form, made, atlas_path, tmp_path):
    adata = fresh(made)
    if form == "backed":
        adata.write_h5ad(tmp_path / "a.h5ad")  # makes categories of texts
    before = state(adata)
    calls = [
        annotate("scim_label", groupby="leiden"),
        search("scim_search"),
        novel("scim_novel"),
        explain("scim_explain"),
    ]
    if form == "copy":
        other = scim.tl.annotate(adata, atlas_path, groupby="leiden", copy=True)
        assert "scim_label_group" in other.obs
        assert state(adata) == before
        return
    part = adata[::2] if form == "view" else anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    for call in calls:
        call(part, atlas_path)
    assert not part.is_view
    assert {"scim_label", "scim_label_group", "scim_novel"} <= set(part.obs)
    assert {"scim_search_ids", "scim_label_codes"} <= set(part.obsm)
    assert {"scim_label", "scim_search", "scim_novel", "scim_explain"} <= set(part.uns)
    assert state(adata) == before
    if form == "backed":
        with pytest.raises(ValueError, match="copy=True of a backed AnnData cannot be written"):
            scim.tl.annotate(part, atlas_path, copy=True)
        part.file.close()


def test_the_name_of_the_index_of_obs_is_taken(made, atlas_path):
    adata = fresh(made)
    adata.obs.index.name = "cell"
    with pytest.raises(ValueError, match=r"obs\['cell'\] is there already"):
        annotate("cell")(adata, atlas_path)
