"""Atlases of published SCimilarity folders."""

from scim.atlas.scimilarity._import import from_scimilarity

__all__ = ["from_scimilarity"]
