"""What `scim.tl` wrote, as data frames. Nothing here changes an AnnData."""

from scim.get._attribution import attribution
from scim.get._composition import composition
from scim.get._confusion import confusion
from scim.get._enrichment import enrichment
from scim.get._hits import hits
from scim.get._reliability import reliability
from scim.get._selective_risk import selective_risk
from scim.get._vote_shares import vote_shares
from scim.get._votes import votes

__all__ = [
    "attribution",
    "composition",
    "confusion",
    "enrichment",
    "hits",
    "reliability",
    "selective_risk",
    "vote_shares",
    "votes",
]
