"""Check an atlas against what was committed, and repair it."""

from scim.atlas.verify._problem import Problem
from scim.atlas.verify._verify import verify

__all__ = ["Problem", "verify"]
