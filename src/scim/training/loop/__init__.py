"""Training: its settings, the batches, and the loop; needs the extra `train`."""

from scim._core import require

require("lightning_fabric", "train")
require("pytorch_metric_learning", "train")

from scim.training.loop._config import TrainConfig  # noqa: E402  (what it imports needs the two packages)
from scim.training.loop._train import train  # noqa: E402

__all__ = ["TrainConfig", "train"]
