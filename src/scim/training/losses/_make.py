"""The objective that a configuration asks for.

pytorch-metric-learning takes half a second to import, for which whoever only embeds should not wait: the files that
need it are imported when they are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scim.training.losses._moco import MomentumQueue
from scim.training.losses._nca import NeighbourhoodComponents
from scim.training.losses._prototype import Prototypes
from scim.training.losses._triplet import Triplet

if TYPE_CHECKING:
    import torch

    from scim.model.net._net import Encoder
    from scim.training.loop._config import TrainConfig
    from scim.training.losses._objective import Objective
    from scim.training.losses._relations import Relations


def make_objective(
    config: TrainConfig,
    relations: Relations,
    lone: torch.Tensor,
    encoder: Encoder,
    latent_dim: int,
    generator: torch.Generator,
) -> Objective:
    """Make the objective that `config.objective` names, on the device of the encoder.

    Parameters
    ----------
    config
        How the model is trained.
    relations
        Of the labels.
    lone
        (n_labels,) labels whose pairs within a study are positives too.
    encoder
        Of which some objectives keep a copy that follows it.
    latent_dim
        Length of an embedding.
    generator
        Draws first values.

    Raises
    ------
    ValueError
        There is no such objective.
    """
    if len(lone) != len(relations.kin):
        msg = f"lone must say something of each of the {len(relations.kin)} labels, got {len(lone)} entries."
        raise ValueError(msg)
    if config.objective in ("simclr", "moco"):
        objective = _of_views(config, encoder, latent_dim, generator)
    elif config.objective == "prototypes":
        objective = Prototypes(
            relations, lone, perturbation=config.label_perturbation, latent_dim=latent_dim,
            temperature=config.temperature, generator=generator,
        )  # fmt: skip
    else:
        objective = _of_labels(config, relations, lone)
    return objective.to(encoder.head.weight.device)


def _of_labels(config: TrainConfig, relations: Relations, lone: torch.Tensor) -> Objective:
    share, margin, temperature = config.label_perturbation, config.margin, config.temperature
    match config.objective:
        case "triplet":
            return Triplet(
                relations, lone, perturbation=share, margin=margin, mining=config.mining, per_anchor=config.per_anchor
            )
        case "contrastive":
            from scim.training.losses._contrastive import Contrastive  # noqa: PLC0415  (see above)

            return Contrastive(relations, lone, perturbation=share, margin=margin, per_anchor=config.per_anchor)
        case "nca":
            return NeighbourhoodComponents(relations, lone, perturbation=share, temperature=temperature)
        case "supcon":
            from scim.training.losses._supcon import SupervisedContrastive  # noqa: PLC0415  (see above)

            return SupervisedContrastive(relations, lone, perturbation=share, temperature=temperature)
    msg = f"There is no objective {config.objective!r}."
    raise ValueError(msg)


def _of_views(config: TrainConfig, encoder: Encoder, latent_dim: int, generator: torch.Generator) -> Objective:
    if config.objective == "simclr":
        from scim.training.losses._simclr import TwoViews  # noqa: PLC0415  (see above)

        return TwoViews(temperature=config.temperature)
    return MomentumQueue(
        encoder,
        latent_dim,
        temperature=config.temperature,
        queue_size=config.queue_size,
        momentum=config.momentum,
        generator=generator,
    )
