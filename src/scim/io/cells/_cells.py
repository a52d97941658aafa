"""Cells that are not in memory, under the names that an AnnData has for its parts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

Opener = Callable[[], Any]
"""Opens a matrix, of which rows are read by slice."""


class Lazy(Mapping[str, Any]):
    """Matrices by name, each opened at its first use."""

    def __init__(self, openers: Mapping[str, Opener]) -> None:
        self._openers = dict(openers)

    def __getitem__(self, name: str) -> Any:
        return self._openers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._openers)

    def __len__(self) -> int:
        return len(self._openers)


@dataclass(frozen=True)
class Raw:
    """What `adata.raw` is to an AnnData."""

    var: pd.DataFrame
    open_x: Opener

    @functools.cached_property
    def X(self) -> Any:  # noqa: N802  (AnnData's name)
        """The matrix, rows readable by slice."""
        return self.open_x()


@dataclass(frozen=True)
class Cells:
    """The parts of an AnnData that :func:`scim.pp.find_counts`, training and the atlas read; matrices stay on disk."""

    obs: pd.DataFrame  # only the columns that were named
    var: pd.DataFrame
    open_x: Opener = lambda: None
    layers: Mapping[str, Any] = field(default_factory=dict)
    obsm: Mapping[str, Any] = field(default_factory=dict)
    raw: Raw | None = None
    uns: Mapping[str, Any] = field(default_factory=dict)  # only `log1p` and `scim`
    path: str = ""  # of the file that they are in

    @functools.cached_property
    def X(self) -> Any:  # noqa: N802  (AnnData's name)
        """The matrix, rows readable by slice, or `None`."""
        return self.open_x()

    @property
    def n_obs(self) -> int:
        return len(self.obs)

    @property
    def n_vars(self) -> int:
        return len(self.var)

    @property
    def obs_names(self) -> pd.Index:
        return self.obs.index

    @property
    def var_names(self) -> pd.Index:
        return self.var.index
