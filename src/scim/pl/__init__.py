"""Draw what `scim.tl` wrote: each function returns a figure, or draws on the axes it is given."""

from scim.pl._attribution import attribution, ranked_genes
from scim.pl._confusion import confusion
from scim.pl._consensus import consensus
from scim.pl._enrichment import enrichment
from scim.pl._hits import composition, hits
from scim.pl._hits_circles import hits_circles
from scim.pl._hits_heatmap import hits_heatmap
from scim.pl._labels import labels, votes
from scim.pl._novelty import novelty
from scim.pl._reliability import reliability

__all__ = [
    "attribution",
    "composition",
    "confusion",
    "consensus",
    "enrichment",
    "hits",
    "hits_circles",
    "hits_heatmap",
    "labels",
    "novelty",
    "ranked_genes",
    "reliability",
    "votes",
]
