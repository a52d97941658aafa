"""A graph of neighbours: rows linked with their nearest, searched best-first from landmarks."""
