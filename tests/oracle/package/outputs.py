"""Results of a package for a query, by the published names of its calls, by either package.

`part(package, folder, query)` gives {name: array, frame, number or list}; `save` writes them down, `load` reads them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from pathlib import Path

K = 50
EF = 1000


def prepared(package: Any, query: ad.AnnData, model: Any) -> ad.AnnData:
    """Return the query in the model's genes, log-normalised."""
    return package.utils.lognorm_counts(package.utils.align_dataset(query, model.gene_order))


def embed(package: Any, folder: str, query: ad.AnnData) -> dict[str, Any]:
    model = package.CellEmbedding(model_path=folder)
    cells = prepared(package, query, model)
    return {"X": cells.X, "embeddings": model.get_embeddings(cells.X)}


def annotate(package: Any, folder: str, query: ad.AnnData) -> dict[str, Any]:
    model = package.CellAnnotation(model_path=folder)
    cells = model.annotate_dataset(prepared(package, query, model))
    out = {"obs": cells.obs.reset_index(drop=True), "embeddings": cells.obsm["X_scimilarity"]}
    for name, weighting in (("plain", False), ("weighted", True)):
        found = model.get_predictions_knn(
            cells.obsm["X_scimilarity"], k=K, ef=EF, weighting=weighting, disable_progress=True
        )
        for what, value in zip(("predictions", "idxs", "dists", "stats"), found, strict=True):
            out[f"{name}_{what}"] = value
    predictions, *_ = model.get_predictions_knn(cells.obsm["X_scimilarity"], k=1, ef=EF, disable_progress=True)
    return out | {"nearest_predictions": predictions}


def lists(package: Any, folder: str, query: ad.AnnData) -> dict[str, Any]:
    model, out = package.CellAnnotation(model_path=folder), {}
    X = model.get_embeddings(prepared(package, query, model).X)
    some = sorted({model.idx2label[i] for i in model.idx2label})[::2]
    for name, choose in (("safelist", model.safelist_celltypes), ("blocklist", model.blocklist_celltypes)):
        choose(some)
        for what, value in zip(
            ("predictions", "idxs", "dists", "stats"),
            model.get_predictions_knn(X, k=K, ef=EF, disable_progress=True),
            strict=True,
        ):
            out[f"{name}_{what}"] = value
    model.reset_knn()
    predictions, *_ = model.get_predictions_knn(X, k=K, ef=EF, disable_progress=True)
    return out | {"reset_predictions": predictions, "classes": sorted(model.classes), "some": some}


def search(package: Any, folder: str, query: ad.AnnData, knn: str = "hnswlib") -> dict[str, Any]:
    model = package.CellQuery(model_path=folder, knn_type=knn)
    cells = prepared(package, query, model)[:40].copy()
    X = model.get_embeddings(cells.X)
    out: dict[str, Any] = {"queries": X}
    idxs, dists, out["nearest_metadata"] = model.search_nearest(X, k=K, ef=EF)
    out["nearest_idxs"], out["nearest_dists"] = np.vstack(idxs), np.vstack(dists)
    out["samples"] = model.compile_sample_metadata(idxs)
    out["samples_by_study"] = model.compile_sample_metadata(idxs, levels=["study"])
    out["cell_index"] = model.annotate_cell_index(out["nearest_metadata"].iloc[:20].copy())
    if knn == "hnswlib":
        out["precomputed"] = model.get_precomputed_embeddings([5, 1, 3])
    return out


def exhaustive(package: Any, folder: str, query: ad.AnnData) -> dict[str, Any]:
    model, out = package.CellQuery(model_path=folder, load_knn=False), {}
    X = model.get_embeddings(prepared(package, query, model).X)[:10]
    filters = {"all": None, "one": {"tissue": "blood"}, "two": {"tissue": "blood", "study": "pbmc3k"}}
    for name, chosen in filters.items():
        idxs, dists, out[f"{name}_metadata"] = model.search_exhaustive(X, max_dist=0.05, metadata_filter=chosen)
        out[f"{name}_sizes"] = np.array([len(row) for row in idxs])
        out[f"{name}_idxs"], out[f"{name}_dists"] = np.concatenate(idxs), np.concatenate(dists)
    return out


