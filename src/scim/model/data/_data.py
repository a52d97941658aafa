"""From the user's data sets to one table of counts with codes: what training reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from scim import ontology
from scim._core.checks import check_adata
from scim._core.log import logger
from scim.model._labels import Labels
from scim.model.data._genes import choose_genes, marker_ranks
from scim.pp import align, canonical_genes, find_counts, genes_of, match_genes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray


class DataSet(NamedTuple):
    """The labelled cells of one AnnData."""

    name: str
    X: sparse.csr_matrix
    """(n, n_vars) counts."""
    genes: NDArray[np.object_]
    """(n_vars,) canonical ids, each once."""
    labels: NDArray[np.object_]
    studies: NDArray[np.object_]


class TrainingCells(NamedTuple):
    """All labelled cells, aligned to the genes of the model."""

    X: sparse.csr_matrix
    """(n, n_genes) counts."""
    panels: NDArray[np.bool_]
    """(n_data_sets, n_genes) genes that each data set measured."""
    panel: NDArray[np.int64]
    """(n,) row of `panels`."""
    label: NDArray[np.int64]
    """(n,) codes into `labels`."""
    study: NDArray[np.int64]
    """(n,) codes into `studies`."""
    labels: Labels
    studies: tuple[str, ...]
    genes: NDArray[np.object_]
    """(n_genes,) canonical ids."""


def gather(
    adatas: AnnData | Sequence[AnnData] | Mapping[str, AnnData],
    *,
    label_key: str,
    study_key: str | None,
    layer: str | None,
    gene_key: str | None,
) -> list[DataSet]:
    """Read the labelled cells of all data sets.

    Raises
    ------
    TypeError, KeyError, ValueError, CountsError
        What is wrong with which data set.
    """
    named = _named(adatas)
    sets = [
        _read(name, adata, label_key=label_key, study_key=study_key, layer=layer, gene_key=gene_key)
        for name, adata in named.items()
    ]
    _check_studies(sets, label_key, study_key)
    return sets


def combine(
    sets: Sequence[DataSet], *, genes: Sequence[str] | NDArray[np.object_] | None, n_genes: int
) -> TrainingCells:
    """Choose the genes unless they are given, and bring all data sets to them."""
    names = [data.genes for data in sets]
    if genes is None:
        ranks = [marker_ranks(data.X, pd.factorize(data.labels)[0]) for data in sets]
        chosen = choose_genes(names, ranks, [data.studies for data in sets], n_genes)
    else:
        chosen = _given_genes(genes)
    parts, panels = [], []
    for data in sets:
        found = match_genes(pd.DataFrame(index=pd.Index(data.genes)), chosen)
        parts.append(align(data.X, found))
        panels.append(found.observed)
    labels, label = _code_labels(np.concatenate([data.labels for data in sets]))
    study, studies = pd.factorize(np.concatenate([data.studies for data in sets]), sort=True)
    panel = np.repeat(np.arange(len(sets)), [len(data.labels) for data in sets])
    X = sparse.csr_matrix(sparse.vstack(parts, format="csr", dtype=np.float32))
    return TrainingCells(X, np.array(panels), panel, label, study.astype(np.int64), labels, tuple(studies), chosen)


def _named(adatas: Any) -> dict[str, AnnData]:
    if isinstance(adatas, Mapping):
        named = {str(name): adata for name, adata in adatas.items()}
    elif isinstance(adatas, list | tuple):
        named = {f"study{i}": adata for i, adata in enumerate(adatas)}
    else:
        named = {"study0": adatas}
    if not named:
        msg = "Expected at least one AnnData to train on, got none."
        raise ValueError(msg)
    for adata in named.values():
        check_adata(adata)
    return named


def _read(
    name: str, adata: AnnData, *, label_key: str, study_key: str | None, layer: str | None, gene_key: str | None
) -> DataSet:
    labels = _column(adata, name, label_key, "label_key")
    labelled = np.flatnonzero(labels.notna().to_numpy())
    if len(labelled) == 0:
        msg = f"obs[{label_key!r}] of {name!r} has only missing values; training needs labelled cells."
        raise ValueError(msg)
    if study_key is None:
        studies = np.full(len(labelled), name, dtype=object)
    else:
        column = _column(adata, name, study_key, "study_key").iloc[labelled]
        if column.isna().any():
            msg = f"obs[{study_key!r}] of {name!r} is missing for {int(column.isna().sum())} labelled cells."
            raise ValueError(msg)
        studies = column.astype(str).to_numpy(dtype=object)
    counts = find_counts(adata, layer)
    genes = pd.unique(pd.Series(genes_of(counts.var, gene_key=gene_key)))
    found = match_genes(counts.var, np.asarray(genes, dtype=object), gene_key=gene_key)
    X = align(counts.rows(0, counts.n_obs), found)[labelled]
    text = labels.iloc[labelled].astype(str).to_numpy(dtype=object)
    logger.info("%s: %d labelled of %d cells, %d genes (%s)", name, len(labelled), adata.n_obs, len(genes), counts.kind)
    return DataSet(name, sparse.csr_matrix(X), np.asarray(genes, dtype=object), text, studies)


def _column(adata: AnnData, name: str, key: str, argument: str) -> pd.Series[Any]:
    if key not in adata.obs:
        msg = f"{argument}={key!r} is not a column of obs of {name!r}. Present: {list(adata.obs.columns)}."
        raise KeyError(msg)
    column: pd.Series[Any] = adata.obs[key]
    return column


def _check_studies(sets: Sequence[DataSet], label_key: str, study_key: str | None) -> None:
    pairs = pd.DataFrame(
        {"label": np.concatenate([d.labels for d in sets]), "study": np.concatenate([d.studies for d in sets])}
    ).drop_duplicates()
    if pairs["label"].nunique() < 2:
        msg = f"obs[{label_key!r}] has only the label {pairs['label'].iloc[0]!r}; a metric is learned from two or more."
        raise ValueError(msg)
    if pairs["study"].nunique() < 2:
        remedy = (
            "pass several AnnData, or name the column of obs that tells studies (or donors) apart with study_key="
            if study_key is None
            else f"obs[{study_key!r}] has one value only; name a column that tells studies (or donors) apart"
        )
        msg = f"Triplets across studies need at least two studies, got one; {remedy}."
        raise ValueError(msg)
    labels = sorted(pairs["label"].unique())
    kin = pd.DataFrame(ontology.kin(labels), index=labels, columns=labels)
    sides = [set(group) for _, group in pairs.groupby("study")["label"]]
    if not any(kin.loc[sorted(a), sorted(b)].to_numpy().any() for i, a in enumerate(sides) for b in sides[:i]):
        msg = (
            f"No label of obs[{label_key!r}] occurs in two studies, so that nothing says which cells are alike. "
            f"Found: {[sorted(side)[:4] for side in sides]}. Bring the labels to common words or Cell Ontology ids."
        )
        raise ValueError(msg)


def _given_genes(genes: Sequence[str] | NDArray[np.object_]) -> NDArray[np.object_]:
    if isinstance(genes, str):
        msg = f"genes must be a list of gene names, got the text {genes!r}."
        raise TypeError(msg)
    canonical = canonical_genes([str(gene) for gene in genes])
    if len(set(canonical)) != len(canonical):
        twice = pd.Index(canonical)[pd.Index(canonical).duplicated()].unique().tolist()
        msg = f"genes names {len(twice)} genes more than once: {twice[:5]}."
        raise ValueError(msg)
    return canonical


def _code_labels(text: NDArray[np.object_]) -> tuple[Labels, NDArray[np.int64]]:
    """Give one code to all words for one Cell Ontology term."""
    words = sorted(set(text))
    ids = {word: ontology.term_id(word) for word in words}
    names = {word: word if (term := ids[word]) is None else ontology.term_name(term) for word in words}
    order = sorted(set(names.values()))
    position = {name: i for i, name in enumerate(order)}
    id_of = {names[word]: ids[word] for word in words}
    codes = pd.Series(text).map({word: position[names[word]] for word in words}).to_numpy(dtype=np.int64)
    return Labels(tuple(order), tuple(id_of[name] for name in order)), codes
