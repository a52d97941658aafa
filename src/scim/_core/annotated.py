"""What `tl.annotate` wrote, read back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anndata import AnnData


def annotation_record(adata: AnnData, key: str, call: str = "scim.tl.annotate(adata)") -> dict[str, Any]:
    """Return parameters, labels and atlas; `call` is what to do without.

    Raises
    ------
    KeyError
        There is no annotation of this name.
    """
    record = adata.uns.get(key)
    if not isinstance(record, dict) or "labels" not in record or f"{key}_shares" not in adata.obsm:
        msg = f"uns[{key!r}] holds no annotation; run {call} first. Present: {sorted(adata.uns)}."
        raise KeyError(msg)
    return record
