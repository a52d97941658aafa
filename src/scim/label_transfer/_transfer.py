"""Label transfer on arrays: fit on labelled reference cells, predict the labels of queries, save and load."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import pandas as pd

from scim import ontology
from scim._core import Duplicates, Weights, check_flags, progress
from scim._core.cosine import is_directed
from scim._core.no_label import read_labels
from scim.label_transfer._calibration import Calibration, calibrate
from scim.label_transfer._decision import MAJORITY, NOVEL, choose_terms, group_consensus, stated_novelty
from scim.label_transfer._error_bounds import least_confidence, warn_of_limits
from scim.label_transfer._expression import CountSample, ExpressionReference, sample_rows
from scim.label_transfer._expression_view import ExpressionView
from scim.label_transfer._files import read_folder, write_folder
from scim.label_transfer._input import (
    check_choices,
    check_groups,
    check_measured,
    check_neighbours,
    check_prior,
    check_rows,
    check_studies,
    compare,
    distinct_rows,
    empty_ids,
    label_codes,
    query_counts,
)
from scim.label_transfer._neighbour_statistics import NeighbourStatistics, joined, neighbour_statistics
from scim.label_transfer._prediction import Prediction
from scim.label_transfer._reference import LabelReference, NeighbourIndex, RowIndex
from scim.label_transfer._tree import LabelTree
from scim.label_transfer._votes import count_votes

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray
    from scipy import sparse

    from scim._core.adata import Groups
    from scim._core.types import Bools, Doubles, Floats, Ints, Ints32
    from scim.label_transfer._expression_space import ExpressionPanel
    from scim.label_transfer._input import CountRows
    from scim.label_transfer._tree import Level


_CHUNK = 8192  # queries whose neighbours are held at a time: 5 MB at k = 50


class _Compared(NamedTuple):
    """Queries compared with the reference."""

    terms: Ints32  # (n, width) of the path of the best label
    probabilities: Floats  # (n, width) that the query is of the term
    novelty: Floats  # (n,)
    distance: Floats  # (n,) to the nearest reference cell
    n_studies: Ints32  # (n,)
    top_codes: Ints32  # (n, top)
    top_shares: Floats  # (n, top)


class LabelTransfer:
    """Labels of queries from their nearest labelled reference cells, each with the probability that it is right.

    Made by :meth:`fit` or :meth:`load`; an atlas has one for each column of labels
    (:meth:`scim.atlas.Atlas.label_transfer`).

    Parameters
    ----------
    reference
        Labelled cells.
    calibration
        Curves and error rates of confidences.
    index
        Finds the nearest reference cells; its ids are positions in `reference.codes`.
    expression
        Expression of the labels, with which queries are compared too; `None`: by their embedding alone.

    Examples
    --------
    >>> import numpy as np
    >>> from scim.label_transfer import LabelTransfer
    >>> rng = np.random.default_rng(0)
    >>> centers, types = rng.normal(size=(3, 16)), rng.integers(0, 3, 300)
    >>> X = centers[types] + rng.normal(scale=0.3, size=(300, 16))
    >>> labels = np.array(["T cell", "B cell", "monocyte"])[types]
    >>> transfer = LabelTransfer.fit(X, labels, studies=np.repeat(["a", "b", "c"], 100))
    >>> transfer.predict(centers).labels.tolist()
    ['T cell', 'B cell', 'monocyte']
    """

    def __init__(
        self,
        reference: LabelReference,
        calibration: Calibration,
        index: NeighbourIndex,
        expression: ExpressionReference | None = None,
    ) -> None:
        self.reference = reference
        self.calibration = calibration
        self.index = index
        self.expression = expression
        self._whole_view: ExpressionView | None = None

    @classmethod
    def fit(
        cls,
        X: ArrayLike | None,
        labels: ArrayLike | pd.Series[Any] | pd.Categorical,
        studies: ArrayLike | pd.Series[Any] | pd.Categorical | None = None,
        *,
        index: NeighbourIndex | None = None,
        counts: sparse.csr_matrix | None = None,
        genes: NDArray[np.object_] | None = None,
        rng: int | np.random.Generator | None = 0,
    ) -> Self:
        """Fit reference and calibration: each study is held out and predicted from the others (leave-one-study-out).

        Parameters
        ----------
        X
            Embeddings (n, dim), scaled to unit length. Of rows that are equal to four decimals one is kept, rows of
            zeros are left out: they are cells without counts.
        labels
            (n,) names, or ids of the Cell Ontology; missing = unlabelled, as are words such as "unknown" or "N/A", see
            :func:`scim.ontology.standardize`.
        studies
            (n,) study of each cell; cells without one are a study of their own. Default: one study, parts of which are
            held out; confidences are then too high.
        index
            Finds neighbours in place of `X`, which is then `None`: any object with `query(X, k, allowed=, distinct=)`,
            `vectors(ids)`, `n_rows` and `dim`, such as :class:`scim.index.Index`, with ids from 0 to n - 1.
        counts, genes
            Counts of the cells, (n, n_vars), and the canonical id of the gene of each column
            (:func:`scim.pp.genes_of`): queries with counts are compared with the expression of the labels too.
            Up to 60 cells of a label in a study are read.
        rng
            Seed or generator of the sample of cells that are held out.

        Raises
        ------
        ValueError
            The lengths differ, no cell with counts has a label, or `X` has NaN or infinite values.
        """
        given = read_labels(labels)
        given.report("labels")
        kept = np.arange(len(given.values))
        study_of = check_studies(studies, len(kept))
        check_measured(counts, genes, len(kept))
        if index is None:
            rows = check_rows(X, n=len(kept), what="rows of X")
            codes, names = label_codes(given, np.flatnonzero(~is_directed(rows)))
            kept = distinct_rows(rows, np.flatnonzero(codes >= 0))
            index = RowIndex(rows[kept])
        else:
            codes, names = label_codes(given, empty_ids(index))
        codes = codes[kept]
        study_codes, study_names = pd.factorize(study_of[kept])
        tree = LabelTree.of(names, [ontology.term_id(name) or "" for name in names])
        reference = LabelReference.of(
            index, codes.astype(np.int32), study_codes.astype(np.int32), tree, study_names=study_names
        )
        expression, samples = None, []
        if counts is not None and genes is not None:
            cell_labels, cell_studies = np.append(tree.labels, [None])[codes], study_names[study_codes]
            ids = sample_rows(cell_labels, cell_studies)
            samples = [CountSample(ids, counts[kept[ids]], np.asarray(genes, dtype=object))]
            expression = ExpressionReference.of(samples, cell_labels, cell_studies)
        return cls(reference, calibrate(reference, index, rng, expression, samples), index, expression)

    @property
    def labels(self) -> NDArray[np.object_]:
        """(n_labels,) names of the labels of the reference."""
        return self.reference.tree.labels

    def __repr__(self) -> str:
        n_cells, n_studies = int(self.reference.eligible().sum()), self.calibration.n_studies
        return f"LabelTransfer({n_cells:,} cells, {len(self.labels)} labels, {n_studies} studies held out)"

    def predict(
        self,
        X: ArrayLike,
        *,
        k: int = 50,
        weights: Weights = "balanced",
        allow: Sequence[str] | str | None = None,
        block: Sequence[str] | str | None = None,
        level: Level = None,
        max_error: float = 0.1,
        max_distance: float = 2.0,
        top: int = 3,
        groups: ArrayLike | pd.Series[Any] | Groups | None = None,
        eligible: NDArray[np.bool_] | None = None,
        duplicates: Duplicates = "collapse",
        search: Mapping[str, Any] | None = None,
        counts: CountRows | sparse.csr_matrix | None = None,
        genes: NDArray[np.object_] | None = None,
        prior: NDArray[np.floating[Any]] | None = None,
        statistics: bool = False,
    ) -> Prediction:
        """Predict labels from the nearest reference cells.

        Parameters
        ----------
        X
            Embeddings (n, dim), scaled to unit length. A row of zeros, a cell without counts, is unknown, with a
            confidence of 0, a distance of inf and a novelty of NaN; groups are predicted without it.
        k, weights, allow, block, level, max_error, max_distance, top
            As in :func:`scim.tl.annotate`.
        groups
            (n,) group of each query, missing = in none: each group is predicted too.
        eligible
            (n_ids,) which reference cells take part; default: all that are labelled.
        duplicates
            `"collapse"`: cells that are marked as copies of others take no part, nor cells equal to a nearer one.
        search
            Arguments of `index.query`. With `where` or `allowed` among them, these must pass the eligible cells with
            allowed labels and no others; default: their ids are passed.
        counts, genes
            Counts of the queries, which are read by chunks, and the canonical id of the gene of each column
            (`names` of :func:`scim.pp.match_genes`). Without them, or without the expression of the labels in the
            reference, labels are predicted by the embedding alone.
        prior
            (n_labels,) factors of the votes of labels, as for a tissue, 0 or more; default: 1.
        statistics
            Whether to return the statistics of the neighbours too.

        Raises
        ------
        ValueError
            A label or term is unknown, no reference cell is eligible, `X` has another width, there are counts without
            genes or of other cells, or `prior` is not a positive number or 0 of each label.

        Warns
        -----
        ScimWarning
            `max_error` is below 1, and no label can be given, or the reference did not allow to hold out studies.
        """
        k, top = check_choices(k, top, weights, duplicates, max_error, max_distance)
        check_flags(statistics=statistics)
        rows = check_rows(X, dim=self.index.dim, what="queries")
        members = check_groups(groups, len(rows))
        expressed = query_counts(counts, genes, len(rows))
        factor = None if prior is None else check_prior(prior, self.labels)
        tree, allowed = self.reference.tree.at_level(level)
        ids = self._eligible_ids(self.reference.tree.choose(allow, block), eligible, collapse=duplicates == "collapse")
        reference = replace(self.reference.restricted(ids, None if eligible is None else self.index), tree=tree)
        query = {"distinct": duplicates == "collapse", **(search or {})}
        n_empty = len(getattr(self.index, "empty_ids", ()))  # rows of zeros, which no query finds
        if len(ids) < self.index.n_rows - n_empty and not {"where", "allowed"} & set(query):
            query["allowed"] = ids
        panel = None if expressed is None else self._panel(ids, expressed.genes)
        features = partial(compare, panel, expressed, factor)
        query |= {"k": min(k, len(ids))}
        vote: dict[str, Any] = {"weights": weights, "top": min(top, tree.n_labels)}
        compared, counted = self._compare(rows, reference, query, features, vote, statistics=statistics)
        empty = ~is_directed(rows)
        novelty = compared.novelty if panel is None else stated_novelty(compared.novelty)
        novelty[empty] = np.nan
        far = empty | (compared.distance > np.float32(max_distance))
        terms, probabilities = compared.terms, compared.probabilities
        terms[far], probabilities[far] = -1, 0
        threshold = least_confidence(self.calibration, max_error, uses_expression=panel is not None)
        warn_of_limits(self.calibration, self.reference, max_error, threshold, uses_expression=panel is not None)
        predicted, confidence = choose_terms(terms, probabilities, threshold, allowed)
        if panel is not None and max_error < 1:
            predicted[novelty >= NOVEL] = -1
        frame = None
        if members is not None:
            least = max(threshold, MAJORITY) if max_error < 1 else 0.0
            frame = group_consensus(members, terms, probabilities, predicted, tree, least, allowed, novelty)
        return Prediction(
            predicted, confidence, compared.distance, novelty, compared.n_studies, compared.top_codes,
            compared.top_shares, tree, threshold, panel is not None, frame, counted,
        )  # fmt: skip

    def _compare(
        self,
        rows: Floats,
        reference: LabelReference,
        query: dict[str, Any],
        features: Callable[[int, int], tuple[Floats | None, Doubles | None]],
        vote: dict[str, Any],
        *,
        statistics: bool,
    ) -> tuple[_Compared, NeighbourStatistics | None]:
        """Find the neighbours of queries and count their labels by chunks; `features` compares consecutive queries."""
        parts, counted = [], []
        for start in progress(range(0, max(1, len(rows)), _CHUNK), desc="predict", unit="chunk"):
            chunk = rows[start : start + _CHUNK]
            distances, neighbours = self.index.query(chunk, **query)
            empty = ~is_directed(chunk)
            distances[empty], neighbours[empty] = np.inf, -1
            check_neighbours(neighbours, len(reference.codes))
            factors, novelty_features = features(start, start + len(chunk))
            near = reference.centroid_distances(chunk)
            votes = count_votes(distances, neighbours, reference, near, factors=factors, **vote)
            if statistics:
                labels = np.where(neighbours >= 0, reference.codes[neighbours], -1).astype(np.int32)
                counted.append(neighbour_statistics(distances, labels, reference.tree.n_labels))
            probable = self.calibration.probabilities(votes, reference.tree, novelty_features)
            parts.append((*probable, distances[:, 0], votes.n_studies[:, 0], votes.codes, votes.shares))
        compared = _Compared(*map(np.concatenate, zip(*parts, strict=True)))
        return compared, joined(counted) if statistics else None

    def _panel(self, ids: Ints, genes: NDArray[np.object_]) -> ExpressionPanel | None:
        """Return the expression of the labels of eligible cells; `None` if it was not calibrated, or for few genes."""
        if self.expression is None or self.calibration.with_expression is None:
            return None
        if self._whole_view is None:
            self._whole_view = ExpressionView.of(self.expression, self.reference)
        view = self._whole_view.with_cells(self.reference, ids)
        return view.panel(genes) if view is not None and view.covers(genes) else None

    def _eligible_ids(
        self, labels: Bools | None, eligible: NDArray[np.bool_] | None, *, collapse: bool
    ) -> NDArray[np.int64]:
        passes = self.reference.eligible(collapse=collapse, labels=labels)
        if eligible is not None:
            given = np.asarray(eligible)
            if given.shape != passes.shape or given.dtype != np.bool_:
                what = f"{given.dtype} of shape {given.shape}"
                msg = f"eligible must be true or false for each of {len(passes)} cells, got {what}."
                raise ValueError(msg)
            passes &= given
        if not passes.any():
            reason = "" if eligible is None else ": none passes the filter"
            msg = f"No labelled cell of the reference is eligible{reason}."
            raise ValueError(msg)
        return np.flatnonzero(passes)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write a folder of JSON and npy files: the reference, its calibration, and the rows if there is no `index`.

        Raises
        ------
        FileExistsError
            `path` exists and `overwrite` is false, or it is something else.
        """
        write_folder(path, self, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, index: NeighbourIndex | None = None) -> Self:
        """Read what :meth:`save` wrote; `index` is the one that was passed to :meth:`fit`, if any.

        Raises
        ------
        FileNotFoundError
            There is no such folder.
        FormatError
            A file is damaged, foreign, or written by a newer version.
        ValueError
            `index` is needed, or has another number of cells.
        """
        return cls(*read_folder(path, index))
