"""The counts of an AnnData: which of its matrices, what it holds, and its rows as counts."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from scipy import sparse

from scim._core import CountsError, Transform, check_choice, logger, warn
from scim.io.cells import check_numbers, check_view, csr_rows, readable
from scim.pp._bad_values import MOST_COUNT, fractions_among_counts, one_value_each, refuse_bad_values
from scim.pp._features import gene_columns, left_out_types
from scim.pp._gene_names import known_genes
from scim.pp._match import genes_of
from scim.pp._overlap import refuse_transposed
from scim.pp._places import Place, places
from scim.pp._reading import Kind, Reading
from scim.pp._transform import NOTHING, Precision, Undo, whole_multiples
from scim.pp._values import read_values

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

_SAMPLE_ROWS = 2000
_NARROW = 0.75  # with a smaller share of the genes of another, a matrix holds a choice of genes, as variable ones


@dataclass(frozen=True)
class Counts:
    """A matrix of counts, or of values that can be turned back into counts or relative counts.

    Attributes
    ----------
    matrix
        (n_obs, n_vars), sparse, dense, on disk (backed), or computed by blocks (Dask).
    var
        Description of its columns.
    source
        Place of the matrix: `X`, `raw.X` or `layers['...']`.
    kind
        What it holds: `counts` (whole numbers), `fractional` (counts with fractions), `normalised` (relative counts),
        or relative counts that were transformed: `lognorm`, `sqrt`, `arcsinh`.
    undo
        The transform that is undone.
    precision
        Rounding errors of the values, if those of a cell are whole multiples of one step once the transform is undone;
        the step is then a count of one.
    reason, why
        What tells the kind, and why this matrix was chosen.
    file
        The file that the matrix is in; empty for one in memory.
    is_checked
        Whether counts that are not whole are an error.
    """

    matrix: Any
    var: pd.DataFrame
    source: str
    kind: Kind
    undo: Undo = NOTHING
    precision: Precision | None = None
    reason: str = ""
    why: str = ""
    file: str = ""
    is_checked: bool = False

    @property
    def place(self) -> str:
        """The source, and its file if it is in one, as errors name it."""
        return _named(self.source, self.file)

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return int(self.matrix.shape[0])

    @property
    def transform(self) -> Transform:
        """Name of the transform that is undone."""
        return self.undo.transform

    @property
    def are_counts(self) -> bool:
        """Whether :meth:`whole_rows` are counts, and not relative ones."""
        return self.kind in ("counts", "fractional") or self.precision is not None

    def rows(self, start: int, stop: int) -> sparse.csr_matrix:
        """Return cells `start` to `stop` as csr float32 of counts or relative counts; a transform is undone.

        The arrays may be views of the data: do not write into them.

        Raises
        ------
        CountsError
            A value of these rows is negative, NaN or infinite, or too large for a count or for the logarithm that is
            undone; among whole counts, one is not whole.
        FormatError
            The index arrays of the matrix are inconsistent.
        """
        part = self._part(start, stop)
        if self.transform == "none":
            return part
        with np.errstate(over="ignore"):
            undone = self.undo.rows(part)
        if not (undone.data < MOST_COUNT).all():
            msg = f"{self.place} has values up to {part.data.max():.3g}, too large for {self.undo.name}; "
            msg += "name another transform=."
            raise CountsError(msg)
        return undone

    def whole_rows(self, start: int, stop: int) -> sparse.csr_matrix:
        """Return the same cells, relative counts as multiples of a step of the cell, if there is one: as counts."""
        if self.precision is None:
            return self.rows(start, stop)
        part = self._part(start, stop)
        data = whole_multiples(part, self.undo, self.precision)
        return sparse.csr_matrix((data, part.indices, part.indptr), shape=part.shape)

    def _part(self, start: int, stop: int) -> sparse.csr_matrix:
        """Return rows of the matrix, in which values that are stored in parts are added up."""
        rows = csr_rows(self.matrix, start, stop, self.place)
        part = _genes_only(one_value_each(rows, self.place), self._are_genes)
        refuse_bad_values(part.data, self.place)
        if self.kind == "counts" and self.is_checked and (problem := fractions_among_counts(part.data)):
            msg = f"{self.place} {problem}."
            raise CountsError(msg)
        return part

    @functools.cached_property
    def _are_genes(self) -> NDArray[np.bool_]:
        return gene_columns(self.var)

    def of(self, rows: sparse.csr_matrix) -> Counts:
        """Return some of the rows that :meth:`rows` returned, of which nothing is left to undo."""
        return replace(self, matrix=rows, kind="counts", undo=NOTHING, precision=None, is_checked=False)


def find_counts(adata: AnnData, layer: str | None = None, transform: Transform | None = None) -> Counts:
    """Find the counts of an AnnData.

    The layers in which counts are usually kept, `X`, `raw`, and the layers in which normalised values are usually kept
    are tried in this order. A matrix that measures less than three quarters of the genes of another is passed over,
    whatever it holds: `raw` with the log-normalised values of all genes is more than the counts of 2,000 variable genes
    in `X`. Measured are human genes (or if no column is one, columns) with a value above 0 in a sample of the cells. Of
    matrices of as many genes whole counts come first, then counts with fractions, normalised values, and transformed
    ones, which are used with a warning.

    The values tell what a matrix holds. Counts are whole. Once the right transform is undone, the values of a cell are
    whole multiples of one step, which is a count of one, or all cells have the same total. Counts with fractions have
    whole numbers among them, or gaps of about one. Where the values do not tell, `uns["log1p"]` does.

    Parameters
    ----------
    adata
        Cells in rows; in memory, backed, or Dask arrays, which are computed block by block.
    layer
        Name of a layer, `"X"` or `"raw"`, to look nowhere else.
    transform
        What was done to the counts, in place of what the values tell: `"none"` (counts, also with fractions, or
        normalised ones), `"log1p"` (natural, or to the base in `uns["log1p"]`), `"log2"` or `"log10"` (of 1 + x),
        `"sqrt"`, `"arcsinh"`. If it is not `"none"`, matrices of whole numbers are tried last.

    Raises
    ------
    KeyError
        `layer` does not exist.
    ValueError
        `transform` is none of these.
    GeneOverlapError
        Genes are in rows.
    CountsError
        No cells, no genes, or no matrix of counts: negative (scaled), NaN, not numeric, or fractions that do not tell
        which transform was used. A Dask array with chunks of unknown lengths; a matrix of another shape than obs and
        var.
    FormatError
        The index arrays of a sparse matrix are inconsistent, or a file is damaged.
    """
    if transform is not None:
        check_choice("transform", transform, get_args(Transform))
    if adata.n_obs == 0 or adata.n_vars == 0:
        msg = f"Expected cells and genes, got an AnnData of {adata.n_obs} cells x {adata.n_vars} genes."
        raise CountsError(msg)
    refuse_transposed(adata)
    check_view(adata)
    found, problems = _candidates(adata, layer, transform)
    if not found:
        msg = "; ".join(problems) or "X is None and neither a layer of counts nor raw exists"
        msg += ". Expected counts: keep them in adata.layers['counts'] or adata.raw, or name their layer with layer=."
        raise CountsError(msg)
    best, why = _choose(found, transform)
    if transform is None:
        _warn_of_kind(best, is_narrower=any(other.counts.kind == "counts" for other in found))
    why = why if layer is None else "named by layer="
    counts = replace(best.counts, why=why, is_checked=transform is None)
    logger.info("counts: %s (%s); %s: %s", counts.source, counts.why, counts.kind, counts.reason)
    for problem in problems:
        logger.info("not used: %s", problem)
    return counts


@dataclass(frozen=True)
class _Candidate:
    """A matrix that can be used, and what a sample of its cells tells."""

    counts: Counts
    sample: sparse.csr_matrix
    reading: Reading

    @functools.cached_property
    def columns(self) -> NDArray[np.intp]:
        """Columns with a value above 0."""
        return np.unique(self.sample.indices[self.sample.data > 0])

    @functools.cached_property
    def n_human(self) -> int:
        """Number of these that are human genes."""
        return int(known_genes(genes_of(self.counts.var)[self.columns]).sum())

    def rank(self, transform: Transform | None) -> tuple[bool, int]:
        """Return its place among matrices of as many genes; the least is the best."""
        return self.reading.is_whole and transform not in (None, "none"), get_args(Kind).index(self.counts.kind)


def _candidates(adata: AnnData, layer: str | None, transform: Transform | None) -> tuple[list[_Candidate], list[str]]:
    """Return the matrices that may be chosen, and why others cannot be used."""
    found: list[_Candidate] = []
    problems: list[str] = []
    file = getattr(adata, "path", "")  # of cells that are not in memory
    for place in places(adata, layer):
        settled = [len(other.counts.var) for other in found if other.rank(transform) == (False, 0)]
        if (found and place.is_last) or (settled and max(settled) >= _NARROW * len(place.var)):
            continue
        # What is damaged, or cannot be read here but elsewhere, raises an error: no other matrix takes its place.
        matrix = readable(place.matrix, _named(place.source, file), (adata.n_obs, len(place.var)))
        try:
            found.append(_candidate(place, matrix, transform, file))
        except CountsError as error:
            problems.append(str(error))
    return found, problems


def _candidate(place: Place, matrix: Any, transform: Transform | None, file: str) -> _Candidate:
    name = _named(place.source, file)
    check_numbers(matrix, name)
    are_genes = gene_columns(place.var)
    if not are_genes.any():
        kinds = ", ".join(sorted(set(left_out_types(place.var)))[:3])
        msg = f"{name} has no genes: var says that all columns are {kinds}; correct var['feature_types'] if not"
        raise CountsError(msg)
    sample = _genes_only(one_value_each(_sample(matrix, name), name), are_genes)
    refuse_bad_values(sample.data, name)
    if not sample.data.any():
        msg = f"{name} holds only zeros"
        raise CountsError(msg)
    sample.eliminate_zeros()
    try:
        named: dict[str, Any] = {"base": place.log_base, "named_counts": place.is_named_counts, "given": transform}
        reading = read_values(sample, matrix.dtype, **named)
    except CountsError as error:
        msg = f"{name} {error}"
        raise CountsError(msg) from None
    told = reading.kind, reading.undo, reading.precision, reading.reason
    counts = Counts(matrix, place.var, place.source, *told, file=file)
    return _Candidate(counts, sample, reading)


def _named(source: str, file: str) -> str:
    return f"{source} of {file!r}" if file else source


def _choose(found: list[_Candidate], transform: Transform | None) -> tuple[_Candidate, str]:
    """Return the best matrix, and why it is: those of few genes are passed over."""
    wide, why = found, ""
    if len({len(candidate.counts.var) for candidate in found}) > 1:
        human = any(candidate.n_human for candidate in found)
        sizes = [candidate.n_human if human else candidate.columns.size for candidate in found]
        wide = [candidate for candidate, size in zip(found, sizes, strict=True) if size >= _NARROW * max(sizes)]
        measured = ", ".join(f"{c.counts.source} {size:,}" for c, size in zip(found, sizes, strict=True))
        why = f"genes measured: {measured}; " if len(wide) < len(found) else ""
    best = min(wide, key=lambda candidate: candidate.rank(transform))  # the first of equals
    whole = "the first with whole counts" if best.counts.kind == "counts" else "no other has whole counts"
    return best, why + (whole if len(wide) > 1 else "the only one that can be used" if not why else "it has most")


def _warn_of_kind(best: _Candidate, *, is_narrower: bool) -> None:
    """Warn of values that are no counts, or are only likely to be."""
    counts = best.counts
    undone = {"lognorm": "log-normalised and is used with its logarithm undone"}
    undone |= {
        "sqrt": "like square roots of counts and is used with them undone",
        "arcsinh": "like arcsinh of counts and is used with it undone",
    }
    if counts.kind in undone:
        found = "No counts of as many genes found" if is_narrower else "No counts found"
        warn(
            f"{found}; {counts.source} looks {undone[counts.kind]}"
            f" ({counts.undo.name}: {counts.reason}). Counts in adata.layers['counts'] are safer."
        )
    elif not best.reading.is_certain:
        warn(
            f"{counts.source} holds {counts.kind} values, used as they are ({counts.reason}); if a logarithm or "
            "another transform was taken, name it with transform=."
        )


def _sample(matrix: Any, source: str) -> sparse.csr_matrix:
    """Return rows from the start, the middle and the end."""
    n, block = matrix.shape[0], _SAMPLE_ROWS // 4
    starts = sorted({0, max(0, n // 3), max(0, 2 * n // 3), max(0, n - block)}) if n > _SAMPLE_ROWS else [0]
    length = block if n > _SAMPLE_ROWS else n
    parts = [csr_rows(matrix, start, min(n, start + length), source) for start in starts]
    sample: sparse.csr_matrix = sparse.vstack(parts, format="csr")
    return sample


def _genes_only(rows: sparse.csr_matrix, are_genes: NDArray[np.bool_]) -> sparse.csr_matrix:
    """Return rows without the values of columns that are no genes: those of antibodies may be of another kind."""
    if are_genes.all():
        return rows
    kept = are_genes[rows.indices]
    indptr = np.append(0, np.cumsum(kept))[rows.indptr]
    return sparse.csr_matrix((rows.data[kept], rows.indices[kept], indptr), shape=rows.shape)
