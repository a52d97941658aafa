"""Whether an atlas is what was committed, and mending what can be."""

from scim.atlas.verify._problem import Problem
from scim.atlas.verify._verify import verify

__all__ = ["Problem", "verify"]
