"""The names under which the loop still imports these."""

from __future__ import annotations

from scim.model.objectives._l1 import l1_loss
from scim.model.objectives._prototype import prototype_loss
from scim.model.objectives._reconstruction import reconstruction_loss
from scim.model.objectives._triplet import triplet_loss

__all__ = ["l1_loss", "prototype_loss", "reconstruction_loss", "triplet_loss"]
