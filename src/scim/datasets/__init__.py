"""Load small example data, simulated or from scanpy."""

from scim.datasets._pbmc import pbmc68k
from scim.datasets._toy import toy

__all__ = ["pbmc68k", "toy"]
