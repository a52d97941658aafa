"""Making an atlas of cells in a SOMA experiment, as the CELLxGENE Census, or of cells that are embedded already."""

from __future__ import annotations

import contextlib
import os
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import tiledbsoma

from scim._core import (
    FormatError,
    check_flags,
    check_names,
    check_text,
    check_text_or_none,
    check_where,
    error_text,
    keys,
)
from scim.atlas._append import open_sources
from scim.atlas._models import given_model
from scim.atlas._open import create, create_empty, open_atlas
from scim.atlas._open import opened as opened_atlas
from scim.atlas._source import read_experiment
from scim.atlas.commit import FILE, EmbeddingVersion
from scim.atlas.soma import context
from scim.atlas.storage import Storage
from scim.io import files_below, local_path
from scim.pp._species import species_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from anndata import AnnData

    from scim.atlas._atlas import Atlas
    from scim.atlas._source import Source
    from scim.model import Model
    from scim.pp._species import Species

_PLAIN_NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)  # of an embedding: the store keeps its array under this name
_STUDY, _LABEL = "dataset_id", "cell_type_ontology_term_id"  # columns of obs in the schema of the CELLxGENE Census


def from_soma(
    uri: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    model: Model | str | os.PathLike[str] | None = None,
    measurement: str = "RNA",
    layer: str = "raw",
    where: str | None = None,
    study: str | None = None,
    study_key: str | None = _STUDY,
    label_key: str | None = _LABEL,
    columns: Sequence[str] | None = None,
    species: Species = "human",
    counts: bool = False,
    overwrite: bool = False,
) -> Atlas:
    """Make an atlas of cells of a SOMA experiment: embed them, and build the index.

    The defaults are those of the CELLxGENE Census. An interrupted call resumes when it is repeated.

    Parameters
    ----------
    uri
        The experiment, as `census/census_data/homo_sapiens`; a folder or `s3://...` (see `scim.settings.storage`).
    out
        The atlas to make.
    model
        The model that embeds the cells, or the folder of one. Default: that of the default atlas.
    measurement, layer
        The counts.
    where
        Which cells, as `"tissue_general == 'lung' and is_primary_data == True"`; see :meth:`scim.atlas.Atlas.select`.
    study
        Name of the study all cells come from, in place of
    study_key
        the column of obs with it.
    label_key
        Column of obs with cell types; `unknown` means unlabelled.
    columns
        Further columns of obs to keep. Default: those of the Census that exist.
    species
        Species of the genes, as for :meth:`Atlas.append`: `"mouse"` for `census/census_data/mus_musculus`.
    counts
        Whether to store the counts too.
    overwrite
        Whether to replace what is at `out`.

    Returns
    -------
    The atlas, open for writing.

    Raises
    ------
    FileExistsError
        `out` exists and `overwrite` is false.
    KeyError
        A measurement, layer or column does not exist.
    FilterError
        `where` cannot be read, or names an unknown column or value.
    ValueError, TypeError
        `species` is neither a known species nor a mapping of names.
    """
    check_text(measurement=measurement, layer=layer)
    check_where(where)
    check_text_or_none(study=study, study_key=study_key, label_key=label_key)
    check_flags(counts=counts, overwrite=overwrite)
    species_name(species)  # an unknown one is refused before anything is made
    Storage.of(out)  # and so is a path that cannot be used
    if model is None:
        with opened_atlas(None) as default:
            model = default.model
    chosen = given_model(model)
    columns_of: dict[str, Any] = {"study": study, "study_key": study_key, "label_key": label_key, "columns": columns}
    with _experiment(uri) as experiment:
        source = read_experiment(experiment, measurement=measurement, layer=layer, where=where, **columns_of)
        make = partial(create, out, model=chosen, overwrite=overwrite)
        atlas = resume_or_create(out, chosen.uid, make, overwrite=overwrite, unfinished=_has_no_cells)
        return _fill(atlas, source, species=species, counts=counts)


