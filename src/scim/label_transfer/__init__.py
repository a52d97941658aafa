"""Label transfer: labels for cells from their nearest labelled cells, on arrays."""

from scim.label_transfer._calibration import Calibration, calibrate
from scim.label_transfer._reference import LabelReference
from scim.label_transfer._transfer import LabelTransfer, Prediction
from scim.label_transfer._tree import LabelTree, Level
from scim.label_transfer._votes import Votes, count_labels, count_votes

__all__ = [
    "Calibration",
    "LabelReference",
    "LabelTransfer",
    "LabelTree",
    "Level",
    "Prediction",
    "Votes",
    "calibrate",
    "count_labels",
    "count_votes",
]
