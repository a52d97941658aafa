"""Atlases of published SCimilarity folders."""

from scim.scimilarity.atlas._import import import_atlas

__all__ = ["import_atlas"]
