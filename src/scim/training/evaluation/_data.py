"""The labelled cells of evaluation: their embeddings, also with genes or counts taken away, and their inputs."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from scipy import sparse

from scim._core.no_label import read_labels, read_names
from scim.ontology import standardize
from scim.pp import lognorm, match_genes
from scim.pp._transform import Undo
from scim.training.data import gathered, opened_inputs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from scim._core.types import Transform
    from scim.io.cells import Cells
    from scim.model import Model
    from scim.training.data import DataSet, Inputs

GENES = (2000, 1000, 500)
COUNTS = (0.5, 0.2, 0.1)
_DENSE = 512  # cells that are dense and decoded at a time: 60 MB at 28,000 genes


@dataclass(frozen=True)
class Change:
    """A change of the cells of a study before they are embedded, as by a poorer experiment.

    `"genes"` keeps `level` random genes of those that the study measured and the model reads; `"counts"` keeps each
    count with probability `level` (binomial thinning); `"lognorm"` normalises values to 10,000 and takes their
    logarithm, which is undone as for any data without counts.
    """

    kind: Literal["genes", "counts", "lognorm"]
    level: float | None

    def genes(self, observed: NDArray[np.bool_], random: np.random.Generator) -> NDArray[np.bool_]:
        """Return the genes of the model that are still measured."""
        measured = np.flatnonzero(observed)
        if self.kind != "genes" or self.level is None or len(measured) <= self.level:
            return observed
        kept = np.zeros_like(observed)
        kept[random.choice(measured, int(self.level), replace=False)] = True
        return kept

    def values(
        self, X: sparse.csr_matrix, observed: NDArray[np.bool_], random: np.random.Generator
    ) -> sparse.csr_matrix:
        """Return the changed counts over the model's genes, (n, n_genes)."""
        if self.kind == "lognorm":
            return Undo.of("log1p").rows(lognorm(X))
        if self.kind == "genes":
            data = X.data * observed[X.indices]
        else:
            data = random.binomial(np.rint(X.data).astype(np.int64), self.level or 0.0)
        changed = sparse.csr_matrix((data.astype(np.float32), X.indices.copy(), X.indptr.copy()), shape=X.shape)
        changed.eliminate_zeros()
        return changed


class LabelledCells:
    """The labelled cells of all inputs, one data set after the other; counts are read when they are needed."""

    def __init__(
        self, inputs: Mapping[str, AnnData | Cells], data_sets: list[DataSet], label_key: str, study_key: str | None
    ) -> None:
        self.inputs, self.data_sets, self.label_key, self.study_key = inputs, data_sets, label_key, study_key
        self.labels = standardize(np.concatenate([data.labels for data in data_sets]))
        self.studies = np.concatenate([data.studies for data in data_sets]).astype(object)

    def embed(self, model: Model) -> NDArray[np.float32]:
        """Return the embeddings of all cells, (n, dim); warn where few genes are shared."""
        for data in self.data_sets:
            match_genes(data.counts.var, model.genes, gene_key=data.gene_key)
        return np.concatenate([_embed(model, data) for data in self.data_sets])

    def embed_changed(
        self, model: Model, chosen: NDArray[np.bool_], change: Change, random: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return the embeddings of the chosen cells, changed."""
        return np.concatenate([_embed(model, data, change, random) for data in self._subsets(chosen)])

    def reconstruction_error(self, model: Model, chosen: NDArray[np.bool_], Z: NDArray[np.float32]) -> float:
        r"""Return the normalised mean squared error of the decoder on the chosen cells, with embeddings `Z`.

        :math:`\sum (\hat x - x)^2 / \sum x^2` over the observed genes, with :math:`x` as the model reads it.
        """
        error = power = 0.0
        for data in self._subsets(chosen):
            observed = torch.from_numpy(data.measured(model.genes))
            rows, Z = Z[: data.n_cells], Z[data.n_cells :]
            for block, X in data.blocks(model.genes):
                values = lognorm(X, model.config.target_sum)
                for first in range(0, values.shape[0], _DENSE):
                    dense = torch.from_numpy(values[first : first + _DENSE].toarray())
                    target = model.encoder.scale(dense, observed)[:, observed].double()
                    decoded = torch.from_numpy(model.decode(rows[block][first : first + _DENSE]))
                    error += float((decoded[:, observed].double() - target).square().sum())
                    power += float(target.square().sum())
        return error / power if power else float("nan")

    def without(self, study: str) -> dict[str, AnnData | Cells]:
        """Return the inputs without the cells of a study, by name, as :func:`scim.model.train` takes them.

        In a file or an atlas the cells of the study stay, without a label. Inputs without any other label are left out.
        """
        kept: dict[str, AnnData | Cells] = {}
        for name, cells in self.inputs.items():
            is_out = self._studies_of(name, cells) == study
            if not (is_out | ~read_labels(cells.obs[self.label_key]).present).all():
                kept[name] = _without(cells, is_out, self.label_key) if is_out.any() else cells
        return kept

    def _studies_of(self, name: str, cells: AnnData | Cells) -> NDArray[np.object_]:
        if self.study_key is None:
            return np.full(cells.n_obs, name, dtype=object)
        return read_names(cells.obs[self.study_key]).texts

    def _subsets(self, chosen: NDArray[np.bool_]) -> Iterator[DataSet]:
        ends = np.cumsum([data.n_cells for data in self.data_sets])
        for data, mask in zip(self.data_sets, np.split(chosen, ends[:-1]), strict=True):
            if mask.any():
                yield data.select(mask)


@contextlib.contextmanager
def opened_cells(
    data: Inputs,
    *,
    label_key: str,
    study_key: str | None,
    layer: str | None,
    transform: Transform | None,
    gene_key: str | None,
) -> Iterator[LabelledCells]:
    """Yield the labelled cells of all inputs; files are closed at the end."""
    columns = [label_key] if study_key is None else [label_key, study_key]
    keys: dict[str, Any] = {"label_key": label_key, "study_key": study_key, "layer": layer}
    keys |= {"transform": transform, "gene_key": gene_key}
    with opened_inputs(data, columns) as inputs, gathered(inputs, **keys) as (data_sets, _):
        yield LabelledCells(inputs, data_sets, label_key, study_key)


def _embed(
    model: Model, data: DataSet, change: Change | None = None, random: np.random.Generator | None = None
) -> NDArray[np.float32]:
    observed = data.measured(model.genes)
    if change is not None and random is not None:
        observed = change.genes(observed, random)
    out = np.zeros((data.n_cells, model.latent_dim), dtype=np.float32)
    for block, X in data.blocks(model.genes):
        counts = X if change is None or random is None else change.values(X, observed, random)
        out[block] = model.encode(lognorm(counts, model.config.target_sum), observed=observed)
    return out


def _without(cells: AnnData | Cells, is_out: NDArray[np.bool_], label_key: str) -> AnnData | Cells:
    from anndata import AnnData  # noqa: PLC0415  (slow to import, and imported already where an input is one)

    if isinstance(cells, AnnData):
        return cells[~is_out]
    labels: pd.Series[Any] = cells.obs[label_key].astype(object).mask(is_out)
    return dataclasses.replace(cells, obs=cells.obs.assign(**{label_key: labels}))
