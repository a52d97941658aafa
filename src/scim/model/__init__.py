"""The metric-learning model: train, evaluate, save, load, encode.

What only training needs, above all Lightning, is loaded when it is first asked for: who embeds should not wait for it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from scim.model._config import ModelConfig
from scim.model._load import load
from scim.model._model import Model
from scim.model.net import Decoder, Encoder

if TYPE_CHECKING:
    from scim.training.data import CellFilters
    from scim.training.evaluation import Evaluation, evaluate
    from scim.training.loop import TrainConfig, train

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

_LATER = {
    "CellFilters": "data",
    "Evaluation": "evaluation",
    "TrainConfig": "loop",
    "evaluate": "evaluation",
    "train": "loop",
}
"""In which room each is."""


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(f"scim.training.{_LATER[name]}"), name)
    msg = f"module 'scim.model' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
