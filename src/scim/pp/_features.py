"""Which columns of a data set are genes, by the types, genomes and names of its features."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

_TYPE_COLUMNS = {"featuretypes", "featuretype"}
_OTHER_TYPE_COLUMNS = {
    "featurebiotype", "featureclass", "modality", "modalities", "mod", "codeclass", "genetype", "genebiotype",
    "biotype", "probetype", "type", "featurecategory",
}  # fmt: skip
_GENOME_COLUMNS = {"genome", "featurereference", "organism", "species"}
_FILTERED = "feature_is_filtered"  # CELLxGENE: the gene was measured, but its values in X are zeros

_ASSAY_OF_GENES = re.compile(r"(.* )?(gene expression|gex|m?rna|genes?|transcripts?|transcriptome|endogenous)( .*)?")
_GENE = re.compile(r"protein coding|.*rna|.*pseudogene|(ig|tr) .*gene|tec|ribozyme|processed transcript|antisense.*")
_NO_GENE = re.compile(
    r"antibod|\badt|\bab\b|\bprot\b|protein(?! coding)|surface|\bcite|hashtag|\bhto|multiplex|\bcmo\b|crispr|guide"
    r"|\bs?grnas?\b|peak|\batac\b|chromatin|accessib|control|codeword|blank|negative|\bneg|positive|spike|\bercc\b"
    r"|synthetic|antigen|custom|barcode|\btags?\b|lipid|metabolit|\bmotif|\bvdj\b"
)

_NAMES_OF_NO_GENE = {
    # the type of features, and how a name begins, or goes on after a separator, if it is no name of a gene
    "control probes": r"neg(ative)?[ _.-]?(control|ctrl|prb|probe|codeword|add)|negative\d*$|system[ _.-]?control"
    r"|blank[ _.-]?\d|false[ _.-]?code|(unassigned|deprecated|genomic)[ _.-]?(control|codeword|probe)"
    r"|intergenic[ _.-]?region|antisense_",
    "spike-ins": r"ercc[ _.-]\d{5}$|sirv\d",
    "peaks": r"chr[\w.]+[:_.-]\d+[_.-]\d+$|(\d\d?|[xym]|mt|[a-z]{2}\d{6}\.\d):\d+-\d+$|(atac|peaks?)[_:]",
    "antibodies": r"total[ _.-]?seq|total[abc]$|(ab|adt|hto|cite|prot|protein|antibody)([_:.-]|$)"
    r"|anti[ _.-](human|mouse)|hash[ _.-]?tag|cmo\d{3}$|ahs\d{4}|pabo$|isotype|igg\d?[abc]?[ _.-]c(on)?tr",
    "guides": r"(?-i:sg[A-Z][A-Za-z0-9.-]*)[_.-]\d|(sg|grna|sgrna|guide)[_.-]?\d*$|non[ _.-]?target|ntc[_.-]?\d",
}
_BY_NAME = [(what, re.compile(rf"(?:^|[ _.:|-])(?:{form})", re.I)) for what, form in _NAMES_OF_NO_GENE.items()]
_ANY_NAME = re.compile(rf"(?:^|[ _.:|-])(?:{'|'.join(_NAMES_OF_NO_GENE.values())})", re.I)

_SPECIES = [
    # a species, and its genomes, names and taxon in lower case
    ("human", re.compile(r"(.*:)?9606|human.*|homo.*|hsapiens|hs|.*grch\d\d.*|(.*_)?hg\d\d.*|b37|hs3[78].*|.*chm13.*")),
    ("mouse", re.compile(r"(.*:)?10090|mouse.*|mus[ _.-]musc.*|mmusculus|mmu?|.*grcm\d\d.*|mm\d\d?|.*_mm\d\d?")),
    ("another", re.compile(r".*taxon:(?!9606$|10090$)\d+|rat|rattus.*|rn\d|rnor.*|mratbn.*|danrer.*|grcz.*|bdgp\d.*"
                           r"|dm\d|rhemac.*|mmul.*|macaca.*|sscrofa.*|susscr.*|galgal.*|grcg.*|wbcel.*|saccer.*|sars.*|canfam.*")),
]  # fmt: skip


def gene_columns(var: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which columns of a data set are genes by what var says of their types, (n_vars,); of unknown ones true."""
    return np.asarray(left_out_types(var) == "")


