"""Run the tools on cells of any form, and compare with the same cells in plain form; compare an AnnData with itself."""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

import scim
from helpers import odd_adata

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

_WRITTEN = ("X_scim", "scim")  # names of what the tools write begin so


class Results(NamedTuple):
    """What the tools write about cells."""

    embedding: NDArray[np.float32]
    label: NDArray[np.object_]
    confidence: NDArray[np.float64]
    ids: NDArray[np.int64]
    distances: NDArray[np.float32]


def run(adata: AnnData, atlas: Any, *, layer: str | None = None, copy: bool = False, **embed: Any) -> Results:
    """Embed, annotate and search, without the warnings; return what was written."""
    tools = (
        lambda a: scim.tl.embed(a, atlas, layer=layer, copy=copy, **embed),
        lambda a: scim.tl.annotate(a, atlas, copy=copy),
        lambda a: scim.tl.search(a, atlas, k=5, copy=copy),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for tool in tools:
            returned = tool(adata)
            adata = returned if copy else adata
    label = pd.Series(np.asarray(adata.obs["scim_label"], dtype=object))
    return Results(
        np.asarray(adata.obsm["X_scim"]),
        label.where(label.notna(), None).to_numpy(),
        np.asarray(adata.obs["scim_label_confidence"], dtype=float),
        np.asarray(adata.obsm["scim_search_ids"]),
        np.asarray(adata.obsm["scim_search_distances"]),
    )


def run_plain(atlas: Any, folder: Path) -> Results:
    """Return the results of the plain form of the cells of `odd_adata`."""
    results = run(odd_adata.build({}, folder), atlas)
    assert set(results.label) == {"T cell", "B cell", "classical monocyte"}
    return results


def check_same(found: Results, plain: Results, rows: NDArray[np.int64], *, exact: bool = True) -> None:
    """Compare cells with rows of the plain form; -1 = a cell without counts. `exact=False`: the counts were lost."""
    full, empty = rows >= 0, rows < 0
    rows, tolerance = rows[full], 1e-5 if exact else 1e-3
    np.testing.assert_allclose(found.embedding[full], plain.embedding[rows], atol=tolerance)
    np.testing.assert_allclose(found.distances[full], plain.distances[rows], atol=tolerance)
    assert found.label[full].tolist() == plain.label[rows].tolist()
    if exact:
        np.testing.assert_allclose(found.confidence[full], plain.confidence[rows], atol=1e-3)
        assert (found.ids[full] == plain.ids[rows]).all()
    assert not found.embedding[empty].any()
    assert found.label[empty].tolist() == [None] * empty.sum()
    assert (found.ids[empty] == -1).all()
    assert np.isinf(found.distances[empty]).all()


def check_form(form: dict[str, str], atlas: Any, plain: Results, folder: Path) -> None:
    """Check that a form of the cells gets the results of the plain form, and that the cells stay as they were."""
    adata = odd_adata.build(form, folder)
    rows = np.asarray(adata.obs["row"])
    parent = adata._adata_ref if adata.is_view else adata
    before, files = state(parent), _files(folder)
    layer = "my umis" if form.get("place") == "layer=" else None
    found = run(adata, atlas, layer=layer, copy=form.get("holder") == "a copy")
    check_same(found, plain, rows, exact=form.get("place") != "X, logged")
    assert state(parent) == before
    assert _files(folder) == files


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def state(adata: AnnData) -> dict[str, Any]:
    """Return all that an AnnData holds in memory, but for what the tools write, as values that can be compared."""
    obs, var = (frame if isinstance(frame, pd.DataFrame) else frame.to_memory() for frame in (adata.obs, adata.var))
    kept = [i for i, name in enumerate(obs.columns) if not str(name).startswith(_WRITTEN)]
    parts = {name: _frozen(getattr(adata, name)) for name in ("layers", "uns", "obsm", "varm", "obsp")}
    raw = None if adata.raw is None else (_frozen(adata.raw.X), _frozen(adata.raw.var))
    with contextlib.suppress(KeyError):  # of a file without X that is read lazily
        parts["X"] = _frozen(adata.X)
    return parts | {"raw": raw, "obs": _frozen(obs.iloc[:, kept]), "var": _frozen(var)}


def _frozen(value: Any) -> Any:
    if isinstance(value, pd.DataFrame):
        columns = [_frozen(value.iloc[:, i]) for i in range(value.shape[1])]
        return list(value.columns), value.index.name, list(value.index), columns
    if isinstance(value, pd.Series):
        categories = list(value.cat.categories) if isinstance(value.dtype, pd.CategoricalDtype) else None
        return value.dtype, categories, [repr(item) for item in value]
    if hasattr(value, "indptr") and hasattr(value, "toarray"):
        return type(value), value.shape, [_frozen(array) for array in (value.data, value.indices, value.indptr)]
    if isinstance(value, np.ndarray):
        return type(value), value.dtype, value.shape, value.tobytes(), value.flags.writeable
    if hasattr(value, "items"):
        return {key: _frozen(item) for key, item in value.items() if not str(key).startswith(_WRITTEN)}
    return repr(value)
