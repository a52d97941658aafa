"""Simulate a small data set of blood cells, for examples and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

if TYPE_CHECKING:
    from anndata import AnnData

_MARKERS = {
    "T cell": "CD3D CD3E CD3G CD2 CD7 IL7R TRAT1 LCK CD27 LEF1 TCF7 CCR7 CD6 CD247 IL32 LTB BCL11B CD28 ITK SPOCK2",
    "B cell": "CD19 MS4A1 CD79A CD79B BANK1 BLK VPREB3 FCRLA CD22 PAX5 TCL1A LINC00926 HLA-DQA1 HLA-DQB1 HLA-DRA CD74 "
    "HLA-DPB1 HLA-DPA1 RALGPS2 SPIB",
    "classical monocyte": "CD14 LYZ S100A8 S100A9 S100A12 FCN1 VCAN CST3 TYROBP AIF1 LGALS2 MS4A6A CSTA FCER1G CTSS "
    "SERPINA1 CD68 GRN TYMP LST1 CFD PSAP",
}
_SHARED = (
    "MALAT1 B2M TMSB4X RPL10 RPL13 RPS27 RPS18 RPLP1 RPS2 RPS12 RPL41 EEF1A1 ACTB TPT1 FTL FTH1 TMSB10 GAPDH MT-CO1 "
    "MT-CO2 MT-CO3 MT-ND4 HLA-A HLA-B HLA-C PTPRC CORO1A PFN1 CFL1 ARPC1B S100A4 S100A6 VIM UBA52 NACA FAU H3F3B JUNB "
    "FOS DUSP1 ZFP36 BTG1 SRGN CD52 CD37 CYBA MYL6 LAPTM5 ARHGDIB"
)


def toy(n_obs: int = 300, *, rng: int | np.random.Generator | None = 0) -> AnnData:
    """Simulate counts of T cells, B cells and monocytes, which express their well-known markers.

    Parameters
    ----------
    n_obs
        Number of cells, a third of each type.
    rng
        Seed or generator.

    Returns
    -------
    AnnData with whole counts in `X` (csr float32), gene symbols as `var_names`, and the columns
    `cell_type` and `sample` in `obs`.

    Examples
    --------
    >>> import scim
    >>> scim.datasets.toy(9).obs["cell_type"].value_counts().tolist()
    [3, 3, 3]
    """
    random = np.random.default_rng(rng)
    markers = {name: text.split() for name, text in _MARKERS.items()}
    genes = [*_SHARED.split(), *(gene for genes_of_type in markers.values() for gene in genes_of_type)]
    types = np.array(list(markers), dtype=object)[np.arange(n_obs) % len(markers)]
    mean = np.full((n_obs, len(genes)), 0.05)
    mean[:, : len(_SHARED.split())] = 4.0
    for name, genes_of_type in markers.items():
        mean[np.ix_(types == name, np.isin(genes, genes_of_type))] = 3.0
    # Gamma-Poisson: genes vary between cells of a type, and the depth varies between cells.
    depth = random.lognormal(0, 0.3, size=(n_obs, 1))
    counts = random.poisson(mean * depth * random.gamma(2.0, 0.5, size=mean.shape))
    obs = pd.DataFrame(
        {"cell_type": pd.Categorical(types), "sample": pd.Categorical([f"sample{i % 2}" for i in range(n_obs)])},
        index=[f"cell{i}" for i in range(n_obs)],
    )
    return anndata.AnnData(sparse.csr_matrix(counts, dtype=np.float32), obs=obs, var=pd.DataFrame(index=genes))
