"""Cells as other experiments might have seen them: fewer counts, other genes, more counts of the same type."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

MOST_PARTNERS = 5
ANOTHER = 0.7
"""A cell that is mixed gets at least one partner, and each time with this probability another, up to five."""

LEAST_KEPT = 0.05
"""Share of its counts that a thinned cell keeps at least; shares are uniform in their logarithm."""

N_PLATFORMS, PLAIN = 16, 4
"""Virtual platforms in a batch, and how many of them see the counts as they are."""

N_PANELS = 32
"""Random panels in a batch: drawing one for each cell would cost more than the first layer."""

FEW_GENES = 60
"""A panel that leaves a cell fewer genes than this is not used."""


def mix(
    X: sparse.csr_matrix,
    draw_partners: Callable[[NDArray[np.int64]], sparse.csr_matrix],
    share: float,
    random: np.random.Generator,
) -> sparse.csr_matrix:
    """Add to a share of the cells the counts of others of their type, of one or of several.

    The sum of cells of a type is what one cell with more counts could have looked like; small classes gain most.
    Without deep cells of every type, depth itself looks like a type: precursors have three times the counts of T cells.

    Parameters
    ----------
    X
        Cells.
    draw_partners
        Returns a partner for each of the cells that it is given by row, another at each call.
    share
        Of the cells, that are mixed at all.
    random
        Draws them.
    """
    n = X.shape[0]
    chosen = random.random(n) < share
    for _ in range(MOST_PARTNERS):
        rows = np.flatnonzero(chosen)
        place = sparse.csr_matrix((np.ones(rows.size, np.float32), (rows, np.arange(rows.size))), (n, rows.size))
        X = sparse.csr_matrix(X + place @ draw_partners(rows))
        chosen &= random.random(n) < ANOTHER
    return X


def thin(X: sparse.csr_matrix, share: float, random: np.random.Generator) -> sparse.csr_matrix:
    """Keep each count of a share of the cells with a probability drawn for the cell (binomial thinning)."""
    n = X.shape[0]
    kept = np.where(random.random(n) < share, LEAST_KEPT ** random.random(n), 1.0)
    rate = np.repeat(kept, np.diff(X.indptr))
    counts = np.round(X.data).astype(np.int64)
    thinned = np.where(rate < 1, random.binomial(counts, rate), X.data).astype(np.float32)
    return sparse.csr_matrix((thinned, X.indices, X.indptr), shape=X.shape)


def shift_platform(counts: torch.Tensor, most: float, generator: torch.Generator) -> torch.Tensor:
    """Multiply the counts of each gene by a factor of the virtual platform that a cell is given.

    Chemistries and protocols catch the same molecules with different yields, gene by gene.

    Parameters
    ----------
    counts
        (n, n_genes)
    most
        Largest standard deviation of the logarithm of a factor; a platform has one between 0 and this.
    generator
        Draws platforms, and the platform of each cell.
    """
    n, n_genes = counts.shape
    where = generator.device
    sd = most * torch.rand(N_PLATFORMS, 1, generator=generator, device=where)
    sd[:PLAIN] = 0
    factors = (sd * torch.randn(N_PLATFORMS, n_genes, generator=generator, device=where)).exp().to(counts.device)
    return counts * factors[torch.randint(N_PLATFORMS, (n,), generator=generator, device=where).to(counts.device)]


def hide_genes(
    observed: torch.Tensor,
    panels: torch.Tensor,
    gene_weight: torch.Tensor,
    *,
    random_panel: float,
    study_panel: float,
    least_panel: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """Choose the genes through which each cell of a batch is seen.

    Parameters
    ----------
    observed
        (n, n_genes) genes that were measured, 0 or 1.
    panels
        (n_panels, n_genes) panels of the studies, 0 or 1.
    gene_weight
        (N_PANELS, n_genes) how likely a gene is in each random panel, relative to the others, around 1.
    random_panel
        Share of the panels that are random, the others showing all genes.
    study_panel
        Share of the cells that are seen through the panel of a random study instead.
    least_panel
        Expected size of the smallest random panel; sizes are uniform in their logarithm.
    generator
        Draws it all.

    Returns
    -------
    (n, n_genes), 0 or 1, nowhere more than `observed`.
    """
    n, n_genes = observed.shape

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, device=generator.device)

    def pick(n_choices: int) -> torch.Tensor:
        return torch.randint(n_choices, (n,), generator=generator, device=generator.device).to(observed.device)

    least = min(least_panel, n_genes) / n_genes
    size = least ** uniform(N_PANELS, 1)  # log-uniform between `least` and 1
    size[uniform(N_PANELS) >= random_panel] = torch.inf
    some = (uniform(N_PANELS, n_genes) < size * gene_weight).to(observed)
    seen = observed * some[pick(N_PANELS)]
    other = observed * panels[pick(len(panels))]
    seen = torch.where((uniform(n, 1) < study_panel).to(observed.device), other, seen)
    few = seen.sum(1, keepdim=True) < min(FEW_GENES, n_genes // 10)
    return torch.where(few, observed, seen)