def left_out_types(var: pd.DataFrame, species: str = "human") -> NDArray[np.object_]:
    """Return the type of each column of a data set that is no gene of a species; empty text for genes, (n_vars,).

    Types are in columns such as `var["feature_types"]`, and genomes in `var["genome"]`. What var does not say is
    decided by names, see :func:`types_by_name`. Genomes count if they tell several species apart.
    """
    types = np.full(len(var), "", dtype=object)
    for position, column in enumerate(var.columns):
        name = re.sub(r"[^a-z]", "", str(column).lower())
        values = var.iloc[:, position]
        if name in _TYPE_COLUMNS or name in _OTHER_TYPE_COLUMNS:
            found = _map_values(values, functools.partial(_types, strict=name in _TYPE_COLUMNS))
        elif name in _GENOME_COLUMNS:
            found = _map_values(values, functools.partial(_foreign, species=species))
        elif column == _FILTERED:
            found = _map_values(
                values, lambda seen: ["filtered genes" if text.lower() == "true" else "" for text in seen]
            )
        else:
            continue
        types = np.where(types == "", found, types)
    return types


def types_by_name(names: Sequence[str] | NDArray[np.object_]) -> NDArray[np.object_]:
    """Return the type of each name of a control probe, spike-in, peak, antibody or guide; empty text for others."""
    types = np.full(len(names), "", dtype=object)
    for i in [i for i, name in enumerate(names) if _ANY_NAME.search(name)]:
        types[i] = next(what for what, pattern in _BY_NAME if pattern.search(names[i]))
    return types


def species_of_genome(name: str) -> str | None:
    """Return "human", "mouse" or "another" for a genome, such as mm10, or the name or taxon of a species; else None."""
    found = [species for species, pattern in _SPECIES if pattern.fullmatch(name.lower())]
    return found[0] if len(found) == 1 else None


def without_id(places: Iterable[NDArray[np.object_]]) -> NDArray[np.bool_]:
    """Return which columns have no Ensembl id, (n_vars,), if most have one in some place; `places` are texts of all."""
    missing = [np.array([not text.startswith("ENS") for text in texts], dtype=np.bool_) for texts in places]
    missing = [absent for absent in missing if 2 * absent.sum() < len(absent)]
    return np.logical_and.reduce(missing) if missing else np.zeros(1, dtype=np.bool_)


def _map_values(values: pd.Series[Any], types_of: Callable[[list[str]], list[str]]) -> NDArray[np.object_]:
    """Return for each value of a column its type; of a missing one empty text."""
    codes, seen = pd.factorize(np.asarray(values, dtype=object))
    return np.array([*types_of([str(value) for value in seen]), ""], dtype=object)[codes]


def _types(values: list[str], *, strict: bool) -> list[str]:
    """Return the values that are types of no gene.

    With `strict` these are all values but those of genes, if some value says that genes are here; without it, a column
    in which no value says so holds something else, as what a user knows of genes: "surface marker".
    """
    words = [re.sub(r"[\W_]+", " ", value).strip().lower() for value in values]
    is_other = [_NO_GENE.search(word) is not None for word in words]
    is_assay = [not other and _ASSAY_OF_GENES.fullmatch(word) for word, other in zip(words, is_other, strict=True)]
    is_gene = [not other and _GENE.fullmatch(word) is not None for word, other in zip(words, is_other, strict=True)]
    if strict and any(is_assay):
        is_other = [
            word != "" and (other or not (assay or gene))
            for word, other, assay, gene in zip(words, is_other, is_assay, is_gene, strict=True)
        ]
    elif not strict and not any(is_assay) and not any(is_gene):
        is_other = [False] * len(words)
    return [_name_of_type(value) if other else "" for value, other in zip(values, is_other, strict=True)]


def _name_of_type(value: str) -> str:
    """Return a type as a name in uns, which must not have a slash."""
    return value.strip().replace("/", " or ")


def _foreign(values: list[str], species: str) -> list[str]:
    """Return the genomes of species other than this one, if genes of this one are there too."""
    found = [species_of_genome(value) for value in values]
    if species not in found:
        return [""] * len(values)
    pairs = zip(values, found, strict=True)
    return [f"genes of {_name_of_type(value)}" if other not in (None, species) else "" for value, other in pairs]
