"""Embed, annotate, search and explain the cells of an AnnData."""

from scim.tl._annotate import annotate
from scim.tl._embed import embed
from scim.tl._enrichment import enrichment
from scim.tl._explain import explain
from scim.tl._novel import novel
from scim.tl._search import search
from scim.tl._similarity import score_similarity
from scim.tl._systems import rank_systems

__all__ = ["annotate", "embed", "enrichment", "explain", "novel", "rank_systems", "score_similarity", "search"]
