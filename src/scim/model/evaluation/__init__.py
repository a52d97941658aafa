"""How good an embedding is: labels across studies, measures of the embedding, robustness."""

from scim.model.evaluation._embedding import embedding_scores
from scim.model.evaluation._evaluate import evaluate
from scim.model.evaluation._evaluation import Evaluation
from scim.model.evaluation._neighbourhood import connected, purity
from scim.model.evaluation._neighbours import nearest
from scim.model.evaluation._scores import LabelScores, label_scores
from scim.model.evaluation._silhouette import Silhouettes, ontology_silhouette, silhouettes

__all__ = [
    "Evaluation",
    "LabelScores",
    "Silhouettes",
    "connected",
    "embedding_scores",
    "evaluate",
    "label_scores",
    "nearest",
    "ontology_silhouette",
    "purity",
    "silhouettes",
]
