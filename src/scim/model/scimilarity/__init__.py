"""The published model of :cite:t:`Heimberg2025`: its folder, read with distrust."""

from scim.model.scimilarity._read import from_scimilarity

__all__ = ["from_scimilarity"]
