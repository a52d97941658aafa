"""Check arguments: each error says what was expected, what came, and what to call."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

_MOST = 2**63 - 1  # files keep whole numbers as int64


def check_adata(adata: Any) -> None:
    """Raise TypeError for what is not an AnnData."""
    from anndata import AnnData  # noqa: PLC0415  (the core stays light)

    if not isinstance(adata, AnnData):
        msg = f"Expected an AnnData, got {type(adata).__name__}; read files with scanpy.read_h5ad()."
        raise TypeError(msg)


def check_count(name: str, value: Any, *, least: int = 1, most: int = _MOST) -> int:
    """Return a whole number; raise TypeError for anything else, ValueError if it is not in `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        msg = f"{name} must be a whole number, got {_shown(value)}."
        raise TypeError(msg)
    if value < least:
        msg = f"{name} must be at least {least}, got {value}."
        raise ValueError(msg)
    if value > most:
        msg = f"{name} must be at most {most}, got {value}."
        raise ValueError(msg)
    return int(value)


def check_range(name: str, value: Any, most: float) -> None:
    """Raise TypeError for what is not a number, ValueError if it is not in 0 to `most`."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        msg = f"{name} must be a number between 0 and {most:g}, got {_shown(value)}."
        raise TypeError(msg)
    if not 0 <= value <= most:
        msg = f"{name} must be between 0 and {most:g}, got {value}."
        raise ValueError(msg)


def check_positive(name: str, value: Any) -> None:
    """Raise TypeError for what is not a number, ValueError if it is not finite and above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        msg = f"{name} must be a number above 0, got {_shown(value)}."
        raise TypeError(msg)
    if not 0 < value < float("inf"):
        msg = f"{name} must be above 0 and finite, got {value}."
        raise ValueError(msg)


def check_rng(rng: Any, name: str = "rng") -> np.random.Generator:
    """Return the generator of a seed, or the one that is given; raise TypeError or ValueError for anything else."""
    if isinstance(rng, bool) or not (rng is None or isinstance(rng, int | np.integer | np.random.Generator)):
        msg = f"{name} must be a seed (a whole number), a numpy Generator or None, got {_shown(rng)}."
        raise TypeError(msg)
    if isinstance(rng, int | np.integer) and rng < 0:
        msg = f"{name} must be at least 0, got {rng}."
        raise ValueError(msg)
    return np.random.default_rng(rng)


def seed_of(rng: Any) -> int | str:
    """Return a seed as a record in uns keeps it: empty text for a generator, and for none."""
    return int(rng) if isinstance(rng, int | np.integer) else ""


def check_text(**values: Any) -> None:
    """Raise TypeError for arguments, by their names, that are not text, ValueError for empty text."""
    for name, value in values.items():
        if not isinstance(value, str):
            msg = f"{name} must be text, got {_shown(value)}."
            raise TypeError(msg)
        if not value.strip():
            msg = f"{name} must not be an empty text; got {value!r}."
            raise ValueError(msg)


def check_text_or_none(**values: Any) -> None:
    """Raise as :func:`check_text` for arguments that are neither text nor `None`."""
    check_text(**{name: value for name, value in values.items() if value is not None})


def check_where(where: Any) -> None:
    """Raise TypeError for a filter that is neither text nor `None`; what it says is read elsewhere."""
    if where is not None and not isinstance(where, str):
        msg = f"where must be text, as \"tissue == 'lung'\", got {_shown(where)}."
        raise TypeError(msg)


def check_flags(**values: Any) -> None:
    """Raise TypeError for arguments, by their names, that are neither true nor false."""
    for name, value in values.items():
        if not isinstance(value, bool | np.bool_):
            msg = f"{name} must be True or False, got {_shown(value)}."
            raise TypeError(msg)


def check_path(name: str, value: Any) -> None:
    """Raise TypeError for what is not the path of a file or folder, ValueError for empty text."""
    if not isinstance(value, str | os.PathLike):
        msg = f"{name} must be a path, got {_shown(value)}."
        raise TypeError(msg)
    if not os.fspath(value):
        msg = f"{name} must be a path, got an empty text."
        raise ValueError(msg)


def _shown(value: Any) -> str:
    """Return a value as a message shows it: in a line, and not all of it if it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{type(value).__name__} {text[:57]}..."


def check_recall(recall: Any) -> None:
    """Raise TypeError for what is not a number, ValueError if it is not above 0 and at most 1."""
    check_range("recall", recall, 1.0)
    if recall == 0:
        msg = "recall must be above 0; 0.99 finds 99 of 100 true neighbours."
        raise ValueError(msg)


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise ValueError for a value that is not one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        msg = f"{name} must be one of {list(choices)}, got {_shown(value)}."
        raise ValueError(msg)


def check_names(name: str, values: Sequence[str] | str) -> list[str]:
    """Return a list of distinct names, of one or several; raise TypeError if any is not text, ValueError if empty."""
    if isinstance(values, Mapping):
        msg = f"{name} must be names, got {_shown(values)}; pass a list."
        raise TypeError(msg)
    listed = [values] if isinstance(values, str | bytes) or not isinstance(values, Iterable) else list(values)
    wrong: list[Any] = [value for value in listed if not isinstance(value, str)]  # type: ignore[redundant-expr]  # users
    if wrong:
        msg = f"{name} must be names, got {wrong[:3]}."
        raise TypeError(msg)
    if any(not value.strip() for value in listed):
        msg = f"{name} must be names, got an empty text."
        raise ValueError(msg)
    return list(dict.fromkeys(listed))


def check_key(key: Any, name: str = "key_added") -> None:
    """Raise TypeError or ValueError for a name that a file of AnnData cannot hold."""
    if not isinstance(key, str):
        msg = f"{name} must be text, got {_shown(key)}."
        raise TypeError(msg)
    if not key.strip() or "/" in key or "\0" in key:
        why = "files of AnnData have no such names"
        msg = f"{name}={key!r} cannot be used: {why}. Expected a name that is not empty and has no '/'."
        raise ValueError(msg)


def check_writable(adata: AnnData, *, copy: bool) -> None:
    """Raise ValueError for an AnnData on disk that is a view or to be copied: nothing can be written into it."""
    if adata.isbacked and (copy or adata.is_view):
        what = "copy=True" if copy else "a view"
        msg = f"{what} of a backed AnnData cannot be written; call adata.to_memory() first, or pass the whole of it."
        raise ValueError(msg)


def check_obs_key(adata: AnnData, key: Any, name: str = "groupby") -> None:
    """Raise TypeError for what is no name, KeyError for a name of no column of obs, ValueError for that of several."""
    check_text(**{name: key})
    if key not in adata.obs:
        msg = f"obs[{key!r}] not found. Present: {list(adata.obs.columns)}."
        raise KeyError(msg)
    n_columns = int((adata.obs.columns == key).sum())
    if n_columns > 1:
        msg = f"obs has {n_columns} columns named {key!r}; rename them, or keep one: "
        msg += "adata.obs = adata.obs.loc[:, ~adata.obs.columns.duplicated()]."
        raise ValueError(msg)


def refuse_absent(columns: Sequence[str], present: Sequence[str], *, of: str = "obs") -> None:
    """Raise KeyError for columns that are not present in a frame, or `of` a file, ValueError for repeated ones."""
    absent = [name for name in columns if name not in present]
    if absent:
        msg = f"{of} has no column {absent}. Present: {list(present)}."
        raise KeyError(msg)
    if repeated := [name for name in columns if list(present).count(name) > 1]:
        msg = f"{of} has several columns named {repeated[0]!r}; rename them, or keep one."
        raise ValueError(msg)


def require(package: str, extra: str) -> None:
    """Raise ImportError, which names the `extra` of scim-atlas that installs it, if a package cannot be imported."""
    if find_spec(package) is None:
        msg = f'{package} is not installed; run: pip install "scim-atlas[{extra}]".'
        raise ImportError(msg, name=package)
