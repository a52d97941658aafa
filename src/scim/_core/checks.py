"""Check arguments: each error says what was expected, what came, and what to call."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray


def check_adata(adata: Any) -> None:
    """Raise TypeError for what is not an AnnData."""
    from anndata import AnnData  # noqa: PLC0415  (the core stays light)

    if not isinstance(adata, AnnData):
        msg = f"Expected an AnnData, got {type(adata).__name__}; read files with scanpy.read_h5ad()."
        raise TypeError(msg)


def check_count(name: str, value: Any, *, least: int = 1) -> int:
    """Return a whole number; raise TypeError for anything else, ValueError if it is below `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        msg = f"{name} must be a whole number, got {value!r}."
        raise TypeError(msg)
    if value < least:
        msg = f"{name} must be at least {least}, got {value}."
        raise ValueError(msg)
    return int(value)


def check_range(name: str, value: Any, most: float) -> None:
    """Raise TypeError for what is not a number, ValueError if it is not in 0 to `most`."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        msg = f"{name} must be a number between 0 and {most:g}, got {value!r}."
        raise TypeError(msg)
    if not 0 <= value <= most:
        msg = f"{name} must be between 0 and {most:g}, got {value}."
        raise ValueError(msg)


def check_recall(recall: Any) -> None:
    """Raise TypeError for what is not a number, ValueError if it is not above 0 and at most 1."""
    check_range("recall", recall, 1.0)
    if recall == 0:
        msg = "recall must be above 0; 0.99 finds 99 of 100 true neighbours."
        raise ValueError(msg)


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise ValueError for a value that is not one of `choices`."""
    if value not in choices:
        msg = f"{name} must be one of {list(choices)}, got {value!r}."
        raise ValueError(msg)


def check_names(name: str, values: Sequence[str] | str) -> list[str]:
    """Return a list of distinct names, of one or several; raise TypeError if any is not text."""
    listed = [values] if isinstance(values, str) or not isinstance(values, Iterable) else list(values)
    wrong: list[Any] = [value for value in listed if not isinstance(value, str)]  # type: ignore[redundant-expr]  # users
    if wrong:
        msg = f"{name} must be names, got {wrong[:3]}."
        raise TypeError(msg)
    return list(dict.fromkeys(listed))


def check_rep(adata: AnnData, use_rep: str) -> NDArray[np.float32]:
    """Return `obsm[use_rep]` as float32, shape (n_obs, dim); KeyError without it, ValueError if it is not finite."""
    if use_rep not in adata.obsm:
        msg = f"obsm[{use_rep!r}] not found; run scim.tl.embed(adata) first, or name another with use_rep=."
        msg += f" Present: {sorted(adata.obsm)}."
        raise KeyError(msg)
    values = adata.obsm[use_rep]
    array = np.asarray(values.toarray() if hasattr(values, "toarray") else values)
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        msg = f"obsm[{use_rep!r}] must be a table of numbers, got {array.dtype} of shape {array.shape}."
        raise ValueError(msg)
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        msg = f"obsm[{use_rep!r}] has NaN or infinite values in {int((~finite).sum())} cells; embed them again."
        raise ValueError(msg)
    return np.ascontiguousarray(array, dtype=np.float32)


def check_key(key: Any, *, taken: Sequence[str] = ()) -> None:
    """Raise TypeError or ValueError for a name that a file of AnnData cannot hold, or that is one of `taken`."""
    if not isinstance(key, str):
        msg = f"key_added must be text, got {key!r}."
        raise TypeError(msg)
    if not key or "/" in key or key in taken:
        why = "scim keeps something else there" if key in taken else "files of AnnData have no such names"
        msg = f"key_added={key!r} cannot be used: {why}. Expected a name that is not empty and has no '/'."
        raise ValueError(msg)


def check_writable(adata: AnnData, *, copy: bool) -> None:
    """Raise ValueError for an AnnData on disk that is a view or to be copied: nothing can be written into it."""
    if adata.isbacked and (copy or adata.is_view):
        what = "copy=True" if copy else "a view"
        msg = f"{what} of a backed AnnData cannot be written; call adata.to_memory() first, or pass the whole of it."
        raise ValueError(msg)


def check_obs_key(adata: AnnData, key: str) -> None:
    """Raise KeyError for a name that is not a column of obs."""
    if key not in adata.obs:
        msg = f"obs[{key!r}] not found. Present: {list(adata.obs.columns)}."
        raise KeyError(msg)


def refuse_absent(columns: Sequence[str], present: Sequence[str], *, of: str = "obs") -> None:
    """Raise KeyError for columns that are not among those present in a frame, or `of` a file."""
    absent = [name for name in columns if name not in present]
    if absent:
        msg = f"{of} has no column {absent}. Present: {list(present)}."
        raise KeyError(msg)


def require(package: str, extra: str) -> None:
    """Raise ImportError, which names the `extra` of scim-atlas that installs it, if a package cannot be imported."""
    if find_spec(package) is None:
        msg = f'{package} is not installed; run: pip install "scim-atlas[{extra}]".'
        raise ImportError(msg, name=package)
