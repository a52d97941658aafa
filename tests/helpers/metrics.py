"""The class separation of metric-learn, whose tests have values for iris."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import pairwise_distances


def class_separation(Z, labels):
    """Mean distance of the cells of a label from each other, over that from all others; mean over the labels."""
    own = [labels == label for label in np.unique(labels)]
    return np.mean([pairwise_distances(Z[o]).mean() / pairwise_distances(Z[o], Z[~o]).mean() for o in own])
