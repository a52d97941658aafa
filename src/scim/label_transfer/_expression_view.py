"""The expression reference of a label reference: its pairs as codes, without held-out ones, for cells of any panel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import pandas as pd

from scim.label_transfer._expression import LEAST_GENES
from scim.label_transfer._expression_space import N_NOVELTY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from scipy import sparse

    from scim._core.types import Bools, Doubles, Floats, Ints
    from scim.label_transfer._expression import CountSample, ExpressionReference
    from scim.label_transfer._expression_space import ExpressionFeatures, ExpressionPanel
    from scim.label_transfer._reference import LabelReference

_FREEDOM, _POWER, _MOST_POWER = 30.0, 4.0, 10.0  # of the factors of votes (benchmarks/NOTES.md, Confidence)
_LEAST_PANEL, _LEAST_COUNTS = 200, 0.1  # genes and share of the counts that a thinned cell keeps, at least


@dataclass(frozen=True, eq=False)
class ExpressionView:
    """An expression reference, and the codes of its pairs in a label reference; -1 = not in it."""

    expression: ExpressionReference
    labels: Ints
    studies: Ints
    n_labels: int

    @classmethod
    def of(cls, expression: ExpressionReference, reference: LabelReference) -> Self:
        """Find labels and studies by name."""
        labels = pd.Index(reference.tree.labels).get_indexer(pd.Index(expression.labels))
        names = np.empty(0, dtype=object) if reference.study_names is None else reference.study_names
        studies = pd.Index(names).get_indexer(pd.Index(expression.studies))
        return cls(expression, labels, studies, reference.tree.n_labels)

    def among(self, pairs: Bools) -> ExpressionView | None:
        """Return the pairs of which `pairs` (n_pairs,) is true and whose label is known; `None` without any."""
        kept = pairs & (self.labels >= 0)
        expression = self.expression.among(kept)
        if expression is None or kept.all():
            return None if expression is None else self
        return replace(self, expression=expression, labels=self.labels[kept], studies=self.studies[kept])

    def with_cells(self, reference: LabelReference, ids: Ints) -> ExpressionView | None:
        """Return the pairs that have one of the cells of `ids`."""
        occurs = np.zeros((self.n_labels + 1, int(reference.studies.max(initial=0)) + 2), dtype=np.bool_)
        occurs[reference.codes[ids], reference.studies[ids]] = True
        return self.among(occurs[self.labels, self.studies])

    def covers(self, genes: NDArray[np.object_]) -> bool:
        """Return whether a panel has enough genes of the gene space."""
        return int(pd.Index(self.expression.genes).isin(genes).sum()) >= LEAST_GENES

    def panel(self, genes: NDArray[np.object_]) -> ExpressionPanel:
        """Return the space restricted to the genes of the columns of a data set, canonical ids (n_vars,)."""
        columns = pd.Index(self.expression.genes).get_indexer(pd.Index(genes)).astype(np.int32)
        return self.expression.space.panel(columns, self.labels, self.n_labels)

    @staticmethod
    def vote_factors(features: ExpressionFeatures) -> Floats:
        r"""Return the factors of the votes of labels, (n, n_labels).

        :math:`((30 + \min d) / (30 + d_l))^g` with the squared distances :math:`d_l`: the ratio of two t densities, so
        that a cell far from all labels, as of another platform, is not assigned by small differences of large
        distances. :math:`g` is 4 over the root of the share of a typical cell's counts that the panel has, at most 10.
        A label without expression has 1.
        """
        distances = features.distances
        least = distances.min(axis=1, keepdims=True)
        power = min(_MOST_POWER, _POWER / np.sqrt(max(features.share, 1e-3)))
        apart = np.where(np.isfinite(distances), distances, least)
        factors: Floats = (((_FREEDOM + least) / (_FREEDOM + apart)) ** power).astype(np.float32)
        return factors


class SampleFeatures(NamedTuple):
    """Sampled cells compared with the labels."""

    factors: Floats  # (n, n_labels) of the votes of labels
    novelty: Doubles  # (n, 7) novelty features


class SampledCells:
    """Reference cells with counts of enough genes, to be compared with the labels of other cells."""

    def __init__(self, view: ExpressionView, samples: Sequence[CountSample], random: np.random.Generator) -> None:
        self.view, self._random = view, random
        self._samples = [sample.counted() for sample in samples if view.covers(sample.genes)]
        ids = [np.empty(0, dtype=np.int64), *(sample.ids for sample in self._samples)]
        self.ids: Ints = np.unique(np.concatenate(ids))

    def features(self, view: ExpressionView, ids: Ints, *, thinned: bool = False) -> SampleFeatures:
        """Compare sampled cells, ascending, with the labels of a view; `thinned`: with some of their genes and counts.

        The cells of a gene panel keep 200 genes or more, and a tenth of their counts or more, drawn evenly on a
        logarithmic scale.
        """
        out = SampleFeatures(np.ones((len(ids), view.n_labels), dtype=np.float32), np.zeros((len(ids), N_NOVELTY)))
        for sample in self._samples:
            rows = np.flatnonzero(np.isin(sample.ids, ids))
            if not len(rows):
                continue
            counts, genes = sample.counts[rows], sample.genes
            if thinned:
                counts, genes = self._thinned(counts, genes)
            at = np.searchsorted(ids, sample.ids[rows])
            features = view.panel(genes).features(counts)
            out.factors[at], out.novelty[at] = view.vote_factors(features), features.novelty
        return out

    def _thinned(
        self, counts: sparse.csr_matrix, genes: NDArray[np.object_]
    ) -> tuple[sparse.csr_matrix, NDArray[np.object_]]:
        random = self._random
        inside = np.flatnonzero(pd.Index(genes).isin(self.view.expression.genes))
        least = min(_LEAST_PANEL, len(inside))
        kept = np.sort(random.permutation(inside)[: int(np.exp(random.uniform(np.log(least), np.log(len(inside)))))])
        panel = counts[:, kept].tocsr()
        share = np.exp(random.uniform(np.log(_LEAST_COUNTS), 0, size=panel.shape[0]))
        of_value = np.repeat(share, np.diff(panel.indptr))
        panel.data = random.binomial(np.round(panel.data).astype(np.int64), of_value).astype(np.float32)
        return panel, genes[kept]
