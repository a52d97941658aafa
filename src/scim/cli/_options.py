"""Types of the parameters that several commands share, with their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from scim._core import Duplicates, SpeciesName, Transform

_DEFAULT = "Default: SCIM_ATLAS, else the packaged atlas."
Uri = Annotated[str, Parameter(help="Folder of the atlas, or s3://bucket/prefix.")]
UriOrDefault = Annotated[str | None, Parameter(help=f"Folder of an atlas, or s3://bucket/prefix. {_DEFAULT}")]
Timeout = Annotated[float, Parameter(help="Seconds to wait while another writer has the lease.")]
Overwrite = Annotated[bool, Parameter(help="Replace the output if it exists.")]
Counts = Annotated[bool, Parameter(help="Store the counts too; embedding with another model needs them.")]
Layer = Annotated[str | None, Parameter(help='Layer with the counts, "X" or "raw". Default: found.')]
_TRANSFORM = "What was done to the counts: none, the log of 1 + x (natural, base 2, base 10), ... Default: found."
Transformed = Annotated[Transform | None, Parameter(help=_TRANSFORM)]
GeneKey = Annotated[str | None, Parameter(help="Column of var with the gene names. Default: found.")]
LabelKey = Annotated[str | None, Parameter(help="Column of obs with the cell types.")]
Species = Annotated[SpeciesName, Parameter(help="Species of the genes; mouse genes are mapped to human orthologs.")]

Output = Annotated[Path, Parameter(name=["--output", "-o"])]
_CELLS = "An .h5ad, .zarr or 10x .h5 file with counts, and gene symbols (human, or --species mouse) or Ensembl ids."
Query = Annotated[Path, Parameter(help=_CELLS)]
_MODEL = "Folder of a model, in place of that of the atlas."
ModelFolder = Annotated[Path | None, Parameter(help=_MODEL)]
Where = Annotated[str | None, Parameter(help="Filter of the cells of the atlas, such as \"study != 'pbmc3k'\".")]
_COPIES = "collapse counts duplicate cells of the atlas once, keep counts each of them."
DuplicateCells = Annotated[Duplicates, Parameter(help=_COPIES)]
_FORMULAS = "In .csv and .tsv, put ' before texts that a spreadsheet would take for a formula, as of = + - @."
Spreadsheet = Annotated[bool, Parameter(help=_FORMULAS)]
Seed = Annotated[int, Parameter(help="Seed of the random numbers.")]
