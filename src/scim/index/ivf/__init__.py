"""An inverted file: rows by list as small codes."""
