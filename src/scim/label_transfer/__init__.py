"""Neighbours to labels: who votes, what is counted, how probable an answer is, and which answer is given."""

from scim.label_transfer._answer import Answer, answer
from scim.label_transfer._calibrate import calibrate
from scim.label_transfer._centroids import Centroids, centroids_of, near_labels
from scim.label_transfer._confidence import Confidence, Probabilities
from scim.label_transfer._consensus import Consensus, consensus
from scim.label_transfer._count import Evidence, Votes, count, label_weights
from scim.label_transfer._totals import Totals, totals
from scim.label_transfer._tree import LabelTree
from scim.label_transfer._voters import Voters

__all__ = [
    "Answer",
    "Centroids",
    "Confidence",
    "Consensus",
    "Evidence",
    "LabelTree",
    "Probabilities",
    "Totals",
    "Voters",
    "Votes",
    "answer",
    "calibrate",
    "centroids_of",
    "consensus",
    "count",
    "label_weights",
    "near_labels",
    "totals",
]
