"""An inverted file: rows by list as residual codes."""
