"""The metric-learning model: train, save, load, encode."""

from scim.model._config import ModelConfig, TrainConfig
from scim.model._load import load
from scim.model._model import Model
from scim.model._net import Decoder, Encoder
from scim.model._train import train

__all__ = ["Decoder", "Encoder", "Model", "ModelConfig", "TrainConfig", "load", "train"]
