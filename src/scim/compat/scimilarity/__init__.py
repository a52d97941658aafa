"""The classes and functions of the package scimilarity 0.4.1, by their names, on an atlas that was imported from it.

`from scimilarity import CellAnnotation` becomes `from scim.compat.scimilarity import CellAnnotation`, and the folder of
the published model the atlas that `scim import-scimilarity` made of it. Names, arguments, attributes and what is
returned are those of the package; what differs is listed on the page "Coming from SCimilarity".
"""

from scim.compat.scimilarity._annotation import CellAnnotation
from scim.compat.scimilarity._embedding import CellEmbedding
from scim.compat.scimilarity._interpreter import Interpreter
from scim.compat.scimilarity._query import CellQuery
from scim.compat.scimilarity._search import CellSearchKNN
from scim.compat.scimilarity.utils import align_dataset, lognorm_counts

__all__ = [
    "CellAnnotation",
    "CellEmbedding",
    "CellQuery",
    "CellSearchKNN",
    "Interpreter",
    "align_dataset",
    "lognorm_counts",
]
