from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from scim.label_transfer import CountSample, ExpressionReference
from scim.label_transfer._expression import sample_rows

GENES = np.array([f"g{i}" for i in range(30)], object)


def sample(counts, genes=GENES, first=0):
    ids = np.arange(first, first + len(counts))
    return CountSample(ids, sparse.csr_matrix(np.asarray(counts, np.float32)), np.asarray(genes, object))


def cells(n, seed=0, n_genes=30):
    """Counts of n cells; the odd ones have more of the first genes."""
    random = np.random.default_rng(seed)
    rates = np.ones((n, n_genes)) * np.linspace(2, 20, n_genes)
    rates[1::2, :10] *= 5
    return random.poisson(rates * random.gamma(5, 0.2, size=(n, n_genes))).astype(np.float32)


def log_normalised(counts, total=1e4):
    counts = np.asarray(counts, np.float64)
    return np.log1p(total * counts / counts.sum(axis=1, keepdims=True))


def named(*names):
    return np.array(names, object)


def alternating(n):
    """Labels of n cells and their studies: a and b in turn, two studies."""
    return np.tile(named("a", "b"), n // 2), np.repeat(named("one", "two"), n // 2)


def row(reference, label, study):
    (at,) = np.flatnonzero((reference.labels == label) & (reference.studies == study))
    return at


def test_means_and_shares_by_hand():
    counts = cells(40)
    labels, studies = alternating(40)
    found = ExpressionReference.of([sample(counts)], labels, studies)
    assert found.genes.tolist() == GENES.tolist()
    assert sorted(zip(found.labels, found.studies, strict=True)) == [
        ("a", "one"), ("a", "two"), ("b", "one"), ("b", "two"),
    ]  # fmt: skip
    assert found.n_cells.tolist() == [10] * 4
    assert found.measured.all()
    shares = []
    for label, study in zip(found.labels, found.studies, strict=True):
        members = (labels == label) & (studies == study)
        shares.append((counts[members] / counts[members].sum(axis=1, keepdims=True)).mean(axis=0))
        expected = log_normalised(counts[members]).mean(axis=0)
        np.testing.assert_allclose(found.means[row(found, label, study)], expected, rtol=1e-3)
    np.testing.assert_allclose(found.share, np.mean(shares, axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.mean("a"), found.means[found.labels == "a"].mean(axis=0), rtol=1e-3)
    assert np.isnan(found.mean("absent")).all()


def test_a_smaller_panel_is_scaled_to_its_share():
    whole, part = cells(40), cells(20, seed=1)
    panel = np.r_[5:29]  # in another order, and with a gene that the first study lacks
    genes = named(*GENES[panel][::-1], "other")
    counts = np.hstack([part[:, panel][:, ::-1], np.full((20, 1), 50)])
    labels = np.tile(named("a", "b"), 30)
    studies = np.repeat(named("one", "two", "three"), 20)
    found = ExpressionReference.of([sample(whole), sample(counts, genes, 40)], labels, studies, GENES)
    at = row(found, "b", "three")
    assert found.measured[at].tolist() == np.isin(np.arange(30), panel).tolist()
    total = 1e4 * found.share[panel].sum()
    np.testing.assert_allclose(found.means[at, panel], log_normalised(part[1::2][:, panel], total).mean(axis=0), 2e-3)
    assert not found.means[at, [0, 4, 29]].any()
    only_large = ExpressionReference.of([sample(whole)], labels[:40], studies[:40], GENES)
    np.testing.assert_allclose(found.share, only_large.share, rtol=1e-6)  # small panels give no shares
    np.testing.assert_allclose(
        found.mean("b")[0], found.means[[row(found, "b", s) for s in ("one", "two")], 0].mean(), 2e-3
    )


def test_a_later_study_is_scaled_by_given_shares():
    before = ExpressionReference.of([sample(cells(40))], *alternating(40))
    panel, part = np.arange(8, 30), cells(20, seed=1)
    labels, studies = np.tile(named("a", "b"), 10), np.repeat(named("three"), 20)
    later = [sample(part[:, panel], GENES[panel])]
    found = ExpressionReference.of(later, labels, studies, before.genes, before.share)
    np.testing.assert_array_equal(found.share, before.share)
    expected = log_normalised(part[::2][:, panel], 1e4 * before.share[panel].sum()).mean(axis=0)
    np.testing.assert_allclose(found.means[row(found, "a", "three"), panel], expected, rtol=2e-3)
    few = [sample(part[:, :19], GENES[:19])]
    assert ExpressionReference.of(few, labels, studies, before.genes, before.share) is None
    none = [sample(part, [f"other {i}" for i in range(30)])]
    assert ExpressionReference.of(none, labels, studies, before.genes, before.share) is None


def test_unlabelled_cells_and_cells_without_counts_are_left_out():
    counts = cells(60)
    labels, studies = np.tile(named("a", "b"), 30), np.repeat(named("one", "two", "three"), 20)
    labels[40:] = None
    counts[:2] = 0
    some = ExpressionReference.of([sample(counts)], labels, studies)
    alone = ExpressionReference.of([sample(counts[2:40])], labels[2:40], studies[2:40])
    for name, array in some.to_arrays().items():
        np.testing.assert_array_equal(array, alone.to_arrays()[name])
    expected = log_normalised(counts[2:20:2]).mean(axis=0)
    np.testing.assert_allclose(some.means[row(some, "a", "one")], expected, rtol=2e-3)
    assert np.isfinite(some.noise).all()


def test_without_counts_or_differences_there_is_none():
    counts = cells(20)
    assert ExpressionReference.of([], *alternating(20)) is None
    assert ExpressionReference.of([sample(counts)], np.full(20, None), np.repeat(named("s"), 20)) is None
    assert ExpressionReference.of([sample(counts)], np.repeat(named("a"), 20), np.repeat(named("s"), 20)) is None
    same = np.ones((20, 30))
    assert ExpressionReference.of([sample(same)], *alternating(20)) is None
    assert ExpressionReference.of([sample(np.zeros((20, 30)))], *alternating(20)) is None


@pytest.mark.parametrize("n_genes", [1, 2])
def test_very_few_genes(n_genes):
    found = ExpressionReference.of(
        [sample(cells(20)[:, :n_genes] + [[5], [0]] * 10, GENES[:n_genes])], *alternating(20)
    )
    if n_genes == 1:  # all counts are of the one gene: normalised, it is the same in all cells
        assert found is None
    else:
        assert found.means.shape == (4, 2)
        assert np.isfinite(found.space.centroids).all()


def test_the_genes_that_differ_most_between_labels(monkeypatch):
    monkeypatch.setattr("scim.label_transfer._expression._MAX_GENES", 10)
    found = ExpressionReference.of([sample(cells(200))], *alternating(200))
    assert found.genes.tolist() == GENES[:10].tolist()
    np.testing.assert_allclose(found.share.sum(), 1, rtol=1e-6)


def test_a_gene_of_few_studies_is_left_out():
    whole, fewer = cells(60), cells(20, seed=1)
    labels, studies = np.tile(named("a", "b"), 40), np.repeat(named("one", "two", "three", "four"), 20)
    samples = [sample(whole[:, :29], GENES[:29]), sample(fewer, GENES, 60)]
    assert ExpressionReference.of(samples, labels, studies).genes.tolist() == GENES[:29].tolist()


def test_four_studies_of_a_label_that_have_most_cells():
    sizes = [6, 2, 8, 4, 10, 12]
    studies = np.repeat(named(*"uvwxyz"), sizes)
    labels = np.tile(named("a", "b"), sum(sizes) // 2)
    found = ExpressionReference.of([sample(cells(sum(sizes)))], labels, studies)
    for label in "ab":
        assert sorted(found.studies[found.labels == label]) == list("uwyz")
        assert sorted(found.n_cells[found.labels == label]) == [3, 4, 5, 6]


def test_the_covariance_within_labels():
    random = np.random.default_rng(0)
    rates = np.full((600, 30), 30.0)
    rates[1::2, :5] *= 3
    rates[:, 10:15] *= np.exp(random.normal(scale=0.5, size=(600, 1)))  # genes that vary together in both labels
    counts = random.poisson(rates)
    labels, studies = np.tile(named("a", "b"), 300), np.repeat(named("one"), 600)
    found = ExpressionReference.of([sample(counts)], labels, studies)
    X = log_normalised(counts)
    apart = np.concatenate([X[labels == label] - X[labels == label].mean(axis=0) for label in "ab"])
    expected = apart.T @ apart / 598
    factor = found.factor.astype(float)
    np.testing.assert_allclose(factor.T @ factor + np.diag(found.noise), expected, atol=0.01 * expected.max())
    # the factor has as many rows as there are genes: the noise is the least that a gene has
    np.testing.assert_allclose(np.diag(factor.T @ factor), np.diag(expected), rtol=0.01)
    np.testing.assert_allclose(found.noise, 1e-3, rtol=0.1)


def test_labels_of_one_cell_do_not_change_the_covariance():
    counts, more = cells(80), cells(40, seed=3)
    labels, studies = alternating(80)
    alone = ExpressionReference.of([sample(counts)], labels, studies, GENES)
    singles = named(*(f"single {i}" for i in range(40)))
    found = ExpressionReference.of(
        [sample(np.vstack([counts, more]))],
        np.append(labels, singles),
        np.append(studies, [None] * 40),
        GENES,
        alone.share,
    )
    trace = [(r.factor.astype(float) ** 2).sum() + r.noise.sum() for r in (alone, found)]
    np.testing.assert_allclose(trace[1], trace[0], rtol=0.02)


def test_the_same_input_gives_the_same_arrays():
    first, second = (ExpressionReference.of([sample(cells(60))], *alternating(60)).to_arrays() for _ in range(2))
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


def test_arrays_hold_no_objects(tmp_path):
    found = ExpressionReference.of([sample(cells(40))], *alternating(40))
    np.savez(tmp_path / "expression.npz", **found.to_arrays())
    with np.load(tmp_path / "expression.npz", allow_pickle=False) as arrays:
        loaded = ExpressionReference.from_arrays(arrays, "x.npz", remedy="Make it again.")
    for name in ("genes", "labels", "studies", "share", "n_cells", "means", "measured", "factor", "noise"):
        before, after = getattr(found, name), getattr(loaded, name)
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)


def test_merged_keeps_its_own_pairs():
    first = ExpressionReference.of([sample(cells(40))], *alternating(40))
    labels = np.tile(named("a", "c"), 20)
    studies = np.repeat(named("two", "three"), 20)
    second = ExpressionReference.of([sample(cells(40, seed=1))], labels, studies, first.genes, first.share)
    merged = first.merged(second)
    assert len(merged.labels) == 4 + 3  # (a, two) is in both
    for source, label, study in ((first, "a", "two"), (second, "c", "two"), (second, "a", "three")):
        np.testing.assert_array_equal(merged.means[row(merged, label, study)], source.means[row(source, label, study)])
    np.testing.assert_array_equal(merged.factor, first.factor)
    assert first.merged(first).to_arrays()["means"].tolist() == first.means.tolist()


def test_merged_keeps_four_studies_of_a_label():
    labels, studies = np.tile(named("a", "b"), 24), np.repeat(named(*"uvwx"), [18, 14, 10, 6])
    first = ExpressionReference.of([sample(cells(48))], labels, studies)
    second = ExpressionReference.of(
        [sample(cells(20))], labels[:20], np.repeat(named("y"), 20), first.genes, first.share
    )
    assert sorted(set(first.merged(second).studies)) == list("uvwy")


def test_among():
    found = ExpressionReference.of([sample(cells(40))], *alternating(40))
    assert found.among(np.ones(4, bool)) is found
    assert found.among(np.zeros(4, bool)) is None
    some = found.among(found.labels == "b")
    assert some.labels.tolist() == ["b", "b"]
    np.testing.assert_array_equal(some.means, found.means[found.labels == "b"])
    np.testing.assert_array_equal(some.noise, found.noise)


def test_a_sample_of_some_cells():
    counts = sample(cells(6), first=2)
    some = counts.among(np.isin(np.arange(8), [3, 6]))
    assert some.ids.tolist() == [3, 6]
    np.testing.assert_array_equal(some.counts.toarray(), counts.counts[[1, 4]].toarray())


def test_rows_are_drawn_evenly_from_each_pair():
    labels = named("a", "a", None, "b", "a", "a", "a", "b", np.nan)
    studies = named(*"sssstssts")
    assert sample_rows(labels, studies).tolist() == [0, 1, 3, 4, 5, 6, 7]
    # (a, s) has 0, 1, 5, 6: every other one
    assert sample_rows(labels, studies, most=2).tolist() == [0, 3, 4, 5, 7]
    assert sample_rows(np.full(3, None), np.full(3, "s", object)).tolist() == []