def centroids(package: Any, folder: str, query: ad.AnnData) -> dict[str, Any]:
    """Search for the cells of one cluster, and of each cluster; k and ef so large that the package finds all."""
    model, out = package.CellQuery(model_path=folder), {}
    cells = prepared(package, query, model)
    cells.obs["used"] = (cells.obs["cluster"] == "mono").astype(int)
    for name, more in (("few", {"k": 200}), ("many", {"k": 2000})):
        found = model.search_centroid_nearest(cells, "used", **more)
        out[f"{name}_embedding"], out[f"{name}_metadata"], out[f"{name}_coherence"] = found[0], found[3], found[4]
        out[f"{name}_idxs"], out[f"{name}_dists"] = np.vstack(found[1]), np.vstack(found[2])
    embedded, order, idxs, dists, frame = model.search_cluster_centroids_nearest(cells, "cluster", k=100)
    by = np.argsort(np.array(order))  # the package takes them from a set
    out["clusters"], out["clusters_embedding"] = sorted(order), embedded[by]
    out["clusters_idxs"] = np.vstack([idxs[name] for name in sorted(order)])
    out["clusters_dists"] = np.vstack([dists[name] for name in sorted(order)])
    frame = frame.drop(columns="embedding_idx").sort_values(["centroid", "query_nn_dist", "index"])
    out["clusters_metadata"] = frame.reset_index(drop=True)
    found = model.search_centroid_exhaustive(cells, "used", max_dist=0.05)
    out["far_idxs"], out["far_dists"], out["far_coherence"] = found[1][0], found[2][0], found[4]
    return out


def explain(package: Any, folder: str, query: ad.AnnData) -> dict[str, Any]:
    model = package.CellEmbedding(model_path=folder)
    cells = prepared(package, query, model)
    anchors = cells[cells.obs["cluster"] == "mono"].X[:30]
    negatives = cells[cells.obs["cluster"] == "T"].X[:30]
    interpreter = package.Interpreter(model.model, model.gene_order)
    attributions = interpreter.get_attributions(anchors, negatives)
    return {"attributions": attributions, "ranked": interpreter.get_ranked_genes(attributions)}


def utils(package: Any, folder: str, query: ad.AnnData) -> dict[str, Any]:
    model, u = package.CellEmbedding(model_path=folder), package.utils
    cells = prepared(package, query, model)
    values, order = u.get_cluster_centroids(cells, model.gene_order, "cluster")
    twice = query[:50, :200].copy()
    twice.var_names = [f"gene{i // 2}" for i in range(200)]
    once = u.consolidate_duplicate_symbols(twice)
    bulk = u.pseudobulk_anndata(cells, ["cluster"])
    query.X = query.layers["counts"].copy()
    kept = u.filter_cells(query.copy(), min_genes=600, mito_percent=5)
    return {
        "aligned": cells.layers["counts"],
        "centroid": u.get_centroid(cells.layers["counts"]),
        "clusters": sorted(order),
        "centroids": values[np.argsort(np.array(order))],
        "consolidated": once[:, sorted(once.var_names)].layers["counts"],
        "bulk": bulk[bulk.obs["cluster"].argsort()].layers["sum"],
        "kept": kept.obs_names.tolist(),
    }


PARTS = {
    "embed": embed,
    "annotate": annotate,
    "lists": lists,
    "search": search,
    "exhaustive": exhaustive,
    "centroids": centroids,
    "explain": explain,
    "utils": utils,
}


def save(out: Path, part: str, found: dict[str, Any]) -> None:
    """Write arrays to `PART.npz`, frames to `PART-NAME.parquet`, the rest to `PART.json`."""
    arrays, rest = {}, {}
    for name, value in found.items():
        if isinstance(value, pd.DataFrame):
            value.to_parquet(out / f"{part}-{name}.parquet")
        elif isinstance(value, pd.Series):
            rest[name] = value.astype(object).tolist()
        elif hasattr(value, "toarray"):
            arrays[name] = value.toarray()
        elif isinstance(value, np.ndarray):
            arrays[name] = value
        else:
            rest[name] = value
    np.savez_compressed(out / f"{part}.npz", **arrays)
    (out / f"{part}.json").write_text(json.dumps(rest, default=float))


def load(out: Path, part: str) -> dict[str, Any]:
    """Read what `save` wrote."""
    with np.load(out / f"{part}.npz") as arrays:
        found: dict[str, Any] = dict(arrays)
    found |= json.loads((out / f"{part}.json").read_text())
    for path in out.glob(f"{part}-*.parquet"):
        found[path.stem.removeprefix(f"{part}-")] = pd.read_parquet(path)
    return found


def run(folder: Path, query: Path, out: Path, *, only: list[str], knn: str) -> None:
    """Write the results of the published package."""
    import scimilarity.utils

    import scimilarity

    out.mkdir(parents=True, exist_ok=True)
    for part in only or PARTS:
        more = {"knn": knn} if part == "search" else {}
        save(out, part, PARTS[part](scimilarity, str(folder), ad.read_h5ad(query), **more))
