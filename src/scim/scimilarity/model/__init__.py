"""The published model of :cite:t:`Heimberg2025`: its folder, read with distrust."""

from scim.scimilarity.model._read import import_model

__all__ = ["import_model"]
