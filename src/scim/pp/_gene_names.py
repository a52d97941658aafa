"""Canonical ids of genes, from Ensembl ids, symbols and previous symbols."""

from __future__ import annotations

import functools
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from scim.pp._species import human_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scim.pp._species import Species

_ENSEMBL = re.compile(r"ENSG\d{11}(\.\d+)?(_PAR_Y)?", re.ASCII)


@functools.cache
def _table() -> pd.DataFrame:
    """Return the packaged table, one row a human gene: ensembl, symbol, previous ('|'-joined), retired id."""
    with files("scim.pp").joinpath("genes.tsv.gz").open("rb") as file:
        return pd.read_csv(file, sep="\t", compression="gzip", dtype=str, keep_default_na=False)


@functools.cache
def _ensembl_of_name() -> pd.Series[str]:
    """Map symbols, previous symbols and retired ids to the id of today."""
    table = _table()
    current = table.drop_duplicates("symbol").set_index("symbol")["ensembl"]
    previous = table.assign(previous=table["previous"].str.split("|")).explode("previous")
    previous = previous[previous["previous"] != ""]
    # A name of two genes, or that is another gene's today, is ambiguous.
    previous = previous.drop_duplicates("previous", keep=False)
    previous = previous[~previous["previous"].isin(current.index)]
    retired = table[table["retired"] != ""].drop_duplicates("retired", keep=False).set_index("retired")["ensembl"]
    names: pd.Series[str] = pd.concat([current, previous.set_index("previous")["ensembl"], retired])
    return names


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
    human = human_names(names, species)
    # ENSG00000198851.11 and ENSG00000182162_PAR_Y are known without what follows the number.
    given = np.array([name[:15] if _is_ensembl(name) else name for name in human], dtype=object)
    ids = _ensembl_of_name().reindex(given).to_numpy(dtype=object)
    unknown = pd.isna(ids)
    ids[unknown] = given[unknown]
    return ids


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
