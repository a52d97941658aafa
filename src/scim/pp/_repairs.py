"""Names of genes that R, Seurat, Excel, Cell Ranger or a file format has changed, and how they are read again.

A name that is known as it stands is left as it is. A repair gives a name one meaning or none: the name of one gene, of
which no other column has the name as it stands. Each repair is reported with the number of names that it made known.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scim.pp._dates import is_serial, month_and_day
from scim.pp._features import species_of_genome, types_by_name
from scim.pp._gene_names import Vocabulary, punctuation_as_dots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

_SAMPLE = 2000  # names, evenly spaced, that show what prefixes there are
# Clones and ids that no table has are as they should be: no repair makes them known.
_WHOLE = re.compile(
    r"[A-Z]{2}\d{6}\.\d+|(CTD|CT[ABC]|RP\d+|XX[A-Z-]+\d*)-\d+[A-Z]+\d+\.\d+|ENSG\d{11}(\.\d+)?|LINC\d{5}"
)
_WORDS_OF_GENES = {"rna", "mrna", "gex", "gene", "genes", "symbol"}  # before a name, as in rna_CD3E and gene:CD3E
_SEPARATORS = "-_.:|/ "
_TOKEN = re.compile(rf"[^{_SEPARATORS}]+(?=[{_SEPARATORS}])")
_BLANKS = " \t\r\n\xa0\ufeff\u200b\"'`\u2018\u2019\u201c\u201d"
_WRITTEN = re.compile(r"[\[(]?b?([\"'])(.*)\1,?[\])]?")  # b'CD3E' and ('CD3E',), as Python writes values

_ENSEMBL_PART = re.compile(r"(?<![A-Za-z0-9])(ENS[A-Z]*G\d{11})(?:\.\d+)?(?:_PAR_Y)?(?![A-Za-z0-9])")
_ACCESSION = re.compile(
    r"(?<![A-Za-z0-9])(?:ENS[A-Z]*[GTP]\d{11}(?:\.\d+)?(?:_PAR_Y)?|HGNC:\d+|MGI:\d+|[NX][MR]_\d+(?:\.\d+)?)(?![A-Za-z0-9])"
    r"|(?<=[|;,])\d+$|^\d+(?=[|;,])"
)

_MOST_NUMBERS = 0.05  # share of names that are numbers above which these are ids, not dates
_FAMILIES = {  # by month: of humans the names that Excel changes, of mice today's
    "human": {3: ("MARCH", "MARC"), 9: ("SEPT", "SEP"), 12: ("DEC",)},
    "mouse": {3: ("Marchf", "Mtarc"), 9: ("Septin",), 12: ("Delec",)},
}
_MANY = 100  # names in lower case that are known in upper case, which do not happen to be
_FISH = ("zgc:", "si:", "wu:")  # beginnings of names of zebrafish, which are in lower case as well


class Unknown(NamedTuple):
    """The names of a data set that are not known as they stand."""

    names: list[str]
    n_all: int
    """Number of all names, known ones as well."""

    taken: set[str]
    """Genes of the names that are known as they stand, as :meth:`Vocabulary.genes` gives them."""

    vocabulary: Vocabulary


class Proposal(NamedTuple):
    """Names that a repair proposes."""

    how: str
    """What is done: "after removing the prefix GRCh38_"."""

    names: dict[int, str]
    """The proposed name by position; empty text: the name is none of this species."""

    kept: bool = False
    """Whether a name keeps its proposed form if it is not known then: what was removed is no part of any name."""


class Repaired(NamedTuple):
    """Names after all repairs."""

    names: NDArray[np.object_]
    """(n,) repaired names, and those as they were that no repair makes known."""

    known: NDArray[np.bool_]
    """(n,) which names are those of genes."""

    reports: tuple[str, ...]
    """What was done: "1,988 names read after removing the prefix GRCh38_"."""

    foreign: NDArray[np.object_]
    """(n,) what a name of another species is, as "genes of mm10"; empty text for others."""


def repair(names: NDArray[np.object_], vocabulary: Vocabulary) -> Repaired:
    """Repair the names that are not known as they stand, where that makes them names of one gene.

    A gene that another column has under its own name is given to no repaired name.
    """
    names, known = names.copy(), vocabulary.knows(names)
    foreign = np.full(len(names), "", dtype=object)
    done = known.copy()
    done[~known] = _are_whole(names[~known])
    taken = set(vocabulary.genes(names[known]))
    reports = []
    for propose in REPAIRS:
        at = np.flatnonzero(~done)
        if not at.size:
            break
        for how, proposed, kept in propose(Unknown(names[at].tolist(), len(names), taken, vocabulary)):
            left = {i: new for i, new in proposed.items() if not known[at[i]]}
            positions = at[list(left)]
            new = np.array([*left.values(), None], dtype=object)[:-1]
            foreign[positions[new == ""]], done[positions[new == ""]] = how, True
            is_gene = vocabulary.knows(new)
            is_known = is_gene.copy()
            is_known[is_gene] = [gene not in taken for gene in vocabulary.genes(new[is_gene])]
            changed = is_known | (kept & (new != "") & ~is_gene)
            names[positions[changed]] = new[changed]
            known[positions[is_known]] = True
            done[positions] |= is_known | _are_whole(names[positions])
            if n := int(is_known.sum()):
                reports.append(f"{n:,} name{'s' if n > 1 else ''} read {how}")
    return Repaired(names, known, tuple(reports), foreign)


def _are_whole(names: NDArray[np.object_]) -> NDArray[np.bool_]:
    return np.array([_WHOLE.fullmatch(name) is not None for name in names], dtype=np.bool_)


def _unquoted(unknown: Unknown) -> Iterator[Proposal]:
    """Remove blanks, quotes and the marks of bytes around names."""
    bare = {i: _bare(name) for i, name in enumerate(unknown.names)}
    changed = {i: name for i, name in bare.items() if name and name != unknown.names[i]}
    yield Proposal("after removing blanks and quotes", changed, kept=True)


def _bare(name: str) -> str:
    stripped = name.strip()
    if stripped[-1:] in "'\")]" and (found := _WRITTEN.fullmatch(stripped)):
        stripped = found[2]
    return stripped.strip(_BLANKS)


def _without_prefix(unknown: Unknown) -> Iterator[Proposal]:
    return _without_affix(unknown, at_end=False)


def _without_suffix(unknown: Unknown) -> Iterator[Proposal]:
    return _without_affix(unknown, at_end=True)


def _without_affix(unknown: Unknown, *, at_end: bool) -> Iterator[Proposal]:
    """Remove the name of a genome, or what half of all names have in common, where names begin or end with it."""
    texts = [name[::-1] for name in unknown.names] if at_end else unknown.names
    step = len(texts) // _SAMPLE + 1
    tokens = Counter(found[0] for text in texts[::step] if (found := _TOKEN.match(text)))
    for token, n in tokens.items():
        label = token[::-1] if at_end else token
        species, is_common = species_of_genome(label), 2 * n * step >= unknown.n_all
        if species is None and not is_common and label.lower() not in _WORDS_OF_GENES:
            continue
        if types_by_name([label + "_"])[0]:  # AB_CD4 is an antibody
            continue
        group = [i for i, text in enumerate(texts) if text.startswith(token) and text[len(token) :][:1] in _SEPARATORS]
        if species is not None and unknown.vocabulary.species not in ("mapping", species):
            # "mouse:Gm42418" is the id of a gene without an ortholog, and Mouse_IgG1 an antibody.
            foreign = [i for i in group if texts[i][len(token)] != ":" and not types_by_name([unknown.names[i]])[0]]
            yield Proposal(f"genes of {label}", dict.fromkeys(foreign, ""))
            continue
        length, share = _affix([texts[i] for i in group], unknown.vocabulary, at_end=at_end)
        if species is not None or (share > 0 and (not is_common or 2 * share >= 1)):
            affix = texts[group[0]][:length]
            what = f"suffix {affix[::-1]}" if at_end else f"prefix {affix}"
            names = {i: unknown.names[i][:-length] if at_end else unknown.names[i][length:] for i in group}
            yield Proposal(f"after removing the {what}", names, kept=species is not None or is_common)


def _affix(texts: list[str], vocabulary: Vocabulary, *, at_end: bool) -> tuple[int, float]:
    """Return the length of the part in common whose removal makes most texts known, and the share of these."""
    texts = texts[:: len(texts) // _SAMPLE + 1]
    first, last = min(texts), max(texts)
    in_common = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    best = (0, -1.0)
    for separator in re.finditer(rf"[{_SEPARATORS}]+", first[:in_common]):
        rest = [text[separator.end() :] for text in texts]
        share = float(vocabulary.knows([text[::-1] for text in rest] if at_end else rest).mean())
        best = max(best, (separator.end(), share), key=lambda found: found[1])
    return best


def _without_accession(unknown: Unknown) -> Iterator[Proposal]:
    """Read a symbol and its id in one name, as CD3E_ENSG00000198851 or CD3E|916; the Ensembl id counts."""
    ids, symbols = {}, {}
    for i, name in enumerate(unknown.names):
        if "ENS" in name or "|" in name or ";" in name or "," in name or "HGNC" in name or "M_" in name:
            found = set(_ENSEMBL_PART.findall(name))
            rest = _ACCESSION.sub("", name).strip(_SEPARATORS + ";,()[]")
            if len(found) < 2 and rest and rest != name:
                symbols[i] = rest
            if len(found) == 1 and name not in found:
                ids[i] = found.pop()
    yield Proposal("by the Ensembl id in them", ids, kept=True)
    yield Proposal("after removing ids", symbols)


def _from_dates(unknown: Unknown) -> Iterator[Proposal]:
    """Read dates as the genes that Excel takes for dates: 1-Sep as SEPTIN1."""
    families = _FAMILIES.get(unknown.vocabulary.species, _FAMILIES["human"])
    dates = {
        i: found for i, name in enumerate(unknown.names) if (found := month_and_day(name)) and found[0] in families
    }
    n_serial = sum(is_serial(unknown.names[i]) for i in dates)
    if n_serial > _MOST_NUMBERS * unknown.n_all:
        return
    names, example = {}, ""
    for i, (month, day) in dates.items():
        symbols = [f"{family}{day}" for family in families[month]]
        known = [symbol for symbol in symbols if unknown.vocabulary.knows([symbol])[0]]
        left = [symbol for symbol in known if unknown.vocabulary.genes([symbol])[0] not in unknown.taken]
        if len(left) == 1:  # 1-Mar is MARCH1 or MARC1, unless another column is one of them
            names[i], example = left[0], f"{unknown.names[i]} as {left[0]}"
    yield Proposal(f"as genes that Excel made dates, {example}", names)


def _respelled(unknown: Unknown) -> Iterator[Proposal]:
    """Undo the replacement of punctuation and of an X before a digit by R and Seurat, and the loss of upper case.

    Case is restored where it is lost in most names, or in a name such as C1ORF112.
    """
    dots, lower, upper = {}, {}, {}
    for i, name in enumerate(unknown.names):
        new = unknown.vocabulary.respelled(name[:15] if name.startswith("ensg") else name)  # without a version
        if new is None:
            if name.startswith("X") and (new := unknown.vocabulary.respelled(name[1:])) is not None:
                dots[i] = new
        elif punctuation_as_dots(new) == punctuation_as_dots(name):
            dots[i] = new
        elif name.islower():
            lower[i] = new
        elif name.isupper():
            upper[i] = new
    yield Proposal("with the punctuation that R or Seurat replaced, as HLA-DRA of HLA.DRA", dots)
    n_lower = sum(name.islower() for name in unknown.names)
    is_lost = 2 * n_lower >= unknown.n_all and (2 * len(lower) > n_lower or len(lower) >= _MANY)
    if not is_lost or any(name.startswith(_FISH) for name in unknown.names):
        lower = {}
    if unknown.vocabulary.species == "mouse" and not _are_of_mice(unknown, upper):
        upper = {}
    yield Proposal("with other upper and lower case", lower | upper)


def _are_of_mice(unknown: Unknown, proposed: dict[int, str]) -> bool:
    """Return whether names in upper case fit mice at least as well as humans."""
    human = Vocabulary().knows(unknown.names)
    mouse = np.zeros(len(unknown.names), dtype=np.bool_)
    mouse[list(proposed)] = True
    return int((mouse & ~human).sum()) >= int((human & ~mouse).sum())


REPAIRS: tuple[Callable[[Unknown], Iterator[Proposal]], ...] = (
    _unquoted,
    _without_prefix,
    _without_suffix,
    _without_accession,
    _from_dates,
    _respelled,
)
"""In the order in which they are tried: each gets the names that are not known after those before."""
