"""The Cell Ontology: ids, names, ancestors, descendants, next of kin; labels as its terms, and in its order."""

from scim.ontology._cell_ontology import ancestors, depth, descendants, kin, term_id, term_name
from scim.ontology._labels import below, named
from scim.ontology._lineage import children, lowest_common_ancestors, parents, siblings
from scim.ontology._order import sort_terms

__all__ = [
    "ancestors",
    "below",
    "children",
    "depth",
    "descendants",
    "kin",
    "lowest_common_ancestors",
    "named",
    "parents",
    "siblings",
    "sort_terms",
    "term_id",
    "term_name",
]
