"""The table of all losses.

To add a loss, write a subclass of `Loss` or `LabelledLoss` in a file beside this one and name it in `LOSSES`, and in
`scim.training.loop._config.Objective`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scim.training.losses._labelled import ArcFaceLoss, ContrastiveLoss, NCALoss, PrototypeLoss, SupConLoss
from scim.training.losses._loss import LabelledLoss
from scim.training.losses._triplet import TripletLoss
from scim.training.losses._two_views import MoCoLoss, SimCLRLoss

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from scim.model.net import Encoder
    from scim.training.loop._config import TrainConfig
    from scim.training.losses._loss import Loss, Relations

LOSSES: dict[str, tuple[type[Loss], tuple[str, ...]]] = {
    "prototypes": (PrototypeLoss, ("latent_dim", "temperature", "generator")),
    "arcface": (ArcFaceLoss, ("latent_dim", "temperature", "angle", "sub_centers", "generator")),
    "triplet": (TripletLoss, ("margin", "mining", "per_anchor", "distance")),
    "contrastive": (ContrastiveLoss, ("margin", "per_anchor", "average")),
    "nca": (NCALoss, ("temperature",)),
    "supcon": (SupConLoss, ("temperature",)),
    "simclr": (SimCLRLoss, ("temperature",)),
    "moco": (MoCoLoss, ("encoder", "temperature", "queue_size", "momentum", "generator")),
}
"""The class of each objective, and what it takes by name: settings of `TrainConfig`, or what `make_loss` adds."""


def make_loss(
    config: TrainConfig, relations: Relations, within_study: Tensor, encoder: Encoder, generator: Generator
) -> Loss:
    """Make the loss that `config.objective` names, on the device of the encoder; see :class:`LabelledLoss`."""
    n_labels = len(relations.related)
    if len(within_study) != n_labels:
        msg = f"within_study must have one entry for each of the {n_labels} labels, got {len(within_study)}."
        raise ValueError(msg)
    if config.objective not in LOSSES:
        msg = f"There is no loss {config.objective!r}; expected one of {list(LOSSES)}."
        raise ValueError(msg)
    loss, names = LOSSES[config.objective]
    labelled = (relations, within_study, config.label_perturbation) if issubclass(loss, LabelledLoss) else ()
    added: dict[str, Any] = {"encoder": encoder, "latent_dim": encoder.config.latent_dim, "generator": generator}
    settings = vars(config) | added
    return loss(*labelled, **{name: settings[name] for name in names}).to(encoder.head.weight.device)
