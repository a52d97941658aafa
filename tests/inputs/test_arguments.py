"""Test that a wrong value of any argument of `tl`, `get` and `pl` is refused by name, before anything is done."""

from __future__ import annotations

import inspect

import anndata
import numpy as np
import pandas as pd
import pytest

import scim
from helpers import fakes
from helpers.unchanged import state

# Wrong values of each kind of argument; `None` is added where an argument has no default of None.
TEXT = [5, True, "", " ", b"a", ["cell_type"], pd.Series(["cell_type"]), np.array(["a", "b"]), {"a": 1}, object()]
WRONG = {
    "text": TEXT,
    "key": [*TEXT, "a/b"],
    "column": [*TEXT, "no such column"],  # of obs
    "names": [5, True, [5], [None], b"ab", {"a": 1}, "", [""], np.array([1.5])],
    "flag": [1, 0, "yes", "", 0.5, [True], np.array([True, False])],
    "count": [0, -1, 2.5, True, "5", np.nan, [3], 10**30, -(10**30), np.array([1, 2]), np.float32(3), 1j],
    "share": [-0.1, 1.5, np.nan, np.inf, "0.1", True, [0.1], np.float32(-1), 1j, np.array([0.1, 0.2])],
    "distance": [-0.1, 2.5, np.nan, np.inf, "0.1", True, [0.1], np.float64(-1)],
    "positive": [0, -1.0, np.nan, np.inf, "1", True, [1.0]],
    "choice": ["no such choice", "", 5, True, ["counts"], np.array(["a", "b"]), pd.Series(["a"])],
    "species": ["rat", "", 5, True, ["Cd3e"], np.array(["a", "b"])],
    "seed": [-1, True, "1", 1.5, [1], np.array([1, 2])],
    "atlas": [5, "", True, ["atlas"], b"atlas", "no/such/atlas", {"a": 1}],
    "model": [5, "", True, ["model"]],
    "axes": ["ax", 5, {"a": 1}],
    "level": [0, -1, True, 2.5, [5], "no such label", "", {"a": 1}],
    "cells": [None, 5, "cells.h5ad", np.ones((3, 2)), pd.DataFrame({"a": [1]})],
    "frame": [None, 5, "a", {"gene": ["a"]}],
    "value": [["T cell"], {"a": 1}, np.array(["a", "b"])],
}
KINDS = {
    "adata": "cells", "atlas": "atlas", "model": "model", "label_key": "text", "k": "count", "weights": "choice",
    "allow": "names", "block": "names", "where": "text", "groupby": "column", "level": "level", "tissue": "names",
    "expression": "flag", "max_error": "share", "max_distance": "distance", "top": "count", "statistics": "flag",
    "duplicates": "choice", "use_rep": "text", "key_added": "key", "copy": "flag", "layer": "text", "gene_key": "text",
    "species": "species", "transform": "choice", "by": "text", "sample_key": "text", "study_key": "text",
    "system_key": "text", "alternative": "choice", "only_similar": "flag", "key": "text", "groups": "names",
    "reference": "text", "n_pairs": "count", "n_steps": "count", "rng": "seed", "threshold": "share",
    "n_genes": "count", "min_cells": "count", "resolution": "positive", "centroid": "choice", "quantile": "share",
    "max_memory": "count", "n_resamples": "count", "group": "names", "truth": "column", "columns": "names",
    "n_bins": "count", "ancestors": "choice", "ax": "axes", "basis": "text", "queries": "names", "max_q": "share",
    "area": "choice", "enrichment_key": "text", "values": "choice", "cluster": "flag", "value": "value",
    "genes": "frame",
}  # fmt: skip
OTHERS = {
    ("rank_systems", "by"): "choice",
    ("rank_systems", "level"): "share",
    ("get.composition", "by"): "names",
    ("pl.composition", "by"): "names",
    ("hits_circles", "by"): "names",
    ("hits_heatmap", "by"): "names",
}
GIVEN = {  # arguments without a default
    "by": "tissue", "sample_key": "study", "groupby": "cell_type", "system_key": "tissue", "truth": "cell_type",
}  # fmt: skip
GIVEN_TO = {
    "hits_circles": {"by": ["study", "tissue"]},
    "explain": {"groupby": "cell_type", "n_pairs": 2},
    "rank_systems": {"sample_key": "study"},
}
NAMED_AS = {"adata": ("AnnData",), "truth": ("obs", "truth"), "groupby": ("obs", "groupby")}  # in the message
MAY_BE_NONE = ("rng", "atlas", "adata", "genes", "ax", "level", "study_key", "truth")  # or have `None` in their kind
FUNCTIONS = [f"{room.__name__[5:]}.{name}" for room in (scim.tl, scim.get, scim.pl) for name in room.__all__]


