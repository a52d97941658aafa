"""What a linear metric is fitted to: cells, some at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray


class Block(NamedTuple):
    """Some cells, as the encoder reads them."""

    X: NDArray[np.float32]
    """(n, n_genes) values, standardised if the model does; 0 where a gene was not measured"""
    labels: NDArray[np.int64]
    """(n,) codes from 0"""
    weights: NDArray[np.float64] | None = None
    """(n,) how much each cell counts; None: alike"""
    studies: NDArray[np.int64] | None = None
    """(n,) codes; `"linear_nca"` and `"lmnn"` bring cells of a label in different studies together; None: one study"""


def checked(blocks: Iterable[Block]) -> Iterator[Block]:
    """Pass on what has cells, and refuse what cannot be fitted to.

    Raises
    ------
    ValueError
        Shapes do not agree, a value is not finite, a code or weight is negative, or there is no cell at all.
    """
    n_genes = None
    for block in blocks:
        n_genes = block.X.shape[-1] if n_genes is None else n_genes
        _check(block, n_genes)
        if len(block.labels) > 0:
            yield block
    if n_genes is None:
        msg = "Expected at least one block of cells, got none; `blocks` is called twice and must start anew each time."
        raise ValueError(msg)


def _check(block: Block, n_genes: int) -> None:
    X, labels, weights, studies = block
    if X.ndim != 2 or X.shape[1] != n_genes:
        msg = f"X must have shape (n, {n_genes}) in every block, got {X.shape}."
        raise ValueError(msg)
    for name, values in (("labels", labels), ("weights", weights), ("studies", studies)):
        if values is not None and values.shape != X.shape[:1]:
            msg = f"{name} must have one value for each of {len(X)} cells, got shape {values.shape}."
            raise ValueError(msg)
    if not np.isfinite(X).all():
        msg = f"X has {int((~np.isfinite(X)).sum())} values that are not finite; genes not measured must be 0."
        raise ValueError(msg)
    if labels.dtype.kind not in "iu" or (labels < 0).any():
        msg = f"labels must be codes from 0, got {labels.dtype} from {labels.min()}; leave out cells without a label."
        raise ValueError(msg)
    if weights is not None and not (np.isfinite(weights).all() and (weights >= 0).all()):
        msg = "weights must be finite and at least 0."
        raise ValueError(msg)
