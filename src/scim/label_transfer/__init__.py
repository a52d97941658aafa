"""Label transfer: labels for cells from their nearest labelled cells, on arrays."""

from scim.label_transfer._calibration import Calibration
from scim.label_transfer._expression import CountSample, ExpressionReference
from scim.label_transfer._prediction import Prediction
from scim.label_transfer._reference import LabelReference
from scim.label_transfer._transfer import LabelTransfer
from scim.label_transfer._tree import LabelTree

__all__ = [
    "Calibration",
    "CountSample",
    "ExpressionReference",
    "LabelReference",
    "LabelTransfer",
    "LabelTree",
    "Prediction",
]
