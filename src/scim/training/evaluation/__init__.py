"""Evaluation of a model on studies left out: scores of labels, measures of the embedding, robustness."""

from scim.training.evaluation._embedding_scores import connected, embedding_scores, purity
from scim.training.evaluation._evaluate import Evaluation, evaluate
from scim.training.evaluation._label_scores import LabelScores, label_scores
from scim.training.evaluation._silhouette import Silhouettes, ontology_silhouette, silhouettes

__all__ = [
    "Evaluation",
    "LabelScores",
    "Silhouettes",
    "connected",
    "embedding_scores",
    "evaluate",
    "label_scores",
    "ontology_silhouette",
    "purity",
    "silhouettes",
]
