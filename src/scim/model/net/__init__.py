"""The nets, and running them fast."""

from scim.model.net._dense import DenseEncoder
from scim.model.net._encode import FoldedEncoder, encode, torch_threads
from scim.model.net._net import Decoder, Encoder, standardize

__all__ = ["Decoder", "DenseEncoder", "Encoder", "FoldedEncoder", "encode", "standardize", "torch_threads"]