@pytest.fixture(scope="module")
def written(atlas_path):
    """Cells with results of every tool."""
    adata = fakes.cells(45, seed=9)
    scim.tl.embed(adata, atlas_path)
    adata.obsm["X_umap"] = adata.obsm["X_scim"][:, :2].copy()
    scim.tl.annotate(adata, atlas_path, groupby="cell_type", max_error=1.0)
    scim.tl.search(adata, atlas_path, groupby="cell_type", k=20)
    scim.tl.enrichment(adata, "tissue", sample_key="study")
    scim.tl.explain(adata, atlas_path, groupby="cell_type", n_pairs=2, n_steps=2)
    scim.tl.novel(adata, groupby="cell_type", threshold=0.0, min_cells=1)
    return adata


def parameters_of(function):
    """Return the parameters of a function; those of `score_similarity` stand for `**similarity`."""
    parameters = dict(inspect.signature(function).parameters)
    if parameters.pop("similarity", None) is not None:
        further = inspect.signature(scim.tl.score_similarity).parameters
        parameters |= {name: value for name, value in further.items() if name not in parameters}
    return parameters


def wrong_values(room, function, parameter):
    """Return wrong values of an argument."""
    name = parameter.name
    kind = OTHERS.get((f"{room}.{function}", name), OTHERS.get((function, name), KINDS[name]))
    may_be_none = parameter.default is None or name in MAY_BE_NONE
    return WRONG[kind] if may_be_none else [*WRONG[kind], None]


@pytest.mark.parametrize("path", FUNCTIONS)
def test_wrong_values_are_refused_by_name(path, written, atlas_path):
    room, name = path.split(".")
    function = getattr(getattr(scim, room), name)
    parameters, before = parameters_of(function), state(written)
    required = [key for key, value in parameters.items() if value.default is inspect.Parameter.empty]
    available = GIVEN | {"adata": written, "genes": scim.get.attribution(written, "T cell")}
    given = {key: available[key] for key in required} | GIVEN_TO.get(name, {})
    given |= {"atlas": atlas_path} if "atlas" in parameters else {}
    faults = []
    for key, parameter in parameters.items():
        for value in wrong_values(room, name, parameter):
            call = {**given, key: value} | ({"atlas": None} if key == "model" else {})
            try:
                function(**call)
                faults.append((key, value, "accepted"))
            except (TypeError, ValueError, KeyError, FileNotFoundError) as error:
                if not any(word in str(error) for word in NAMED_AS.get(key, (key,))):
                    faults.append((key, value, f"{type(error).__name__}: {error}"))
    assert not faults, "\n".join(map(str, faults))
    assert state(written) == before


def test_numbers_of_numpy_are_numbers(written, atlas_path):
    plain = scim.tl.annotate(written, atlas_path, k=5, top=2, max_error=1.0, copy=True)
    given = {"k": np.int16(5), "top": np.uint8(2), "max_error": np.float32(1), "statistics": np.bool_(False)}
    other = scim.tl.annotate(written, atlas_path, copy=True, **given)
    assert state(plain) == state(other)


@pytest.mark.parametrize(
    ("report", "k"), [("nmslib/hnswlib#244", 150), ("NVIDIA/cuml#4708", 10**6), ("", 10**12), ("", 2**63 - 1)]
)
@pytest.mark.parametrize("groupby", [None, "cell_type"])
def test_k_is_at_most_the_cells_of_the_atlas(report, k, groupby, written, atlas_path, tmp_path):
    adata = written.copy()
    scim.tl.search(adata, atlas_path, k=k, groupby=groupby)
    found = adata.obsm["scim_search_ids"] if groupby is None else adata.uns["scim_search"]["ids"]
    assert found.shape == (45 if groupby is None else 3, 150)
    assert (np.sort(found, axis=1) == np.arange(150)).all()
    assert adata.uns["scim_search"]["params"]["k"] == 150
    scim.tl.annotate(adata, atlas_path, k=k, top=k, max_error=1.0)
    assert adata.obsm["scim_label_codes"].shape == (45, 3)
    adata.write_h5ad(tmp_path / "a.h5ad")


