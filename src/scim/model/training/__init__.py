"""Batches, and the loop."""

from scim.model.training._config import TrainConfig
from scim.model.training._train import train

__all__ = ["TrainConfig", "train"]
