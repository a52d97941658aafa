"""Inputs of training: AnnData, files, atlases and SOMA experiments, opened, read and filtered."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from scim._core import check_adata
from scim._core.no_label import read_labels
from scim.io import local_path
from scim.io.cells import Cells, Experiment, opened
from scim.training.data._data_set import read_data_set
from scim.training.data._filters import CellFilters, coarsen, keep_good

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

    from scim._core.types import Transform
    from scim.training.data._data_set import DataSet


@runtime_checkable
class HasCells(Protocol):
    """A store of cells with counts, as :class:`scim.atlas.Atlas`."""

    def cells(self, columns: Sequence[str]) -> list[Cells]:
        """Return the cells, in parts that measured the same genes each, with these columns of obs."""


Input: TypeAlias = "AnnData | Cells | str | os.PathLike[str] | HasCells | Any"
"""AnnData, the path of an h5ad file or a zarr folder, an open atlas, or an open SOMA experiment."""

Inputs: TypeAlias = "Input | Sequence[Input] | Mapping[str, Input]"


@contextlib.contextmanager
def opened_inputs(data: Inputs, columns: Sequence[str]) -> Iterator[dict[str, AnnData | Cells]]:
    """Yield the cells of all inputs, with these columns of obs, by name; files are closed at the end.

    The first of the columns has the labels. Without names, files have that of the file and others are numbered.
    """
    with contextlib.ExitStack() as stack:
        cells: dict[str, AnnData | Cells] = {}
        for name, source in _named(data).items():
            parts = _open(source, columns, stack)
            for i, part in enumerate(parts):
                cells[_unused(name if len(parts) == 1 else f"{name} {i}", cells)] = part
        yield cells


@contextlib.contextmanager
def gathered(
    data: Inputs,
    *,
    label_key: str,
    study_key: str | None,
    layer: str | None = None,
    transform: Transform | None = None,
    gene_key: str | None = None,
    filters: CellFilters | None = None,
) -> Iterator[tuple[list[DataSet], dict[str, Any]]]:
    """Yield the labelled cells of all inputs that pass the filters, and a report; files are closed at the end.

    The report has the cells that each rule left out, by data set, and the labels that were coarsened or left out.
    """
    filters = CellFilters() if filters is None else filters
    columns = [key for key in (label_key, study_key, *filters.columns) if key is not None]
    with opened_inputs(data, list(dict.fromkeys(columns))) as cells:
        data_sets: list[DataSet] = []
        report: dict[str, dict[str, Any]] = {}
        for name, adata in cells.items():
            labelled = read_data_set(name, adata, label_key, study_key, layer, transform, gene_key)
            good, dropped = keep_good(labelled, adata, filters)
            report[name] = {"n_labelled": labelled.n_cells, **dropped}
            if words := read_labels(adata.obs[label_key]).left_out:
                report[name]["no_label"] = words
            if good.n_cells:
                data_sets.append(good)
        data_sets, moves = _share_labels(data_sets, filters.min_studies)
        if not data_sets:
            msg = f"No cell passes the filters: {report}; labels that became others, or none: {moves}."
            raise ValueError(msg)
        yield data_sets, {"data_sets": report, "labels": moves}


def _share_labels(data_sets: list[DataSet], min_studies: int) -> tuple[list[DataSet], dict[str, str | None]]:
    if min_studies < 2 or not data_sets:
        return data_sets, {}
    labels, studies = (np.concatenate([getattr(data, name) for data in data_sets]) for name in ("labels", "studies"))
    moves = coarsen(labels, studies, min_studies)
    changed = []
    for data in data_sets:
        coarse = np.array([moves.get(label, label) for label in data.labels], dtype=object)
        has_label = np.array([label is not None for label in coarse], dtype=np.bool_)
        changed.append(replace(data, labels=coarse).select(has_label))
    return [data for data in changed if data.n_cells], moves


def _named(data: Inputs) -> dict[str, Input]:
    named: dict[str, Input] = {}
    if isinstance(data, Mapping) and not hasattr(data, "soma_type"):  # a SOMA experiment is a mapping too
        for name, source in data.items():
            named[_unused(str(name), named)] = source
    else:
        for i, source in enumerate(data if isinstance(data, list | tuple) else [data]):
            name = Path(source).name.partition(".")[0] if isinstance(source, str | os.PathLike) else f"study{i}"
            named[_unused(name, named)] = source
    if not named:
        msg = "Expected at least one AnnData to train on, got none."
        raise ValueError(msg)
    return named


def _unused(name: str, taken: Mapping[str, Any]) -> str:
    """Return the name, or with a number: two files of one name are two inputs."""
    names = itertools.chain([name], (f"{name} {i}" for i in itertools.count(2)))
    return next(unused for unused in names if unused not in taken)


def _open(source: Input, columns: Sequence[str], stack: contextlib.ExitStack) -> list[AnnData | Cells]:
    if isinstance(source, Cells):
        return [source]
    if isinstance(source, str | os.PathLike):
        if (local_path(source) / "atlas.json").exists():
            msg = f"{str(source)!r} is an atlas; pass it open: scim.atlas.open({str(source)!r})."
            raise TypeError(msg)
        return [stack.enter_context(opened(source, columns))]
    if isinstance(source, HasCells):
        return [*source.cells(columns)]
    if hasattr(source, "soma_type"):
        cells = Experiment(source).read(columns)
        label = cells.obs[columns[0]]  # the Census writes texts for missing labels
        obs = cells.obs.assign(**{columns[0]: label.where(read_labels(label).present)})
        return [replace(cells, obs=obs.set_axis(obs.index.astype(str)))]
    check_adata(source)
    return [source]