def test_an_index_pads_up_to_a_million():
    index = scim.index.build(np.eye(3, dtype=np.float32))
    assert index.query(np.eye(3, dtype=np.float32), 1000).ids.shape == (3, 1000)
    with pytest.raises(ValueError, match="k must be at most 1000000, got 1000000000000"):
        index.query(np.eye(3, dtype=np.float32), 10**12)


WRONG_ELSEWHERE = [
    # the call, given an atlas and a folder; the error; its message
    (lambda t, f: scim.atlas.open(""), ValueError, "path of an atlas"),
    (lambda t, f: scim.atlas.open(t, draft="no"), TypeError, "draft must be True or False, got 'no'"),
    (lambda t, f: scim.atlas.open(t, ["r"]), ValueError, r"mode must be 'r' or 'w', got \['r'\]"),
    (lambda t, f: scim.atlas.open(t, timeout=-1), ValueError, "timeout must be between 0 and inf, got -1"),
    (lambda t, f: scim.atlas.open(t, timeout=float("nan")), ValueError, "timeout must be"),
    (lambda t, f: scim.atlas.open(t, timeout="10"), TypeError, "timeout must be a number"),
    (lambda t, f: scim.atlas.open(t, at=True), TypeError, "at must be a version number"),
    (lambda t, f: scim.atlas.create(f / "a", model=5), TypeError, "model must be a path, got 5"),
    (lambda t, f: scim.atlas.create(f / "a", model=""), ValueError, "model must be a path, got an empty text"),
    (lambda t, f: scim.atlas.create("", model=t / "model"), ValueError, "path of an atlas"),
    (lambda t, f: scim.atlas.create(f / "a", model=t / "model", overwrite="yes"), TypeError, "overwrite must be True"),
    (lambda t, f: scim.atlas.open(t).label_transfer(["label"]), TypeError, "label_key must be text"),
    (lambda t, f: scim.atlas.open(t, "w").append(fakes.cells(9), study="a", counts=1), TypeError, "counts must be True"),
    (lambda t, f: scim.atlas.open(t, "w").append(fakes.cells(9), study="a", label_key=["a"]), TypeError, "label_key must be"),
    (lambda t, f: scim.atlas.open(t, "w").append(fakes.cells(9), study="a", on_duplicate=["skip"]), ValueError, "on_duplicate"),
    (lambda t, f: scim.atlas.from_embedding(fakes.cells(9), f / "a", obsm=5, study="s"), TypeError, "obsm must be text"),
    (lambda t, f: scim.atlas.from_soma(f, f / "a", layer=None), TypeError, "layer must be text"),
    (lambda t, f: scim.index.build(np.eye(3), kind=["exact"]), ValueError, "kind must be one of"),
    (lambda t, f: scim.index.build(np.eye(3), rng=-1), ValueError, "rng must be at least 0, got -1"),
    (lambda t, f: scim.index.build(np.eye(3), rng="a"), TypeError, "rng must be a seed"),
    (lambda t, f: scim.index.build(np.eye(3), path=5), TypeError, "path must be a path, got 5"),
    (lambda t, f: scim.index.build(np.eye(3), n_threads=0), ValueError, "n_threads must be at least 1"),
    (lambda t, f: scim.index.build(np.eye(3)).query(np.eye(3), 1, n_threads=True), TypeError, "n_threads must be a whole"),
    (lambda t, f: scim.index.build(np.eye(3)).query(np.eye(3), 1, distinct=1), TypeError, "distinct must be True or"),
    (lambda t, f: scim.index.build(np.eye(3)).query(np.eye(3), 1, where=["a"]), TypeError, "where must be text"),
    (lambda t, f: scim.index.build(np.eye(3)).query_radius(np.eye(3), np.nan), ValueError, "max_distance must be"),
    (lambda t, f: scim.model.train(fakes.cells(9), label_key=["cell_type"]), TypeError, "label_key must be text"),
    (lambda t, f: scim.model.train(fakes.cells(9), label_key="cell_type", config={}), TypeError, "config must be a scim"),
    (lambda t, f: scim.model.train(fakes.cells(9), label_key="cell_type", rng="a"), TypeError, "rng must be a seed"),
    (lambda t, f: scim.model.train(fakes.cells(9), label_key="cell_type", checkpoint=""), ValueError, "checkpoint must be"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), WRONG_ELSEWHERE)
