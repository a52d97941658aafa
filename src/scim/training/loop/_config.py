"""How a model is trained; saved beside its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

from scim.model._config import Config, check_number

Mining = Literal["semihard", "hardest", "random"]
MINING: tuple[Mining, ...] = ("semihard", "hardest", "random")

Objective = Literal["prototypes", "triplet", "contrastive", "nca", "supcon", "simclr", "moco"]
OBJECTIVES: tuple[Objective, ...] = ("prototypes", "triplet", "contrastive", "nca", "supcon", "simclr", "moco")

Sampling = Literal["balanced", "paper"]
SAMPLING: tuple[Sampling, ...] = ("balanced", "paper")

Positives = Literal["across", "any"]
POSITIVES: tuple[Positives, ...] = ("across", "any")


_SHARES = (
    "label_perturbation", "momentum", "class_balance", "study_balance", "mix", "thin", "random_panel", "study_panel",
    "averaging",
)  # fmt: skip


@dataclass(frozen=True)
class TrainConfig(Config):
    """How a model is trained. The defaults are those that did best on studies left out (benchmarks/NOTES.md).

    :meth:`paper` gives what :cite:t:`Heimberg2025` did.

    Attributes
    ----------
    n_members
        Encoders that are trained one after the other and become one, see :func:`scim.training.loop._stack.stack`:
        steadier than any of them. Only one can have a decoder.
    n_steps
        Number of batches, for each.
    validate_every
        Batches between two looks at the studies that do not train, if there are some; and
    patience
        how many looks may bring no better macro-F1 before training stops. The best weights are kept.
    batch_size
        Cells in a batch.
    lr
        Highest learning rate: it rises over the first tenth of the steps and falls as a cosine.
    weight_decay
        Of AdamW.
    objective
        What brings cells of a label together: `"prototypes"` (cross-entropy of the cosines to one learned direction
        per label), `"triplet"`, `"contrastive"` (pairs), `"nca"` (soft neighbours),
        `"supcon"` (supervised contrastive); or, without labels, two views of each cell: `"simclr"` (NT-Xent),
        `"moco"` (momentum encoder with a queue).
    objective_weight
        Its weight.
    margin
        By how much a negative should be farther than a positive, of `"triplet"` and `"contrastive"`.
    temperature
        By which similarities are divided, of the other objectives.
    label_perturbation
        Share of the labels of a batch that are replaced by a random parent in the ontology that the batch has too.
    queue_size
        Cells that `"moco"` remembers.
    momentum
        Share of itself that the second encoder of `"moco"` keeps at each step.
    mining
        Which negatives make triplets: see :func:`scim.training.losses._mine.mine`.
    positives
        `"across"`: pairs of different studies, and within a study only for labels that one study alone has;
        `"any"`: pairs within a study too.
    per_anchor
        Positives drawn for each cell of a batch, so that cells of rare labels weigh as much as those of common ones;
        `None`: all. Of `"triplet"` and `"contrastive"`.
    reconstruction_weight
        Weight of the mean squared error of the decoder over the observed genes; 0 trains no decoder.
    l1
        Weight of the sum of the absolute weights of the first layer.
    sampling
        How often each cell is drawn: `"balanced"` by the next two, `"paper"` by the formula of
        :func:`scim.training.loop._sample.paper_weights`.
    class_balance
        0: cells of a study are drawn alike; 1: its labels are.
    study_balance
        0: studies are drawn in proportion to their cells; 1: alike.
    mix
        Share of cells to which the counts of one to five others of their label and study are added.
    thin
        Share of cells of which counts are lost at random, down to a twentieth.
    platform
        Virtual platforms: in each batch some cells have their counts of each gene multiplied by a factor of their
        platform, whose logarithm is normal with a standard deviation of up to this. 0: none.
    random_panel
        Share of random gene panels among those that hide genes from the encoder.
    study_panel
        Share of cells that are seen through the gene panel of another study.
    least_panel
        Expected number of genes of the smallest random panel.
    averaging
        Decay of the average of the weights over the steps, which becomes the model; 0: the last weights do.
    """

    n_members: int = 3
    n_steps: int = 500
    validate_every: int = 50
    patience: int = 4
    batch_size: int = 256
    lr: float = 3e-3
    weight_decay: float = 0.01
    objective: Objective = "prototypes"
    objective_weight: float = 1.0
    margin: float = 1.0
    temperature: float = 0.25
    label_perturbation: float = 0.0
    queue_size: int = 4096
    momentum: float = 0.99
    mining: Mining = "random"
    positives: Positives = "any"
    per_anchor: int | None = 10
    reconstruction_weight: float = 0.0
    l1: float = 0.0
    sampling: Sampling = "balanced"
    class_balance: float = 1.0
    study_balance: float = 0.5
    mix: float = 0.7
    thin: float = 0.8
    platform: float = 1.0
    random_panel: float = 0.8
    study_panel: float = 0.3
    least_panel: int = 100
    averaging: float = 0.98

    def __post_init__(self) -> None:
        for name in ("n_members", "n_steps", "validate_every", "patience", "least_panel", "queue_size"):
            check_number(name, getattr(self, name), whole=True, least=1)
        check_number("batch_size", self.batch_size, whole=True, least=4)
        if self.per_anchor is not None:
            check_number("per_anchor", self.per_anchor, whole=True, least=1)
        for name in ("lr", "margin", "temperature"):
            check_number(name, getattr(self, name), least=1e-9)
        for name in ("weight_decay", "objective_weight", "reconstruction_weight", "l1", "platform"):
            check_number(name, getattr(self, name))
        for name in _SHARES:
            check_number(name, getattr(self, name), most=1)
        for name, choices in (
            ("objective", OBJECTIVES),
            ("mining", MINING),
            ("positives", POSITIVES),
            ("sampling", SAMPLING),
        ):
            if getattr(self, name) not in choices:
                msg = f"{name} must be one of {list(choices)}, got {getattr(self, name)!r}."
                raise ValueError(msg)
        if self.n_members > 1 and self.reconstruction_weight > 0:
            msg = f"A decoder belongs to one encoder: reconstruction_weight needs n_members=1, got {self.n_members}."
            raise ValueError(msg)

    @classmethod
    def paper(cls, **changes: Any) -> Self:
        """Return the recipe of :cite:t:`Heimberg2025`, with `changes`: semi-hard triplets, no augmentation.

        The nets of the paper are `hidden=(1024, 1024, 1024)`, `latent_dim=128`, `input_dropout=0.4`, `dropout=0.5`,
        `standardize=False`; its learning rate falls as a cosine, without the rise at the start that ours has.
        """
        recipe: dict[str, Any] = {
            "n_members": 1, "n_steps": 50_000, "batch_size": 1000, "lr": 5e-3, "objective": "triplet",
            "objective_weight": 1e-3, "margin": 0.05, "mining": "semihard", "positives": "across", "per_anchor": None,
            "reconstruction_weight": 0.999, "l1": 1e-4, "sampling": "paper", "mix": 0.0,
            "thin": 0.0, "platform": 0.0, "random_panel": 0.0, "study_panel": 0.0, "averaging": 0.0,
        }  # fmt: skip
        return cls(**{**recipe, **changes})
