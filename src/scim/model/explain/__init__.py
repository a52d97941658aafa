"""The genes that set a cell apart from cells of other types: arrays in, arrays out."""

from scim.model.explain._attribution import (
    Attribution,
    Method,
    Pairs,
    attributions,
    average_attributions,
    draw_pairs,
    integrated_gradients,
)

__all__ = [
    "Attribution",
    "Method",
    "Pairs",
    "attributions",
    "average_attributions",
    "draw_pairs",
    "integrated_gradients",
]
