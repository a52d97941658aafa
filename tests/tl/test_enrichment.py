"""Hits by sample: counted with pandas on a simulated atlas in which tissue `b` has more cells of one state."""

from __future__ import annotations

import logging
import tempfile

import anndata
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import scim

mpl.use("agg")


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    """24 samples of 8 studies, 30-130 cells each, of tissues a, b and c; state 0 makes up .4 of b, .1 of the others."""
    rng, rows = np.random.default_rng(0), []
    for i in range(24):
        n = int(rng.integers(30, 131))
        tissue = "abc"[i % 3]
        share = rng.beta(40, 60) if tissue == "b" else rng.beta(10, 90)
        state = np.where(rng.random(n) < share, 0, rng.integers(1, 4, n))
        rows.append(pd.DataFrame({"study": f"s{i // 3}", "sample": f"d{i % 3}", "tissue": tissue, "state": state}))
    obs = pd.concat(rows, ignore_index=True).set_axis([f"c{i}" for i in range(sum(map(len, rows)))])
    X = np.eye(8)[obs["state"]] + 0.05 * rng.normal(size=(len(obs), 8))
    obs["label"], obs["age"] = obs["state"].map(dict(enumerate("wxyz"))), rng.integers(20, 60, len(obs))
    obs["disease"] = pd.Series(np.where(obs["age"] > 40, "ill", "well"), index=obs.index).where(obs["age"] != 30)
    data = anndata.AnnData(obs=obs, obsm={"X_scim": X.astype(np.float32)})
    path = tmp_path_factory.mktemp("enrichment") / "made.scim"
    columns = ["sample", "tissue", "age", "disease"]
    scim.atlas.from_embedding(data, path, obsm="X_scim", study_key="study", label_key="label", columns=columns).close()
    with scim.atlas.open(path) as opened:
        yield opened


@pytest.fixture
def cells(atlas):
    """Thirty cells of three states, searched by state."""
    state = np.arange(30) % 3
    X = np.eye(8)[state] + 0.05 * np.random.default_rng(1).normal(size=(30, 8))
    obs = pd.DataFrame({"state": [f"state{i}" for i in state]}, index=[f"q{i}" for i in range(30)])
    adata = anndata.AnnData(obs=obs, obsm={"X_scim": X.astype(np.float32)})
    scim.tl.search(adata, atlas, groupby="state", k=300)
    return adata


def counted(adata, atlas, by, where, only_similar):
    """Counts of samples, hits and cells for each query and value."""
    background = atlas.obs(where=where, columns=[by, "study", "sample"]).dropna()
    hits = scim.get.hits(adata, [by], only_similar=only_similar, atlas=atlas)
    rows = {}
    for query in adata.uns["scim_search"]["groups"]:
        found = hits[hits["query"] == query]
        for value, part in background.groupby(by):
            n_samples = len(part[["study", "sample"]].drop_duplicates())
            rows[query, str(value)] = (n_samples, (found[by] == value).sum(), len(part))
    return rows


@pytest.mark.parametrize(
    ("by", "where", "only_similar"),
    [("tissue", None, True), ("disease", None, False), ("age", "age < 24", True), ("label", "tissue == 'b'", False)],
)
def test_counts(atlas, cells, by, where, only_similar):
    scim.tl.search(cells, atlas, groupby="state", k=300, where=where)
    scim.tl.enrichment(cells, by, sample_key="sample", only_similar=only_similar, atlas=atlas)
    table = scim.get.enrichment(cells)
    found = {(row.query, row.value): (row.n_samples, row.n_hits, row.n_cells) for row in table.itertuples()}
    assert found == counted(cells, atlas, by, where, only_similar)
    samples, hits = cells.uns["scim_enrichment"]["samples"], cells.uns["scim_enrichment"]["hits"]
    assert hits.dtype == np.int32
    assert (hits <= samples["n_cells"].to_numpy()).all()
    assert not samples.duplicated(["study", "sample", "value"]).any()


def test_planted_effects_are_found(atlas, cells):
    scim.tl.enrichment(cells, "tissue", sample_key="sample", atlas=atlas)
    table = scim.get.enrichment(cells).set_index(["query", "value"])
    sure = table.index[table["q"] <= 0.05].tolist()
    assert sure[0] == ("state0", "b")
    assert {query for query, _ in sure} == {"state0"} or table["log2_fold_change"][sure[1:]].min() > 0
    record = cells.uns["scim_enrichment"]
    share = record["hits"][0] / record["samples"]["n_cells"]
    of = record["samples"]["value"] == "b"
    assert table.loc[("state0", "b"), "fraction"] == pytest.approx(share[of].mean(), rel=0.1)
    assert table.loc[("state0", "b"), "background"] == pytest.approx(share[~of].mean(), rel=0.15)
    fold = np.log2(table["fraction"] / table["background"])
    np.testing.assert_allclose(table["log2_fold_change"], fold)


