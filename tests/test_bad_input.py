"""Test that wrong input raises an error with the remedy, and is left as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

import scim
from scim._core import CountsError, FilterError, FormatError, GeneOverlapError

if TYPE_CHECKING:
    import anndata


def scaled(adata):
    adata.X = adata.X.toarray() - 1.5


def with_nan(adata):
    X = adata.X.toarray()
    X[0, 0] = np.nan
    adata.X = X


def zeros(adata):
    adata.X = np.zeros(adata.shape, np.float32)


def mouse(adata):
    adata.var_names = [f"Gene{i}rik" for i in range(adata.n_vars)]


def numbered(adata):
    adata.var_names = [str(i) for i in range(adata.n_vars)]


def narrow(adata):
    adata.obsm["X_scim"] = adata.obsm["X_scim"][:, :5]
    del adata.uns["scim"]


def foreign(adata):
    adata.uns["scim"]["X_scim"]["model"] = "another-model"


def hole(adata):
    adata.obsm["X_scim"][2, 1] = np.nan


def words(adata):
    adata.obsm["X_words"] = pd.DataFrame({"a": ["x"] * adata.n_obs}, index=adata.obs_names)


def no_map(adata):
    adata.obsm.pop("X_umap", None)


def nothing(adata):
    pass


def empty_groups(adata):
    adata.obs["empty"] = pd.Categorical([None] * adata.n_obs)


def annotated(adata):
    adata.obsm["scim_label_shares"] = np.ones((adata.n_obs, 1), np.float32)
    adata.obsm["scim_label_codes"] = np.zeros((adata.n_obs, 1), np.int32)
    adata.obs["scim_label_novelty"] = np.float32(1)
    adata.uns["scim_label"] = {"labels": np.array(["T cell"]), "params": {"use_rep": "X_scim", "label_key": "label"}}


def old(adata):
    annotated(adata)
    del adata.obs["scim_label_novelty"]


def searched(adata, atlas):
    scim.tl.search(adata, atlas, k=2)
    return adata


CASES = [
    # the problem, its cause, the call, the error, its message with the remedy
    ("no AnnData", nothing, lambda a, t: scim.tl.embed(a.X, t), TypeError, "Expected an AnnData, got csr_matrix; read files with scanpy.read_h5ad"),
    ("a path", nothing, lambda a, t: scim.tl.annotate("a.h5ad", t), TypeError, "Expected an AnnData, got str"),
    ("a frame", nothing, lambda a, t: scim.tl.search(a.obs, t), TypeError, "Expected an AnnData, got DataFrame"),
    ("scaled values", scaled, scim.tl.embed, CountsError, r"negative values .* keep them in adata.layers\['counts'\] or adata.raw"),
    ("NaN", with_nan, scim.tl.embed, CountsError, "NaN or infinite values.* name their layer with layer="),
    ("only zeros", zeros, scim.tl.embed, CountsError, "holds only zeros.*Expected counts"),
    ("no cells", nothing, lambda a, t: scim.tl.embed(a[:0].copy(), t), CountsError, "got an AnnData of 0 cells"),
    ("no genes", nothing, lambda a, t: scim.tl.embed(a[:, :0].copy(), t), CountsError, "x 0 genes"),
    ("a layer that is not there", nothing, lambda a, t: scim.tl.embed(a, t, layer="raw_counts"), KeyError, "layer='raw_counts' not found. Present:"),
    ("raw that is not there", nothing, lambda a, t: scim.tl.embed(a, t, layer="raw"), KeyError, "adata.raw is None"),
    ("genes of a mouse", mouse, scim.tl.embed, GeneOverlapError, "look like mouse genes: pass species='mouse'"),
    ("genes of a human as those of a mouse", nothing, lambda a, t: scim.tl.embed(a, t, species="mouse"), GeneOverlapError, "Expected mouse symbols.*look like human genes: pass species='human'"),
    ("a species that is not known", nothing, lambda a, t: scim.tl.embed(a, t, species="rat"), ValueError, "species='rat': expected 'human', 'mouse', or a mapping"),
    ("a list as species", nothing, lambda a, t: scim.tl.embed(a, t, species=["Cd3e"]), TypeError, "a dict or Series of human gene names, got list"),
    ("genes as numbers", numbered, scim.tl.embed, GeneOverlapError, "row numbers: set adata.var_names"),
    ("few genes", nothing, lambda a, t: scim.tl.embed(a[:, :5].copy(), t), GeneOverlapError, "Only 5 of the model's .* genes"),
    ("a column of var that is not there", nothing, lambda a, t: scim.tl.embed(a, t, gene_key="symbol"), KeyError, "gene_key='symbol' is not a column of var"),
    ("atlas and model", nothing, lambda a, t: scim.tl.embed(a, t, model=t / "model"), ValueError, "Expected atlas= or model=, got both"),
    ("no atlas there", nothing, lambda a, t: scim.tl.embed(a, t / "nowhere"), FileNotFoundError, "there is no such folder. scim.atlas.create"),
    ("a folder that is no atlas", nothing, lambda a, t: scim.tl.annotate(a, t / "model"), FileNotFoundError, "is not a scim atlas: it has no 'atlas.json'"),
    ("a folder that is no model", nothing, lambda a, t: scim.tl.embed(a, model=t), (FileNotFoundError, FormatError), "model"),
    ("not embedded", nothing, lambda a, t: scim.tl.annotate(a, t, use_rep="X_none"), KeyError, r"obsm\['X_none'\] not found; run scim.tl.embed\(adata\) first.* Present: \['X_scim'\]"),
    ("not embedded, search", nothing, lambda a, t: scim.tl.search(a, t, use_rep="X_none"), KeyError, "run scim.tl.embed"),
    ("another width", narrow, scim.tl.annotate, ValueError, r"has 5 columns, the atlas 16; run scim.tl.embed\(adata, atlas\)"),
    ("another model", foreign, scim.tl.search, ValueError, "made by model another-model.*with the same atlas first"),
    ("NaN in the embedding", hole, scim.tl.annotate, ValueError, "NaN or infinite values in 1 cells; embed them again"),
    ("words as embedding", words, lambda a, t: scim.tl.annotate(a, t, use_rep="X_words"), ValueError, "must be a table of numbers"),
    ("k = 0", nothing, lambda a, t: scim.tl.annotate(a, t, k=0), ValueError, "k must be at least 1, got 0"),
    ("k = 2.5", nothing, lambda a, t: scim.tl.search(a, t, k=2.5), TypeError, "k must be a whole number, got 2.5"),
    ("k = True", nothing, lambda a, t: scim.tl.search(a, t, k=True), TypeError, "k must be a whole number, got True"),
    ("top = 0", nothing, lambda a, t: scim.tl.annotate(a, t, top=0), ValueError, "top must be at least 1"),
    ("a slash in a name", nothing, lambda a, t: scim.tl.annotate(a, t, key_added="leiden/label"), ValueError, "key_added='leiden/label' cannot be used.*no '/'"),
    ("an empty name", nothing, lambda a, t: scim.tl.embed(a, t, key_added=""), ValueError, "Expected a name that is not empty"),
    ("a number as name", nothing, lambda a, t: scim.tl.search(a, t, key_added=5), TypeError, "key_added must be text, got 5"),
    ("the name of the embedding's notes", nothing, lambda a, t: scim.tl.annotate(a, t, key_added="scim"), ValueError, "scim keeps something else there"),
    ("an error rate as text", nothing, lambda a, t: scim.tl.annotate(a, t, max_error="high"), TypeError, "must be a number between 0 and 1, got 'high'"),
    ("a number as atlas", nothing, lambda a, t: scim.tl.annotate(a, 5), TypeError, "Expected the folder or the address of an atlas, got int"),
    ("a number as column", nothing, lambda a, t: scim.get.hits(searched(a.copy(), t), [5]), TypeError, r"columns must be names, got \[5\]"),
    ("unknown weights", nothing, lambda a, t: scim.tl.annotate(a, t, weights="near"), ValueError, r"weights must be one of \['balanced', 'distance', 'uniform'\], got 'near'"),
    ("an error rate of 80", nothing, lambda a, t: scim.tl.annotate(a, t, max_error=80), ValueError, "max_error must be between 0 and 1, got 80"),
    ("a label that the atlas has not", nothing, lambda a, t: scim.tl.annotate(a, t, allow=["neuron"]), ValueError, "allow names 'neuron', but the reference has no label of this name nor one below it; Present:"),
    ("a label misspelt", nothing, lambda a, t: scim.tl.annotate(a, t, block="T cel"), ValueError, "block names 'T cel'.*did you mean 'T cell'"),
    ("no label left to transfer", nothing, lambda a, t: scim.tl.annotate(a, t, allow="T cell", block="T cell"), ValueError, "leave no label of the reference"),
    ("one number as label", nothing, lambda a, t: scim.tl.annotate(a, t, allow=5), TypeError, r"allow must be names, got \[5\]"),
    ("a number as label", nothing, lambda a, t: scim.tl.annotate(a, t, allow=[3]), TypeError, r"allow must be names, got \[3\]"),
    ("a level that is no term", nothing, lambda a, t: scim.tl.annotate(a, t, level=["cell of mine"]), ValueError, r"level must be None, 'label', a depth, or ids or names of the Cell Ontology.*unknown: \['cell of mine'\]"),
    ("a level above the root", nothing, lambda a, t: scim.tl.annotate(a, t, level=0), ValueError, "level must be at least 1"),
    ("a level of true", nothing, lambda a, t: scim.tl.annotate(a, t, level=True), TypeError, "level must be a whole number, got True"),
    ("a level of nothing", nothing, lambda a, t: scim.tl.annotate(a, t, level=[]), ValueError, "level='' names no label of the reference nor a term above one"),
    ("a level elsewhere", nothing, lambda a, t: scim.tl.annotate(a, t, level="neuron"), ValueError, "level='neuron' names no label of the reference"),
    ("a tissue misspelt", nothing, lambda a, t: scim.tl.annotate(a, t, tissue="lungs"), ValueError, r"tissue=\['lungs'\] are no tissues of the atlas. Present: \['blood', 'lung'\]"),
    ("novel cells before an annotation", nothing, scim.tl.novel, KeyError, r"holds no annotation; run scim.tl.annotate\(adata\) first"),
    ("a novelty above 1", annotated, lambda a, t: scim.tl.novel(a, t, threshold=50), ValueError, "threshold must be between 0 and 1, got 50"),
    ("no cells in a cluster", annotated, lambda a, t: scim.tl.novel(a, t, min_cells=0), ValueError, "min_cells must be at least 1"),
    ("no gene of a cluster", annotated, lambda a, t: scim.tl.novel(a, t, n_genes=0), ValueError, "n_genes must be at least 1"),
    ("clusters that are not there", annotated, lambda a, t: scim.tl.novel(a, t, groupby="leiden"), KeyError, r"obs\['leiden'\] not found. Present:"),
    ("the name of the labels for novel cells", annotated, lambda a, t: scim.tl.novel(a, t, key_added="scim_label"), ValueError, "scim keeps something else there"),
    ("an annotation without novelty", old, scim.tl.novel, KeyError, r"obs\['scim_label_novelty'\] not found"),
    ("genes of novel cells before they are found", nothing, lambda a, t: scim.get.novel(a), KeyError, r"holds no clusters of novel cells; run scim.tl.novel\(adata\) first"),
    ("a picture of novelty before an annotation", nothing, lambda a, t: scim.pl.novelty(a), KeyError, r"run scim.tl.annotate\(adata\) first"),
    ("groups that are not there", nothing, lambda a, t: scim.tl.annotate(a, t, groupby="leiden"), KeyError, r"obs\['leiden'\] not found. Present:"),
    ("distance of -1", nothing, lambda a, t: scim.tl.annotate(a, t, max_distance=-1), ValueError, "max_distance must be between 0 and 2"),
    ("true as distance", nothing, lambda a, t: scim.tl.search(a, t, max_distance=True), TypeError, "max_distance must be a number between 0 and 2, got True"),
    ("distance of 3", nothing, lambda a, t: scim.tl.search(a, t, max_distance=3), ValueError, "max_distance must be between 0 and 2, got 3"),
    ("duplicates dropped", nothing, lambda a, t: scim.tl.search(a, t, duplicates="drop"), ValueError, r"duplicates must be one of \['collapse', 'keep'\], got 'drop'"),
    ("duplicates as true", nothing, lambda a, t: scim.tl.annotate(a, t, duplicates=True), ValueError, r"duplicates must be one of \['collapse', 'keep'\], got True"),
    ("unreadable filter", nothing, lambda a, t: scim.tl.search(a, t, where="tissue = 'lung'"), FilterError, "cannot be read.* Expected columns and values joined by"),
    ("unknown column in a filter", nothing, lambda a, t: scim.tl.search(a, t, where="tisue == 'lung'"), FilterError, r"no column 'tisue'. Did you mean 'tissue'\?"),
    ("unknown value in a filter", nothing, lambda a, t: scim.tl.annotate(a, t, where="tissue == 'lungs'"), FilterError, "no cell has tissue == 'lungs'; did you mean 'lung'"),
    ("text compared with a number", nothing, lambda a, t: scim.tl.annotate(a, t, where="tissue > 3"), FilterError, "column 'tissue' holds text, got 3"),
    ("a filter that nothing passes", nothing, lambda a, t: scim.tl.search(a, t, where="n > 1000"), ValueError, "No cell of the atlas passes where='n > 1000'"),
    ("a filter that no labelled cell passes", nothing, lambda a, t: scim.tl.annotate(a, t, where="label == None"), ValueError, "No labelled cell of the reference is eligible: none passes"),
    ("no such group", nothing, lambda a, t: scim.tl.search(a, t, groupby="leiden"), KeyError, r"obs\['leiden'\] not found. Present:"),
    ("groups without cells", empty_groups, lambda a, t: scim.tl.search(a, t, groupby="empty"), ValueError, r"obs\['empty'\] has only missing values"),
    ("unknown centroid", nothing, lambda a, t: scim.tl.search(a, t, groupby="sample", centroid="median"), ValueError, "centroid must be one of"),
    ("hits before a search", nothing, lambda a, t: scim.get.hits(a), KeyError, r"holds no search; run scim.tl.search\(adata, ...\) first"),
    ("votes before an annotation", nothing, lambda a, t: scim.get.votes(a), KeyError, r"holds no annotation; run scim.tl.annotate\(adata\) first"),
    ("unknown column of hits", nothing, lambda a, t: scim.get.hits(searched(a.copy(), t), ["organ"]), KeyError, r"no column \['organ'\]. Present:"),
    ("labels before an annotation", nothing, lambda a, t: scim.pl.labels(a), KeyError, r"obs\['scim_label'\] not found"),
    ("a picture without a map", no_map, lambda a, t: scim.pl.labels(a, key="cell_type"), KeyError, r"obsm\['X_umap'\] not found; run sc.pp.neighbors\(adata, use_rep='X_scim'\)"),
    ("three columns in one picture", nothing, lambda a, t: scim.pl.composition(searched(a.copy(), t), ["label", "study", "tissue"]), ValueError, "by must be one or two columns"),
    ("a bar for each cell", nothing, lambda a, t: scim.pl.composition(searched(a.copy(), t), ["query", "label"]), ValueError, r"search groups of cells, scim.tl.search\(adata, groupby=...\)"),
    ("one axis for two panels", nothing, lambda a, t: scim.pl.hits(searched(a.copy(), t), basis="X_scim", ax=[None]), ValueError, "has 2 panels: expected ax with 2 axes, got 1"),
]  # fmt: skip


def state(adata: anndata.AnnData) -> tuple:
    X = adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X
    obsm = {key: np.asarray(value).tobytes() for key, value in adata.obsm.items()}
    return X.tobytes(), tuple(adata.obs), tuple(adata.var_names), obsm, repr(dict(adata.uns))


@pytest.mark.parametrize(("spoil", "call", "error", "message"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_bad_input(adata, atlas_path, spoil, call, error, message):
    spoil(adata)
    before = state(adata)
    with pytest.raises(error, match=message):
        call(adata, atlas_path)
    assert state(adata) == before


def test_there_are_at_least_thirty_cases():
    assert len(CASES) >= 30
