"""Words for cell types to the labels of a model: one code a term, and rare labels to their parents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scim import ontology
from scim._core.log import logger
from scim.model._labels import Labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def code_labels(words: NDArray[np.object_]) -> tuple[Labels, NDArray[np.int64]]:
    """Give one code to all words for one Cell Ontology term.

    Returns
    -------
    The labels, by name, and the code of each word.
    """
    distinct = sorted(set(words))
    ids = {word: ontology.term_id(word) for word in distinct}
    names = {word: word if (term := ids[word]) is None else ontology.term_name(term) for word in distinct}
    order = sorted(set(names.values()))
    position = {name: i for i, name in enumerate(order)}
    id_of = {names[word]: ids[word] for word in distinct}
    codes = pd.Series(words).map({word: position[names[word]] for word in distinct}).to_numpy(dtype=np.int64)
    return Labels(tuple(order), tuple(id_of[name] for name in order)), codes


def coarsen(words: NDArray[np.object_], studies: NDArray[np.object_], min_studies: int) -> dict[str, str | None]:
    """Find a label for every word that fewer than `min_studies` studies have.

    It is the nearest term above that has so many studies at or below it; of several the one with most cells. A term
    counts as found in a study by any of its descendants there, so that two rare siblings meet in their parent, and a
    rare child in a rare parent, which stays what it is.

    Parameters
    ----------
    words, studies
        (n,) of each cell.
    min_studies
        How many studies a label needs.

    Returns
    -------
    For each such word the id of its new label; `None` where there is none, and its cells are left out.
    """
    counts = pd.DataFrame({"word": words, "study": studies}).value_counts().reset_index(name="n")
    counts["key"] = counts["word"].map({word: ontology.term_id(word) or word for word in counts["word"].unique()})
    spread = counts.groupby("key")["study"].nunique()
    rare = counts[counts["key"].map(spread < min_studies)]
    levels = counts.assign(term=counts["key"].map(_above)).explode("term")
    support = levels.groupby("term").agg(studies=("study", "nunique"), cells=("n", "sum"))
    enough = support[support["studies"] >= min_studies]
    viable = {str(term): int(n) for term, n in enough["cells"].items()}
    pairs = rare[["word", "key"]].drop_duplicates().to_numpy()
    moves = {word: _nearest(key, viable) for word, key in pairs if key not in viable}
    for word, term in sorted(moves.items()):
        n = int(counts.loc[counts["word"] == word, "n"].sum())
        became = "left out" if term is None else f"labelled {ontology.term_name(term)}"
        logger.info("%s: %d cells in fewer than %d studies, %s", word, n, min_studies, became)
    return moves


def _above(key: str) -> list[str]:
    """Return a term and all above it; a free word alone."""
    return [key, *ontology.ancestors(key)] if ontology.term_id(key) == key else [key]


def _nearest(key: str, viable: dict[str, int]) -> str | None:
    """Return the viable term above with fewest terms between, then with most cells."""
    if ontology.term_id(key) != key:
        return None
    above = [term for term in ontology.ancestors(key) if term in viable and term not in _SAY_NOTHING]
    # Of two ancestors the deeper has more ancestors of its own.
    depth = {term: len(ontology.ancestors(term)) for term in above}
    return max(above, key=lambda term: (depth[term], viable[term], term), default=None)


_SAY_NOTHING = {
    "CL:0000000",  # cell
    "CL:0000255",  # eukaryotic cell
    "CL:0002242",  # nucleate cell
    "CL:0000226",  # single nucleate cell
    "CL:0000225",  # anucleate cell
    "CL:0000219",  # motile cell
}
"""Terms in which a T cell and a neuron would meet."""


def moved(words: NDArray[np.object_], moves: dict[str, str | None]) -> Sequence[str | None]:
    """Return the labels after :func:`coarsen`; `None` = left out."""
    return [moves.get(word, word) for word in words]