def test_false_discoveries_are_counted_over_the_whole_call(atlas, cells):
    scim.tl.enrichment(cells, "tissue", sample_key="sample", alternative="two-sided", atlas=atlas)
    table = scim.get.enrichment(cells)
    assert len(table) == 9
    np.testing.assert_allclose(table["q"], stats.false_discovery_control(table["p"]))
    assert table.groupby("query")["p"].apply(lambda p: p.is_monotonic_increasing).all()
    assert (table["reason"] == "").all()


def test_studies_share_samples_only_on_request(atlas, cells):
    p = {}
    for study_key in ("study", None):
        scim.tl.enrichment(cells, "tissue", sample_key="sample", study_key=study_key, atlas=atlas)
        p[study_key] = scim.get.enrichment(cells).set_index(["query", "value"])["p"]
        samples = cells.uns["scim_enrichment"]["samples"]
        assert len(samples) == (24 if study_key else 3)
    assert p[None].isna().all()
    scim.tl.enrichment(cells, "study", sample_key="sample", atlas=atlas)
    assert scim.get.enrichment(cells)["p"].notna().all()
    assert (cells.uns["scim_enrichment"]["samples"]["study"] == "").all()
    scim.tl.enrichment(cells, "sample", sample_key="sample", atlas=atlas)
    assert scim.get.enrichment(cells)["n_samples"].unique().tolist() == [8]
    assert cells.uns["scim_enrichment"]["samples"]["study"].nunique() == 8


def test_samples_that_support_a_finding_are_counted(atlas, cells):
    scim.tl.enrichment(cells, "tissue", sample_key="sample", atlas=atlas)
    record, table = cells.uns["scim_enrichment"], scim.get.enrichment(cells)
    share = record["hits"] / record["samples"]["n_cells"].to_numpy()
    for row in table.itertuples():
        own = share[list(record["queries"]).index(row.query), record["samples"]["value"] == row.value]
        assert row.n_supporting == (own > row.background).sum()
    assert table["n_supporting"].dtype == np.int64


def test_a_single_sample_is_no_finding(atlas, cells):
    """All of tissue d is one sample, full of hits; a sample of another study with hits of its own would be another."""
    obs = atlas.obs(columns=["study", "sample", "tissue", "label", "cell_id"]).set_index("cell_id")
    obs["tissue"] = obs["tissue"].where((obs["study"] != "s0") | (obs["tissue"] != "b"), "d")
    X, one = atlas.embeddings(), (obs["tissue"] == "d").to_numpy()
    X[one] = np.eye(8)[0] + 0.05 * np.random.default_rng(2).normal(size=(one.sum(), 8))
    data = anndata.AnnData(obs=obs, obsm={"X_scim": X})
    with (
        tempfile.TemporaryDirectory() as folder,
        scim.atlas.from_embedding(
            data, f"{folder}/d.scim", obsm="X_scim", study_key="study", label_key="label", columns=["sample", "tissue"]
        ) as other,
    ):
        scim.tl.search(cells, other, groupby="state", k=300)
        scim.tl.enrichment(cells, "tissue", sample_key="sample", atlas=other)
    table = scim.get.enrichment(cells).set_index(["query", "value"])
    row = table.loc[("state0", "d")]
    assert row["log2_fold_change"] > 0.5
    assert row["n_supporting"] == row["n_samples"] == 1
    assert np.isnan(row["q"])
    assert row["reason"] == "one sample has all cells with the value, or all others"


def test_too_few_samples_and_no_hits_have_a_reason(atlas, cells):
    scim.tl.search(cells, atlas, groupby="state", k=300, where="study == 's0'", max_distance=0.2)
    scim.tl.enrichment(cells, "tissue", sample_key="sample", atlas=atlas)
    table = scim.get.enrichment(cells)
    assert table[["p", "q"]].isna().all(axis=None)
    assert set(table["reason"]) == {"one sample has all cells with the value, or all others"}
    scim.tl.search(cells, atlas, groupby="state", k=300, where="study == 's0' or study == 's1'", max_distance=0.2)
    scim.tl.enrichment(cells, "tissue", sample_key="sample", atlas=atlas)
    assert set(scim.get.enrichment(cells)["reason"]) == {"too few samples: p cannot be below 0.11"}
    scim.tl.search(cells, atlas, groupby="state", k=300, max_distance=0.0)
    scim.tl.enrichment(cells, "tissue", sample_key="sample", atlas=atlas)
    assert set(scim.get.enrichment(cells)["reason"]) == {"no hits"}


