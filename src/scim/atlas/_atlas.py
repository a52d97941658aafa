"""The atlas as a person holds it to change it: each method is one commit, and leaves all as it was if it fails."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from scim._core import keys
from scim._core.checks import check_choice, check_names, check_recall
from scim._core.types import IndexKind
from scim.atlas import _append, _compact, _reembed, _remove, _vacuum
from scim.atlas._build import build_entry
from scim.atlas._reader import Reader
from scim.atlas.commit import Transaction
from scim.atlas.soma import damage_named, failure_named
from scim.atlas.source import Source, token_of
from scim.io import opened
from scim.pp import species_token

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from anndata import AnnData

    from scim.atlas.commit import Manifest
    from scim.atlas.storage import Storage
    from scim.model import Model
    from scim.pp import Species

    Data: TypeAlias = AnnData | str | os.PathLike[str]


class Atlas(Reader):
    """A store of embedded, labelled cells; see :func:`scim.atlas.create` and :func:`scim.atlas.open`.

    Attributes
    ----------
    mode
        `"r"` or `"w"`.
    """

    def __init__(
        self,
        storage: Storage,
        mode: Literal["r", "w"],
        manifest: Manifest,
        *,
        draft: bool = False,
        timeout: float = 10,
    ) -> None:
        super().__init__(storage, mode, manifest, draft=draft)
        self._timeout = timeout

    def append(
        self,
        data: Data | list[Data] | tuple[Data, ...],
        *,
        study: str | Sequence[str] | None = None,
        study_key: str | None = None,
        label_key: str | None = None,
        obs_columns: Sequence[str] = (),
        layer: str | None = None,
        gene_key: str | None = None,
        species: Species = "human",
        counts: bool = False,
        obsm: str | None = None,
        on_duplicate: Literal["raise", "skip"] = "raise",
    ) -> int:
        """Embed cells and add them to the atlas.

        Readers see all of them once this returns, and none of them before or after an error. If files were being
        appended and the process died, the same call goes on where it stopped; any other change of the atlas first
        removes what it had written. An index that covered the atlas covers the new cells too.

        Files are read block by block, in about 1.5 GB of memory whatever their size.

        Parameters
        ----------
        data
            Cells with counts: an AnnData, the path of an .h5ad or .zarr file, or a list of these.
        study
            Name of the study they come from, or one name for each of a list; or
        study_key
            column of obs that holds it.
        label_key
            Column of obs with cell types: names, synonyms or ids of the Cell Ontology (kept under their ontology
            name), or free words (kept as they are). Missing = unlabelled.
        obs_columns
            Further columns of obs to keep: text, categorical, bool, int or float. Columns may be new to the atlas.
        layer
            Where the counts are, see :func:`scim.pp.find_counts`.
        gene_key
            Column of var that holds the gene names, see :func:`scim.pp.match_genes`.
        species
            Whose genes they are: `"human"`, `"mouse"` (symbols), or a dict or Series `{gene name: human gene name}`;
            see :func:`scim.pp.match_genes`. All of `data` are of this species.
        counts
            Whether to store the counts of all genes too (`ms/RNA/X/counts`); :meth:`reembed` needs them. Those of
            another species are stored, summed, under their human orthologs; genes without one under their own name
            behind that of the species, as `mouse:Gm42418`.
        obsm
            For an atlas without a model: name of the embedding in `adata.obsm`.
        on_duplicate
            What to do with cells whose study and name are in the atlas: refuse all, or leave them out.

        Returns
        -------
        How many cells were added.

        Raises
        ------
        PermissionError
            The atlas is open for reading.
        LockedError
            Another writer is at work.
        KeyError
            A column does not exist.
        ValueError
            Cells of this study with these names are there already; no study is given; the counts cannot be used;
            `species` is not known.
        TypeError
            `species` is no mapping of names; a column of obs is of a type that the atlas does not keep, or keeps as
            another type.
        """
        check_choice("on_duplicate", on_duplicate, ("raise", "skip"))
        self._check_writable("append")
        several: list[Data] = [*data] if isinstance(data, list | tuple) else [data]
        studies = _studies(study, len(several))
        columns = check_names("obs_columns", obs_columns)
        keep = [name for name in (study_key, label_key, *columns) if name is not None]
        how: dict[str, Any] = {"study_key": study_key, "label_key": label_key, "obs_columns": columns}
        how |= {"layer": layer, "obsm": obsm}
        with contextlib.ExitStack() as stack:
            sources = [
                Source.read(
                    stack.enter_context(opened(one, keep)), study=name, token=token_of(one, study=name, **how), **how
                )
                for one, name in zip(several, studies, strict=True)
            ]
            return self._append(sources, gene_key=gene_key, species=species, counts=counts, skip=on_duplicate == "skip")

    def _append(
        self,
        sources: Sequence[Source],
        *,
        gene_key: str | None,
        species: Species = "human",
        counts: bool,
        skip: bool,
        embedded: bool = False,
    ) -> int:
        """Append; `embedded` says that the sources have embeddings of the atlas's own model."""
        tokens = [source.token for source in sources]
        known = [token for token in tokens if token is not None]
        token = (
            "|".join([*known, str((gene_key, species_token(species), counts, skip))])
            if len(known) == len(tokens)
            else None
        )
        n_cells = sum(source.n_obs for source in sources)
        names = list(dict.fromkeys(name for source in sources for name in source.obs[keys.ATLAS_STUDY].unique()))
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        what = f"append of {n_cells:,} cells of {', '.join(names[:3])}{more}"
        with self._changing(what, token) as transaction:
            model = None if embedded or self._space.model is None else self.model
            how: dict[str, Any] = {"gene_key": gene_key, "species": species, "counts": counts, "skip": skip}
            manifest, n_new = _append.append(transaction, sources, model, **how)
            self._take(manifest)
        return n_new

    def build_index(self, *, kind: IndexKind = "auto", recall: float = 0.99, seed: int = 0) -> None:
        """Build the search index over all cells; the old one serves readers until the new one is complete.

        The index keeps the columns of obs, so that filters work inside the search; text of more than 65,536 values, as
        `cell_id`, stays in the store, which answers filters by it more slowly.

        Parameters
        ----------
        kind
            See :func:`scim.index.build`.
        recall
            Share of the true 50 nearest that an `ivf` index is to find, above 0 and at most 1. An `exact` index finds
            all of them, and a `graph` has no such measure.
        seed
            Makes the index the same every time.

        Raises
        ------
        PermissionError
            The atlas is open for reading.
        LockedError
            Another writer is at work.
        ValueError
            The atlas has no cells, or `recall` is out of range.
        """
        check_choice("kind", kind, get_args(IndexKind))
        check_recall(recall)
        self._check_writable("build_index")
        with self._changing("build of the index") as transaction:
            if self.n_obs == 0:
                msg = f"The atlas at {self.uri!r} has no cells; append some first."
                raise ValueError(msg)
            index = build_entry(transaction, self._space, kind=kind, recall=recall, seed=seed)
            self._take(transaction.commit(space=replace(self._space, index=index)))

    def remove(self, where: str) -> int:
        """Remove the cells that pass a filter, as those of a study that was withdrawn.

        Their ids are never given again. They are on disk, and earlier versions show them, until :meth:`compact` and
        :meth:`vacuum`.

        Parameters
        ----------
        where
            See :meth:`select`.

        Returns
        -------
        How many cells were removed.

        Raises
        ------
        PermissionError
            The atlas is open for reading.
        FilterError
            `where` cannot be read, or names an unknown column or value.
        """
        self._check_writable("remove")
        with self._changing(f"removal of cells where {where}") as transaction:
            ids = self.select(where)
            if len(ids):
                self._take(_remove.remove(transaction, self.ids, ids))
        return len(ids)

    def reembed(self, model: Model | str | os.PathLike[str], *, publish: bool = True) -> None:
        """Embed all cells with another model, from their stored counts.

        The new embedding, its model and its index are made beside the old ones, which serve readers until the new are
        complete. What was interrupted goes on where it stopped when the same model is given again.

        Parameters
        ----------
        model
            The model, or the folder of one.
        publish
            Whether to let it take the place of the old. Otherwise it stays a draft: `scim.atlas.open(uri, draft=True)`
            reads it, and :meth:`publish` publishes it.

        Raises
        ------
        PermissionError
            The atlas is open for reading.
        ValueError
            The counts of some cells are not stored, or the atlas is embedded with this model already.
        """
        from scim.model import Model, load  # noqa: PLC0415  (readers of an atlas need no torch)

        self._check_writable("reembed")
        chosen = model if isinstance(model, Model) else load(model)
        with self._changing(f"embedding with model {chosen.uid}", f"reembed {chosen.uid}") as transaction:
            self._take(_reembed.embed_all(transaction, chosen, self.ids))
        if publish:
            self.publish()

    def publish(self) -> None:
        """Let the draft that :meth:`reembed` made take the place of the published embedding, model and index.

        Raises
        ------
        PermissionError
            The atlas is open for reading.
        ValueError
            There is no draft, or cells were appended since it was made: call `reembed` with its model again.
        """
        self._check_writable("publish")
        with self._changing("publication of the draft") as transaction:
            self._take(_reembed.publish(transaction))

    def compact(self) -> None:
        """Write the cells anew in few large files and build one index of them, without what was removed.

        It pays after many appends. The old files stay for readers, and for earlier versions, until :meth:`vacuum`.
        """
        self._check_writable("compact")
        with self._changing("compaction") as transaction:
            self._take(_compact.compact(transaction, self.ids))

    def vacuum(self) -> int:
        """Delete what only earlier versions need, and those versions; readers that have them open must `refresh`.

        Returns
        -------
        How many bytes were freed.
        """
        self._check_writable("vacuum")
        with self._changing("vacuum") as transaction:
            manifest, n_bytes = _vacuum.vacuum(transaction)
            self._take(manifest)
        return n_bytes

    @contextlib.contextmanager
    def _changing(self, what: str, token: str | None = None) -> Iterator[Transaction]:
        """Hold the lock, and be at the last commit."""
        with (
            failure_named(self._storage, what),
            Transaction(self._storage, what, timeout=self._timeout, token=token) as transaction,
            damage_named(self._storage),
        ):
            self._take(transaction.manifest)
            yield transaction

    def _check_writable(self, method: str) -> None:
        self._check_open()
        if self.mode != "w":
            msg = f"{method} needs the atlas open for writing: scim.atlas.open({self.uri!r}, mode='w')."
            raise PermissionError(msg)


def _studies(study: Any, n: int) -> list[str | None]:
    if isinstance(study, Sequence) and not isinstance(study, str):
        if len(study) != n:
            msg = f"Expected one study for each of {n} inputs, or one for all; got {len(study)}."
            raise ValueError(msg)
        return [*study]
    return [study] * n
