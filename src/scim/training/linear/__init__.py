"""Linear metrics, as encoders without hidden layers."""

from scim.training.linear._affine import Affine, encoder_of
from scim.training.linear._block import Block
from scim.training.linear._fit import fit_linear
from scim.training.linear._methods import LINEAR, LinearObjective

__all__ = ["LINEAR", "Affine", "Block", "LinearObjective", "encoder_of", "fit_linear"]
