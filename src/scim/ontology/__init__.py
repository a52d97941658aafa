"""The Cell Ontology: ids, names, ancestors, descendants, next of kin; labels as its terms, and in its order."""

from scim.ontology._cell_ontology import ancestors, depth, descendants, related, term_id, term_name
from scim.ontology._labels import is_descendant, standardize
from scim.ontology._lineage import children, lowest_common_ancestors, parents, siblings
from scim.ontology._order import sort_terms

__all__ = [
    "ancestors",
    "is_descendant",
    "children",
    "depth",
    "descendants",
    "related",
    "lowest_common_ancestors",
    "standardize",
    "parents",
    "siblings",
    "sort_terms",
    "term_id",
    "term_name",
]
