"""`Interpreter`: the genes by which the encoder separates cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scim.scimilarity._embedding import as_rows

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scim.model import Encoder


class Interpreter:
    """Rank genes by how much they separate cells from others, by integrated gradients.

    Parameters
    ----------
    encoder
        `CellEmbedding.model`, or `scim.model.Model.encoder`; anything else raises TypeError.
    gene_order
        Symbols of its genes, `CellEmbedding.gene_order`; another number of them raises ValueError.
    """

    def __init__(self, encoder: Encoder, gene_order: Sequence[str]) -> None:
        from scim.model import Encoder  # noqa: PLC0415  (annotating and searching need no torch)

        if not isinstance(encoder, Encoder):
            msg = f"Expected the encoder of a model, as CellEmbedding(...).model, got {type(encoder).__name__}."
            raise TypeError(msg)
        if len(gene_order) != encoder.config.n_genes:
            msg = f"Expected {encoder.config.n_genes} genes, as many as the encoder reads; got {len(gene_order)}."
            raise ValueError(msg)
        self.encoder = encoder
        self.gene_order = [str(gene) for gene in gene_order]

    def get_attributions(self, anchors: Any, negatives: Any) -> NDArray[np.float32]:
        """Attribute the distance of each anchor to its negative to the genes with a higher value in the anchor.

        Parameters
        ----------
        anchors, negatives
            (n, n_genes) log-normalised values of cells, row by row a pair: csr, numpy or torch. Other shapes, and a
            cell without a value, raise ValueError.

        Returns
        -------
        float32, shape (n, n_genes), at least 0; see :func:`scim.tl.explain` for a whole data set.
        """
        from scim.model.explain import attributions  # noqa: PLC0415  (as above)
        from scim.model.net import DenseEncoder  # noqa: PLC0415  (as above)

        return attributions(DenseEncoder(self.encoder), as_rows(anchors), as_rows(negatives))

    def get_ranked_genes(self, attrs: NDArray[np.floating[Any]]) -> pd.DataFrame:
        """Rank the genes by mean attribution.

        Parameters
        ----------
        attrs
            (n, n_genes) attributions of :meth:`get_attributions`.

        Returns
        -------
        Frame with a row a gene, greatest mean first: `gene`, `gene_idx`, `attribution` (mean), `attribution_std`,
        `cells` (number of pairs).
        """
        if attrs.ndim != 2 or attrs.shape[1] != len(self.gene_order) or not len(attrs):
            msg = f"Expected attributions of shape (n, {len(self.gene_order)}), got {attrs.shape}."
            raise ValueError(msg)
        mean, std = attrs.mean(axis=0), attrs.std(axis=0)
        order = np.argsort(-mean, kind="stable")
        genes = np.array(self.gene_order, dtype=object)[order]
        frame = {"gene": genes, "gene_idx": order, "attribution": mean[order], "attribution_std": std[order]}
        return pd.DataFrame(frame).assign(cells=len(attrs))

    def plot_ranked_genes(
        self, attrs_df: pd.DataFrame, n_plot: int = 15, filename: str | os.PathLike[str] | None = None
    ) -> Any:
        """Draw the first genes of a ranking, with the 95 % interval of each mean, and return the figure.

        Parameters
        ----------
        attrs_df
            From :meth:`get_ranked_genes`.
        n_plot
            Number of genes.
        filename
            Where to save the picture. Default: nowhere.
        """
        from scim.pl import ranked_genes  # noqa: PLC0415  (only pictures need matplotlib)

        mean, margin = attrs_df["attribution"], 1.96 * attrs_df["attribution_std"] / np.sqrt(attrs_df["cells"])
        frame = attrs_df[["gene"]].assign(mean=mean, low=(mean - margin).clip(lower=0), high=mean + margin)
        figure = ranked_genes(frame, top=n_plot)
        assert figure is not None  # no axes were given
        if filename is not None:
            figure.savefig(filename, bbox_inches="tight")
        return figure
