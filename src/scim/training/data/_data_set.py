"""Labelled cells of one input, and of several: split by study, and checked for labels that studies share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scim import ontology
from scim._core import CountsError, FormatError, logger
from scim._core.no_label import clean_text, read_labels, read_names
from scim.pp import find_counts, genes_of, match_genes
from scim.pp._align import aligned_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from scipy import sparse

    from scim._core.types import Transform
    from scim.io.cells import Cells
    from scim.pp import Counts


@dataclass(frozen=True)
class DataSet:
    """Labelled cells of one AnnData, file, or part of an atlas. Counts stay on disk."""

    name: str
    counts: Counts
    genes: NDArray[np.object_]  # canonical ids, each once
    rows: NDArray[np.int64]  # (n,) of `counts`, ascending
    labels: NDArray[np.object_]  # (n,)
    studies: NDArray[np.object_]  # (n,)
    gene_key: str | None = None

    @property
    def n_cells(self) -> int:
        return self.rows.size

    def measured(self, genes: NDArray[np.object_]) -> NDArray[np.bool_]:
        """Return which of these canonical genes were measured."""
        return np.isin(genes.astype(str), self.genes.astype(str))

    def blocks(self, genes: NDArray[np.object_]) -> Iterator[tuple[slice, sparse.csr_matrix]]:
        """Yield counts over canonical genes in blocks of bounded size: their positions in `rows`, and (n, n_genes)."""
        gene_map = match_genes(self.counts.var, self.genes, gene_key=self.gene_key).onto(genes)
        for chunk in aligned_chunks(self.counts, gene_map):
            positions = slice(*np.searchsorted(self.rows, [chunk.rows.start, chunk.rows.stop]).tolist())
            if positions.start < positions.stop:
                wanted = self.rows[positions] - chunk.rows.start
                yield positions, chunk.X if wanted.size == chunk.X.shape[0] else chunk.X[wanted]

    def select(self, mask: NDArray[np.bool_]) -> DataSet:
        """Return the cells of a mask (n,)."""
        return replace(self, rows=self.rows[mask], labels=self.labels[mask], studies=self.studies[mask])


def read_data_set(
    name: str,
    adata: AnnData | Cells,
    label_key: str,
    study_key: str | None,
    layer: str | None,
    transform: Transform | None,
    gene_key: str | None,
) -> DataSet:
    """Return the labelled cells of one input, checked."""
    labels = read_labels(_column(adata, name, label_key, "label_key"))
    labelled = np.flatnonzero(labels.present)
    if len(labelled) == 0:
        msg = f"obs[{label_key!r}] of {name!r} has only missing values; training needs labelled cells."
        msg += f" ({labels.describe()})" if labels.left_out else ""
        raise ValueError(msg)
    labels.report(name)
    studies = np.full(len(labelled), name, dtype=object)
    if study_key is not None:
        named = read_names(_column(adata, name, study_key, "study_key").iloc[labelled])
        if named.n_missing:
            msg = f"obs[{study_key!r}] of {name!r} is missing for {named.n_missing} labelled cells: "
            msg += f"{named.describe('study')}. Expected the name of a study or donor for each."
            raise ValueError(msg)
        studies = named.texts
    try:
        counts = find_counts(adata, layer, transform)
    except (CountsError, FormatError, KeyError) as error:  # name the input
        msg = f"{name}: {error.args[0]}"
        raise type(error)(msg) from error
    counts = counts if counts.file else replace(counts, file=name)  # for errors when cells are read
    names = genes_of(counts.var, gene_key=gene_key)
    genes = np.asarray(pd.unique(pd.Series(names[names != ""], dtype=object)), dtype=object)
    match_genes(counts.var, genes, gene_key=gene_key)  # warns and raises before cells are read
    text = labels.texts[labelled]
    logger.info("%s: %d labelled of %d cells, %d genes (%s)", name, len(labelled), adata.n_obs, len(genes), counts.kind)
    return DataSet(name, counts, genes, labelled, text, studies, gene_key)


def split_studies(data_sets: Sequence[DataSet], studies: Sequence[str]) -> tuple[list[DataSet], list[DataSet]]:
    """Return the cells of other studies, and those of the named studies; all of these must exist, and others too."""
    studies = [clean_text(str(study)) for study in ([studies] if isinstance(studies, str) else studies)]
    if not studies:
        return list(data_sets), []
    known = sorted({study for data in data_sets for study in data.studies.tolist()})
    absent = sorted(set(studies) - set(known))
    if absent or set(studies) == set(known):
        what = f"there is no study {absent}" if absent else "no study is left to train on"
        msg = f"validation={studies}: {what}. Present: {known}."
        raise ValueError(msg)
    masks = [np.isin(data.studies.astype(str), studies) for data in data_sets]
    training = [data.select(~mask) for data, mask in zip(data_sets, masks, strict=True) if not mask.all()]
    return training, [data.select(mask) for data, mask in zip(data_sets, masks, strict=True) if mask.any()]


def check_shared(data_sets: Sequence[DataSet], label_key: str, study_key: str | None) -> None:
    """Raise ValueError for data of one label, or of one study, or without a label of two studies."""
    frames = [pd.DataFrame({"label": data.labels, "study": data.studies}).drop_duplicates() for data in data_sets]
    pairs = pd.concat(frames).drop_duplicates()
    if pairs["label"].nunique() < 2:
        found = f"only the label {pairs['label'].iloc[0]!r}" if len(pairs) else "no cell left"
        msg = f"obs[{label_key!r}] has {found}; a metric is learned from two or more."
        raise ValueError(msg)
    if pairs["study"].nunique() < 2:
        remedy = (
            "pass several AnnData, or name the column of obs that tells studies (or donors) apart with study_key="
            if study_key is None
            else f"name with study_key= a column that tells more studies (or donors) apart than obs[{study_key!r}] does"
        )
        msg = f"Only the study {pairs['study'].iloc[0]!r} is left to train on, expected two or more; {remedy}."
        raise ValueError(msg)
    labels = sorted(pairs["label"].unique())
    related = pd.DataFrame(ontology.related(labels), index=labels, columns=labels)
    groups = [sorted(set(group)) for _, group in pairs.groupby("study")["label"]]
    if not any(related.loc[a, b].to_numpy().any() for i, a in enumerate(groups) for b in groups[:i]):
        msg = (
            f"No label of obs[{label_key!r}] occurs in two studies, so that no pair of cells links studies. "
            f"Found: {[group[:4] for group in groups]}. Bring the labels to common words or Cell Ontology ids."
        )
        raise ValueError(msg)


def _column(adata: AnnData | Cells, name: str, key: str, argument: str) -> pd.Series[Any]:
    if key not in adata.obs:
        msg = f"{argument}={key!r} is not a column of obs of {name!r}. Present: {list(adata.obs.columns)}."
        raise KeyError(msg)
    column: pd.Series[Any] = adata.obs[key]
    return column
