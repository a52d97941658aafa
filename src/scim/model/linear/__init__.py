"""Linear metrics, as encoders without hidden layers."""

from scim.model.linear._affine import Affine, encoder_of
from scim.model.linear._block import Block
from scim.model.linear._fit import fit_linear
from scim.model.linear._methods import LINEAR, LinearObjective

__all__ = ["LINEAR", "Affine", "Block", "LinearObjective", "encoder_of", "fit_linear"]
