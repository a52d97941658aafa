"""The Cell Ontology: ids, names, ancestors, descendants and siblings of terms; labels as terms, related and sorted."""

from scim.ontology._cell_ontology import (
    ancestors,
    children,
    depth,
    descendants,
    lowest_common_ancestors,
    parents,
    siblings,
    term_id,
    term_name,
)
from scim.ontology._labels import is_descendant, related, sort_terms, standardize

__all__ = [
    "ancestors",
    "children",
    "depth",
    "descendants",
    "is_descendant",
    "lowest_common_ancestors",
    "parents",
    "related",
    "siblings",
    "sort_terms",
    "standardize",
    "term_id",
    "term_name",
]
