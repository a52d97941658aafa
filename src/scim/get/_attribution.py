"""Return the genes of `tl.explain`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scim._core import check_adata, check_count, check_names, check_text, keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


def attribution(
    adata: AnnData, group: str | Sequence[str] | None = None, *, top: int | None = None, key: str = keys.EXPLAIN
) -> pd.DataFrame:
    """Return how much each gene separates groups of cells in the model.

    Parameters
    ----------
    adata, key
        Cells explained by :func:`scim.tl.explain`, and its `key_added`.
    group
        A group, or several. Default: all that were explained.
    top
        Number of genes of each group. Default: all that were measured.

    Returns
    -------
    Frame with a row for each group and gene, greatest mean first:

    `group` : str
        Name of the group.
    `rank` : int
        1 = greatest mean.
    `gene`, `gene_id` : str
        Symbol and id of the gene.
    `mean`, `std` : float32
        Of the attribution over the pairs of cells, at least 0; all genes of a pair together make up about the
        squared distance of the two embeddings (0 to 4). The deviation is NaN of a single pair.
    `low`, `high` : float32
        The 95 % interval of the mean, cut at 0.
    `n_pairs` : int
        Number of pairs.

    Raises
    ------
    KeyError
        There is no explanation of this name, or the group was not explained.

    Examples
    --------
    >>> import scim
    >>> adata = scim.datasets.toy()
    >>> scim.tl.explain(adata, groupby="cell_type", n_pairs=20)
    >>> scim.get.attribution(adata, "T cell", top=2)[["group", "rank"]].to_numpy().tolist()
    [['T cell', 1], ['T cell', 2]]
    """
    check_adata(adata)
    check_text(key=key)
    record = adata.uns.get(key)
    if not isinstance(record, dict) or not {"mean", "ci", "symbols"} <= set(record):
        msg = f"uns[{key!r}] holds no explanation; run scim.tl.explain(adata) first. Present: {sorted(adata.uns)}."
        raise KeyError(msg)
    if top is not None:
        top = check_count("top", top)
    names = [str(name) for name in record["groups"]]
    chosen = names if group is None else check_names("group", group)
    if absent := [name for name in chosen if name not in names]:
        msg = f"{absent} were not explained in uns[{key!r}]. Present: {names}."
        raise KeyError(msg)
    if not chosen:
        msg = f"group names none of {names}."
        raise ValueError(msg)
    frames = [_of_group(record, names.index(name), top) for name in chosen]
    return pd.concat([frame for frame in frames if len(frame)] or frames, ignore_index=True)


def _of_group(record: dict[str, Any], i: int, top: int | None) -> pd.DataFrame:
    mean, std, ci = (np.asarray(record[name])[i] for name in ("mean", "std", "ci"))
    order = np.argsort(-mean, kind="stable")[: np.isfinite(mean).sum()][:top]  # NaN is last
    return pd.DataFrame(
        {
            "group": str(record["groups"][i]),
            "rank": np.arange(1, order.size + 1),
            "gene": np.asarray(record["symbols"], dtype=object)[order],
            "gene_id": np.asarray(record["genes"], dtype=object)[order],
            "mean": mean[order],
            "std": std[order],
            "low": np.maximum(mean - ci, 0)[order],
            "high": (mean + ci)[order],
            "n_pairs": int(record["n_pairs"][i]),
        }
    )
