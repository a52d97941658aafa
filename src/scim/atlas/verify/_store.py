"""What the store says of its cells: ids, names, embeddings and counts that agree with each other and the manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scim._core import keys
from scim._core.log import progress
from scim.atlas._names import hash_names
from scim.atlas.commit import load_array
from scim.atlas.soma import COUNTS_PATH, MEASUREMENT, VAR_PATH, embedding_path, read_embeddings
from scim.atlas.verify._problem import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from numpy.typing import NDArray

    from scim.atlas.commit import Manifest, Space
    from scim.atlas.storage import Storage

ROWS = 65_536
_OBS_ROWS = 262_144
_TOLERANCE = 1e-4


class Rows(NamedTuple):
    """The cells that obs has."""

    ids: NDArray[np.int64]
    """Ascending."""

    hashes: NDArray[np.uint64]
    """Of study and name of each."""

    n_nameless: int


def scan_obs(experiment: Any, n_rows: int) -> Rows:
    """Read which cells there are, block by block: the names of all would take more memory than all else."""
    ids, hashes, n_nameless = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.uint64)], 0
    columns = ["soma_joinid", keys.ATLAS_STUDY, keys.ATLAS_CELL_ID]
    for start in progress(range(0, n_rows, _OBS_ROWS), desc="obs", unit="block"):
        stop = start + _OBS_ROWS - 1 if start + _OBS_ROWS < n_rows else None
        frame: pd.DataFrame = experiment.obs.read((slice(start, stop),), column_names=columns).concat().to_pandas()
        frame = frame.sort_values("soma_joinid", kind="stable")
        n_nameless += int(frame.isna().any(axis=1).sum())
        ids.append(frame["soma_joinid"].to_numpy())
        hashes.append(hash_names(frame.fillna("")))
    return Rows(np.concatenate(ids), np.concatenate(hashes), n_nameless)


def check_obs(experiment: Any, rows: Rows, manifest: Manifest) -> Iterator[Problem]:
    """Compare the cells with the number committed; look for some without a study or a name, and for names twice."""
    if len(rows.ids) != manifest.n_obs or (len(rows.ids) and rows.ids[-1] >= manifest.n_rows):
        last = int(rows.ids[-1]) if len(rows.ids) else None
        what = f"has {len(rows.ids)} cells up to id {last}, committed were {manifest.n_obs} below {manifest.n_rows}"
        yield Problem("store", "soma/obs", what)
    if rows.n_nameless:
        yield Problem("store", "soma/obs", f"{rows.n_nameless} cells have no study or no name")
    order = np.argsort(rows.hashes, kind="stable")
    twice = np.sort(rows.ids[order[1:]][rows.hashes[order[1:]] == rows.hashes[order[:-1]]])
    if len(twice):
        named = experiment.obs.read((twice[:3],), column_names=[keys.ATLAS_CELL_ID]).concat()[keys.ATLAS_CELL_ID]
        what = f"{len(twice)} cells occur twice, as {named.to_pylist()} with the ids {twice[:3].tolist()}"
        yield Problem("store", "soma/obs", what)


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


def check_genes(storage: Storage, experiment: Any, manifest: Manifest) -> Iterator[Problem]:
    """Look for genes that occur twice or have no id, and for measured genes that there are not."""
    columns = ["soma_joinid", "gene_id"]
    genes = experiment.ms[MEASUREMENT].var.read(column_names=columns).concat().to_pandas()
    twice = genes["gene_id"].duplicated()
    if twice.any() or genes["gene_id"].isna().any():
        examples = genes.loc[twice, "gene_id"].head(3).tolist()
        yield Problem("store", f"soma/{VAR_PATH}", f"genes occur twice or have no id, as {examples}")
    if not np.array_equal(np.sort(genes["soma_joinid"]), np.arange(len(genes))):
        yield Problem("store", f"soma/{VAR_PATH}", f"some of {len(genes)} genes are missing")
    for name, entry in {counted.panel.name: counted.panel for counted in manifest.counted}.items():
        panel = load_array(storage, entry)
        if len(panel) and not 0 <= panel.min() <= panel.max() < len(genes):
            yield Problem("store", name, f"genes {panel[panel >= len(genes)][:3].tolist()} are not in {VAR_PATH}")


def check_counts(experiment: Any, manifest: Manifest, ids: NDArray[np.int64]) -> Iterator[Problem]:
    """Look for counts of cells or genes that there are not, and for values that are no counts."""
    X = experiment.ms[MEASUREMENT].X["counts"]
    n_genes = experiment.ms[MEASUREMENT].var.domain[0][1] + 1
    allowed = np.zeros(manifest.n_rows, dtype=np.bool_)
    for some in manifest.counted:
        allowed[ids[some.among(ids)]] = True
    n_bad = n_strange = 0
    for table in progress(X.read().tables(), desc="counts", unit="block"):
        cells, values = table["soma_dim_0"].to_numpy(), table["soma_data"].to_numpy()
        inside = (cells >= 0) & (cells < manifest.n_rows)
        n_strange += int((~inside).sum() + (~allowed[cells[inside]]).sum())
        n_strange += int((table["soma_dim_1"].to_numpy() >= n_genes).sum())
        n_bad += int((~(values > 0) | ~np.isfinite(values)).sum())
    if n_strange:
        yield Problem("store", f"soma/{COUNTS_PATH}", f"{n_strange} counts are of cells or genes that there are not")
    if n_bad:
        yield Problem("store", f"soma/{COUNTS_PATH}", f"{n_bad} values are not above zero and finite")
