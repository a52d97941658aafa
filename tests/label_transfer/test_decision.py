from __future__ import annotations

import numpy as np

from helpers.references import tree_of
from scim._core.adata import Groups
from scim.label_transfer._decision import choose_terms, group_consensus

TREE = tree_of("T cell", "CD4-positive, alpha-beta T cell", "CD8-positive, alpha-beta T cell", "B cell")
T, CD4, CD8, B = range(4)
ALL = np.ones(len(TREE.names), bool)


def paths_of(*rows):
    """Return terms and probabilities of rows: the best label, its probability, and those of its ancestors."""
    width = TREE.paths.shape[1]
    right = np.zeros((len(rows), width), np.float32)
    for i, (_, *p) in enumerate(rows):
        right[i, : len(p)] = p
    return TREE.paths[[winner for winner, *_ in rows]], right


def test_paths():
    assert [TREE.names[t] for t in TREE.paths[CD4]] == [
        "CD4-positive, alpha-beta T cell",
        "mature alpha-beta T cell",
        "T cell",
    ]


def test_the_most_specific_term_that_passes():
    paths = paths_of((CD4, 0.9, 0.95, 0.99), (CD4, 0.3, 0.85, 0.9), (CD4, 0.1, 0.2, 0.6), (B, 0.2))
    terms, confidence = choose_terms(*paths, 0.5, ALL)
    assert [TREE.names[t] if t >= 0 else None for t in terms] == [
        "CD4-positive, alpha-beta T cell",
        "mature alpha-beta T cell",
        "T cell",
        None,
    ]
    np.testing.assert_allclose(confidence, [0.9, 0.85, 0.6, 0.2])


def test_a_level_restricts_the_terms():
    only = np.isin(TREE.names, ["T cell", "B cell"])
    terms, confidence = choose_terms(*paths_of((CD4, 0.9, 0.95, 0.99), (CD8, 0.1, 0.1, 0.3), (B, 0.8)), 0.5, only)
    assert terms.tolist() == [T, -1, B]
    np.testing.assert_allclose(confidence, [0.99, 0.3, 0.8])
    assert choose_terms(*paths_of((B, 0.9)), 0.5, TREE.names == "T cell")[0].tolist() == [-1]


def test_a_consensus_by_hand():
    terms, right = paths_of(
        (CD4, 0.9, 0.95, 0.95), (CD4, 0.7, 0.85, 0.95), (CD8, 0.6, 0.9, 0.9), (B, 0.8),  # group 0
        (B, 0.9), (B, 0.8), (B, 1.0),  # group 1
        (CD4, 0.1, 0.1, 0.1),  # group 2
        (B, 0.5),  # none
    )  # fmt: skip
    groups = Groups(np.array(["a", "b", "c"], object), np.array([0, 0, 0, 0, 1, 1, 1, 2, -1]))
    predicted, _ = choose_terms(terms, right, 0.2, ALL)
    novelty = np.array([0.1, 0.5, 0.6, 0.2, 0, 0, 0.3, 0.9, 1], np.float32)
    frame = group_consensus(groups, terms, right, predicted, TREE, 0.6, ALL, novelty)
    # of group 0, CD4 expects (.9 + .7) / 4 = .4, its parent (.95 + .85 + .9) / 4 = .675
    assert frame["label"].astype(object).tolist()[:2] == ["mature alpha-beta T cell", "B cell"]
    assert frame["label"].isna().tolist() == [False, False, True]
    assert frame["label_id"].astype(object).tolist()[:2] == ["CL:0000791", "CL:0000236"]
    assert frame["group"].tolist() == ["a", "b", "c"]
    assert frame["n_cells"].tolist() == [4, 3, 1]
    np.testing.assert_allclose(frame["confidence"], [0.675, 0.9, 0.1], rtol=1e-6)
    np.testing.assert_allclose(frame["share"], [0.75, 1, 0])  # the cell of group 2 is unknown
    assert frame["runner_up"].astype(object).tolist()[0] == "B cell"
    assert frame["runner_up"].isna().tolist() == [False, True, True]
    np.testing.assert_allclose(frame["runner_up_share"], [0.25, 0, 0])
    np.testing.assert_allclose(frame["unknown"], [0, 0, 1])
    np.testing.assert_allclose(frame["novelty"], [0.35, 0.1, 0.9], rtol=1e-6)
    np.testing.assert_allclose(frame["novel"], [0.5, 0, 1])  # novelty of .5 and more
    assert frame["mixed"].tolist() == [True, False, False]
