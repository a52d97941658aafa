"""The metric-learning model: train, save, load, encode."""

from scim.model._config import ModelConfig
from scim.model._load import load
from scim.model._model import Model
from scim.model.net._net import Decoder, Encoder
from scim.model.training._config import TrainConfig
from scim.model.training._train import train

__all__ = ["Decoder", "Encoder", "Model", "ModelConfig", "TrainConfig", "load", "train"]
