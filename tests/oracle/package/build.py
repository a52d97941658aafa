"""The indices, embeddings and metadata of a model folder, as the package's scripts write them.

Beside the folder there come two more of the same model: `NAME_vectors`, whose cell search is a TileDB-Vector-Search
folder, and `NAME_deleted`, in whose index files some elements are marked as deleted.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import anndata as ad
import hnswlib
import numpy as np
import tiledb
from tiledb import vector_search as vs
from tiledb.vector_search import _tiledbvspy as vspy

from helpers import published
from scimilarity import CellAnnotation, CellEmbedding

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

M = 80
EF_CONSTRUCTION = 1000
DELETED_EVERY = 7
"""In `NAME_deleted` every seventh cell is deleted."""


def run(folder: Path, cells: Path) -> None:
    """Write what `cells` (log-normalised in the model's genes) give; `obs["celltype_name"]` is "nan" for unlabelled."""
    adata = ad.read_h5ad(cells)
    for part in ("annotation", "cellsearch"):
        (folder / part).mkdir(exist_ok=True)
    model = CellEmbedding(str(folder))
    embedded = model.get_embeddings(adata.X).astype(np.float32)
    published.write_embedding(folder / "cellsearch" / "cell_embedding", embedded, *embedded.shape, version="later")
    labelled = np.flatnonzero(adata.obs["celltype_name"].isin(model.label2int))
    annotation = write_annotation(folder, embedded, adata.obs, labelled)
    search = write_index(folder / "cellsearch" / "full_kNN.bin", embedded)
    tiledb.from_pandas(str(folder / "cellsearch" / "cell_metadata"), metadata(folder, adata.obs, embedded, labelled))
    with_vectors(folder, embedded)
    with_deletions(folder, annotation, search)


def write_index(path: Path, vectors: np.ndarray) -> hnswlib.Index:
    index = hnswlib.Index(space="cosine", dim=vectors.shape[1])
    index.init_index(max_elements=len(vectors), ef_construction=EF_CONSTRUCTION, M=M)
    index.set_ef(EF_CONSTRUCTION)
    index.add_items(vectors, range(len(vectors)))
    index.save_index(str(path))
    return index


def write_annotation(folder: Path, embedded: np.ndarray, obs: pd.DataFrame, rows: np.ndarray) -> hnswlib.Index:
    pairs = zip(obs["celltype_name"].iloc[rows], obs["study"].iloc[rows], strict=True)
    text = "".join(f"{label}\t{study}\n" for label, study in pairs)
    (folder / "annotation" / "reference_labels.tsv").write_text(text)
    return write_index(folder / "annotation" / "labelled_kNN.bin", embedded[rows])


def metadata(folder: Path, obs: pd.DataFrame, embedded: np.ndarray, labelled: np.ndarray) -> pd.DataFrame:
    """Return the cells' metadata with the package's own predictions."""
    frame = obs.reset_index(drop=True).reset_index(names="index")
    predictions, _, distances, _ = CellAnnotation(str(folder)).get_predictions_knn(embedded, disable_progress=True)
    frame["data_type"] = np.where(np.isin(frame.index, labelled), "train", "NA").astype(object)
    frame["prediction"] = predictions.to_numpy(object)
    frame["prediction_nn_dist"] = distances.min(axis=1).astype(np.float64)
    frame["author_label"] = frame.pop("celltype_name").astype(str)
    texts = frame.select_dtypes(["object", "category"]).columns
    return frame.astype(dict.fromkeys(texts, str))


def with_vectors(folder: Path, embedded: np.ndarray) -> None:
    other = folder.with_name(folder.name + "_vectors")
    shutil.copytree(folder, other, ignore=shutil.ignore_patterns("full_kNN.bin", "cell_embedding"))
    index = vs.ingest(
        index_type="IVF_FLAT",
        index_uri=str(other / "cellsearch" / "full_kNN.bin"),
        input_vectors=embedded,
        distance_metric=vspy.DistanceMetric.COSINE,
        normalized=True,
        filters=tiledb.FilterList([tiledb.LZ4Filter()]),
    )
    index.vacuum()


def with_deletions(folder: Path, annotation: hnswlib.Index, search: hnswlib.Index) -> None:
    other = folder.with_name(folder.name + "_deleted")
    shutil.copytree(folder, other, ignore=shutil.ignore_patterns("*.bin"))
    for index, name in ((annotation, "annotation/labelled_kNN.bin"), (search, "cellsearch/full_kNN.bin")):
        for i in range(0, index.get_current_count(), DELETED_EVERY):
            index.mark_deleted(i)
        index.save_index(str(other / name))
