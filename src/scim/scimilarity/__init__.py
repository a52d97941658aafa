"""The published SCimilarity package: import its model and its folder, and its classes on an imported atlas.

`from scimilarity import CellAnnotation` becomes `from scim.scimilarity import CellAnnotation`. Names, arguments,
attributes and results are those of scimilarity 0.4.1; the page "Coming from SCimilarity" lists the differences.
"""

from scim.scimilarity.atlas import import_atlas
from scim.scimilarity.classes import (
    CellAnnotation,
    CellEmbedding,
    CellQuery,
    CellSearchKNN,
    Interpreter,
    align_dataset,
    lognorm_counts,
)
from scim.scimilarity.model import import_model

__all__ = [
    "CellAnnotation",
    "CellEmbedding",
    "CellQuery",
    "CellSearchKNN",
    "Interpreter",
    "align_dataset",
    "import_atlas",
    "import_model",
    "lognorm_counts",
]
