"""How good an embedding is: labels across studies, measures of the embedding, robustness."""

from scim.model.evaluation._scores import LabelScores, label_scores

__all__ = ["LabelScores", "label_scores"]
