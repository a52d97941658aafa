"""Adding cells: block by block, recorded in the journal, and visible from the commit on."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from msgspec.structs import replace

from scim._core import check_flags, check_names, check_text_or_none, keys, logger, progress, warn
from scim._core.cosine import is_directed, unit_rows
from scim.atlas._columns import OPEN, as_type, common_type
from scim.atlas._expression import extend_expression
from scim.atlas._index import extend
from scim.atlas._labels import is_copy
from scim.atlas._names import add_names, hash_names, known_rows, shared_rows
from scim.atlas._samples import SampleCollector, draw
from scim.atlas._source import Source, resume_token
from scim.atlas.commit import Counted, store_array
from scim.atlas.soma import VAR_PATH, IntegrityChecker, Writer
from scim.io.cells import opened
from scim.pp import align, match_genes
from scim.pp._species import species_token

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from typing import TypeAlias

    from anndata import AnnData
    from numpy.typing import NDArray

    from scim.atlas.commit import IndexEntry, Manifest, StoredArray, Transaction
    from scim.model import Model
    from scim.pp import Counts, GeneMap
    from scim.pp._species import Species

    Data: TypeAlias = AnnData | str | os.PathLike[str]

_PAIR = [keys.ATLAS_LABEL, keys.ATLAS_STUDY]
_BLOCK_ROWS, _LEAST_ROWS = 65_536, 1024
_EMBEDDED_ROWS = 262_144  # rows of cells that are embedded already: they are small, and few files open faster
_BLOCK_VALUES = 12_000_000  # counts in flight at a time: about 0.6 GB on their way through TileDB


class Chosen(NamedTuple):
    """A source, and its rows and genes that are appended."""

    source: Source
    keep: NDArray[np.bool_]
    hashes: NDArray[np.uint64]
    genes: GeneMap | None  # onto those of the model
    stored: GeneMap | None = None  # onto those of the store, if counts are stored
    drawn: NDArray[np.bool_] = np.empty(0, dtype=np.bool_)  # rows whose counts are sampled

    @property
    def n_new(self) -> int:
        return int(self.keep.sum())


@contextlib.contextmanager
def open_sources(
    data: Data | list[Data] | tuple[Data, ...], study: str | Sequence[str] | None, columns: Sequence[str], **how: Any
) -> Iterator[list[Source]]:
    """Yield the sources of :meth:`scim.atlas.Atlas.append`, open; `how` are arguments of :meth:`Source.read`."""
    check_text_or_none(**{name: how.get(name) for name in ("study_key", "label_key", "layer", "obsm")})
    inputs: list[Data] = [*data] if isinstance(data, list | tuple) else [data]
    several = isinstance(study, Sequence) and not isinstance(study, str)
    studies: list[Any] = [*study] if several and study is not None else [study] * len(inputs)
    if len(studies) != len(inputs):
        msg = f"Expected one study for each of {len(inputs)} inputs, or one for all; got {len(studies)}."
        raise ValueError(msg)
    how["obs_columns"] = check_names("obs_columns", columns)
    keep = [name for name in (how["study_key"], how["label_key"], *how["obs_columns"]) if name is not None]
    sources = []
    with contextlib.ExitStack() as stack:
        for given, name in zip(inputs, studies, strict=True):
            cells, token = stack.enter_context(opened(given, keep)), resume_token(given, study=name, **how)
            sources.append(Source.read(cells, study=name, token=token, **how))
        yield sources


def describe_append(
    sources: Sequence[Source], *, gene_key: str | None, species: Species, counts: bool, skip: bool
) -> tuple[str, str | None]:
    """Return a description of an append, and its resume token; `None` = it cannot be resumed."""
    check_text_or_none(gene_key=gene_key)
    check_flags(counts=counts)
    n_cells = sum(source.n_obs for source in sources)
    studies = list(dict.fromkeys(name for source in sources for name in source.obs[keys.ATLAS_STUDY].unique()))
    more = f" and {len(studies) - 3} more" if len(studies) > 3 else ""
    what = f"append of {n_cells:,} cells of {', '.join(studies[:3])}{more}"
    tokens = [source.token for source in sources if source.token is not None]
    how = str((gene_key, species_token(species), counts, skip))
    return what, "|".join([*tokens, how]) if len(tokens) == len(sources) else None


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
    """Append the cells of all sources and commit; return the new state, and the number of cells added."""
    manifest, storage = transaction.manifest, transaction.storage
    for source in sources:
        _check(source, manifest, model, counts=counts)
    writer, integrity = Writer(transaction), IntegrityChecker(storage, manifest)
    integrity.check_layout()
    if counts:
        integrity.check(VAR_PATH)
    stored = writer.columns()
    types = _column_types(stored, manifest.empty_columns, sources)
    chosen = _choose(transaction, sources, model, gene_key, species, skip=skip)
    n_new = sum(part.n_new for part in chosen)
    if n_new == 0:
        return manifest, 0
    first, last = manifest.n_rows, manifest.n_rows + n_new
    bound = {name: kind for name, kind in types.items() if kind != OPEN}
    writer.add_columns({name: kind for name, kind in bound.items() if name not in stored})
    writer.grow(last, manifest.published.name)
    if counts:
        maps = [part.genes for part in chosen if part.genes is not None]  # of all: `_check` refuses others
        union = writer.grow_counts(last, np.concatenate([genes.unique_names for genes in maps]))
        chosen = [part._replace(stored=genes.onto(union)) for part, genes in zip(chosen, maps, strict=True)]
    chosen = _with_samples(chosen)
    samples = _write(transaction, writer, chosen, bound, model)

    published = replace(manifest.published, n_rows=last)
    if published.index is not None and published.index.n_rows == first:
        published = replace(published, index=_extended(transaction, chosen, samples, last))
    hashes = np.concatenate([part.hashes[part.keep] for part in chosen])
    names = add_names(storage, manifest.names, hashes, first, transaction.number)
    counted, n_obs = _counted(transaction, chosen), manifest.n_obs + n_new
    changes = {"published": published, "names": names, "counted": counted, "samples": (*manifest.samples, *samples)}
    empty = tuple(name for name in types if name not in bound)
    committed = transaction.commit(n_rows=last, n_obs=n_obs, empty_columns=empty, **changes)
    logger.info("appended %d cells; the atlas has %d", n_new, committed.n_obs)
    return committed, n_new


def _check(source: Source, manifest: Manifest, model: Model | None, *, counts: bool) -> None:
    msg = ""
    if counts and (source.counts is None or source.counts.kind != "counts"):
        held = "it holds an embedding only"
        if source.counts is not None:
            held = f"{source.counts.source} holds {source.counts.kind} values"
        msg = f"counts=True stores counts, but {held}; leave it out."
    elif model is None and source.embedding is None:
        msg = "The cells of this atlas were embedded elsewhere; name the embedding of the new ones with obsm=."
    elif model is not None and source.embedding is not None:
        msg = "obsm= is for atlases that have no model; this one embeds the counts of what is appended. Leave it out."
    elif source.made_by is not None and source.made_by != manifest.published.model:
        by = manifest.published.model or "another method"
        msg = f"The embedding was made by model {source.made_by}, that of the atlas by {by}. Expected one method; if "
        msg += "both are of one, remove the record of the former from adata.uns['scim']."
    elif source.embedding is not None and source.embedding.shape[1] != manifest.published.dim:
        msg = f"The embedding has {source.embedding.shape[1]} columns, that of the atlas {manifest.published.dim}."
    if msg:
        raise ValueError(msg)


def _column_types(stored: dict[str, Any], empty: Sequence[str], sources: Sequence[Source]) -> dict[str, Any]:
    """Return the types of all columns: those of the atlas first, then new ones; refuse what does not fit them.

    A column without any value has the type `OPEN`: it is not stored, but listed in the manifest.
    """
    types = dict.fromkeys(empty, OPEN) | stored
    parts: dict[str, list[pd.Series]] = {}
    for source in sources:
        for name in (str(name) for name in source.obs if name not in keys.ATLAS_COLUMNS):
            parts.setdefault(name, []).append(source.obs[name])
    for name, columns in parts.items():
        if types.get(name, OPEN) == OPEN:
            types[name] = common_type(columns)
        for column in columns:
            as_type(column, types[name])
    return types


def _choose(
    transaction: Transaction,
    sources: Sequence[Source],
    model: Model | None,
    gene_key: str | None,
    species: Species,
    *,
    skip: bool,
) -> list[Chosen]:
    """Choose the cells that are neither in the atlas nor in a source before; refuse or skip the others."""
    chosen: list[Chosen] = []
    for source in sources:
        hashes = hash_names(source.obs)
        known = known_rows(transaction.storage, transaction.manifest, source.obs, hashes)
        for before in chosen:
            known |= shared_rows(source.obs, hashes, before.source.obs, before.hashes)
        if known.any() and not skip:
            examples = source.obs.loc[known, keys.ATLAS_CELL_ID].head(3).tolist()
            studies = source.obs.loc[known, keys.ATLAS_STUDY].unique()[:3].tolist()
            msg = f"{known.sum()} cells of study {studies} are in the atlas already, as {examples}; append each cell "
            msg += "once, or pass on_duplicate='skip'."
            raise ValueError(msg)
        if known.any():
            logger.info("%d cells are in the atlas already and are skipped", known.sum())
        genes = None
        if model is not None and source.counts is not None:
            genes = match_genes(source.counts.var, model.genes, gene_key=gene_key, species=species)
        chosen.append(Chosen(source, ~known, hashes, genes))
    return chosen


def _with_samples(chosen: Sequence[Chosen]) -> list[Chosen]:
    """Draw the cells whose counts are sampled: labelled ones that have counts and are no copies of others."""
    obs = pd.concat([part.source.obs[_PAIR].astype(object) for part in chosen], ignore_index=True)
    pairs = obs.groupby(_PAIR, sort=False).ngroup().fillna(-1).to_numpy(dtype=np.int64)
    sampled = np.concatenate([part.keep & (part.genes is not None) & ~_copies(part.source.obs) for part in chosen])
    stops = np.cumsum([part.source.n_obs for part in chosen])
    rows = np.split(draw(np.where(sampled, pairs, -1)), stops[:-1])
    return [part._replace(drawn=drawn) for part, drawn in zip(chosen, rows, strict=True)]


def _copies(obs: pd.DataFrame) -> NDArray[np.bool_]:
    return np.asarray(is_copy(obs)) if keys.ATLAS_PRIMARY in obs else np.zeros(len(obs), dtype=np.bool_)


def _write(
    transaction: Transaction, writer: Writer, chosen: Sequence[Chosen], types: dict[str, Any], model: Model | None
) -> list[StoredArray]:
    """Write block by block, beginning behind the rows that an interrupted attempt has written; return the samples.

    The samples of rows that are written already are read again.
    """
    name, first = transaction.manifest.published.name, transaction.manifest.n_rows
    total, n_read, n_empty = sum(part.source.n_obs for part in chosen), 0, 0
    samples = []
    with progress(total=total, initial=transaction.n_done, desc="append", unit="cell") as bar:
        for number, part in enumerate(chosen):
            collector = None if part.genes is None else SampleCollector(part.genes)
            for rows in _blocks(part.source):
                keep = part.keep[rows]
                n_read += len(keep)
                ids = np.arange(first, first + int(keep.sum()))
                first += len(ids)
                drawn = np.flatnonzero(part.drawn[rows][keep])
                is_written = n_read <= transaction.n_done or len(ids) == 0
                counts = _counts(part.source, rows, keep) if len(drawn) or not is_written else None
                if collector is not None and counts is not None and part.genes is not None:
                    drawn = drawn[np.asarray(align(counts.matrix[drawn], part.genes).sum(axis=1)).ravel() > 0]
                    if len(drawn):
                        collector.add(ids[drawn], counts.matrix[drawn])
                if is_written:
                    continue
                embedding = _embed(part, rows, counts, model)
                n_empty += int((~is_directed(embedding)).sum())
                obs = part.source.obs.iloc[rows][keep]
                writer.block(
                    ids,
                    obs={column: as_type(obs[column], kind) for column, kind in types.items() if column in obs},
                    embedding=(name, embedding),
                    counts=None if part.stored is None or counts is None else align(counts.matrix, part.stored),
                )
                transaction.reached(n_read)
                bar.update(len(keep))
            if collector is not None and collector.n_cells:
                file = f"samples/{transaction.number:06d}-{number}.npz"
                samples.append(collector.write(transaction.storage, file))
    if n_empty:
        have = "have no count in any of the model's genes" if model is not None else "have an embedding of zeros"
        share = f"{n_empty:,} ({n_empty / sum(part.n_new for part in chosen):.1%}) of the appended cells"
        warn(f"{share} {have}: they are stored, but never found, and their labels are not used.")
    return samples


def _blocks(source: Source) -> Iterator[slice]:
    """Yield the ranges of rows that are written together."""
    n_rows = _EMBEDDED_ROWS
    if source.counts is not None:
        head = source.counts.rows(0, min(200, source.n_obs))
        per_row = max(1.0, head.nnz / max(1, head.shape[0]))
        n_rows = int(max(_LEAST_ROWS, min(_BLOCK_ROWS, _BLOCK_VALUES // per_row)))
    for start in range(0, source.n_obs, n_rows):
        yield slice(start, min(start + n_rows, source.n_obs))


def _counts(source: Source, rows: slice, keep: NDArray[np.bool_]) -> Counts | None:
    if source.counts is None:
        return None
    matrix = source.counts.whole_rows(rows.start, rows.stop)
    return source.counts.of(matrix if keep.all() else matrix[keep])


def _embed(part: Chosen, rows: slice, counts: Counts | None, model: Model | None) -> NDArray[np.float32]:
    """Return the embedding of a block: of its counts, or the given one scaled to unit rows."""
    if model is not None and part.genes is not None and counts is not None:
        return model.embed(counts, part.genes, quiet=True)
    given = np.asarray(part.source.embedding[rows])[part.keep[rows]]  # type: ignore[index]
    if n_wrong := int((~np.isfinite(given).all(axis=1)).sum()):
        where = f"rows {rows.start} to {rows.stop}"
        msg = f"The embedding has NaN or infinite values in {n_wrong} of {where}; leave them out."
        raise ValueError(msg)
    return unit_rows(given, what="rows of the embedding")


def _extended(
    transaction: Transaction, chosen: Sequence[Chosen], samples: Sequence[StoredArray], last: int
) -> IndexEntry | None:
    """Return the index of the atlas with the appended cells, and with the expression of their labels."""
    entry = extend(transaction, last)
    if entry is None or entry.expression is None or not samples:
        return entry
    obs = pd.concat([part.source.obs.loc[part.keep, _PAIR] for part in chosen])
    return replace(entry, expression=extend_expression(transaction, entry.expression, samples, obs))


def _counted(transaction: Transaction, chosen: Sequence[Chosen]) -> tuple[Counted, ...]:
    """Return the cells that have counts, and store the genes that were measured in the new ones."""
    counted, stop = list(transaction.manifest.counted), transaction.manifest.n_rows
    for number, part in enumerate(chosen):
        start, stop = stop, stop + part.n_new
        if part.stored is None or start == stop:
            continue
        name = f"panels/{transaction.number:06d}-{number}.npy"
        known = [earlier.panel for earlier in counted]
        panel = store_array(transaction.storage, name, np.flatnonzero(part.stored.observed), known=known)
        if counted and counted[-1].stop == start and counted[-1].panel == panel:
            start = counted.pop().start
        counted.append(Counted(start, stop, panel))
    return tuple(counted)
