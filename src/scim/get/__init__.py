"""Return what `scim.tl` wrote as data frames; no function here changes an AnnData."""

from scim.get._annotation import annotation
from scim.get._attribution import attribution
from scim.get._compare_labels import confusion
from scim.get._enrichment import enrichment
from scim.get._hits import composition, hits
from scim.get._novel import novel
from scim.get._reliability import reliability, selective_risk
from scim.get._votes import vote_shares, votes

__all__ = [
    "annotation",
    "attribution",
    "composition",
    "confusion",
    "enrichment",
    "hits",
    "novel",
    "reliability",
    "selective_risk",
    "vote_shares",
    "votes",
]
