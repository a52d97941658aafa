"""The Cell Ontology: ids, names, ancestors, descendants, kin."""

from scim.ontology._cell_ontology import ancestors, descendants, kin, term_id, term_name

__all__ = ["ancestors", "descendants", "kin", "term_id", "term_name"]
