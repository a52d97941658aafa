"""What training makes small."""

from scim.model.objectives._l1 import l1_loss
from scim.model.objectives._make import make_objective
from scim.model.objectives._objective import Objective, View
from scim.model.objectives._perturb import perturb
from scim.model.objectives._prototype import Prototypes
from scim.model.objectives._reconstruction import reconstruction_loss
from scim.model.objectives._relations import Relations, relations

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
