"""Model folders in the form in which SCimilarity is published, of any size, without the packages that wrote them.

`write_folder` writes a whole folder; the other functions write its parts. Everything is written block by block, so
millions of cells need the memory of one block. These files do not import scim: checks against the published
package run them with that package's interpreter.
"""

from __future__ import annotations

from helpers.published._cells import Cells
from helpers.published._folder import Folder, write_annotation, write_folder
from helpers.published._hnsw import HnswHeader, normalised, write_hnsw
from helpers.published._metadata import COLUMNS, metadata_block, write_metadata
from helpers.published._model import embed, fit_last, random_decoder, random_encoder, write_model
from helpers.published._real import LABELLED, RealCells, aligned, gene_symbols, lognorm, read_cells, real_cells
from helpers.published._vectors import write_embedding

__all__ = [
    "COLUMNS",
    "LABELLED",
    "Cells",
    "Folder",
    "HnswHeader",
    "RealCells",
    "aligned",
    "embed",
    "fit_last",
    "gene_symbols",
    "lognorm",
    "metadata_block",
    "normalised",
    "random_decoder",
    "random_encoder",
    "read_cells",
    "real_cells",
    "write_annotation",
    "write_embedding",
    "write_folder",
    "write_hnsw",
    "write_metadata",
    "write_model",
]
