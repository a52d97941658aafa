"""Canonical ids of genes, from Ensembl ids, symbols and previous symbols."""

from __future__ import annotations

import functools
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from scim.pp._species import human_names, ortholog_ids, species_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scim.pp._species import Species

_ENSEMBL = re.compile(r"ENSG\d{11}(\.\d+)?(_PAR_Y)?", re.ASCII)
_PUNCTUATION = str.maketrans(dict.fromkeys("-_:/|()[]+*@, ", "."))


@functools.cache
def _table() -> pd.DataFrame:
    """Return the packaged table, one row a human gene: ensembl, symbol, previous ('|'-joined), retired id."""
    with files("scim.pp").joinpath("genes.tsv.gz").open("rb") as file:
        return pd.read_csv(file, sep="\t", compression="gzip", dtype=str, keep_default_na=False)


@functools.cache
def _ensembl_of_name() -> dict[str, str]:
    """Map symbols, previous symbols and retired ids to the id of today; that is mapped to itself."""
    table = _table()
    current = table.drop_duplicates("symbol").set_index("symbol")["ensembl"]
    previous = table.assign(previous=table["previous"].str.split("|")).explode("previous")
    previous = previous[previous["previous"] != ""]
    # A name of two genes, or that is another gene's today, is ambiguous.
    previous = previous.drop_duplicates("previous", keep=False)
    previous = previous[~previous["previous"].isin(current.index)]
    retired = table[table["retired"] != ""].drop_duplicates("retired", keep=False).set_index("retired")["ensembl"]
    today = pd.Series(table["ensembl"].to_numpy(), index=table["ensembl"])
    names = pd.concat([today, retired, previous.set_index("previous")["ensembl"], current])
    return dict(zip(names.index, names, strict=True))


def gene_id_kind(names: Sequence[str] | NDArray[np.str_] | pd.Index) -> Literal["ensembl", "symbol"]:
    """Return whether most gene names are Ensembl ids, or symbols."""
    n_ensembl = sum(_is_ensembl(str(name)) for name in names)
    return "ensembl" if n_ensembl * 2 > len(names) else "symbol"


def _is_ensembl(name: str) -> bool:
    return name.startswith("ENSG") and _ENSEMBL.fullmatch(name) is not None  # quicker than the pattern alone


def canonical_genes(
    names: Sequence[str] | NDArray[np.str_ | np.object_] | pd.Index, *, species: Species = "human"
) -> NDArray[np.object_]:
    """Return the canonical id of every gene name.

    Parameters
    ----------
    names
        Human gene names of any mix: Ensembl ids with or without version or retired, symbols, previous symbols.
    species
        Species of the names, see :func:`match_genes`: the id is that of the human ortholog.

    Returns
    -------
    Array of str, as long as `names`: the Ensembl id without version where it is known, else the name itself; of
    another species behind its name, as `"mouse:Gm42418"`, or that of its mapping, as `"mapping-1f8ac10f:zgc:56493"`.

    Raises
    ------
    ValueError, TypeError
        `species` is neither a known species nor a mapping of names.

    Examples
    --------
    >>> import scim
    >>> scim.pp.canonical_genes(["CD3E", "ENSG00000198851.11", "no-such-gene"]).tolist()
    ['ENSG00000198851', 'ENSG00000198851', 'no-such-gene']
    """
    ids = _ensembl_of_name()
    given = human_names(names, species)
    out = np.empty(given.size, dtype=object)
    out[:] = [ids[name] if name in ids else ids.get(bare := _without_version(name), bare) for name in given]
    return out


def _without_version(name: str) -> str:
    """Return a name; of ENSG00000198851.11 and ENSG00000182162_PAR_Y without what follows the number."""
    return name[:15] if _is_ensembl(name) else name


def known_genes(ids: Sequence[str] | NDArray[np.object_]) -> NDArray[np.bool_]:
    """Return which canonical ids are those of human genes."""
    return np.isin(np.asarray(ids, dtype=object).astype(str), _table()["ensembl"].to_numpy(dtype=str))


def gene_symbols(ids: Sequence[str] | NDArray[np.object_]) -> NDArray[np.object_]:
    """Return the current symbol of every canonical gene id; an id without one stands for itself.

    Examples
    --------
    >>> import scim
    >>> scim.pp.gene_symbols(["ENSG00000198851"]).tolist()
    ['CD3E']
    """
    symbols = _table().set_index("ensembl")["symbol"].reindex(pd.Index(ids)).to_numpy(dtype=object)
    return np.where(pd.isna(symbols), np.asarray(ids, dtype=object), symbols)


class Vocabulary:
    """The names that are genes as they stand: those of a species, and those that a model uses itself.

    Parameters
    ----------
    species
        Species of the names, see :func:`match_genes`.
    genes
        Names of the model's genes, shape (n_genes,). Default: none.
    """

    def __init__(self, species: Species = "human", genes: Sequence[str] | NDArray[np.object_] = ()) -> None:
        self.species = species_name(species)
        self._names = _ensembl_of_name() if self.species == "human" else ortholog_ids(species)
        self._genes = set(genes) if self.species == "human" else set()  # names of others are translated first

    def knows(self, names: Sequence[str] | NDArray[np.object_]) -> NDArray[np.bool_]:
        """Return which names are genes, (n,)."""
        known, own = self._names, self._genes
        return np.array([name in known or name in own or _without_version(name) in known for name in names], dtype=bool)

    def genes(self, names: Sequence[str] | NDArray[np.object_]) -> NDArray[np.object_]:
        """Return a text for each known name that is equal for names of one gene, (n,)."""
        return canonical_genes(names) if self.species == "human" else np.array([*names, None], dtype=object)[:-1]

    def respelled(self, name: str) -> str | None:
        """Return the name that differs from this one in punctuation and upper and lower case alone, if there is one."""
        return _respelled(self.species).get(folded(name))


def punctuation_as_dots(name: str) -> str:
    """Return a name with a full stop for each character that R, Seurat or a file format may have replaced."""
    return name.translate(_PUNCTUATION)


def folded(name: str) -> str:
    """Return a name without upper case, and with full stops in place of other punctuation."""
    return punctuation_as_dots(name).casefold()


@functools.cache
def _respelled(species: str) -> dict[str, str]:
    """Return the names of a species by their folded form, without those of two genes; a current symbol comes first."""
    if species == "mapping":  # the user has spelled its names
        return {}
    genes = ortholog_ids("mouse") if species == "mouse" else _ensembl_of_name()
    names: dict[str, str] = {}
    ambiguous = set()
    for name, gene in reversed(genes.items()):  # current symbols come last, and count first
        form = folded(name)
        if genes[names.setdefault(form, name)] != gene:
            ambiguous.add(form)
    return {form: name for form, name in names.items() if form not in ambiguous}
