"""From the user's data to embeddings, labels and studies: all that evaluation knows of files and counts."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scim.ontology import standardize
from scim.pp import lognorm, match_genes
from scim.training.data import gathered, opened_inputs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from scim.io import Cells
    from scim.model._model import Model
    from scim.training.data import DataSet, Inputs
    from scim.training.evaluation._perturb import Change

_DENSE = 512
"""Cells that are made dense and decoded at a time: 60 MB at 28,000 genes."""


class Data:
    """The labelled cells of the user's data, one data set after the other; their counts stay where they are.

    Parameters
    ----------
    cells
        What was opened, by name.
    sets
        The labelled cells of each.
    label_key, study_key
        Columns of obs.
    """

    def __init__(
        self, cells: Mapping[str, AnnData | Cells], sets: list[DataSet], label_key: str, study_key: str | None
    ) -> None:
        self.cells, self.sets, self.label_key, self.study_key = cells, sets, label_key, study_key
        self.labels = standardize(np.concatenate([one.labels for one in sets]))
        self.studies = np.concatenate([one.studies for one in sets]).astype(object)

    def embed(self, model: Model) -> NDArray[np.float32]:
        """Return the embeddings of all cells, (n, dim)."""
        return np.concatenate([_embed(model, one, None, None) for one in self.sets])

    def embed_changed(
        self, model: Model, chosen: NDArray[np.bool_], change: Change, random: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return the embeddings of the chosen cells, changed."""
        return np.concatenate([_embed(model, one, change, random) for one in self._only(chosen)])

    def reconstruct(self, model: Model, chosen: NDArray[np.bool_], Z: NDArray[np.float32]) -> float:
        r"""Return the normalised mean squared error of the decoder on the chosen cells, whose embeddings are `Z`.

        :math:`\sum (\hat x - x)^2 / \sum x^2` over the observed genes, with :math:`x` as the model reads it.
        """
        error = power = 0.0
        stop = 0
        for one in self._only(chosen):
            observed = torch.from_numpy(one.measured(model.genes))
            start, stop = stop, stop + one.n_cells
            rows = Z[start:stop]
            for here, X in one.blocks(model.genes):
                values = lognorm(X.astype(np.float32, copy=True), model.config.target_sum)
                for first in range(0, values.shape[0], _DENSE):
                    part = torch.from_numpy(values[first : first + _DENSE].toarray())
                    part = model.encoder.scale(part, observed)[:, observed].double()
                    some = rows[here][first : first + _DENSE]
                    decoded = torch.from_numpy(model.decode(some))[:, observed].double()
                    error += float((decoded - part).square().sum())
                    power += float(part.square().sum())
        return error / power if power else float("nan")

    def without(self, study: str) -> dict[str, AnnData | Cells]:
        """Return the inputs without the cells of a study, by name, as :func:`scim.model.train` takes them.

        Of a file or an atlas the cells are there, without a label.
        """
        kept: dict[str, AnnData | Cells] = {}
        for name, one in self.cells.items():
            is_out = self._study_of(name, one) == study
            if (is_out | one.obs[self.label_key].isna().to_numpy()).all():
                continue  # nothing to train on is left
            kept[name] = _without(one, is_out, self.label_key) if is_out.any() else one
        return kept

    def _study_of(self, name: str, one: AnnData | Cells) -> NDArray[np.object_]:
        if self.study_key is None:
            return np.full(one.n_obs, name, dtype=object)
        return one.obs[self.study_key].astype(object).map(str, na_action="ignore").to_numpy(dtype=object)

    def _only(self, chosen: NDArray[np.bool_]) -> Iterator[DataSet]:
        ends = np.cumsum([one.n_cells for one in self.sets])
        for one, mask in zip(self.sets, np.split(chosen, ends[:-1]), strict=True):
            if mask.any():
                yield one.only(mask)


@contextlib.contextmanager
def opened_data(
    data: Inputs, *, label_key: str, study_key: str | None, layer: str | None, gene_key: str | None
) -> Iterator[Data]:
    """Yield the labelled cells of all inputs; files are closed at the end.

    Raises
    ------
    TypeError, KeyError, ValueError, FileNotFoundError, FormatError, CountsError
        What is wrong with which input.
    """
    columns = [label_key] if study_key is None else [label_key, study_key]
    with opened_inputs(data, columns) as cells:
        keys: dict[str, Any] = {"label_key": label_key, "study_key": study_key, "layer": layer, "gene_key": gene_key}
        with gathered(cells, **keys) as found:
            yield Data(cells, found.sets, label_key, study_key)


def _embed(
    model: Model, data: DataSet, change: Change | None, random: np.random.Generator | None
) -> NDArray[np.float32]:
    if change is None:
        match_genes(data.counts.var, model.genes, gene_key=data.gene_key)  # says whether they are few
    observed = data.measured(model.genes)
    if change is not None and random is not None:
        observed = change.genes(observed, random)
    out = np.zeros((data.n_cells, model.latent_dim), dtype=np.float32)
    for here, X in data.blocks(model.genes):
        left = X if change is None or random is None else change.values(X, observed, random)
        values = lognorm(left.astype(np.float32, copy=True), model.config.target_sum)
        out[here] = model.encode(values, observed=observed)
    return out


def _without(one: AnnData | Cells, is_out: NDArray[np.bool_], label_key: str) -> AnnData | Cells:
    from anndata import AnnData  # noqa: PLC0415  (slow to import, and only needed where it came from the user)

    if isinstance(one, AnnData):
        return one[~is_out]
    labels: pd.Series[Any] = one.obs[label_key].astype(object).mask(is_out)
    return dataclasses.replace(one, obs=one.obs.assign(**{label_key: labels}))
