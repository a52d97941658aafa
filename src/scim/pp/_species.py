"""Genes of other species as their human orthologs."""

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

from scim._core import SpeciesName

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

Species: TypeAlias = "SpeciesName | Mapping[str, str] | pd.Series[str]"
"""Species of the genes of a data set; see :func:`match_genes`."""

MAPPED = "mapping"  # the name of a species that is given as a mapping
_N_DIGITS = 8  # of the hash of a mapping, in the names of genes without an ortholog


def species_name(species: Species) -> str:
    """Return `"human"`, `"mouse"` or, for a mapping of any other, `"mapping"`; check the mapping."""
    if isinstance(species, str):
        if species not in get_args(SpeciesName):
            msg = f"species={species!r}: expected 'human', 'mouse', or a mapping {{gene name: human gene name}}."
            raise ValueError(msg)
        return species
    _orthologs(species)
    return MAPPED


def human_names(names: Iterable[object], species: Species) -> NDArray[np.object_]:
    """Return the name of the human ortholog of each gene of a species, of mouse genes by symbol.

    A gene without an ortholog keeps its name with a prefix, as `"mouse:Gm42418"`, so that it is never taken for a human
    gene of that name. The prefix of a mapping has a hash of its pairs, as `"mapping-1f8ac10f:zgc:56493"`, so that two
    mapped species do not share the genes that neither maps.
    """
    given = np.array([str(name) for name in names], dtype=object)
    name = species_name(species)
    if name == "human":
        return given
    orthologs = ortholog_ids(species)
    prefix = name if name == "mouse" else f"{MAPPED}-{_digest(orthologs)[:_N_DIGITS]}"
    out = np.empty(given.size, dtype=object)
    out[:] = [orthologs.get(gene, f"{prefix}:{gene}") for gene in given]
    return out


def n_unmapped(names: Iterable[object], name: str) -> int:
    """Return the number of genes without an ortholog among names from :func:`human_names`, of the species `name`."""
    prefix = re.compile(f"{MAPPED}-[0-9a-f]{{{_N_DIGITS}}}:" if name == MAPPED else f"{name}:")
    return sum(prefix.match(str(gene)) is not None for gene in names)


def species_token(species: Species) -> str:
    """Return a short text that is equal for equal species, whatever the order of a mapping."""
    name = species_name(species)
    return f"{MAPPED}:{_digest(_orthologs(species))}" if name == MAPPED else name


def ortholog_ids(species: Species) -> dict[str, str]:
    """Return the human gene of each name of a gene: of mouse symbols its id, of a mapping the name that it gives."""
    return _mouse() if isinstance(species, str) else _orthologs(species)


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
        repeated = mapping.index[mapping.index.duplicated()].unique()[:3].tolist()
        msg = f"species names genes twice, as {repeated}; give each gene one human ortholog."
        raise ValueError(msg)
    pairs = {str(gene): human for gene, human in mapping.items()}
    wrong = {gene: human for gene, human in pairs.items() if not isinstance(human, str) and not _is_missing(human)}
    if wrong:
        gene, human = next(iter(wrong.items()))
        msg = f"species maps {gene!r} to {human!r}; expected the name of one human gene, or None."
        raise TypeError(msg)
    if not pairs:
        msg = "species is an empty mapping; expected {gene name: human gene name}."
        raise ValueError(msg)
    return {gene: human for gene, human in pairs.items() if isinstance(human, str)}


def _is_missing(value: object) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value))
