"""The metric-learning model: train, evaluate, save, load, encode."""

from scim.model._config import ModelConfig
from scim.model._load import load
from scim.model._model import Model
from scim.model.data import CellFilters
from scim.model.evaluation import Evaluation, evaluate
from scim.model.net import Decoder, Encoder
from scim.model.training import TrainConfig, train

__all__ = [
    "CellFilters",
    "Decoder",
    "Encoder",
    "Evaluation",
    "Model",
    "ModelConfig",
    "TrainConfig",
    "evaluate",
    "load",
    "train",
]
