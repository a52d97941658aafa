"""Linear metrics, as encoders without hidden layers."""

from scim.training.linear._fit import LINEAR, Affine, encoder_of, fit_linear
from scim.training.linear._moments import Block

__all__ = ["LINEAR", "Affine", "Block", "encoder_of", "fit_linear"]
