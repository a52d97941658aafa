"""The Cell Ontology: ids, names, ancestors, descendants, kin; labels as its terms, and in its order."""

from scim.ontology._cell_ontology import ancestors, depth, descendants, kin, term_id, term_name
from scim.ontology._labels import below, named
from scim.ontology._order import sort_terms

__all__ = ["ancestors", "below", "depth", "descendants", "kin", "named", "sort_terms", "term_id", "term_name"]