def test_hits_of_single_cells_are_joined(atlas, cells):
    scim.tl.search(cells, atlas, k=20)
    scim.tl.enrichment(cells, "tissue", sample_key="sample", atlas=atlas)
    table = scim.get.enrichment(cells)
    assert set(table["query"]) == {"all cells"}
    assert table["n_hits"].sum() == len(np.unique(cells.obsm["scim_search_ids"]))


def test_only_primary_cells_are_the_background_of_a_search_for_them(atlas, cells, tmp_path):
    obs = atlas.obs()
    obs["is_primary_data"] = np.arange(len(obs)) % 3 > 0
    data = anndata.AnnData(obs=obs.set_index("cell_id"), obsm={"X_scim": atlas.embeddings()})
    path = tmp_path / "primary.scim"
    columns = ["sample", "tissue", "is_primary_data"]
    with scim.atlas.from_embedding(
        data, path, obsm="X_scim", study_key="study", label_key="label", columns=columns
    ) as other:
        for duplicates, n_cells in (("collapse", int(obs["is_primary_data"].sum())), ("keep", len(obs))):
            scim.tl.search(cells, other, groupby="state", k=100, duplicates=duplicates)
            scim.tl.enrichment(cells, "tissue", sample_key="sample", atlas=other)
            assert cells.uns["scim_enrichment"]["samples"]["n_cells"].sum() == n_cells


def test_columns_of_the_index_and_of_the_store_agree(atlas, cells, monkeypatch):
    scim.tl.enrichment(cells, "disease", sample_key="sample", atlas=atlas)
    once = cells.uns["scim_enrichment"]
    monkeypatch.setattr(type(atlas), "indexes", lambda *_: False)
    scim.tl.enrichment(cells, "disease", sample_key="sample", atlas=atlas)
    pd.testing.assert_frame_equal(cells.uns["scim_enrichment"]["table"], once["table"])
    np.testing.assert_array_equal(cells.uns["scim_enrichment"]["hits"], once["hits"])


def test_copy_leaves_the_input_unchanged(atlas, cells):
    before = repr(cells.uns)
    other = scim.tl.enrichment(cells, "tissue", sample_key="sample", atlas=atlas, key_added="mine", copy=True)
    assert repr(cells.uns) == before
    assert "mine" in other.uns
    assert len(scim.get.enrichment(other, key="mine")) == 9


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
@pytest.mark.filterwarnings("ignore:The data type:zarr.errors.UnstableSpecificationWarning")
@pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning")
def test_written_and_read_back(atlas, cells, tmp_path, kind):
    scim.tl.enrichment(cells, "tissue", sample_key="sample", atlas=atlas)
    path = tmp_path / f"a.{kind}"
    getattr(cells, f"write_{kind}")(path)
    back = getattr(anndata, f"read_{kind}")(path)
    pd.testing.assert_frame_equal(scim.get.enrichment(back), scim.get.enrichment(cells))
    np.testing.assert_array_equal(back.uns["scim_search"]["coherence"], cells.uns["scim_search"]["coherence"])
    part = cells[np.arange(30) % 4 == 1].copy()
    pd.testing.assert_frame_equal(scim.get.enrichment(part), scim.get.enrichment(cells))
    assert len(scim.pl.enrichment(back).axes) == 3


def test_the_picture_has_a_dot_for_each_sample(atlas, cells):
    scim.tl.enrichment(cells, "tissue", sample_key="sample", atlas=atlas)
    figure = scim.pl.enrichment(cells, ["state0", "state2"], top=2)
    record, table = cells.uns["scim_enrichment"], scim.get.enrichment(cells)
    assert len(figure.axes) == 2
    rows = table[table["query"] == "state0"].head(2)
    drawn = {c.get_label(): c for c in figure.axes[0].collections}
    for value in rows["value"]:
        own = (record["samples"]["value"] == value).to_numpy()
        share = record["hits"][0][own] / record["samples"]["n_cells"].to_numpy()[own]
        np.testing.assert_allclose(drawn[value].get_offsets()[:, 0], share)
    np.testing.assert_allclose(drawn["mean"].get_offsets()[:, 0], rows["fraction"])
    np.testing.assert_allclose(drawn["background"].get_offsets()[:, 0], rows["background"])
    marked = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert marked == [f"{row.value} *" if row.q <= 0.05 else row.value for row in rows.itertuples()]
    colors = [mpl.colors.to_hex(drawn[value].get_facecolor()[0]) for value in rows["value"]]
    assert [color != "#d9d9d9" for color in colors] == (rows["q"] <= 0.05).tolist()
    assert scim.pl.enrichment(cells, "state0", ax=mpl.figure.Figure().subplots()) is None


