"""The nets, and fast inference with them."""

from scim.model.net._encode import FoldedEncoder, torch_threads
from scim.model.net._fold import DenseEncoder
from scim.model.net._net import Decoder, Dropout, Encoder, empty_net, set_weights, standardize

__all__ = [
    "Decoder",
    "DenseEncoder",
    "Dropout",
    "Encoder",
    "FoldedEncoder",
    "empty_net",
    "set_weights",
    "standardize",
    "torch_threads",
]
