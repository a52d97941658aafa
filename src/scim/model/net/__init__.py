"""The nets, and running them fast."""

from scim.model.net._dense import DenseEncoder
from scim.model.net._encode import FoldedEncoder, encode, torch_threads
from scim.model.net._filled import bare, fill
from scim.model.net._net import Decoder, Encoder, standardize

__all__ = [
    "Decoder",
    "DenseEncoder",
    "Encoder",
    "FoldedEncoder",
    "bare",
    "encode",
    "fill",
    "standardize",
    "torch_threads",
]
