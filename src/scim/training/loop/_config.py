"""How a model is trained; saved beside its weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from scim._core import check_choice, check_count
from scim.model._config import Config

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from scim._core.types import Transform

Objective = Literal[
    "prototypes", "arcface", "triplet", "contrastive", "nca", "supcon", "simclr", "moco",
    "whitening", "lda", "linear_nca", "lmnn", "itml",
]  # fmt: skip
Mining = Literal["semihard", "hardest", "random"]
Distance = Literal["plain", "squared"]
Average = Literal["all", "active"]
Positives = Literal["across", "any"]
Sampling = Literal["balanced", "paper"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
MINING: tuple[Mining, ...] = get_args(Mining)

_CHOICES = {
    "objective": OBJECTIVES,
    "mining": MINING,
    "distance": get_args(Distance),
    "average": get_args(Average),
    "positives": get_args(Positives),
    "sampling": get_args(Sampling),
}
_COUNTS = ("n_members", "n_steps", "validate_every", "patience", "least_panel", "queue_size", "sub_centers")
_SHARES = (
    "label_perturbation", "momentum", "push_weight", "class_balance", "study_balance", "mix", "thin", "random_panel",
    "study_panel", "averaging", "warmup",
)  # fmt: skip
_NOT_RECIPE = ("genes", "layer", "transform", "gene_key", "checkpoint_every", "max_memory", "scratch")


@dataclass(frozen=True)
class TrainConfig(Config):
    """How a model is trained. The defaults are those that did best on held-out studies (benchmarks/NOTES.md).

    :meth:`paper` gives the recipe of :cite:t:`Heimberg2025`.

    Attributes
    ----------
    objective
        The loss. Of labelled cells: `"prototypes"` (cross-entropy of the cosines to one learned direction per label),
        `"arcface"` (the same with several directions per label, and a margin between the angles), `"triplet"`,
        `"contrastive"` (pairs), `"nca"` (soft neighbours), `"supcon"` (supervised contrastive). Of two views of each
        cell, without labels: `"simclr"` (NT-Xent), `"moco"` (momentum encoder with a queue). Or a linear map:
        `"whitening"`, `"lda"`, `"linear_nca"`, `"lmnn"`, `"itml"`; it depends on the balances and the data alone,
        `"lmnn"` also on `push_weight`.
    n_members
        Encoders that are trained and merged into one network, steadier than any of them. A decoder needs 1.
    n_steps
        Number of batches, for each member.
    validate_every
        Batches between two validations, if studies are held out.
    patience
        Number of validations without a better macro-F1 after which training stops. The best weights are kept.
    batch_size
        Cells in a batch.
    lr
        Highest learning rate, which falls to 0 as a cosine over the steps that follow `warmup`.
    warmup
        Share of the steps in which the learning rate rises; AdamW's momentum falls to 0.85 meanwhile, and rises again
        with the cosine. 0: cosine annealing from the first step, with a constant momentum.
    weight_decay
        Of AdamW.
    objective_weight
        Weight of the objective in the total loss.
    margin
        Distance by which a negative should be farther than a positive, of `"triplet"` and `"contrastive"`.
    temperature
        Divides the similarities of the other objectives. The scale of `"arcface"` is one divided by it: 64 in
        :cite:t:`Deng2019`.
    distance
        Of `"triplet"`: `"plain"` distances, as in :cite:t:`Heimberg2025`, or `"squared"` ones, as in
        :cite:t:`Schroff2015`, whose margin is 0.2.
    average
        Of `"contrastive"`: the mean over `"all"` pairs, as in :cite:t:`Hadsell2006`, or over positives plus over those
        negatives that are nearer than the margin (`"active"`).
    angle
        Radians that `"arcface"` adds to the angle between a cell and its label.
    sub_centers
        Directions of each label in `"arcface"`; the nearest one counts.
    push_weight
        Share of the impostors in the loss of `"lmnn"`; the rest is that of the targets.
    label_perturbation
        Share of the labels of a batch that are replaced by a random parent in the ontology that the batch has too.
    queue_size
        Keys in the queue of `"moco"`.
    momentum
        Share of its weights that the second encoder of `"moco"` keeps at each step.
    mining
        Which negatives make triplets: see :meth:`scim.training.losses._triplet.TripletLoss.mine`.
    positives
        `"across"`: pairs of different studies, except for labels of a single study; `"any"`: within a study too.
    per_anchor
        Positives drawn for each cell, so that rare labels weigh as much as common ones; `None`: all. Of `"triplet"`
        and `"contrastive"`.
    reconstruction_weight
        Weight of the mean squared error of the decoder over the observed genes; 0 trains no decoder.
    l1
        Weight of the sum of the absolute weights of the first layer.
    epoch
        Batches in which no cell is drawn twice, or as many as a tenth of the cells fills, so that the sampling weights
        still decide which cells are drawn. 0, or fewer cells than one batch: drawn with replacement.
    sampling
        How often each cell is drawn: `"balanced"` by `class_balance` and `study_balance`, `"paper"` by
        :func:`scim.training.loop._sampling.paper_weights`.
    class_balance
        0: all cells of a study are equally likely; 1: all of its labels are.
    study_balance
        0: studies are drawn in proportion to their cells; 1: all studies are equally likely.
    mix
        Share of cells to which the counts of one to five others of their label and study are added.
    thin
        Share of cells that lose counts at random, down to a twentieth.
    platform
        Largest standard deviation of the log factors by which virtual platforms multiply the counts of each gene.
    random_panel
        Share of random gene panels among those that hide genes from the encoder.
    study_panel
        Share of cells that are seen through the gene panel of another study.
    least_panel
        Expected number of genes of the smallest random panel.
    averaging
        Decay of the average of the weights over the steps, which becomes the model; 0: the last weights do.
    genes
        Genes that the model reads, of those that a data set measured. Default: `ModelConfig.n_genes` marker genes.
    layer
        Where the counts are; default: wherever they are found.
    transform
        What was done to the counts, see :func:`scim.pp.find_counts`; default: what their values tell.
    gene_key
        Column of var that holds the gene names; default: the index, or the column with most human genes.
    checkpoint_every
        Batches between two checkpoints.
    max_memory
        Bytes of counts that are kept in memory, six a value of the chosen genes; more go to a file.
    scratch
        Folder of that file; default: the system's for temporary files.
    """

    n_members: int = 3
    n_steps: int = 500
    validate_every: int = 50
    patience: int = 4
    batch_size: int = 256
    lr: float = 3e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    objective: Objective = "prototypes"
    objective_weight: float = 1.0
    margin: float = 1.0
    temperature: float = 0.25
    distance: Distance = "plain"
    average: Average = "all"
    angle: float = 0.5
    sub_centers: int = 3
    push_weight: float = 0.5
    label_perturbation: float = 0.0
    queue_size: int = 4096
    momentum: float = 0.99
    mining: Mining = "random"
    positives: Positives = "any"
    per_anchor: int | None = 10
    reconstruction_weight: float = 0.0
    l1: float = 0.0
    epoch: int = 0
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
    genes: Sequence[str] | None = None
    layer: str | None = None
    transform: Transform | None = None
    gene_key: str | None = None
    checkpoint_every: int = 250
    max_memory: int = 10**9
    scratch: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        self._check_numbers(*_COUNTS, *(["per_anchor"] if self.per_anchor is not None else []), whole=True, least=1)
        self._check_numbers("batch_size", whole=True, least=4)
        self._check_numbers("epoch", whole=True)
        self._check_numbers("lr", "margin", "temperature", least=1e-9)
        self._check_numbers("weight_decay", "objective_weight", "reconstruction_weight", "l1", "platform")
        self._check_numbers(*_SHARES, most=1)
        self._check_numbers("angle", most=math.pi / 2)
        for name, choices in _CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        check_count("checkpoint_every", self.checkpoint_every)
        check_count("max_memory", self.max_memory, least=0)
        if self.n_members > 1 and self.reconstruction_weight > 0:
            msg = f"A decoder belongs to one encoder: reconstruction_weight needs n_members=1, got {self.n_members}."
            raise ValueError(msg)

    @classmethod
    def paper(cls, **changes: Any) -> Self:
        """Return the recipe of :cite:t:`Heimberg2025`, with `changes`: semi-hard triplets, no augmentation.

        :meth:`ModelConfig.paper` has its net, and :meth:`CellFilters.paper` its cells: with every label in two studies,
        all positives are of different studies. The mean squared error leaves out genes that a study did not measure.
        """
        recipe: dict[str, Any] = {
            "n_members": 1, "n_steps": 50_000, "batch_size": 1000, "lr": 5e-3, "warmup": 0.0,
            "objective": "triplet", "objective_weight": 1e-3, "margin": 0.05, "mining": "semihard",
            "positives": "across", "per_anchor": None, "reconstruction_weight": 0.999, "l1": 1e-4,
            "epoch": 100, "sampling": "paper", "mix": 0.0, "thin": 0.0, "platform": 0.0,
            "random_panel": 0.0, "study_panel": 0.0, "averaging": 0.0,
        }  # fmt: skip
        return cls(**{**recipe, **changes})

    def recipe(self) -> dict[str, Any]:
        """Return the settings that determine the weights of given cells: not those of reading, memory and disk."""
        return {name: value for name, value in vars(self).items() if name not in _NOT_RECIPE}
