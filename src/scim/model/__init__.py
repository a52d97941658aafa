"""The metric-learning model: train, evaluate, save, load, encode; what only training needs is imported on first use."""

from __future__ import annotations

import importlib
from typing import Any

from scim.model._config import Labels, ModelConfig
from scim.model._model import Model, load
from scim.model.net import Decoder, Encoder

__all__ = [
    "CellFilters",
    "Decoder",
    "Encoder",
    "Evaluation",
    "Labels",
    "Metric",
    "Model",
    "ModelConfig",
    "TrainConfig",
    "evaluate",
    "learn_metric",
    "load",
    "mahalanobis",
    "train",
]

_TRAINING = {  # name: folder of scim.training
    "CellFilters": "data", "Evaluation": "evaluation", "TrainConfig": "loop", "evaluate": "evaluation", "train": "loop",
    "Metric": "metric", "learn_metric": "metric", "mahalanobis": "metric",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _TRAINING:
        return getattr(importlib.import_module(f"scim.training.{_TRAINING[name]}"), name)
    msg = f"module 'scim.model' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