def from_embedding(
    data: AnnData | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    obsm: str,
    measurement: str = "RNA",
    where: str | None = None,
    study: str | None = None,
    study_key: str | None = None,
    label_key: str | None = None,
    columns: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Atlas:
    """Make an atlas of cells that are embedded already, by whatever method, and build its index.

    It has no model: queries bring an embedding of the same method, and `scim.tl.search(adata, atlas, use_rep=...)`
    searches it. It keeps the name `obsm`, and if :func:`scim.tl.embed` made the embedding, the `uid` of the model: an
    embedding that is known to be of another model is refused, one of another name is logged.

    Parameters
    ----------
    data
        An AnnData, an .h5ad or .zarr file, or a SOMA experiment (its folder or `s3://...`).
    out
        The atlas to make.
    obsm
        Name of the embedding, a table of numbers with a row for each cell; rows are scaled to unit length.
    measurement, where
        Of an experiment: the measurement of the embedding, and which cells; see :func:`from_soma`.
    study, study_key, label_key, columns, overwrite
        See :func:`from_soma`, with its defaults for an experiment; an AnnData has none, and needs one of `study` and
        `study_key`.

    Returns
    -------
    The atlas, open for writing.

    Raises
    ------
    FileExistsError
        `out` exists and `overwrite` is false.
    KeyError
        The embedding or a column does not exist.
    """
    check_text(obsm=obsm, measurement=measurement)
    check_where(where)
    check_text_or_none(study_key=study_key, label_key=label_key)
    check_flags(overwrite=overwrite)
    Storage.of(out)  # a path that cannot be used is refused before anything is read
    how: dict[str, Any]
    with contextlib.ExitStack() as stack:
        is_path = isinstance(data, str | os.PathLike)
        if is_path and (str(data).startswith("s3://") or (local_path(data) / "__tiledb_group.tdb").exists()):
            how = {"study_key": study_key or _STUDY, "label_key": label_key or _LABEL, "columns": columns, "obsm": obsm}
            experiment = stack.enter_context(_experiment(data))
            source = read_experiment(experiment, measurement=measurement, where=where, study=study, **how)
        elif where is not None:
            msg = "where= is for experiments; take the cells that you want of an AnnData: adata[...]."
            raise ValueError(msg)
        else:
            how = {"study_key": study_key, "label_key": label_key, "layer": None, "obsm": obsm}
            (source,) = stack.enter_context(open_sources(data, study, check_names("columns", columns or ()), **how))
        assert source.embedding is not None
        name = obsm if _PLAIN_NAME.fullmatch(obsm) else keys.EMBEDDING
        embedding = EmbeddingVersion(name, int(source.embedding.shape[1]), 0, source.made_by, None)
        make = partial(create_empty, out, embedding, None, overwrite=overwrite)
        atlas = resume_or_create(out, source.made_by, make, overwrite=overwrite, unfinished=_has_no_cells)
        return _fill(atlas, source)


def resume_or_create(
    out: str | os.PathLike[str],
    model: str | None,
    create: Callable[[], Atlas],
    *,
    overwrite: bool,
    unfinished: Callable[[Atlas], bool],
) -> Atlas:
    """Open the atlas of an interrupted import by its model's `uid`, if it is `unfinished`; otherwise create one."""
    if not overwrite and Storage.of(out).exists(FILE):
        atlas = open_atlas(out, "w")
        if atlas.model_uid == model and unfinished(atlas):
            return atlas
        atlas.close()
    return create()


def _fill(atlas: Atlas, source: Source, *, species: Species = "human", counts: bool = False) -> Atlas:
    try:
        atlas._append([source], species=species, counts=counts)
        atlas.build_index()
    except BaseException:
        atlas.close()
        raise
    return atlas


def _has_no_cells(atlas: Atlas) -> bool:
    return atlas.version == 1


@contextlib.contextmanager
def _experiment(uri: str | os.PathLike[str]) -> Iterator[Any]:
    storage = Storage.of(uri)
    if storage.path is not None and not storage.path.exists():
        msg = f"{storage.uri!r}: no such folder; expected a SOMA experiment."
        raise FileNotFoundError(msg)
    if storage.path is not None:
        for _ in files_below(storage.path):  # a link or a pipe is refused: TileDB would follow it, or wait
            pass
    try:
        experiment = tiledbsoma.open(storage.uri, context=context(storage))
    except tiledbsoma.DoesNotExistError as error:
        msg = f"{storage.uri!r} is no SOMA experiment: {error_text(error)}."
        raise FileNotFoundError(msg) from error
    except tiledbsoma.SOMAError as error:
        msg = f"{storage.uri!r} cannot be read: {error_text(error)}; restore it from a copy."
        raise FormatError(msg) from error
    with experiment:
        yield experiment
