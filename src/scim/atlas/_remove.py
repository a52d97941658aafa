"""Removing cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.log import logger
from scim.atlas.commit import store_array
from scim.atlas.soma import Writer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scim.atlas.commit import Manifest, Transaction


def remove(transaction: Transaction, live: NDArray[np.int64], ids: NDArray[np.int64]) -> Manifest:
    """Remove `ids` from the `live` ones and commit.

    Embeddings stay where they are, unread: a dense array has no holes. Compaction overwrites them.
    """
    manifest = transaction.manifest
    counted = [ids[cells.among(ids)] for cells in manifest.counted]
    Writer(transaction).delete(ids, np.concatenate([ids[:0], *counted]))
    left = np.setdiff1d(live, ids, assume_unique=True)
    gone = np.setdiff1d(np.arange(manifest.n_rows), left, assume_unique=True)
    removed = store_array(transaction.storage, f"removed/{transaction.number:06d}.npy", gone)
    logger.info("removed %d cells; the atlas has %d", len(ids), len(left))
    return transaction.commit(n_obs=len(left), removed=removed)
