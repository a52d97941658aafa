"""The queries: a test of benchmarks/quality as it is, without one of its types, or with cells of another tissue."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import data
import numpy as np
import pandas as pd

import scim

if TYPE_CHECKING:
    import anndata as ad

LEAST_CELLS = 15
"""A type of fewer cells in the query is not taken out."""

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
No other study has the stem cells anyway."""

NAMES = {
    "CL:0000236": "B", "CL:0000624": "CD4 T", "CL:0000625": "CD8 T", "CL:0000623": "NK", "CL:0000860": "CD14 monocyte",
    "CL:0008001": "stem", "CL:0002079": "ductal", "CL:0000169": "beta",
}  # fmt: skip

OTHER_TISSUE = ("pbmc3k", "zheng_facs", "baron_human3")
"""Tests that are asked together with cells of the other tissue."""

BLOOD_CELL = "CL:0000988"
STRANGE_BLOOD = ("CL:0000236", "CL:0000623", "CL:0000233")
"""B, NK and platelet of pbmc3k: Baron lacks these types and relatives, but has T cells and macrophages."""


class Question(NamedTuple):
    """Cells to label, and what of the other studies is trained on."""

    test: str
    without: str = ""
    """Type taken out of the training studies, with its relatives: the terms above and below it."""
    other_tissue: bool = False
    """Whether training is on the query's tissue alone, and cells of the other are queries too."""
    held: str = ""
    """Study of the training that is left out too, and is the query instead of the test."""

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


def plain(tests: list[str]) -> list[Question]:
    """Return the tests as they are."""
    return [Question(test) for test in tests]


def unknown_types(cells: dict[str, ad.AnnData], tests: list[str]) -> list[Question]:
    """Return each test without each of its types; one that no other study has anyway is asked about too."""
    found = []
    for test in tests:
        sizes = data.query(cells, data.TESTS[test]).obs["common"].value_counts()
        found += [Question(test, term) for term in sorted(sizes.index[sizes >= LEAST_CELLS])]
    return found


def chosen(tests: list[str]) -> list[Question]:
    """Return the tests and types for which all is trained again."""
    return [Question(*pair) for pair in CHOSEN if pair[0] in tests]


def other_tissue(tests: list[str]) -> list[Question]:
    """Return the tests that are asked with another tissue."""
    return [Question(test, other_tissue=True) for test in OTHER_TISSUE if test in tests]


def held_out(cells: dict[str, ad.AnnData], tests: list[str]) -> list[Question]:
    """Return for each test the training studies of its tissue, each left out of the training."""
    found = []
    for test in tests:
        same = Question(test, other_tissue=True)
        obs = [cells[name].obs for name in data.TRAINING]
        studies = {study for some in obs for study in some["study"][learned_from(some, same)]}
        found += [Question(test, held=study) for study in sorted(studies)] if len(studies) > 1 else []
    return found


def training(cells: dict[str, ad.AnnData], question: Question) -> dict[str, ad.AnnData]:
    """Return the labelled cells to learn from, by file."""
    kept = {name: learned_from(cells[name].obs, question) for name in data.TRAINING}
    return {name: cells[name][keep].copy() for name, keep in kept.items() if keep.any()}


def learned_from(obs: pd.DataFrame, question: Question) -> np.ndarray:
    """Return which cells of a file of training are learned from, as data.training has it but for what is taken out."""
    test = data.TESTS[question.test]
    keep = obs["label"].notna() & ~obs["study"].isin([test.left_out, question.held])
    keep &= ~obs["label"].isin(related_terms(question.without))
    if question.other_tissue:
        keep &= obs["tissue"] == test.tissue
    return keep.to_numpy()


def trained(cells: dict[str, ad.AnnData], question: Question) -> set[str]:
    """Return the types of the common level that are learned."""
    kept = {name: learned_from(cells[name].obs, question) for name in data.TRAINING}
    return {term for name, keep in kept.items() for term in cells[name].obs["common"][keep]}


def removes(cells: dict[str, ad.AnnData], question: Question) -> bool:
    """Say whether a question takes anything out of the training studies of its test."""
    files = [cells[name].obs for name in data.TRAINING]
    return any((learned_from(obs, question) != learned_from(obs, Question(question.test))).any() for obs in files)


def asked(cells: dict[str, ad.AnnData], question: Question) -> list[ad.AnnData]:
    """Return the queries: the test or the study held out, and the other tissue."""
    test = data.TESTS[question.test]
    if question.held:
        whole = next(adata for adata in cells.values() if (adata.obs["study"] == question.held).any())
        return [whole[whole.obs["study"] == question.held].copy()]
    found = [data.query(cells, test).copy()]
    if question.other_tissue:
        other = cells["baron_human234" if test.tissue == "blood" else "pbmc3k"]
        blood = other.obs["label"].isin({BLOOD_CELL} | scim.ontology.descendants(BLOOD_CELL))
        strange = ~blood & other.obs["label"].notna()
        if test.tissue == "pancreas":
            strange = other.obs["common"].isin(STRANGE_BLOOD)
        found.append(other[strange].copy())
    return found


def truth(cells: dict[str, ad.AnnData], question: Question) -> pd.DataFrame:
    """Return of all queries, one after the other, `truth` (at the common level), `known` and `unknown`.

    Known are cells whose type the training has, or something below it. Unknown are those of the type that was taken
    out, or of the other tissue. Cells may be neither.
    """
    terms = trained(cells, question)
    seen = terms.union(*(scim.ontology.ancestors(term) for term in terms))
    parts = []
    for place, adata in enumerate(asked(cells, question)):
        true = adata.obs["common"].astype(object)
        known = true.isin(seen).to_numpy() & (place == 0)
        unknown = (true == question.without).to_numpy() if place == 0 else np.ones(len(true), dtype=bool)
        parts.append(pd.DataFrame({"truth": true.to_numpy(), "known": known & ~unknown, "unknown": unknown}))
    return pd.concat(parts, ignore_index=True)


def related_terms(term: str) -> set[str]:
    """Return a term and those above and below it; none of no term."""
    return {term} | scim.ontology.ancestors(term) | scim.ontology.descendants(term) if term else set()


def capped(train: dict[str, ad.AnnData], most: int) -> dict[str, ad.AnnData]:
    """Return at most so many cells of each type in a study, drawn at random; 0: all."""
    if not most:
        return train
    random, kept = np.random.default_rng(0), {}
    for name, adata in train.items():
        obs = adata.obs.iloc[random.permutation(adata.n_obs)]
        turn = obs.groupby([obs["common"].astype(str), obs["study"].astype(str)], observed=True).cumcount()
        kept[name] = adata[np.sort(adata.obs_names.get_indexer(turn.index[turn < most]))].copy()
    return kept
