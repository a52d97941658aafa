"""The table of all losses.

To add a loss, write a subclass of `Loss` or `LabelledLoss` in a file beside this one and name it in `LOSSES`, and in
`scim.training.loop._config.Objective`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scim.training.losses._labelled import ContrastiveLoss, NCALoss, PrototypeLoss, SupConLoss
from scim.training.losses._triplet import TripletLoss
from scim.training.losses._two_views import MoCoLoss, SimCLRLoss

if TYPE_CHECKING:
    import torch

    from scim.model.net import Encoder
    from scim.training.loop._config import TrainConfig
    from scim.training.losses._loss import Loss, Relations

_LABELS = ("relations", "within_study", "label_perturbation")

LOSSES: dict[str, tuple[type[Loss], tuple[str, ...]]] = {
    "prototypes": (PrototypeLoss, (*_LABELS, "latent_dim", "temperature", "generator")),
    "triplet": (TripletLoss, (*_LABELS, "margin", "mining", "per_anchor")),
    "contrastive": (ContrastiveLoss, (*_LABELS, "margin", "per_anchor")),
    "nca": (NCALoss, (*_LABELS, "temperature")),
    "supcon": (SupConLoss, (*_LABELS, "temperature")),
    "simclr": (SimCLRLoss, ("temperature",)),
    "moco": (MoCoLoss, ("encoder", "temperature", "queue_size", "momentum", "generator")),
}
"""The class of each objective, and the parameters that it takes: settings of `TrainConfig`, or of `make_loss`."""


def make_loss(
    config: TrainConfig,
    relations: Relations,
    within_study: torch.Tensor,
    encoder: Encoder,
    generator: torch.Generator,
) -> Loss:
    """Make the loss that `config.objective` names, on the device of the encoder.

    Parameters
    ----------
    config
        How the model is trained.
    relations
        Of the labels.
    within_study
        (n_labels,) labels whose pairs within a study are positives too.
    encoder
        The encoder that is trained.
    generator
        Draws first values.

    Raises
    ------
    ValueError
        There is no such loss, or `within_study` has another number of labels.
    """
    n_labels = len(relations.related)
    if len(within_study) != n_labels:
        msg = f"within_study must have one entry for each of the {n_labels} labels, got {len(within_study)}."
        raise ValueError(msg)
    if config.objective not in LOSSES:
        msg = f"There is no loss {config.objective!r}; expected one of {list(LOSSES)}."
        raise ValueError(msg)
    given: dict[str, Any] = {**vars(config), "relations": relations, "within_study": within_study, "encoder": encoder}
    given |= {"latent_dim": encoder.config.latent_dim, "generator": generator}
    loss, names = LOSSES[config.objective]
    return loss(**{name: given[name] for name in names}).to(encoder.head.weight.device)
