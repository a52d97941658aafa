"""Weights of the cells, and draws with and without replacement."""

from __future__ import annotations

import collections
import itertools

import numpy as np
import pytest

from scim.training.loop._sampling import Sampler, balanced_weights, draw_without_replacement, paper_weights


def test_paper_weights_by_hand():
    labels, studies = np.array([0, 0, 1]), np.array([0, 1, 1])
    expected = [
        1 / np.log1p(2e-4) / np.log1p(1e-6),
        1 / np.log1p(2e-4) / np.log1p(2e-6),
        1 / np.log1p(1e-4) / np.log1p(2e-6),
    ]
    assert paper_weights(labels, studies) == pytest.approx(np.array(expected) / sum(expected))


def test_balanced_weights_by_hand():
    labels, studies = np.array([0, 0, 0, 1, 0]), np.array([0, 0, 0, 0, 1])

    def weights(by_class, by_study):
        return balanced_weights(labels, studies, class_balance=by_class, study_balance=by_study)

    assert weights(0, 0) == pytest.approx(np.full(5, 1 / 5))
    assert weights(0, 1) == pytest.approx([1 / 8] * 4 + [1 / 2])
    assert weights(1, 1) == pytest.approx([1 / 12] * 3 + [1 / 4, 1 / 2])
    assert weights(1, 0) == pytest.approx([2 / 15] * 3 + [2 / 5, 1 / 5])


def test_paper_weights_are_clipped_at_twice_the_quantile_by_hand():
    """One cell of a rare label among 2,000: the 99.9 % quantile is the weight of the others, so it weighs twice that."""
    labels = np.repeat([0, 1], [2000, 1])
    weights = paper_weights(labels, np.zeros(2001, dtype=np.int64))
    assert 1 / np.log1p(1e-4) > 2 / np.log1p(0.2)  # what the rare cell would weigh beside twice the others
    assert weights == pytest.approx(np.repeat([1, 2], [2000, 1]) / 2002)


def test_draws_without_replacement_have_the_probabilities_of_successive_draws():
    """Of weights 1, 2, 3 the ordered pair (i, j) has probability w_i / 6 * w_j / (6 - w_i)."""
    weights, random, n = np.array([1.0, 2.0, 3.0]), np.random.default_rng(0), 8000
    found = collections.Counter(tuple(draw_without_replacement(weights, 2, random).tolist()) for _ in range(n))
    for i, j in itertools.permutations(range(3), 2):
        expected = weights[i] / 6 * weights[j] / (6 - weights[i])
        assert found[i, j] / n == pytest.approx(expected, abs=4 * (expected / n) ** 0.5)


@pytest.mark.parametrize(("epoch", "n_batches"), [(3, 3), (100, 4), (1, 1)])
def test_no_cell_is_drawn_twice_in_an_epoch(epoch, n_batches):
    """Of 400 cells a tenth fills four batches of 10; the next epoch draws from all cells again."""
    sampler, random = Sampler(np.ones(400), 10, epoch), np.random.default_rng(0)
    epochs = [np.concatenate([sampler.draw(random) for _ in range(n_batches)]) for _ in range(50)]
    assert all(len(set(rows)) == rows.size == 10 * n_batches for rows in epochs)
    assert len(set(np.concatenate(epochs))) > 10 * n_batches * 4


def test_a_batch_of_more_than_a_tenth_of_the_cells_has_no_cell_twice():
    sampler, random = Sampler(np.r_[1e9, np.ones(11)], 12, 100), np.random.default_rng(0)
    assert [sorted(sampler.draw(random)) for _ in range(3)] == [list(range(12))] * 3


@pytest.mark.parametrize(("n_cells", "epoch"), [(11, 100), (400, 0)])
def test_fewer_cells_than_a_batch_or_no_epoch_are_drawn_with_replacement(n_cells, epoch):
    weights = np.r_[1e9, np.ones(n_cells - 1)]
    rows = Sampler(weights, 12, epoch).draw(np.random.default_rng(0))
    assert rows.tolist() == [0] * 12


@pytest.mark.parametrize("n_drawn", [0, 1, 3, 4, 6])
def test_a_sampler_with_the_state_of_another_goes_on_as_that_does(n_drawn):
    whole, random = Sampler(np.arange(1.0, 401), 10, 4), np.random.default_rng(0)
    for _ in range(n_drawn):
        whole.draw(random)
    resumed, again = Sampler(np.arange(1.0, 401), 10, 4), np.random.default_rng(1)
    resumed.state, again.bit_generator.state = dict(whole.state), random.bit_generator.state
    for _ in range(6):
        assert whole.draw(random).tolist() == resumed.draw(again).tolist()
