"""A Mahalanobis metric of rows of any kind: its distances, and how it is learned."""

from scim.training.metric._learn import learn_metric
from scim.training.metric._metric import Metric, mahalanobis

__all__ = ["Metric", "learn_metric", "mahalanobis"]
