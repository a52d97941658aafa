"""Neighbours to labels: who votes, what is counted, how probable an answer is, and which answer is given."""

from scim.vote._answer import Answer, answer
from scim.vote._calibrate import calibrate
from scim.vote._centroids import Centroids, centroids_of, near_labels
from scim.vote._confidence import Confidence, Probabilities
from scim.vote._consensus import Consensus, consensus
from scim.vote._count import Evidence, Votes, count, label_weights
from scim.vote._totals import Totals, totals
from scim.vote._tree import LabelTree
from scim.vote._voters import Voters

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
