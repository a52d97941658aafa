"""How good an embedding is: labels across studies, measures of the embedding, robustness."""

from scim.training.evaluation._embedding import embedding_scores
from scim.training.evaluation._evaluate import evaluate
from scim.training.evaluation._evaluation import Evaluation
from scim.training.evaluation._neighbourhood import connected, purity
from scim.training.evaluation._neighbours import nearest
from scim.training.evaluation._scores import LabelScores, label_scores
from scim.training.evaluation._silhouette import Silhouettes, ontology_silhouette, silhouettes

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
