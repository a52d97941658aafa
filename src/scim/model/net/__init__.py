"""The nets, and running them fast."""
