"""Test that cells in any form get the results of their plain form, or an error with a remedy, and stay as they were."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scim
from helpers.odd_adata import TABLES, build
from helpers.same_results import check_form, run_plain, state
from scim._core import CountsError, GeneOverlapError


@pytest.fixture(scope="module")
def plain(atlas_path, tmp_path_factory):
    return run_plain(atlas_path, tmp_path_factory.mktemp("plain"))


def forms(**fixed):
    """Draw an entry of each table, or of those in `fixed`."""
    return st.fixed_dictionaries(
        {name: st.sampled_from(fixed.get(name, list(table))) for name, table in TABLES.items()}
    )


@given(form=forms())
def test_odd_cells_get_the_results_of_their_plain_form(form, atlas_path, plain):
    with tempfile.TemporaryDirectory() as folder:
        check_form(form, atlas_path, plain, Path(folder))


def with_value(value):
    def spoil(counts):
        counts = counts.copy()
        counts[3 % len(counts), 7] = value
        return counts

    return spoil


WRONG_COUNTS = {
    "negative": (with_value(-1), r"negative values .*layer="),
    "NaN": (with_value(np.nan), r"NaN or infinite values.*layer="),
    "infinite": (with_value(np.inf), r"NaN or infinite values.*layer="),
    "zeros": (np.zeros_like, r"holds only zeros.*layer="),
}


@given(
    form=forms(dtype=["float32", "float64", ">f4"], place=["X", "layer=", "a layer, without X"], columns=["in order"]),
    wrong=st.sampled_from(list(WRONG_COUNTS)),
)
def test_wrong_counts_are_refused_with_a_remedy(form, wrong, atlas_path):
    spoil, message = WRONG_COUNTS[wrong]
    with tempfile.TemporaryDirectory() as folder:
        adata = build(form, Path(folder), spoil)
        before = state(adata)
        with pytest.raises(CountsError, match=message):
            scim.tl.embed(adata, atlas_path, layer="my umis" if form["place"] == "layer=" else None)
        assert "X_scim" not in adata.obsm
        assert state(adata) == before


WRONG_CALLS = {
    # the form, what is done to it, the error, its message with the remedy
    "genes in rows": ({}, lambda adata: {"adata": adata.T}, GeneOverlapError, r"transpose|\.T\b"),
    "a layer that is not there": ({}, lambda adata: {"adata": adata, "layer": "umis"}, KeyError, "layer='umis' not found"),
    "objects": ({}, lambda adata: {"adata": objects(adata)}, CountsError, "dtype object, expected numbers"),
    "a view of a file": ({"holder": "backed"}, lambda adata: {"adata": adata[:5]}, ValueError, r"adata.to_memory\(\)"),
    "a copy of a file": ({"holder": "backed"}, lambda adata: {"adata": adata, "copy": True}, ValueError, r"adata.to_memory\(\)"),
}  # fmt: skip


def objects(adata):
    adata.X = adata.X.toarray().astype(object)
    return adata


@pytest.mark.parametrize("case", WRONG_CALLS)
def test_what_cannot_be_read_is_refused_with_a_remedy(case, atlas_path, tmp_path):
    form, call, error, message = WRONG_CALLS[case]
    arguments = call(build(form, tmp_path))
    before = state(arguments["adata"])
    with pytest.raises(error, match=message):
        scim.tl.embed(atlas=atlas_path, **arguments)
    assert state(arguments["adata"]) == before
