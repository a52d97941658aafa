"""The losses of training, and how labels are related to each other."""

from scim.training.losses._loss import LabelledLoss, Loss, Relations, View, relations
from scim.training.losses._make import LOSSES, make_loss

__all__ = ["LOSSES", "LabelledLoss", "Loss", "Relations", "View", "make_loss", "relations"]
