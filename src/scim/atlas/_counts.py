"""Storing the counts themselves, over the union of the genes of all studies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from scim.atlas._columns import TEXT
from scim.atlas._soma import COUNTS, MEASUREMENT, VAR, grow_array, grow_frame, now, open_soma
from scim.pp import align, gene_symbols

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from scim.pp import Counts, GeneMap

_ROWS = 4096


def write_counts(path: Path, counts: Counts, genes: GeneMap, first: int) -> None:
    """Write the counts of cells whose first row in the atlas is `first`, chunk by chunk."""
    with open_soma(path) as experiment:
        known = experiment.ms[MEASUREMENT].var.read(column_names=["gene_id"]).concat().to_pandas()["gene_id"]
        present = COUNTS in experiment.ms[MEASUREMENT].X
    new = pd.Index(genes.names).unique().difference(pd.Index(known), sort=False).to_numpy()
    union = np.concatenate([known.to_numpy(), new])
    _make_room(path, new, first + counts.n_obs, len(union), present=present)
    genes = genes.onto(union)
    with open_soma(path, "w") as experiment:
        X = experiment.ms[MEASUREMENT].X[COUNTS]
        for start in range(0, counts.n_obs, _ROWS):
            stop = min(counts.n_obs, start + _ROWS)
            _write_block(X, align(counts.rows(start, stop), genes).tocoo(), first + start)


def _make_room(path: Path, new: NDArray[np.object_], n_obs: int, n_genes: int, *, present: bool) -> None:
    with open_soma(path, "w") as experiment:
        rna = experiment.ms[MEASUREMENT]
        if len(new):
            grow_frame(rna.var, n_genes)
        if present:
            grow_array(rna.X[COUNTS], n_obs, n_genes)
        else:
            rna.X.add_new_sparse_ndarray(COUNTS, type=pa.float32(), shape=(n_obs, n_genes))
    now()
    if len(new):
        rows = [np.arange(n_genes - len(new), n_genes), pa.array(new, TEXT), pa.array(gene_symbols(new), TEXT)]
        with open_soma(path, "w") as experiment:
            experiment.ms[MEASUREMENT].var.write(pa.table(rows, schema=VAR))
        now()


def _write_block(X: Any, block: Any, first: int) -> None:
    coordinates = {"soma_dim_0": block.row.astype(np.int64) + first, "soma_dim_1": block.col.astype(np.int64)}
    X.write(pa.table({**coordinates, "soma_data": block.data}))
