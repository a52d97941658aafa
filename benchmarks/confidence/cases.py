"""Define the cases: tests of benchmarks/quality unchanged, without one type, or with cells of another tissue."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import data
import numpy as np
import pandas as pd

import scim

if TYPE_CHECKING:
    import anndata as ad

LEAST_CELLS = 15
"""Types with fewer cells in the query are not removed from the reference."""

CHOSEN = (
    ("pbmc3k", "CL:0000623"),
    ("pbmc3k", "CL:0000625"),
    ("pbmc3k", "CL:0000860"),
    ("zheng_facs", "CL:0000236"),
    ("zheng_sorted", "CL:0000236"),
    ("zheng_facs", "CL:0008001"),
    ("onek1k", "CL:0000860"),
    ("2chem_3prime", "CL:0000236"),
    ("2chem_5prime", "CL:0000236"),
    ("baron_human2", "CL:0002079"),
    ("baron_human4", "CL:0000169"),
)
"""Tests and types that models and peers are trained without: NK, CD8 T, CD14 monocyte, B, stem, ductal, beta cell.
No other study has stem cells."""

NAMES = {
    "CL:0000236": "B", "CL:0000624": "CD4 T", "CL:0000625": "CD8 T", "CL:0000623": "NK", "CL:0000860": "CD14 monocyte",
    "CL:0008001": "stem", "CL:0002079": "ductal", "CL:0000169": "beta",
}  # fmt: skip

OTHER_TISSUE = ("pbmc3k", "zheng_facs", "baron_human3")
"""Tests with additional query cells of the other tissue."""

BLOOD_CELL = "CL:0000988"
OTHER_BLOOD = ("CL:0000236", "CL:0000623", "CL:0000233")
"""B, NK and platelet of pbmc3k: Baron lacks these and related types, but has T cells and macrophages."""


class Case(NamedTuple):
    """The query cells, and the part of the other studies that is used for training."""

    test: str
    without: str = ""
    """Type that is removed from the training studies with its ancestors and descendants."""
    other_tissue: bool = False
    """Whether training uses the query's tissue only, and cells of the other tissue are queries too."""
    held: str = ""
    """Training study that is held out too, and is the query instead of the test."""

    @property
    def name(self) -> str:
        """Return a name for files."""
        parts = [
            self.test,
            f"without {self.without}" * bool(self.without),
            "other tissue" * self.other_tissue,
            self.held,
        ]
        return " ".join(part for part in parts if part).replace(":", "_")


def plain(tests: list[str]) -> list[Case]:
    """Return the unchanged tests."""
    return [Case(test) for test in tests]


def unknown_types(cells: dict[str, ad.AnnData], tests: list[str]) -> list[Case]:
    """Return each test without each of its types, including types that no other study has."""
    found = []
    for test in tests:
        sizes = data.query(cells, data.TESTS[test]).obs["common"].value_counts()
        found += [Case(test, term) for term in sorted(sizes.index[sizes >= LEAST_CELLS])]
    return found


def chosen(tests: list[str]) -> list[Case]:
    """Return the tests and types for which models and peers are trained again."""
    return [Case(*pair) for pair in CHOSEN if pair[0] in tests]


def other_tissue(tests: list[str]) -> list[Case]:
    """Return the tests with query cells of another tissue."""
    return [Case(test, other_tissue=True) for test in OTHER_TISSUE if test in tests]


def held_out(cells: dict[str, ad.AnnData], tests: list[str]) -> list[Case]:
    """Return for each test the training studies of its tissue, each held out."""
    found = []
    for test in tests:
        same = Case(test, other_tissue=True)
        obs = [cells[name].obs for name in data.TRAINING]
        studies = {study for frame in obs for study in frame["study"][learned_from(frame, same)]}
        found += [Case(test, held=study) for study in sorted(studies)] if len(studies) > 1 else []
    return found


