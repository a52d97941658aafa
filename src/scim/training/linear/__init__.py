"""Linear metrics, as encoders without hidden layers."""

from scim.training.linear._fit import LINEAR, Affine, encoder_of, fit_linear, whitened
from scim.training.linear._moments import Block
from scim.training.linear._pairwise import single_study

__all__ = ["LINEAR", "Affine", "Block", "encoder_of", "fit_linear", "single_study", "whitened"]