def test_the_result_is_logged(atlas, cells, caplog):
    with caplog.at_level(logging.INFO, logger="scim"):
        scim.tl.enrichment(cells, "tissue", sample_key="sample", atlas=atlas)
    found = scim.get.enrichment(cells).query("q <= 0.05")
    least = f", each supported by {found['n_supporting'].min()} samples or more"
    written = f"wrote uns['scim_enrichment']: {len(found)} of 9 tested values have q <= .05{least}"
    assert caplog.records[-1].getMessage() == written
    with caplog.at_level(logging.INFO, logger="scim"):
        scim.tl.enrichment(cells[cells.obs["state"] == "state0"].copy(), "study", sample_key="tissue", atlas=atlas)
    assert caplog.records[-1].getMessage().endswith("of 24 tested values have q <= .05")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda a, t: scim.tl.enrichment(a, "organ", sample_key="sample", atlas=t), KeyError, r"atlas has no column \['organ'\]. Present:"),
        (lambda a, t: scim.tl.enrichment(a, "tissue", sample_key="donor", atlas=t), KeyError, r"atlas has no column \['donor'\]"),
        (lambda a, t: scim.tl.enrichment(a, "tissue", sample_key=3, atlas=t), TypeError, "sample_key must be text, got 3"),
        (lambda a, t: scim.tl.enrichment(a, "tissue", sample_key="sample", key="mine", atlas=t), KeyError, r"run scim.tl.search\(adata, ...\) first"),
        (lambda a, t: scim.tl.enrichment(a, "tissue", sample_key="sample", key_added="scim_search", atlas=t), ValueError, "scim keeps something else there"),
        (lambda a, t: scim.tl.enrichment(a, "tissue", sample_key="sample", alternative="more", atlas=t), ValueError, "alternative must be one of"),
        (lambda a, t: scim.tl.enrichment(a, "tissue", sample_key="sample", atlas=scim.atlas.PACKAGED), ValueError, r"pass atlas=\."),
        (lambda a, t: scim.tl.enrichment(a.X, "tissue", sample_key="sample", atlas=t), TypeError, "Expected an AnnData"),
        (lambda a, t: scim.get.enrichment(a), KeyError, r"run scim.tl.enrichment\(adata, by, sample_key=...\) first. Present: \['scim_search'\]"),
        (lambda a, t: scim.pl.enrichment(a), KeyError, "holds no enrichment"),
    ],
)  # fmt: skip
def test_errors(atlas, cells, call, error, message):
    before = repr(cells.uns)
    with pytest.raises(error, match=message):
        call(cells, atlas)
    assert repr(cells.uns) == before


def test_one_value_is_nothing_to_compare(atlas, cells):
    scim.tl.search(cells, atlas, groupby="state", where="tissue == 'a'")
    with pytest.raises(ValueError, match="have tissue == 'a'; expected two values"):
        scim.tl.enrichment(cells, "tissue", sample_key="sample", atlas=atlas)
    scim.tl.search(cells, atlas, groupby="state", where="disease == None")
    with pytest.raises(ValueError, match=r"that passes has a value in all of \['study', 'sample', 'disease'\]"):
        scim.tl.enrichment(cells, "disease", sample_key="sample", atlas=atlas)


def test_a_missing_query(atlas, cells):
    scim.tl.enrichment(cells, "tissue", sample_key="sample", atlas=atlas)
    with pytest.raises(KeyError, match=r"has no query \['B'\]. Present: \['state0', 'state1', 'state2'\]"):
        scim.pl.enrichment(cells, "B")


def test_a_changed_atlas_gives_a_warning(adata, tmp_path):
    from helpers import fakes

    with scim.atlas.create(tmp_path / "grown.scim", model=fakes.tiny_model()) as atlas:
        for study, seed in (("one", 2), ("two", 3)):
            atlas.append(fakes.cells(60, seed=seed), study=study, label_key="cell_type", obs_columns=["sample"])
        atlas.build_index()
        scim.tl.search(adata, atlas, groupby="cell_type", k=20)
        scim.tl.enrichment(adata, "label", sample_key="sample", atlas=atlas)
        then = atlas.version
        atlas.append(fakes.cells(60, seed=4), study="three", label_key="cell_type", obs_columns=["sample"])
        with pytest.warns(UserWarning, match=f"The search was made in version {then} of .*, this is {atlas.version}: "):
            scim.tl.enrichment(adata, "label", sample_key="sample", atlas=atlas)
