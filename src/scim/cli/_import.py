"""`scim import-scimilarity`."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  (cyclopts reads the types of parameters when it runs)

from scim.cli._atlas import Place  # noqa: TC001  (cyclopts reads it)


def import_scimilarity(
    folder: Path, atlas: Place, /, *, columns: tuple[str, ...] = (), overwrite: bool = False
) -> None:
    """Make an atlas of a published SCimilarity folder, as model_v1.1; after an interruption it goes on.

    Parameters
    ----------
    folder
        The folder with encoder.ckpt, annotation and cellsearch. Nothing in it is executed or changed.
    columns
        Which columns of cellsearch/cell_metadata to keep. Default: all.
    overwrite
        Replace the atlas if it exists.
    """
    import scim

    with scim.scimilarity.import_atlas(folder, atlas, columns=columns or None, overwrite=overwrite) as made:
        unmapped = [name for name, term in zip(made.labels.names, made.labels.ids, strict=True) if not term]
        if unmapped:
            print(f"not in the Cell Ontology, kept as they are: {', '.join(unmapped)}")
        print(f"made {made}")
