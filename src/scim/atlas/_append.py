"""Adding cells: block by block, each noted when it is written, all of them visible from the commit on."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scim._core import keys
from scim._core.log import logger, progress, warn
from scim.atlas._names import add_names, hash_names, known_rows, shared_rows
from scim.atlas._parts import extend
from scim.atlas.commit import Counted, store_array
from scim.atlas.soma import VAR_PATH, Guard, Writer, damage_named, open_experiment
from scim.atlas.source import TEXT, arrow_type, as_type
from scim.pp import align, match_genes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from scim.atlas.commit import Manifest, Transaction
    from scim.atlas.source import Source
    from scim.model import Model
    from scim.pp import Counts, GeneMap, Species

_BLOCK_ROWS = 65_536
_EMBEDDED_ROWS = 262_144
"""Of cells that are embedded already, whose rows are small: each block becomes a file, and few are opened faster."""

_LEAST_ROWS = 1024
_BLOCK_VALUES = 12_000_000
"""Counts in flight at a time: about 0.6 GB on their way through TileDB, whatever the size of the data."""


class Block(NamedTuple):
    """Cells that are written together."""

    source: int
    start: int
    stop: int
    """Rows of the source."""

    n_done: int
    """Rows of all sources up to the end of this block."""


@dataclass(frozen=True)
class Cells:
    """A source, which of its rows are appended, and how its genes are read."""

    source: Source
    keep: NDArray[np.bool_]
    genes: GeneMap | None
    hashes: NDArray[np.uint64]


def append(
    transaction: Transaction,
    sources: Sequence[Source],
    model: Model | None,
    *,
    gene_key: str | None,
    species: Species,
    counts: bool,
    skip: bool,
) -> tuple[Manifest, int]:
    """Append the cells of all sources and commit.

    Returns
    -------
    The new state, and how many cells were added.
    """
    manifest, storage = transaction.manifest, transaction.storage
    for source in sources:
        _check(source, manifest, model, counts=counts)
    writer = Writer(transaction)
    guard = Guard(storage, manifest)
    guard.check_layout()
    if counts:
        guard.check(VAR_PATH)
    types = _column_types(writer, sources)
    cells = _chosen(transaction, sources, model, gene_key, species, skip=skip)
    n_new = sum(int(some.keep.sum()) for some in cells)
    if n_new == 0:
        return manifest, 0
    first, last = manifest.n_rows, manifest.n_rows + n_new
    writer.add_columns({name: kind for name, kind in types.items() if name not in writer.columns()})
    writer.grow(last, manifest.space.embedding)
    unions = _all_genes(writer, cells, last) if counts else [None] * len(cells)
    _write(transaction, writer, cells, unions, types, model)

    space = manifest.space
    with damage_named(storage), open_experiment(storage, at=transaction.tick()) as experiment:
        if space.index is not None and space.index.n_rows == first:
            index = extend(storage, experiment, guard, space, last, transaction.number)
            space = replace(space, index=index)
    hashes = np.concatenate([some.hashes[some.keep] for some in cells])
    names = add_names(storage, manifest.names, hashes, first, transaction.number)
    counted = _counted(transaction, cells, unions)
    space = replace(space, n_rows=last)
    committed = transaction.commit(n_rows=last, n_obs=manifest.n_obs + n_new, space=space, names=names, counted=counted)
    logger.info("appended %d cells; the atlas has %d", n_new, committed.n_obs)
    return committed, n_new


def _check(source: Source, manifest: Manifest, model: Model | None, *, counts: bool) -> None:
    if counts and (source.counts is None or source.counts.kind != "counts"):
        held = "an embedding only" if source.counts is None else f"{source.counts.kind} values"
        where = "it" if source.counts is None else source.counts.source
        msg = f"counts=True stores counts, but {where} holds {held}; leave it out."
        raise ValueError(msg)
    if model is None and source.embedding is None:
        msg = "The cells of this atlas were embedded elsewhere; name the embedding of the new ones with obsm=."
        raise ValueError(msg)
    if model is not None and source.embedding is not None:
        msg = "obsm= is for atlases that have no model; this one embeds the counts of what is appended. Leave it out."
        raise ValueError(msg)
    if source.embedding is not None and source.embedding.shape[1] != manifest.space.dim:
        msg = f"The embedding has {source.embedding.shape[1]} columns, that of the atlas {manifest.space.dim}."
        raise ValueError(msg)


def _column_types(writer: Writer, sources: Sequence[Source]) -> dict[str, Any]:
    """Return the types of all columns: those of the atlas first, then new ones; refuse what does not fit them."""
    types = writer.columns()
    for source in sources:
        for name in map(str, source.obs):
            types.setdefault(name, TEXT if name in keys.ATLAS_COLUMNS else arrow_type(source.obs[name]))
            if name not in keys.ATLAS_COLUMNS:
                as_type(source.obs[name], types[name])
    return types


def _chosen(
    transaction: Transaction,
    sources: Sequence[Source],
    model: Model | None,
    gene_key: str | None,
    species: Species,
    *,
    skip: bool,
) -> list[Cells]:
    """Find the cells that are there already, in the atlas or in a source before; refuse or skip them."""
    manifest, storage = transaction.manifest, transaction.storage
    cells: list[Cells] = []
    for source in sources:
        hashes = hash_names(source.obs)
        with damage_named(storage), open_experiment(storage, at=manifest.timestamp) as experiment:
            known = known_rows(storage, manifest, experiment, source.obs, hashes)
        for before in cells:
            known |= shared_rows(source.obs, hashes, before.source.obs, before.hashes)
        if known.any() and not skip:
            _refuse_known(source.obs[known])
        if known.any():
            logger.info("%d cells are in the atlas already and are skipped", known.sum())
        genes = None
        if model is not None and source.counts is not None:
            genes = match_genes(source.counts.var, model.genes, gene_key=gene_key, species=species)
        cells.append(Cells(source, ~known, genes, hashes))
    return cells


def _refuse_known(both: pd.DataFrame) -> None:
    examples = both[keys.ATLAS_CELL_ID].head(3).tolist()
    studies = both[keys.ATLAS_STUDY].unique()[:3].tolist()
    msg = (
        f"{len(both)} cells of study {studies} are in the atlas already, as {examples}; append each cell once, "
        "or pass on_duplicate='skip'."
    )
    raise ValueError(msg)


def _all_genes(writer: Writer, cells: Sequence[Cells], n_rows: int) -> list[GeneMap | None]:
    """Make room for the genes of all sources; return how the genes of each lie among all of them."""
    maps = [some.genes for some in cells if some.genes is not None]
    every = writer.grow_counts(n_rows, np.concatenate([genes.names for genes in maps]))
    return [None if some.genes is None else some.genes.onto(every) for some in cells]


def _write(
    transaction: Transaction,
    writer: Writer,
    cells: Sequence[Cells],
    unions: Sequence[GeneMap | None],
    types: dict[str, Any],
    model: Model | None,
) -> None:
    """Write block by block, beginning behind what an interrupted attempt has written."""
    manifest = transaction.manifest
    first, n_empty = manifest.n_rows, 0
    total = sum(some.source.n_obs for some in cells)
    with progress(total=total, initial=transaction.n_done, desc="append", unit="cell") as bar:
        for block in _blocks([some.source for some in cells]):
            some = cells[block.source]
            keep = some.keep[block.start : block.stop]
            ids = np.arange(first, first + int(keep.sum()))
            first += len(ids)
            if block.n_done <= transaction.n_done or len(ids) == 0:
                continue
            part = None if some.source.counts is None else _rows(some.source.counts, block, keep)
            rows = _embedded(some, block, keep, part, model)
            n_empty += int((~rows.any(axis=1)).sum())
            union = unions[block.source]
            writer.block(
                ids,
                obs=_obs(some.source.obs.iloc[block.start : block.stop][keep], types),
                embedding=(manifest.space.embedding, rows),
                counts=None if union is None or part is None else align(part.matrix, union),
            )
            transaction.reached(block.n_done)
            bar.update(block.stop - block.start)
    if n_empty:
        warn(f"{n_empty} cells have no count in any of the model's genes; their embedding is zero and says nothing.")


def _blocks(sources: Sequence[Source]) -> Iterator[Block]:
    n_done = 0
    for number, source in enumerate(sources):
        n_rows = _EMBEDDED_ROWS
        if source.counts is not None:
            head = source.counts.rows(0, min(200, source.n_obs))
            per_row = max(1.0, head.nnz / max(1, head.shape[0]))
            n_rows = int(max(_LEAST_ROWS, min(_BLOCK_ROWS, _BLOCK_VALUES // per_row)))
        for start, stop in itertools.pairwise([*range(0, source.n_obs, n_rows), source.n_obs]):
            n_done += stop - start
            yield Block(number, start, stop, n_done)


def _rows(counts: Counts, block: Block, keep: NDArray[np.bool_]) -> Counts:
    matrix = counts.rows(block.start, block.stop)
    # A logarithm is undone by now, so it must not be undone again.
    return replace(counts, matrix=matrix if keep.all() else matrix[keep], kind="counts")


def _embedded(
    cells: Cells, block: Block, keep: NDArray[np.bool_], counts: Counts | None, model: Model | None
) -> NDArray[np.float32]:
    if model is not None and cells.genes is not None and counts is not None:
        return model.embed(counts, cells.genes, quiet=True)
    given = np.asarray(cells.source.embedding[block.start : block.stop], dtype=np.float32)[keep]  # type: ignore[index]
    if not np.isfinite(given).all():
        wrong = int((~np.isfinite(given).all(axis=1)).sum())
        where = f"rows {block.start} to {block.stop}"
        msg = f"The embedding has NaN or infinite values in {wrong} of {where}; leave them out."
        raise ValueError(msg)
    length = np.linalg.norm(given, axis=1, keepdims=True)
    unit: NDArray[np.float32] = np.divide(given, length, out=np.zeros_like(given), where=length > 0)
    return unit


def _obs(rows: pd.DataFrame, types: dict[str, Any]) -> dict[str, Any]:
    return {name: as_type(rows[name], kind) for name, kind in types.items() if name in rows}


def _counted(transaction: Transaction, cells: Sequence[Cells], unions: Sequence[GeneMap | None]) -> tuple[Counted, ...]:
    """Return which cells have counts, and note the genes that were measured in the new ones."""
    counted, stop = list(transaction.manifest.counted), transaction.manifest.n_rows
    for number, (some, union) in enumerate(zip(cells, unions, strict=True)):
        start, stop = stop, stop + int(some.keep.sum())
        if union is None or start == stop:
            continue
        name = f"panels/{transaction.number:06d}-{number}.npy"
        known = [earlier.panel for earlier in counted]
        panel = store_array(transaction.storage, name, np.flatnonzero(union.observed), known=known)
        if counted and counted[-1].stop == start and counted[-1].panel == panel:
            start = counted.pop().start
        counted.append(Counted(start, stop, panel))
    return tuple(counted)
