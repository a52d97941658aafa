"""Brute force, and the kernels that every kind measures distances with."""
