"""Batches, and the loop."""

from scim.training.loop._config import TrainConfig
from scim.training.loop._train import train

__all__ = ["TrainConfig", "train"]
