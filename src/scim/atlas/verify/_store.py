"""What the store says of its cells: ids, names, embeddings and counts that agree with each other and the manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scim._core import keys
from scim._core.log import progress
from scim.atlas.soma import COUNTS_PATH, MEASUREMENT, embedding_path, read_embeddings
from scim.atlas.verify._problem import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scim.atlas.commit import Manifest, Space

ROWS = 65_536
_TOLERANCE = 1e-4


def check_obs(experiment: Any, manifest: Manifest, ids: NDArray[np.int64]) -> Iterator[Problem]:
    """Compare the ids with those committed; look for cells without a study or a name, and for names that occur twice."""
    names = [keys.ATLAS_STUDY, keys.ATLAS_CELL_ID]
    frame = experiment.obs.read(column_names=["soma_joinid", *names]).concat().to_pandas()
    there = np.sort(frame["soma_joinid"].to_numpy())
    if not np.array_equal(there, ids):
        lost, more = np.setdiff1d(ids, there), np.setdiff1d(there, ids)
        what = f"{len(lost)} cells are missing {lost[:3].tolist()}, {len(more)} are too many {more[:3].tolist()}"
        yield Problem("store", "soma/obs", what)
    nameless = int(frame[names].isna().any(axis=1).sum())
    if nameless:
        yield Problem("store", "soma/obs", f"{nameless} cells have no study or no name")
    twice = frame.duplicated(names)
    if twice.any():
        examples = frame.loc[twice, keys.ATLAS_CELL_ID].head(3).tolist()
        yield Problem("store", "soma/obs", f"{int(twice.sum())} cells occur twice, as {examples}")


def check_embedding(experiment: Any, space: Space, ids: NDArray[np.int64]) -> Iterator[Problem]:
    """Look for embeddings that are not of unit length, nor zero."""
    where = f"soma/{embedding_path(space.embedding)}"
    array = experiment.ms[MEASUREMENT].obsm[space.embedding]
    if array.shape[0] < space.n_rows or array.shape[1] != space.dim:
        yield Problem("store", where, f"has shape {tuple(array.shape)}, expected {(space.n_rows, space.dim)}")
        return
    wrong: list[int] = []
    embedded = ids[ids < space.n_rows]
    for start in progress(range(0, len(embedded), ROWS), desc="embeddings", unit="block"):
        some = embedded[start : start + ROWS]
        length = np.linalg.norm(read_embeddings(experiment, space.embedding, some), axis=1)
        # A cell without counts has a row of zeros. NaN fails both comparisons.
        wrong += some[~((np.abs(length - 1) <= _TOLERANCE) | (length == 0))].tolist()
    if wrong:
        yield Problem("store", where, f"{len(wrong)} rows are not of unit length, as those of cells {wrong[:3]}")


def check_counts(experiment: Any, manifest: Manifest, ids: NDArray[np.int64]) -> Iterator[Problem]:
    """Look for counts of cells or genes that there are not, and for values that are no counts."""
    rna = experiment.ms[MEASUREMENT]
    genes = rna.var.read(column_names=["soma_joinid", "gene_id"]).concat().to_pandas()
    twice = genes["gene_id"].duplicated()
    if twice.any() or genes["gene_id"].isna().any():
        examples = genes.loc[twice, "gene_id"].head(3).tolist()
        yield Problem("store", "soma/ms/RNA/var", f"genes occur twice or have no id, as {examples}")
    if not manifest.counted:
        return
    known = np.zeros(manifest.n_rows, dtype=np.bool_)
    known[ids] = True
    uncounted = np.ones(manifest.n_rows, dtype=np.bool_)
    for start, stop in manifest.counted:
        uncounted[start:stop] = False
    n_bad = n_strange = 0
    for table in progress(rna.X["counts"].read().tables(), desc="counts", unit="block"):
        cells, values = table["soma_dim_0"].to_numpy(), table["soma_data"].to_numpy()
        inside = (cells >= 0) & (cells < manifest.n_rows)
        n_strange += int((~inside).sum() + (~known[cells[inside]] | uncounted[cells[inside]]).sum())
        n_strange += int((table["soma_dim_1"].to_numpy() >= len(genes)).sum())
        n_bad += int((~(values > 0) | ~np.isfinite(values)).sum())
    if n_strange:
        yield Problem("store", f"soma/{COUNTS_PATH}", f"{n_strange} counts are of cells or genes that there are not")
    if n_bad:
        yield Problem("store", f"soma/{COUNTS_PATH}", f"{n_bad} values are not above zero and finite")
