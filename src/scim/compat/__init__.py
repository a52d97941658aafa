"""Scripts written for other packages, on the functions of this one."""

from scim.compat import scimilarity

__all__ = ["scimilarity"]
