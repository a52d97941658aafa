"""Batches, and the loop."""
