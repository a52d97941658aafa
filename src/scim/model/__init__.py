"""The metric-learning model: train, save, load, encode."""

from scim.model._config import ModelConfig
from scim.model._load import load
from scim.model._model import Model
from scim.model.data import CellFilters
from scim.model.net import Decoder, Encoder
from scim.model.training import TrainConfig, train

__all__ = ["CellFilters", "Decoder", "Encoder", "Model", "ModelConfig", "TrainConfig", "load", "train"]