def test_atlas_index_and_training_refuse_wrong_values(call, error, message, atlas_path, tmp_path):
    with pytest.raises(error, match=message):
        call(atlas_path, tmp_path)
    assert not list(tmp_path.iterdir())


def twice(adata, *names):
    adata.obs = pd.concat([adata.obs, adata.obs[list(names)]], axis=1)
    return adata


REPEATED = [
    # the report, the call of cells whose obs has two columns of the name
    ("scverse/anndata#1330", lambda a, t: scim.tl.annotate(a, t, groupby="cell_type")),
    ("", lambda a, t: scim.tl.search(a, t, groupby="cell_type")),
    ("", lambda a, t: scim.tl.explain(a, t, groupby="cell_type")),
    ("", lambda a, t: scim.tl.score_similarity(a, "cell_type", t)),
    ("", lambda a, t: scim.tl.novel(a, groupby="cell_type")),
    ("", lambda a, t: scim.get.vote_shares(a, "cell_type")),
    ("", lambda a, t: scim.get.confusion(a, "cell_type")),
    ("", lambda a, t: scim.pl.labels(a, key="cell_type")),
]


@pytest.mark.parametrize(("report", "call"), REPEATED)
def test_a_column_that_is_there_twice_is_refused(report, call, written, atlas_path):
    adata = twice(written.copy(), "cell_type", "n")
    with pytest.raises(ValueError, match="obs has 2 columns named 'cell_type'; rename them, or keep one"):
        call(adata, atlas_path)
    del adata.obs["cell_type"]
    scim.tl.annotate(adata, atlas_path, groupby="sample", max_error=1.0)  # those that are not named do not matter


def test_columns_of_the_atlas_keep_their_meaning_beside_those_of_a_table(tmp_path):
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"study": ["a", "b"] * 30, "n_cells": ["few", "many", "many"] * 20}, index=map(str, range(60)))
    obs["distance"] = ["near", "far"] * 30
    cells = anndata.AnnData(obs=obs, obsm={"X_pca": rng.normal(size=(60, 8))})
    names = {"obsm": "X_pca", "study_key": "study", "columns": ["n_cells", "distance"]}
    scim.atlas.from_embedding(cells, tmp_path / "a.scim", **names).close()
    scim.tl.search(cells, tmp_path / "a.scim", use_rep="X_pca", k=60)
    counted = scim.get.composition(cells, "distance", only_similar=False)
    assert sorted(counted["distance"]) == ["far", "near"]
    assert counted["n_hits"].tolist() == [1800, 1800]
    both = scim.get.composition(cells, ["n_cells", "distance"], only_similar=False)
    assert both.set_index(["n_cells", "distance"])["n_hits"].to_dict() == {
        ("many", "far"): 1200, ("many", "near"): 1200, ("few", "far"): 600, ("few", "near"): 600,
    }  # fmt: skip
    scim.tl.enrichment(cells, "n_cells", sample_key="study", study_key=None, only_similar=False)
    samples = cells.uns["scim_enrichment"]["samples"]
    assert samples[["sample", "value", "n_cells"]].to_numpy().tolist() == [
        ["a", "few", 10], ["a", "many", 20], ["b", "few", 10], ["b", "many", 20],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("by", "message"),
    [
        (["tissue", "tissue"], r"by must be columns of the atlas, each once; got \['tissue', 'tissue'\]"),
        ([], "by must be columns of the atlas, each once"),
        ("n_hits", "by='n_hits' cannot be counted"),
        (["label", "share"], "by='share' cannot be counted"),
    ],
)
def test_columns_that_cannot_be_counted(by, message, written):
    with pytest.raises(ValueError, match=message):
        scim.get.composition(written, by)
