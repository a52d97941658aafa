"""Where each tool writes, in obs, obsm and uns: checked before anything is computed, and written all or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from scim._core import check_adata, check_flags, check_key, check_obs_key, check_writable, keys
from scim.io.cells import check_view

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from anndata import AnnData

    Slot = tuple[str, str]  # "obs", "obsm" or "uns", and a name in it


class Tool(NamedTuple):
    """A function of `scim.tl` and what it writes under a key, `key_added`."""

    name: str
    key: str
    """Default key."""

    marks: tuple[str, ...]
    """Entries, one of which at least its record in uns has, and the record of no other tool."""

    suffixes: Callable[[Mapping[str, Any]], dict[str, tuple[str, ...]]]
    """What stands behind the key in the names in obs and in obsm, by the parameters in its record."""

    def slots(self, key: str, params: Mapping[str, Any]) -> set[Slot]:
        """Return the slots of a call with these parameters."""
        named = self.suffixes(params)
        return {("uns", key)} | {(place, f"{key}{suffix}") for place, behind in named.items() for suffix in behind}

    def possible_slots(self, key: str) -> set[Slot]:
        """Return the slots of any call."""
        return self.slots(key, {"groupby": ""}) | self.slots(key, {"groupby": "any", "statistics": True})

    def wrote(self, record: Any) -> bool:
        """Return whether an entry of uns is a record of this tool."""
        return isinstance(record, dict) and "params" in record and any(mark in record for mark in self.marks)


def _of_annotate(params: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    obs, obsm = ("", *(f"_{name}" for name in keys.LABEL_COLUMNS)), tuple(f"_{name}" for name in keys.LABEL_VOTES)
    if params.get("groupby"):
        obs += tuple(f"_{name}" for name in keys.LABEL_GROUP)
    if params.get("statistics"):
        obs += tuple(f"_{name}" for name in keys.NEIGHBOUR_STATISTICS)
        obsm += tuple(f"_{name}" for name in keys.LABEL_HITS)
    return {"obs": obs, "obsm": obsm}


def _of_search(params: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {} if params.get("groupby") else {"obsm": tuple(f"_{name}" for name in keys.HITS)}


ANNOTATE = Tool("annotate", keys.LABEL, ("label_ids", "labels"), _of_annotate)
SEARCH = Tool("search", keys.SEARCH, ("ids", "ids_key"), _of_search)
NOVEL = Tool("novel", keys.NOVEL, ("clusters",), lambda _: {"obs": ("",)})
EXPLAIN = Tool("explain", keys.EXPLAIN, ("ci",), lambda _: {})
ENRICHMENT = Tool("enrichment", keys.ENRICHMENT, ("table",), lambda _: {})
_TOOLS = (ANNOTATE, SEARCH, NOVEL, EXPLAIN, ENRICHMENT)


def check_slots(adata: AnnData, tool: Tool, key: str, *, copy: bool, **params: Any) -> None:
    """Raise TypeError or ValueError if the tool cannot write under this key; the first check of every tool.

    It writes over what it wrote before under the key, and over its own default names, but neither over what another
    tool wrote nor over what scim did not write. `params` are those on which the slots depend.
    """
    _check_target(adata, key, copy=copy)
    groupby = params.get("groupby")
    if groupby is not None:
        check_obs_key(adata, groupby)
    check_flags(statistics=params.get("statistics", False))
    wanted, own = tool.slots(key, params), own_slots(adata, tool, key)
    _refuse_taken(adata, key, wanted, own, [tool.name, key])
    if ("obs", groupby) in wanted | own:
        msg = f"groupby={groupby!r} names a column that this call replaces; pass another key_added than {key!r}."
        raise ValueError(msg)


def check_embedding_slot(adata: AnnData, key: str, *, copy: bool) -> None:
    """Raise as :func:`check_slots`, for an embedding: `obsm[key]`, and its record in `uns["scim"]`."""
    _check_target(adata, key, copy=copy)
    records = adata.uns.get(keys.EMBED_PARAMS, {})
    if not isinstance(records, dict):
        what = f"uns[{keys.EMBED_PARAMS!r}] holds {type(records).__name__}, but scim keeps its records there"
        msg = f"{what}; rename it: adata.uns['other name'] = adata.uns.pop({keys.EMBED_PARAMS!r})."
        raise TypeError(msg)
    own: set[Slot] = {("obsm", key)} if key == keys.EMBEDDING or isinstance(records.get(key), dict) else set()
    _refuse_taken(adata, key, {("obsm", key)}, own, ["embed", key])


def own_slots(adata: AnnData, tool: Tool, key: str) -> set[Slot]:
    """Return the slots under a key that are the tool's: its record names them, or its default key without a record.

    A concatenation keeps obs and obsm and drops uns. So without a record a full set of names counts as the tool's too.
    """
    record = adata.uns.get(key)
    if tool.wrote(record):
        return tool.slots(key, record["params"])
    if record is not None:
        return set()
    possible = tool.possible_slots(key) - {("uns", key)}
    least = tool.slots(key, {}) - {("uns", key)}
    is_full = len(least) > 1 and all(_is_present(adata, slot) for slot in least)
    return possible if key == tool.key or is_full else set()


def write_slots(
    adata: AnnData,
    tool: Tool,
    key: str,
    record: dict[str, Any],
    *,
    obs: Mapping[str, Any] | None = None,
    obsm: Mapping[str, Any] | None = None,
) -> None:
    """Write results and remove what the tool wrote before under the key; after an error all is as it was.

    Names in `obs` and `obsm` are what stands behind the key.
    """
    old = own_slots(adata, tool, key)
    new: dict[Slot, Any] = {("obs", key + suffix): values for suffix, values in (obs or {}).items()}
    new |= {("obsm", key + suffix): values for suffix, values in (obsm or {}).items()}
    replace_slots(adata, {**new, ("uns", key): record}, sorted(old - {("uns", key), *new}))


def replace_slots(adata: AnnData, new: Mapping[Slot, Any], removed: list[Slot]) -> None:
    """Write and remove entries; after an error, or an interruption, all is as it was."""
    if adata.is_view:
        adata.obs = adata.obs.copy()  # makes an AnnData of the view, as assigning to a view does with a warning
    before = adata.obs.copy(deep=False)
    kept = {slot: getattr(adata, slot[0])[slot[1]] for slot in (*new, *removed) if _is_entry(adata, slot)}
    try:
        for (place, name), value in new.items():
            getattr(adata, place)[name] = value
        for place, name in removed:
            if name in getattr(adata, place):
                del getattr(adata, place)[name]
    except BaseException:
        adata.obs = before
        for place, name in (*new, *removed):
            if (place, name) in kept:
                getattr(adata, place)[name] = kept[place, name]
            elif place != "obs" and name in getattr(adata, place):
                del getattr(adata, place)[name]
        raise


def _check_target(adata: AnnData, key: str, *, copy: bool) -> None:
    check_adata(adata)
    check_flags(copy=copy)
    check_writable(adata, copy=copy)
    check_view(adata)
    check_key(key)


def _refuse_taken(adata: AnnData, key: str, wanted: set[Slot], own: set[Slot], call: list[str]) -> None:
    """Raise ValueError for slots that another tool has, or its default key, and for those that scim did not write."""
    for (name, other_key), taken in _slots_of_all(adata):
        shared = sorted(wanted & taken)
        if shared and [name, other_key] != call:
            where = f"{shared[0][0]}[{shared[0][1]!r}] is of scim.tl.{name}"
            msg = f"key_added={key!r} cannot be used: scim keeps something else there ({where}). Choose another."
            raise ValueError(msg)
    if foreign := [slot for slot in sorted(wanted - own) if _is_present(adata, slot)]:
        places = ", ".join(f"{place}[{name!r}]" for place, name in foreign)
        how = "; ".join(f"del adata.{place}[{name!r}]" for place, name in foreign if _is_entry(adata, (place, name)))
        remedy = f"Choose another key_added{f', or remove what is there first: {how}' if how else ''}."
        msg = f"key_added={key!r} cannot be used: {places} {'is' if len(foreign) == 1 else 'are'} there already, "
        msg += f"and scim.tl.{call[0]} did not write it. {remedy}"
        raise ValueError(msg)


def _slots_of_all(adata: AnnData) -> Iterator[tuple[tuple[str, str], set[Slot]]]:
    """Yield name, key and slots of each tool under its default key, and under the keys of its records."""
    records = adata.uns.get(keys.EMBED_PARAMS)
    yield ("embed", ""), {("uns", keys.EMBED_PARAMS)}
    for key in {keys.EMBEDDING, *(records if isinstance(records, dict) else ())}:
        yield ("embed", key), {("obsm", key)}
    for tool in _TOOLS:
        yield (tool.name, tool.key), tool.possible_slots(tool.key)
        for key, record in adata.uns.items():
            if key != tool.key and tool.wrote(record):
                yield (tool.name, key), tool.slots(key, record["params"])


def _is_entry(adata: AnnData, slot: Slot) -> bool:
    return slot[1] in getattr(adata, slot[0])


def _is_present(adata: AnnData, slot: Slot) -> bool:
    """Return whether there is such an entry, or the index of obs has the name: a file cannot hold both."""
    return _is_entry(adata, slot) or (slot[0] == "obs" and slot[1] == adata.obs.index.name)
