"""Unmeasured genes are unknown: they enter neither the input nor a loss; data in files train as data in memory."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import scim
from helpers import trainings
from scim.model import ModelConfig
from scim.training.data import combine, gathered, pick_genes
from scim.training.loop._batches import Batches
from scim.training.loop._learner import Learner

POISON = 1e6


def mixed():
    return [trainings.toy(), trainings.toy(48, 1, slice(0, 90))]


def cells_of(adatas, genes=None):
    with gathered(adatas, label_key="cell_type", study_key=None) as (sets, _):
        return combine(sets, pick_genes(sets, genes, 200), max_memory=10**9)


def learner_and_batch(standardize, n_views=1, **changes):
    cells = cells_of(mixed())
    config = trainings.config_of(**changes)
    net = ModelConfig(len(cells.genes), (8,), 4, input_dropout=0.0, dropout=0.0, standardize=standardize)
    generator = torch.Generator().manual_seed(0)
    within_study = np.ones(len(cells.labels.names), dtype=bool)
    learner = Learner(net, config, cells.labels, within_study, generator)
    return learner, Batches(cells, config, np.random.default_rng(0), generator, n_views=learner.loss.n_views).draw()


@pytest.mark.parametrize("standardize", [True, False])
def test_unmeasured_targets_are_ignored(standardize):
    learner, batch = learner_and_batch(standardize)
    unknown = 1 - batch.observed
    assert unknown.sum() > 0
    poisoned = batch._replace(target=batch.target + POISON * unknown)
    found = []
    for one in (batch, poisoned):
        learner.generator.manual_seed(1)
        found.append(learner(one)[1]["reconstruction"].item())
    assert found[0] == found[1] > 0


@pytest.mark.parametrize("objective", ["supcon", "moco"])
def test_masked_input_is_ignored(objective):
    """Cells are standardised over their unmasked genes."""
    learner, batch = learner_and_batch(standardize=True, objective=objective)
    views = [view._replace(x=view.x + POISON * (1 - view.seen)) for view in batch.views]
    for view in batch.views:
        assert (view.x[view.seen == 0] == 0).all()
        assert (view.seen <= batch.observed).all()
    clean, poisoned = (learner.loss.embed(learner.encoder, one) for one in (batch.views, views))
    for a, b in zip(clean, poisoned, strict=True):
        assert torch.equal(a, b)


def test_mixed_cells_keep_to_their_panel():
    """Partners are of the same data set; otherwise genes would appear that the data set did not measure."""
    _, batch = learner_and_batch(standardize=True, mix=1.0, study_panel=0.0, random_panel=0.0)
    few = batch.observed.sum(1) < batch.observed.shape[1]
    assert 0 < few.sum() < len(few)
    assert (batch.target[batch.observed == 0] == 0).all()


def test_genes_that_the_model_does_not_read_change_nothing():
    """The second study has 21 genes of its own beside those of the model; their counts may be anything."""
    genes = scim.pp.canonical_genes(trainings.toy().var_names[:90]).tolist()
    uids = set()
    for factor in (1, 1000):
        first, second = trainings.toy(), trainings.toy(48, 1)
        second.X[:, 90:] = second.X[:, 90:] * factor
        model = scim.model.train(
            [first, second], label_key="cell_type", config=trainings.config_of(n_steps=3, genes=genes), rng=0,
            **trainings.SIZES,
        )  # fmt: skip
        uids.add(model.uid)
    assert len(uids) == 1


def test_a_zero_differs_from_an_unmeasured_gene():
    """Genes with zeros train another model than absent genes."""
    first, short = mixed()
    padded = trainings.toy(48, 1)
    padded.X = padded.X.multiply(np.arange(111) < 90).tocsr().astype(np.float32)
    a, b = (trainings.fit(data=[first, second], n_steps=3) for second in (short, padded))
    assert a.genes.tolist() == b.genes.tolist()
    assert a.uid != b.uid


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_data_on_disk_give_the_same_weights(kind, tmp_path):
    """By rows from files, counts in a file of their own: not a bit differs from data in memory."""
    paths = []
    for name, adata in zip(("study0", "study1"), mixed(), strict=True):
        paths.append(tmp_path / f"{name}.{kind}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # anndata warns of its next default
            adata.write_h5ad(paths[-1]) if kind == "h5ad" else adata.write_zarr(paths[-1])
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    from_disk = trainings.fit(data=paths, max_memory=0, scratch=scratch, n_steps=5)
    in_memory = trainings.fit(n_steps=5)
    assert from_disk.uid == in_memory.uid
    assert from_disk.metadata == in_memory.metadata
    assert [*scratch.iterdir()] == []


@pytest.mark.parametrize("max_memory", [-1, 0.5])
def test_a_bad_limit_is_named(max_memory):
    with pytest.raises((TypeError, ValueError), match="max_memory must be"):
        trainings.fit(max_memory=max_memory)


def test_l1_is_the_sum_of_the_absolute_weights_of_the_first_layer():
    learner, batch = learner_and_batch(standardize=True, n_steps=3)
    totals = []
    for weight in (0.0, 0.5):
        learner.config = trainings.config_of(l1=weight)
        learner.generator.manual_seed(1)
        totals.append(learner(batch)[0].item())
    expected = 0.5 * learner.encoder.first.weight.abs().sum().item()
    assert totals[1] - totals[0] == pytest.approx(expected, rel=1e-4)
