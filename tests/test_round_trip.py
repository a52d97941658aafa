"""After every tool the AnnData writes to h5ad and zarr and reads back equal, and a mask keeps rows right."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

import scim


def novel(adata, atlas, **arguments):
    """Annotate, then find clusters among the cells: all of them are novel enough."""
    scim.tl.annotate(adata, atlas, tissue=["blood", "lung"])
    scim.tl.novel(adata, atlas, groupby="cell_type", **arguments)


STEPS = {
    "embed": lambda adata, atlas: scim.tl.embed(adata, atlas, key_added="X_again"),
    "annotate": scim.tl.annotate,
    "annotate, groups": lambda adata, atlas: scim.tl.annotate(
        adata, atlas, groupby="sample", level=5, allow=["T cell", "B cell"]
    ),
    "annotate, statistics": lambda adata, atlas: scim.tl.annotate(adata, atlas, statistics=True),
    "annotate, all unknown": lambda adata, atlas: scim.tl.annotate(adata, atlas, max_distance=0.0),
    "novel": lambda adata, atlas: novel(adata, atlas, threshold=0.0),
    "novel, none": lambda adata, atlas: novel(adata, atlas, threshold=1.0),
    "search cells": lambda adata, atlas: scim.tl.search(adata, atlas, k=5),
    "search, too few pass": lambda adata, atlas: scim.tl.search(adata, atlas, k=5, where="n < 2"),
    "search, too far": lambda adata, atlas: scim.tl.search(adata, atlas, k=5, max_distance=0.01, duplicates="keep"),
    "search groups": lambda adata, atlas: scim.tl.search(adata, atlas, groupby="cell_type", k=5),
    "explain": lambda adata, atlas: scim.tl.explain(adata, atlas, groupby="cell_type", n_pairs=3, n_steps=2),
}


def dense(values):
    return values.toarray() if hasattr(values, "toarray") else values


def same(one, other) -> bool:
    if isinstance(one, dict):
        return set(one) == set(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other, check_categorical=False, check_names=False)
        return True
    if isinstance(one, np.ndarray):
        return np.array_equal(one, np.asarray(other).astype(one.dtype))
    return bool(one == other) and (isinstance(one, str) == isinstance(other, str))


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
@pytest.mark.parametrize("step", STEPS)
# zarr 3 warns that it has no final specification for text of fixed width, which anndata stores
@pytest.mark.filterwarnings("ignore:The data type:zarr.errors.UnstableSpecificationWarning")
@pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning")
def test_written_and_read_back(adata, atlas_path, tmp_path, step, kind):
    STEPS[step](adata, atlas_path)
    path = tmp_path / f"a.{kind}"
    if kind == "h5ad":
        adata.write_h5ad(path)
        back = anndata.read_h5ad(path)
    else:
        adata.write_zarr(path)
        back = anndata.read_zarr(path)
    pd.testing.assert_frame_equal(back.obs, adata.obs, check_categorical=False)
    assert set(back.obsm) == set(adata.obsm)
    for key in adata.obsm:
        np.testing.assert_array_equal(dense(back.obsm[key]), dense(adata.obsm[key]))
        assert back.obsm[key].dtype == adata.obsm[key].dtype
    assert same(adata.uns, back.uns)
    if "scim_search" in back.uns:
        pd.testing.assert_frame_equal(scim.get.hits(back), scim.get.hits(adata))
    if "scim_label" in back.uns:
        pd.testing.assert_frame_equal(scim.get.votes(back), scim.get.votes(adata))
        pd.testing.assert_frame_equal(scim.get.annotation(back), scim.get.annotation(adata), check_categorical=False)
    if "scim_explain" in back.uns:
        pd.testing.assert_frame_equal(scim.get.attribution(back), scim.get.attribution(adata))


@pytest.mark.parametrize("step", STEPS)
def test_a_mask_keeps_rows_right(adata, atlas_path, step):
    STEPS[step](adata, atlas_path)
    mask = np.arange(adata.n_obs) % 4 == 1
    part = adata[mask].copy()
    for key in adata.obsm:
        np.testing.assert_array_equal(dense(part.obsm[key]), dense(adata.obsm[key])[mask])
    written = [key for key in adata.obs if key.startswith("scim")]
    for key in written:
        assert part.obs[key].astype(object).equals(adata.obs[key].astype(object)[mask])
