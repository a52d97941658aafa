"""A graph of neighbours that is walked."""
