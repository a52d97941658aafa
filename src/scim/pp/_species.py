"""Genes of other species by the names of their human orthologs."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

import numpy as np
import pandas as pd

from scim._core.types import SpeciesName

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

Species: TypeAlias = "SpeciesName | Mapping[str, str] | pd.Series[str]"
"""Whose genes a data set has; see :func:`match_genes`."""

MAPPED = "mapping"
"""What stands for the name of a species that came as a mapping."""

_N_DIGITS = 8
"""Of the hash of a mapping, in the names of the genes that it lacks."""


def species_name(species: Species) -> str:
    """Return `"human"`, `"mouse"` or, for a mapping of any other, `"mapping"`.

    Raises
    ------
    ValueError
        Another text, an empty mapping, or a Series that names a gene twice.
    TypeError
        Neither a text nor a mapping, or a mapping to what is not one name a gene.
    """
    if isinstance(species, str):
        if species not in get_args(SpeciesName):
            msg = f"species={species!r}: expected 'human', 'mouse', or a mapping {{gene name: human gene name}}."
            raise ValueError(msg)
        return species
    _orthologs(species)
    return MAPPED


def human_names(names: Iterable[object], species: Species) -> NDArray[np.object_]:
    """Return for genes of a species the names of their human orthologs, one for each.

    Parameters
    ----------
    names
        Gene names as the species has them; symbols for `"mouse"`.
    species
        See :func:`match_genes`.

    Returns
    -------
    Array of str, as long as `names`. What has no ortholog keeps its name behind that of the species, as
    `"mouse:Gm42418"`, so that it is never taken for a human gene of that name. Behind a mapping it is that of the
    mapping, as `"mapping-1f8ac10f:zgc:56493"`, other for other pairs: two species share no gene that neither maps.

    Raises
    ------
    ValueError, TypeError
        As :func:`species_name`.
    """
    given = np.array([str(name) for name in names], dtype=object)
    name = species_name(species)
    if name == "human":
        return given
    known = _mouse() if name == "mouse" else _orthologs(species)
    prefix = name if name == "mouse" else f"{MAPPED}-{_digest(known)[:_N_DIGITS]}"
    found = [known.get(name) for name in given]
    out = np.empty(given.size, dtype=object)
    out[:] = [f"{prefix}:{own}" if human is None else human for own, human in zip(given, found, strict=True)]
    return out


def n_unmapped(names: Iterable[object], name: str) -> int:
    """Return how many of the names that :func:`human_names` gave are of genes without an ortholog.

    Parameters
    ----------
    names
        What it returned, translated further or not.
    name
        Of the species, from :func:`species_name`.
    """
    prefix = re.compile(f"{MAPPED}-[0-9a-f]{{{_N_DIGITS}}}:" if name == MAPPED else f"{name}:")
    return sum(prefix.match(str(one)) is not None for one in names)


def species_token(species: Species) -> str:
    """Return a short text that is equal for equal species, whatever the order of a mapping.

    Raises
    ------
    ValueError, TypeError
        As :func:`species_name`.
    """
    name = species_name(species)
    if name != MAPPED:
        return name
    return f"{MAPPED}:{_digest(_orthologs(species))}"


def _digest(pairs: dict[str, str]) -> str:
    """Return the hash of a mapping, equal for pairs in another order."""
    return hashlib.sha256(json.dumps(sorted(pairs.items())).encode()).hexdigest()


@functools.cache
def _mouse() -> dict[str, str]:
    """Return the id of the human ortholog of each mouse symbol."""
    with files("scim.pp").joinpath("orthologs_mouse.tsv.gz").open("rb") as file:
        table = pd.read_csv(file, sep="\t", compression="gzip", dtype=str, keep_default_na=False)
    return dict(zip(table["mouse"], table["human"], strict=True))


def _orthologs(mapping: Any) -> dict[str, str]:
    """Return a mapping as a dict without missing values."""
    if not isinstance(mapping, Mapping | pd.Series):
        msg = (
            f"species must be 'human', 'mouse', or a dict or Series of human gene names, got {type(mapping).__name__}."
        )
        raise TypeError(msg)
    if isinstance(mapping, pd.Series) and not mapping.index.is_unique:
        twice = mapping.index[mapping.index.duplicated()].unique()[:3].tolist()
        msg = f"species names genes twice, as {twice}; give each gene one human ortholog."
        raise ValueError(msg)
    pairs = {str(own): human for own, human in mapping.items()}
    wrong = {own: human for own, human in pairs.items() if not isinstance(human, str) and not _missing(human)}
    if wrong:
        own, human = next(iter(wrong.items()))
        msg = f"species maps {own!r} to {human!r}; expected the name of one human gene, or None."
        raise TypeError(msg)
    if not pairs:
        msg = "species is an empty mapping; expected {gene name: human gene name}."
        raise ValueError(msg)
    return {own: human for own, human in pairs.items() if isinstance(human, str)}


def _missing(value: object) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value))
