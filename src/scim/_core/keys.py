"""List every name that scim writes into an AnnData or an atlas."""

from __future__ import annotations

EMBEDDING = "X_scim"
"""`obsm`: the embedding, float32 unit rows."""

EMBED_PARAMS = "scim"
"""`uns`: how the embedding was made."""

LABEL = "scim_label"
"""`obs`: the annotated label; the base of the other names that `tl.annotate` writes."""

LABEL_COLUMNS = ("id", "confidence", "novelty", "distance", "studies")
"""`obs`, behind the name of an annotation: id of the label, and what is known of it."""

LABEL_GROUP = ("group", "group_confidence")
"""`obs`, behind the name of an annotation with `groupby`: the label of the group of each cell, and its confidence."""

LABEL_VOTES = ("codes", "shares")
"""`obsm`, behind the name of an annotation: the labels with most votes, and their shares."""

NEIGHBOUR_STATISTICS = ("farthest", "mean_distance", "vs2nd", "vsAll", "vs2nd_weighted", "vsAll_weighted")
"""`obs`, behind the name of an annotation: statistics of the neighbours; the last four as SCimilarity names them."""

LABEL_HITS = ("hits", "hits_weighted")
"""`obsm`, behind the name of an annotation: neighbours of each label, counted and weighted."""

NOVEL = "scim_novel"
"""`obs`: clusters of cells that are unlike the atlas; `uns`: their nearest labels and their genes."""

SEARCH = "scim_search"
"""`uns`: parameters and provenance of a search; the base of its `obsm` names."""

HITS = ("ids", "distances", "similar")
"""`obsm`, behind the name of a search; entries of its record in `uns`, if groups were searched."""

EXPLAIN = "scim_explain"
"""`uns`: which genes set groups of cells apart."""

ENRICHMENT = "scim_enrichment"
"""`uns`: hits of a search by sample, and the values of a column in which they are enriched."""

ATLAS_CELL_ID = "cell_id"
ATLAS_STUDY = "study"
ATLAS_LABEL = "label"
ATLAS_LABEL_ID = "label_id"
"""Columns that the obs table of every atlas has, beside `soma_joinid`."""

ATLAS_COLUMNS = (ATLAS_CELL_ID, ATLAS_STUDY, ATLAS_LABEL, ATLAS_LABEL_ID)

ATLAS_TISSUE = "tissue"
"""Column of the CELLxGENE schema: names of UBERON."""

ATLAS_PRIMARY = "is_primary_data"
"""Boolean column of the CELLxGENE Census: true for one of the copies of each cell."""

REFERENCE_LABEL = "reference_label"
IN_ANNOTATION = "in_annotation"
IN_SEARCH = "in_cellsearch"
ANNOTATION_INDEX = "annotation_index"
"""Columns of an imported SCimilarity folder: its label, membership in its two indices, row in the annotation index."""

REFERENCE_COLUMNS = (REFERENCE_LABEL, IN_ANNOTATION, IN_SEARCH, ANNOTATION_INDEX)