def training(cells: dict[str, ad.AnnData], case: Case) -> dict[str, ad.AnnData]:
    """Return the labelled training cells by file."""
    kept = {name: learned_from(cells[name].obs, case) for name in data.TRAINING}
    return {name: cells[name][keep].copy() for name, keep in kept.items() if keep.any()}


def learned_from(obs: pd.DataFrame, case: Case) -> np.ndarray:
    """Return which cells of a training file are used: those of data.training less the removed ones."""
    test = data.TESTS[case.test]
    keep = obs["label"].notna() & ~obs["study"].isin([test.left_out, case.held])
    keep &= ~obs["label"].isin(related_terms(case.without))
    if case.other_tissue:
        keep &= obs["tissue"] == test.tissue
    return keep.to_numpy()


def trained(cells: dict[str, ad.AnnData], case: Case) -> set[str]:
    """Return the types of the common level in the training cells."""
    kept = {name: learned_from(cells[name].obs, case) for name in data.TRAINING}
    return {term for name, keep in kept.items() for term in cells[name].obs["common"][keep]}


def removes(cells: dict[str, ad.AnnData], case: Case) -> bool:
    """Return whether a case removes cells from the training studies of its test."""
    files = [cells[name].obs for name in data.TRAINING]
    return any((learned_from(obs, case) != learned_from(obs, Case(case.test))).any() for obs in files)


def queries(cells: dict[str, ad.AnnData], case: Case) -> list[ad.AnnData]:
    """Return the queries: the test or the held-out study, and the other tissue."""
    test = data.TESTS[case.test]
    if case.held:
        whole = next(adata for adata in cells.values() if (adata.obs["study"] == case.held).any())
        return [whole[whole.obs["study"] == case.held].copy()]
    found = [data.query(cells, test).copy()]
    if case.other_tissue:
        other = cells["baron_human234" if test.tissue == "blood" else "pbmc3k"]
        blood = other.obs["label"].isin({BLOOD_CELL} | scim.ontology.descendants(BLOOD_CELL))
        added = ~blood & other.obs["label"].notna()
        if test.tissue == "pancreas":
            added = other.obs["common"].isin(OTHER_BLOOD)
        found.append(other[added].copy())
    return found


def truth(cells: dict[str, ad.AnnData], case: Case) -> pd.DataFrame:
    """Return `truth` (at the common level), `known` and `unknown` of the concatenated queries.

    Known cells have a type, or an ancestor of a type, of the training. Unknown cells are of the removed type, or of
    the other tissue. A cell may be neither.
    """
    terms = trained(cells, case)
    seen = terms.union(*(scim.ontology.ancestors(term) for term in terms))
    parts = []
    for place, adata in enumerate(queries(cells, case)):
        true = adata.obs["common"].astype(object)
        known = true.isin(seen).to_numpy() & (place == 0)
        unknown = (true == case.without).to_numpy() if place == 0 else np.ones(len(true), dtype=bool)
        parts.append(pd.DataFrame({"truth": true.to_numpy(), "known": known & ~unknown, "unknown": unknown}))
    return pd.concat(parts, ignore_index=True)


def related_terms(term: str) -> set[str]:
    """Return a term with its ancestors and descendants; an empty set for an empty term."""
    return {term} | scim.ontology.ancestors(term) | scim.ontology.descendants(term) if term else set()


def capped(train: dict[str, ad.AnnData], most: int) -> dict[str, ad.AnnData]:
    """Return at most `most` random cells of each type in a study; 0: all."""
    if not most:
        return train
    random, kept = np.random.default_rng(0), {}
    for name, adata in train.items():
        obs = adata.obs.iloc[random.permutation(adata.n_obs)]
        turn = obs.groupby([obs["common"].astype(str), obs["study"].astype(str)], observed=True).cumcount()
        kept[name] = adata[np.sort(adata.obs_names.get_indexer(turn.index[turn < most]))].copy()
    return kept
