"""The counts of an AnnData: their place, and whether they are counts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import sparse

from scim._core import CountsError, logger, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from anndata import AnnData

Kind = Literal["counts", "normalised", "lognorm"]

COUNT_LAYERS = ("counts", "raw_counts", "count", "raw")  # usual names of layers of counts, tried before X

_SAMPLE_ROWS = 2000
_MAX_LOG = 20.0  # log1p of half a billion: more copies of one gene than a cell has


@dataclass(frozen=True)
class Counts:
    """A matrix of counts, or of values that can be turned back into relative counts.

    Attributes
    ----------
    matrix
        (n_obs, n_vars), sparse, dense, or on disk (backed).
    var
        Description of its columns.
    source
        Place of the matrix: `X`, `raw.X` or `layers['...']`.
    kind
        `counts` (whole numbers), `normalised` (fractions, not logged) or `lognorm`.
    log_base
        Base of the logarithm that is undone for `lognorm`.
    """

    matrix: Any
    var: pd.DataFrame
    source: str
    kind: Kind
    log_base: float = math.e

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return int(self.matrix.shape[0])

    def rows(self, start: int, stop: int) -> sparse.csr_matrix:
        """Return cells `start` to `stop` as csr float32 of (relative) counts; a logarithm is undone.

        The arrays may be views of the data: do not write into them.

        Raises
        ------
        CountsError
            A value of these rows is negative, NaN or infinite.
        """
        part = _rows(self.matrix, start, stop)
        _refuse_bad_values(part.data, self.source)
        if self.kind == "lognorm":
            part.data = np.expm1(part.data * np.float32(math.log(self.log_base)))
        return part


def find_counts(adata: AnnData, layer: str | None = None) -> Counts:
    """Find the counts of an AnnData.

    The layers in which counts are usually kept, `X` and `raw` are tried in this order, and the first that holds counts
    is used. If none does, log-normalised values are used, with a warning.

    Parameters
    ----------
    adata
        Cells in rows; in memory or backed.
    layer
        Name of a layer, `"X"` or `"raw"`, to look nowhere else.

    Raises
    ------
    KeyError
        `layer` does not exist.
    CountsError
        No cells, no genes, or no matrix of counts: negative (scaled), NaN, not numeric, a dask array.
    """
    if adata.n_obs == 0 or adata.n_vars == 0:
        msg = f"Expected cells and genes, got an AnnData of {adata.n_obs} cells x {adata.n_vars} genes."
        raise CountsError(msg)
    candidates: list[Counts] = []
    problems: list[str] = []
    for source, matrix, var in _candidates(adata, layer):
        _refuse_dask(matrix, source)  # another matrix in its place, as log-normalised values, would be a surprise
        try:
            kind = _kind(matrix, source)
        except CountsError as error:
            problems.append(str(error))
            continue
        by_row = matrix.tocsr() if hasattr(matrix, "tocsr") else matrix  # its row slices are cheap
        candidates.append(Counts(by_row, var, source, kind, _log_base(adata)))
        if kind == "counts":
            break
    if not candidates:
        msg = "; ".join(problems) or "X is None and neither a layer of counts nor raw exists"
        msg += ". Expected counts: keep them in adata.layers['counts'] or adata.raw, or name their layer with layer=."
        raise CountsError(msg)
    best = min(candidates, key=lambda counts: ("counts", "normalised", "lognorm").index(counts.kind))
    if best.kind == "lognorm":
        warn(
            f"No counts found; {best.source} looks log-normalised and is used with its logarithm undone. "
            "Counts in adata.layers['counts'] are safer."
        )
    logger.info("counts: %s (%s)", best.source, best.kind)
    return best


def _candidates(adata: AnnData, layer: str | None) -> Iterator[tuple[str, Any, pd.DataFrame]]:
    if layer is not None and layer not in ("X", "raw") and layer not in adata.layers:
        msg = f"layer={layer!r} not found. Present: {list(adata.layers)}, 'X', 'raw'."
        raise KeyError(msg)
    if layer == "raw" and adata.raw is None:
        msg = f"layer='raw' was given, but adata.raw is None. Present: {list(adata.layers)}, 'X'."
        raise KeyError(msg)
    names = COUNT_LAYERS if layer is None else (layer,)
    for name in names:
        if name in adata.layers:
            yield f"layers[{name!r}]", adata.layers[name], adata.var
            if layer is not None:
                return
    if layer in (None, "X") and adata.X is not None:
        yield "X", adata.X, adata.var
    if layer in (None, "raw") and adata.raw is not None:
        yield "raw.X", adata.raw.X, adata.raw.var


def _refuse_dask(matrix: Any, source: str) -> None:
    """Raise CountsError for a matrix that is computed when it is needed: each chunk of cells would compute it again."""
    if not type(matrix).__module__.startswith("dask."):
        return
    msg = f"{source} is a dask array of shape {tuple(matrix.shape)}; expected a matrix in memory or in a backed file."
    one = "" if source == "raw.X" else f", or this matrix alone: adata.{source} = adata.{source}.compute()"
    msg += f" Call adata = adata.to_memory(){one}; a file that is too large is streamed if it is read with backed='r'."
    raise CountsError(msg)


def _log_base(adata: AnnData) -> float:
    log1p = adata.uns.get("log1p")  # scanpy.pp.log1p stores its base here; None or no entry = natural
    base = log1p.get("base") if isinstance(log1p, dict) else None
    return math.e if base is None else float(base)


def _rows(matrix: Any, start: int, stop: int) -> sparse.csr_matrix:
    if not isinstance(matrix, sparse.csr_matrix | sparse.csr_array):  # dense, or on disk
        return sparse.csr_matrix(matrix[start:stop], dtype=np.float32)
    # Slicing a csr matrix copies; slices of its arrays are views.
    indptr = matrix.indptr[start : stop + 1]
    values = slice(indptr[0], indptr[-1])
    data = matrix.data[values].astype(np.float32, copy=False)
    shape = (indptr.size - 1, matrix.shape[1])
    return sparse.csr_matrix((data, matrix.indices[values], indptr - indptr[0]), shape=shape)


def _kind(matrix: Any, source: str) -> Kind:
    values = _sample(matrix, source)
    _refuse_bad_values(values, source)
    if values.size == 0 or not values.any():
        msg = f"{source} holds only zeros"
        raise CountsError(msg)
    if (values == np.round(values)).all():
        return "counts"
    return "lognorm" if values.max() <= _MAX_LOG else "normalised"


def _sample(matrix: Any, source: str) -> np.ndarray[Any, np.dtype[Any]]:
    """Return the stored values of rows from the start, the middle and the end."""
    n, block = matrix.shape[0], _SAMPLE_ROWS // 4
    starts = sorted({0, max(0, n // 3), max(0, 2 * n // 3), max(0, n - block)}) if n > _SAMPLE_ROWS else [0]
    length = block if n > _SAMPLE_ROWS else n
    parts = [matrix[start : start + length] for start in starts]
    values = [np.asarray(part.data if hasattr(part, "indptr") else part).ravel() for part in parts]
    joined = np.concatenate(values)
    if joined.dtype.kind not in "fiub":
        msg = f"{source} is of dtype {joined.dtype}, expected numbers"
        raise CountsError(msg)
    return joined


def _refuse_bad_values(values: np.ndarray[Any, np.dtype[Any]], source: str) -> None:
    if values.size == 0:
        return
    lowest = values.min()
    if np.isnan(lowest) or not np.isfinite(values.max()):
        msg = f"{source} has NaN or infinite values"
        raise CountsError(msg)
    if lowest < 0:
        msg = f"{source} has negative values (lowest {lowest:.3g}); it looks scaled, and scaling cannot be undone"
        raise CountsError(msg)
