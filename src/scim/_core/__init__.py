"""Provide keys, types, errors, checks, settings, logging, files and numerical kernels that every room uses."""
