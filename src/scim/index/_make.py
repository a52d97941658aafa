"""From rows to an engine of a kind."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np

from scim.index._threads import threads_for
from scim.index.exact._exact import ExactEngine
from scim.index.graph._graph import GraphEngine
from scim.index.ivf._build import build_ivf
from scim.index.ivf._ivf import IvfEngine

if TYPE_CHECKING:
    from collections.abc import Callable

    from scim.index._engine import Engine
    from scim.index._source import Allocate, Source

KINDS: dict[str, type[Engine]] = {"exact": ExactEngine, "ivf": IvfEngine, "graph": GraphEngine}
ASKED = ("recall", "n_lists", "n_neighbors", "effort")
"""Parameters that an engine notes and that it can be built with again."""

_LISTS = 64  # multiplications for each number of the base that building takes at least


def in_memory(name: str, shape: tuple[int, ...], dtype: Any) -> Any:  # noqa: ARG001  (a file would have a name)
    """Make room for an array."""
    return np.zeros(shape, dtype=dtype)


def make_engine(
    kind: str,
    source: Source,
    rng: int | np.random.Generator | None,
    n_threads: int | None,
    allocate: Allocate = in_memory,
    **params: Any,
) -> Engine:
    """Build an engine from unit rows by rank."""
    generator = np.random.default_rng(rng)
    with threads_for(source.n_rows * source.dim * _LISTS, n_threads):
        if kind == "ivf":
            return build_ivf(source, generator, allocate, **params)
        rows = source.take(np.arange(source.n_rows))
        return ExactEngine(rows) if kind == "exact" else GraphEngine.from_rows(rows, generator, **params)


def check_params(kind: str, params: dict[str, Any]) -> None:
    """Refuse parameters that a kind does not take.

    Raises
    ------
    TypeError
        One is unknown.
    """
    takes: dict[str, tuple[Callable[..., Any] | None, int]] = {
        "ivf": (build_ivf, 3), "graph": (GraphEngine.from_rows, 2), "exact": (None, 0)
    }  # fmt: skip
    function, n_first = takes[kind]
    known = list(inspect.signature(function).parameters)[n_first:] if function else []
    unknown = sorted(set(params) - set(known))
    if unknown:
        msg = f"Unknown parameter {unknown[0]!r} of an index of kind {kind!r}; it takes {known or 'none'}."
        raise TypeError(msg)
