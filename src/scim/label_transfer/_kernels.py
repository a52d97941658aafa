"""The loops of the vote, one query a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scim._core.numba import njit, njit_parallel, prange

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIDDLE = 1e-3
"""Distances to centroids below this count as this."""

STUDY_POWER = 0.65
"""Power of the votes of one study for a label: many studies that say the same count more than one that says it loudly.
Between .3 and 1 it hardly changes the labels (benchmarks/NOTES.md)."""


@njit
def tally(
    labels: NDArray[np.int32],
    studies: NDArray[np.int32],
    weights: NDArray[np.float64],
    near: NDArray[np.float32],
    balanced: bool,  # noqa: FBT001  (kernels take their arguments by place)
    seen: NDArray[np.int32],
    total: NDArray[np.float64],
) -> int:
    """Write the labels of one query in the order of their nearest member, and their votes; return their number.

    Labels of one query are few: a list searched from the front beats a table as wide as the atlas has labels, and its
    order settles ties.
    """
    k = labels.size
    n_seen, n_pairs = 0, 0
    of_label, of_study, pair_sum = np.empty(k, np.int64), np.empty(k, np.int32), np.zeros(k, np.float64)
    for j in range(k):
        if labels[j] < 0:
            continue
        at = 0
        while at < n_seen and seen[at] != labels[j]:
            at += 1
        if at == n_seen:
            seen[at] = labels[j]
            total[at] = 0.0
            n_seen += 1
        if not balanced:
            total[at] += weights[j]
            continue
        pair = 0
        while pair < n_pairs and (of_label[pair] != at or of_study[pair] != studies[j]):
            pair += 1
        if pair == n_pairs:
            of_label[pair], of_study[pair] = at, studies[j]
            n_pairs += 1
        pair_sum[pair] += weights[j]
    for pair in range(n_pairs):
        total[of_label[pair]] += pair_sum[pair] ** STUDY_POWER
    if balanced:
        for at in range(n_seen):
            total[at] /= np.sqrt(max(near[seen[at]], MIDDLE))
    return n_seen


@njit_parallel
def rank_labels(
    labels: NDArray[np.int32],
    studies: NDArray[np.int32],
    weights: NDArray[np.float64],
    near: NDArray[np.float32],
    balanced: bool,  # noqa: FBT001
    top_codes: NDArray[np.int32],
    top_shares: NDArray[np.float32],
    paths: NDArray[np.int32],
    inside: NDArray[np.bool_],
    above: NDArray[np.bool_],
    share: NDArray[np.float32],
    own: NDArray[np.float32],
    rival: NDArray[np.float32],
    n_studies: NDArray[np.int32],
) -> None:
    """Rank the labels of each query by votes, and weigh the first and the terms above it."""
    n, k = labels.shape
    for i in prange(n):
        seen, total = np.empty(k, np.int32), np.empty(k, np.float64)
        n_seen = tally(labels[i], studies[i], weights[i], near[i], balanced, seen, total)
        if n_seen == 0:
            continue
        rank(seen[:n_seen], total[:n_seen], top_codes[i], top_shares[i])
        path = paths[top_codes[i, 0]]
        for at in range(path.size):
            if path[at] < 0:
                break
            here, over = inside[path[at]], above[path[at]]
            share[i, at] = share_of(seen[:n_seen], total[:n_seen], here, over)
            for label in range(near.shape[1]):
                if here[label]:
                    own[i, at] = min(own[i, at], near[i, label])
                elif not over[label]:
                    rival[i, at] = min(rival[i, at], near[i, label])
            n_studies[i, at] = distinct(labels[i], studies[i], here)


@njit_parallel
def sum_labels(
    labels: NDArray[np.int32],
    weights: NDArray[np.float64],
    codes: NDArray[np.int32],
    counts: NDArray[np.float64],
    sums: NDArray[np.float64],
) -> None:
    """Write the labels of each query in the order of their nearest member, how many members each has, and their sum."""
    k = labels.shape[1]
    for i in prange(labels.shape[0]):
        seen, near = np.empty(k, np.int32), np.empty(0, np.float32)
        n_seen = tally(labels[i], labels[i], np.ones(k), near, False, seen, counts[i])  # noqa: FBT003
        tally(labels[i], labels[i], weights[i], near, False, seen, sums[i])  # noqa: FBT003
        codes[i, :n_seen] = seen[:n_seen]


@njit_parallel
def keep_nearest(cosines: NDArray[np.float32], labels: NDArray[np.int32], near: NDArray[np.float32]) -> None:
    """Lower the distance of each query to each label to that of its nearest point, at least 0."""
    for i in prange(cosines.shape[0]):
        for j in range(labels.size):
            distance = max(np.float32(1) - cosines[i, j], np.float32(0))
            near[i, labels[j]] = min(near[i, labels[j]], distance)


@njit
def rank(
    seen: NDArray[np.int32],
    total: NDArray[np.float64],
    top_codes: NDArray[np.int32],
    top_shares: NDArray[np.float32],
) -> None:
    """Write the labels with most votes, the first of equal ones first, and their shares."""
    left = total.copy()
    everything = total.sum()
    for place in range(min(top_codes.size, seen.size)):
        best = 0
        for at in range(1, seen.size):
            if left[at] > left[best]:
                best = at
        top_codes[place] = seen[best]
        top_shares[place] = total[best] / everything
        left[best] = -1.0


@njit
def share_of(
    seen: NDArray[np.int32], total: NDArray[np.float64], here: NDArray[np.bool_], over: NDArray[np.bool_]
) -> float:
    """Return the share of the votes for labels that are `here` among those for labels that are not `over` it."""
    mine, counted = 0.0, 0.0
    for at in range(seen.size):
        if over[seen[at]]:
            continue
        counted += total[at]
        if here[seen[at]]:
            mine += total[at]
    return mine / counted if counted > 0 else 0.0


@njit
def distinct(labels: NDArray[np.int32], studies: NDArray[np.int32], here: NDArray[np.bool_]) -> int:
    """Return the number of studies of the neighbours whose label is `here`."""
    known = np.empty(labels.size, np.int32)
    n_known = 0
    for j in range(labels.size):
        if labels[j] < 0 or not here[labels[j]]:
            continue
        at = 0
        while at < n_known and known[at] != studies[j]:
            at += 1
        if at == n_known:
            known[at] = studies[j]
            n_known += 1
    return n_known
