"""What `scim.tl` wrote, as data frames. Nothing here changes an AnnData."""

from scim.get._attribution import attribution
from scim.get._composition import composition
from scim.get._enrichment import enrichment
from scim.get._hits import hits
from scim.get._votes import votes

__all__ = ["attribution", "composition", "enrichment", "hits", "votes"]
