"""The classes and functions of the package scimilarity 0.4.1, by their names, on an atlas that was imported from it.

`from scimilarity import CellAnnotation` becomes `from scim.scimilarity.classes import CellAnnotation`, and the folder of
the published model the atlas that `scim import-scimilarity` made of it. Names, arguments, attributes and what is
returned are those of the package; what differs is listed on the page "Coming from SCimilarity".
"""

from scim.scimilarity.classes._annotation import CellAnnotation
from scim.scimilarity.classes._embedding import CellEmbedding
from scim.scimilarity.classes._interpreter import Interpreter
from scim.scimilarity.classes._query import CellQuery
from scim.scimilarity.classes._search import CellSearchKNN
from scim.scimilarity.classes.utils import align_dataset, lognorm_counts

__all__ = [
    "CellAnnotation",
    "CellEmbedding",
    "CellQuery",
    "CellSearchKNN",
    "Interpreter",
    "align_dataset",
    "lognorm_counts",
]
