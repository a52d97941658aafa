"""What training makes small."""

from scim.training.losses._l1 import l1_loss
from scim.training.losses._make import make_objective
from scim.training.losses._objective import Objective, View
from scim.training.losses._perturb import perturb
from scim.training.losses._prototype import Prototypes
from scim.training.losses._reconstruction import reconstruction_loss
from scim.training.losses._relations import Relations, relations

__all__ = [
    "Objective",
    "Prototypes",
    "Relations",
    "View",
    "l1_loss",
    "make_objective",
    "perturb",
    "reconstruction_loss",
    "relations",
]
