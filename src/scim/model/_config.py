"""Sizes of the nets and labels of a model, saved beside its weights."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from scim._core import check_flags

if TYPE_CHECKING:
    from typing import Self

_WIDEST, _DEEPEST = 1 << 24, 64  # beyond any net that fits into memory


class Labels(NamedTuple):
    """The labels of a model; code i is entry i."""

    names: tuple[str, ...]
    ids: tuple[str | None, ...]
    """Cell Ontology ids; `None` where the ontology has no such name"""


@dataclass(frozen=True)
class Config:
    """A configuration that is stored as JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Read what :meth:`to_dict` returned; ValueError for an entry that is missing, unknown, or cannot be used."""
        names = {field.name for field in fields(cls)}
        if names != set(content):
            msg = f"missing entries {sorted(names - set(content))}, unknown entries {sorted(set(content) - names)}"
            raise ValueError(msg)
        try:
            return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in content.items()})
        except TypeError as error:
            raise ValueError(str(error)) from error

    def _check_numbers(self, *names: str, **limits: Any) -> None:
        for name in names:
            check_number(name, getattr(self, name), **limits)


@dataclass(frozen=True)
class ModelConfig(Config):
    """The net. The defaults are those of :func:`scim.model.train`; :meth:`paper` has the net of the paper.

    Attributes
    ----------
    n_genes
        Number of genes that the model reads; in training, of the marker genes that are chosen.
    hidden
        Widths of the encoder's hidden layers, the first beside the input; the decoder has them in reverse. Empty: the
        encoder is one affine map, without dropout, and rows are brought to length 1.
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
    unit_slopes
        Whether each unit has its own slope where its input is negative, or a layer has one, as in the paper. Merged
        ensembles have it.
    """

    n_genes: int = 2000
    hidden: tuple[int, ...] = (256,)
    latent_dim: int = 64
    input_dropout: float = 0.0
    dropout: float = 0.2
    target_sum: float = 1e4
    standardize: bool = True
    unit_slopes: bool = False

    def __post_init__(self) -> None:
        widths: object = self.hidden  # nothing holds a caller to the type
        if not isinstance(widths, tuple) or len(widths) > _DEEPEST:
            msg = f"hidden must be a tuple of at most {_DEEPEST} widths, got {str(self.hidden)[:60]}."
            raise TypeError(msg)
        self._check_numbers("n_genes", "latent_dim", whole=True, least=1, most=_WIDEST)
        for width in self.hidden:
            check_number("hidden", width, whole=True, least=1, most=_WIDEST)
        check_flags(standardize=self.standardize, unit_slopes=self.unit_slopes)
        self._check_numbers("input_dropout", "dropout", most=0.99)
        self._check_numbers("target_sum", least=1e-6)

    @classmethod
    def paper(cls, **changes: Any) -> Self:
        """Return the net of :cite:t:`Heimberg2025`, with `changes`; its input is not standardised."""
        net: dict[str, Any] = {"hidden": (1024, 1024, 1024), "latent_dim": 128, "input_dropout": 0.4, "dropout": 0.5}
        return cls(**{**net, "standardize": False, **changes})


def check_number(name: str, value: float, *, whole: bool = False, least: float = 0.0, most: float = math.inf) -> None:
    """Raise TypeError for what is not a number, ValueError for one that does not lie between `least` and `most`."""
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        msg = f"{name} must be a {'whole ' if whole else ''}number, got {value!r}."
        raise TypeError(msg)
    if value == math.inf:
        msg = f"{name} must be finite, got {value}."
        raise ValueError(msg)
    if not least <= value <= most:
        msg = f"{name} must lie between {least} and {most}, got {value}."
        raise ValueError(msg)
