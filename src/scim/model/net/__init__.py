"""The nets, and running them fast."""

from scim.model.net._encode import FoldedEncoder, encode
from scim.model.net._net import Decoder, Encoder, standardize

__all__ = ["Decoder", "Encoder", "FoldedEncoder", "encode", "standardize"]
