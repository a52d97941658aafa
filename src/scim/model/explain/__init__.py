"""Which genes set a cell apart from cells of other types: arrays in, arrays out."""

from scim.model.explain._average import Attribution, average_attributions
from scim.model.explain._gradients import Method, attributions, integrated_gradients
from scim.model.explain._pairs import Pairs, draw_pairs, rivals

__all__ = [
    "Attribution",
    "Method",
    "Pairs",
    "attributions",
    "average_attributions",
    "draw_pairs",
    "integrated_gradients",
    "rivals",
]
