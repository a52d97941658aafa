"""What a model looks like, and how it is trained; both are saved beside the weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from typing import Self

Mining = Literal["semihard", "hardest", "random"]
MINING: tuple[Mining, ...] = ("semihard", "hardest", "random")

Sampling = Literal["balanced", "paper"]
SAMPLING: tuple[Sampling, ...] = ("balanced", "paper")

Positives = Literal["across", "any"]
POSITIVES: tuple[Positives, ...] = ("across", "any")


@dataclass(frozen=True)
class _Config:
    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Read what :meth:`to_dict` returned.

        Raises
        ------
        ValueError
            An entry is missing, unknown, of the wrong type, or out of range.
        """
        names = {field.name for field in fields(cls)}
        if names != set(content):
            msg = f"missing entries {sorted(names - set(content))}, unknown entries {sorted(set(content) - names)}"
            raise ValueError(msg)
        try:
            return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in content.items()})
        except TypeError as error:
            raise ValueError(str(error)) from error


@dataclass(frozen=True)
class ModelConfig(_Config):
    """The net. Its defaults are those of the paper, except for the input, which is standardised.

    Attributes
    ----------
    n_genes
        Number of genes that the model reads.
    hidden
        Widths of the encoder's hidden layers, the first beside the input; the decoder has them in reverse.
    latent_dim
        Length of an embedding.
    input_dropout
        Share of the input that is set to zero in training.
    dropout
        Share of each later layer's input that is set to zero in training.
    target_sum
        Total of a cell's counts after normalisation, before log(1 + x).
    standardize
        Whether each cell is brought to mean 0 and standard deviation 1 over the genes that were observed, so that
        cells measured on different panels resemble each other.
    """

    n_genes: int
    hidden: tuple[int, ...] = (1024, 1024, 1024)
    latent_dim: int = 128
    input_dropout: float = 0.4
    dropout: float = 0.5
    target_sum: float = 1e4
    standardize: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.hidden, tuple):
            msg = f"hidden must be a tuple of widths, got {self.hidden!r}."
            raise TypeError(msg)
        for name, value in (("n_genes", self.n_genes), ("latent_dim", self.latent_dim), *_named(self.hidden)):
            _check(name, value, whole=True, least=1)
        for name in ("input_dropout", "dropout"):
            _check(name, getattr(self, name), most=0.99)
        _check("target_sum", self.target_sum, least=1e-6)


@dataclass(frozen=True)
class TrainConfig(_Config):
    """How a model is trained. The defaults are those that did best on studies left out (benchmarks/NOTES.md).

    Attributes
    ----------
    n_steps
        Number of batches.
    batch_size
        Cells in a batch.
    lr
        Highest learning rate: it rises over the first tenth of the steps and falls as a cosine.
    weight_decay
        Of AdamW.
    triplet_weight
        Weight of the triplet loss.
    margin
        By how much a negative should be farther than a positive.
    mining
        Which negatives make triplets: see :func:`scim.model._mine.mine`.
    positives
        `"across"`: pairs of different studies, and within a study only for labels that one study alone has;
        `"any"`: pairs within a study too.
    per_anchor
        Positives drawn for each cell of a batch, so that cells of rare labels weigh as much as those of common ones.
    reconstruction_weight
        Weight of the mean squared error of the decoder over the observed genes; 0 trains no decoder.
    prototype_weight
        Weight of the cross-entropy of the cosines to one learned direction per label.
    temperature
        By which these cosines are divided.
    l1
        Weight of the sum of the absolute weights of the first layer.
    sampling
        How often each cell is drawn: `"balanced"` by the next two, `"paper"` by the formula of
        :func:`scim.model._sample.paper_weights`.
    class_balance
        0: cells of a study are drawn alike; 1: its labels are.
    study_balance
        0: studies are drawn in proportion to their cells; 1: alike.
    mix
        Share of cells to which the counts of one to five others of their label and study are added.
    thin
        Share of cells of which counts are lost at random, down to a tenth.
    random_panel
        Share of random gene panels among those that hide genes from the encoder.
    study_panel
        Share of cells that are seen through the gene panel of another study.
    least_panel
        Expected number of genes of the smallest random panel.
    """

    n_steps: int = 1500
    batch_size: int = 384
    lr: float = 3e-3
    weight_decay: float = 0.01
    triplet_weight: float = 1.0
    margin: float = 1.0
    mining: Mining = "random"
    positives: Positives = "any"
    per_anchor: int = 10
    reconstruction_weight: float = 0.1
    prototype_weight: float = 0.0
    temperature: float = 0.1
    l1: float = 0.0
    sampling: Sampling = "balanced"
    class_balance: float = 1.0
    study_balance: float = 0.5
    mix: float = 0.5
    thin: float = 0.5
    random_panel: float = 0.8
    study_panel: float = 0.3
    least_panel: int = 100

    def __post_init__(self) -> None:
        for name, least in (("n_steps", 1), ("batch_size", 4), ("per_anchor", 1), ("least_panel", 1)):
            _check(name, getattr(self, name), whole=True, least=least)
        for name in ("lr", "margin", "temperature"):
            _check(name, getattr(self, name), least=1e-9)
        for name in ("weight_decay", "triplet_weight", "reconstruction_weight", "prototype_weight", "l1"):
            _check(name, getattr(self, name))
        for name in ("class_balance", "study_balance", "mix", "thin", "random_panel", "study_panel"):
            _check(name, getattr(self, name), most=1)
        for name, choices in (("mining", MINING), ("positives", POSITIVES), ("sampling", SAMPLING)):
            if getattr(self, name) not in choices:
                msg = f"{name} must be one of {list(choices)}, got {getattr(self, name)!r}."
                raise ValueError(msg)


def _named(hidden: tuple[int, ...]) -> list[tuple[str, int]]:
    if not hidden:
        msg = f"hidden must be a tuple of at least one width, got {hidden!r}."
        raise ValueError(msg)
    return [("hidden", width) for width in hidden]


def _check(name: str, value: float, *, whole: bool = False, least: float = 0.0, most: float = float("inf")) -> None:
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        msg = f"{name} must be a {'whole ' if whole else ''}number, got {value!r}."
        raise TypeError(msg)
    if not least <= value <= most:
        msg = f"{name} must lie between {least} and {most}, got {value}."
        raise ValueError(msg)
