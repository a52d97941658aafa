"""Run scim from the command line."""

from scim.cli._main import main, run

__all__ = ["main", "run"]
