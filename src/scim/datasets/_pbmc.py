"""Load the query of the demo: 700 blood cells that come with scanpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anndata import AnnData

_LEVEL_1 = {
    "CD14+ Monocyte": "monocyte",
    "CD19+ B": "B cell",
    "CD34+": "CD34+ cell",
    "CD4+/CD25 T Reg": "T cell",
    "CD4+/CD45RA+/CD25- Naive T": "T cell",
    "CD4+/CD45RO+ Memory": "T cell",
    "CD56+ NK": "NK cell",
    "CD8+ Cytotoxic T": "T cell",
    "CD8+/CD45RA+ Naive Cytotoxic": "T cell",
    "Dendritic": "dendritic cell",
}


def pbmc68k() -> AnnData:
    """Return `scanpy.datasets.pbmc68k_reduced`: 700 cells x 765 genes, log-normalised in `raw` and scaled in `X`.

    Returns
    -------
    AnnData with the labels of its authors in `obs["bulk_labels"]`, and joined in `obs["bulk_level_1"]` to
    B, T and NK cell, monocyte, dendritic cell and CD34+ cell.
    """
    from scim._core.kernel_cache import cache_folder  # noqa: PLC0415  (imports numba)

    with cache_folder():
        import scanpy as sc  # noqa: PLC0415  (takes seconds to load)

    adata = sc.datasets.pbmc68k_reduced()
    adata.obs["bulk_level_1"] = adata.obs["bulk_labels"].astype(str).map(_LEVEL_1).astype("category")
    return adata
