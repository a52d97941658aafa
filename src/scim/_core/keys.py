"""Every name that scim writes into an AnnData or an atlas, in one place."""

from __future__ import annotations

EMBEDDING = "X_scim"
"""`obsm`: the embedding, float32 unit rows."""

EMBED_PARAMS = "scim"
"""`uns`: how the embedding was made."""

LABEL = "scim_label"
"""`obs`: the annotated label; the base of the other names that `tl.annotate` writes."""

SEARCH = "scim_search"
"""`uns`: parameters and provenance of a search; the base of its `obsm` names."""

EXPLAIN = "scim_explain"
"""`uns`: which genes set groups of cells apart."""

ENRICHMENT = "scim_enrichment"
"""`uns`: which samples the hits of a search come from, and in which values of a column they are more than expected."""

ATLAS_CELL_ID = "cell_id"
ATLAS_STUDY = "study"
ATLAS_LABEL = "label"
ATLAS_LABEL_ID = "label_id"
"""Columns that the obs table of every atlas has, beside `soma_joinid`."""

ATLAS_COLUMNS = (ATLAS_CELL_ID, ATLAS_STUDY, ATLAS_LABEL, ATLAS_LABEL_ID)

NO_LABEL = ("unknown", "na")
"""What the CELLxGENE schema writes for cells without a type: no labels."""

ATLAS_PRIMARY = "is_primary_data"
"""Column of true and false by which the CELLxGENE Census marks one of the copies of each cell."""

REFERENCE_LABEL = "reference_label"
IN_ANNOTATION = "in_annotation"
IN_SEARCH = "in_cellsearch"
ANNOTATION_INDEX = "annotation_index"
"""Columns of an atlas that was made of a published SCimilarity folder: the label as it stands there, which of its two
indices a cell comes from, and its number in that of labelled cells."""

REFERENCE_COLUMNS = (REFERENCE_LABEL, IN_ANNOTATION, IN_SEARCH, ANNOTATION_INDEX)
