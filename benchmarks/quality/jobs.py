"""Group the work: a group is a training set and the queries that are predicted with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import data
import handover

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import anndata as ad


class Query(NamedTuple):
    """A variant of a test."""

    test: str
    variant: str


@dataclass
class Group:
    """All queries of one held-out study, or, for peers, of one test."""

    cells: dict[str, ad.AnnData]
    sets: list[list[Query]]
    """The queries of each training: all of a study, or those of a test with the same genes."""
    seed: int
    peers: bool
    """Whether cells are written with their shared genes only."""
    tissue: str | None = None
    """Tissue of the training studies; `None`: all."""

    @property
    def reference(self) -> str:
        """Return "together" if the training set has all tissues, "apart" if it has that of the query only."""
        return "together" if self.tissue is None else "apart"

    def write(self, place: int, folder: Path) -> dict[str, Any]:
        """Write the cells of a set; return the paths and the column of the labels."""
        tests = [data.TESTS[query.test] for query in self.sets[place]]
        train = data.training(self.cells, tests[0].left_out, self.tissue)
        queries = [
            data.variant(data.query(self.cells, test), query.variant, self.seed)
            for test, query in zip(tests, self.sets[place], strict=True)
        ]
        if self.peers:
            files, genes = handover.shared(train, queries[0])
            train = {name: handover.aligned(train[name], genes) for name in files}
            queries = [handover.aligned(adata, genes) for adata in queries]
        return {
            "train": [_written(adata, folder / f"{place}-train-{name}.h5ad") for name, adata in train.items()],
            "tests": [_written(adata, folder / f"{place}-test-{n}.h5ad") for n, adata in enumerate(queries)],
            "label_key": "common" if self.peers else "label",
        }


def fixed(cells: dict[str, ad.AnnData], tests: list[str], variants: list[str], seed: int) -> Iterator[Group]:
    """Yield one group per held-out study."""
    for study in dict.fromkeys(data.TESTS[name].left_out for name in tests):
        queries = [name for name in tests if data.TESTS[name].left_out == study]
        yield Group(cells, [[Query(test, variant) for test in queries for variant in variants]], seed, peers=False)


def peers(
    cells: dict[str, ad.AnnData], tests: list[str], variants: list[str], seed: int, *, apart: bool
) -> Iterator[Group]:
    """Yield one group per test, trained on the studies of all tissues or of the query's only."""
    of_genes = [[variant] for variant in variants if variant.startswith("genes")]
    of_counts = [variant for variant in variants if not variant.startswith("genes")]
    for test in tests:
        sets = [[Query(test, variant) for variant in queries] for queries in (of_counts, *of_genes) if queries]
        yield Group(cells, sets, seed, peers=True, tissue=data.TESTS[test].tissue if apart else None)


def _written(adata: ad.AnnData, path: Path) -> str:
    adata.obs = adata.obs[[name for name in ("label", "common", "study") if name in adata.obs]].astype(object)
    adata.write_h5ad(path)
    return str(path)
