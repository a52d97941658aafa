"""Files that other programs write: h5ad, zarr, 10x, SOMA, and folders of the published package."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

import scim
from fuzz import forgers, groups, mutators
from fuzz.readers import read_10x, read_counts, read_soma
from fuzz.target import GENERIC, Target, embed_by_command, out_folder
from helpers import census, fakes, published

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fuzz.target import Step


def make_cells(folder: Path, file: str, form: str) -> None:
    """Write cells in a form, and beside them a model and an atlas without cells."""
    adata = fakes.cells(40, seed=6)
    adata.obs["study"] = pd.Categorical(np.array(["a", "b"])[np.arange(40) % 2])
    adata.var = adata.var[[]]
    adata.X = {"csc": adata.X.tocsc, "dense": adata.X.toarray}.get(form, adata.X.tocsr)()
    model = fakes.tiny_model()
    model.save(folder / "a-model", dtype="float32")
    if file.endswith(".zip"):
        adata.write_zarr(folder / "unzipped")
        shutil.make_archive(str(folder / file.removesuffix(".zip")), "zip", folder / "unzipped")
        shutil.rmtree(folder / "unzipped")
    elif file.endswith(".zarr"):
        adata.write_zarr(folder / file)
    else:
        adata.write_h5ad(folder / file, compression="gzip" if form == "gzip" else None)


def read_cells(path: Path) -> Iterator[Step]:
    """Embed cells of a file by rows."""

    def by_rows() -> Any:
        from scim.io.cells import opened
        from scim.pp import find_counts, match_genes

        model = scim.model.load(path.parent / "a-model")
        with opened(path, ()) as cells:
            counts = find_counts(cells)
            return model.embed(counts, match_genes(counts.var, model.genes))

    yield "rows", by_rows


def use_cells(path: Path) -> Iterator[Step]:
    """Embed a file whole, by the command line, or append it to an atlas."""

    def append() -> Any:
        with scim.atlas.create(out_folder() / "new.scim", model=path.parent / "a-model") as atlas:
            atlas.append(path, study="one", counts=True)
            return atlas.embeddings()

    if path.suffix != ".zip":
        yield "command", lambda: embed_by_command(path, path.parent / "a-model")
    yield "append", append


def embed_in_memory(counts: Any, names: list[str]) -> Any:
    """Embed a dense matrix."""
    adata = AnnData(counts.astype(np.float32), var=pd.DataFrame(index=pd.Index(names)))
    scim.tl.embed(adata, model=fakes.tiny_model())
    return adata.obsm["X_scim"]


def _cells_target(name: str, file: str, form: str, *special: mutators.Mutator) -> Target:
    ways = (mutators.damage_bytes, mutators.damage_bytes, *special, *special, *special, mutators.damage_tree)
    says = lambda sandbox, file: embed_in_memory(*read_counts(sandbox / "input" / file))  # noqa: E731
    return Target(name, file, lambda folder: make_cells(folder, file, form), ways, read_cells, use_cells, says)


def make_10x(folder: Path) -> None:
    """Write a file as Cell Ranger does."""
    adata = fakes.cells(40, seed=6)
    fakes.tiny_model().save(folder / "a-model", dtype="float32")
    X = sparse.csc_matrix(adata.X.T)
    with h5py.File(folder / "cells.h5", "w") as file:
        matrix = file.create_group("matrix")
        matrix["barcodes"] = adata.obs_names.to_numpy().astype("S")
        matrix["data"], matrix["indices"], matrix["indptr"] = (
            X.data.astype("i4"),
            X.indices.astype("i8"),
            X.indptr.astype("i8"),
        )
        matrix["shape"] = np.array(X.shape, "i4")
        features = matrix.create_group("features")
        names = adata.var_names.to_numpy().astype("S")
        features["id"], features["name"] = names, names
        features["feature_type"] = np.full(len(names), b"Gene Expression")
        features["genome"] = np.full(len(names), b"GRCh38")


def read_by_command(path: Path) -> Iterator[Step]:
    """Embed a file by the command line."""
    yield "command", lambda: embed_by_command(path, path.parent / "a-model")


def make_soma(folder: Path) -> None:
    """Write a SOMA experiment."""
    census.write(folder / "census", 40)
    fakes.tiny_model().save(folder / "a-model", dtype="float32")


def import_soma(path: Path) -> Iterator[Step]:
    """Make an atlas of its cells."""

    def embeddings() -> Any:
        with scim.atlas.from_soma(path, out_folder() / "new.scim", model=path.parent / "a-model") as atlas:
            return atlas.embeddings()

    yield "from_soma", embeddings


def make_published(folder: Path) -> None:
    """Write a folder as the published package has it."""
    published.write_folder(folder / "published", published.Cells(60), m=4)


def import_published(path: Path) -> Iterator[Step]:
    """Import its model, and its cells."""

    def model() -> Any:
        made = scim.scimilarity.import_model(path)
        return made.encode(np.random.default_rng(0).random((5, len(made.genes)), dtype=np.float32))

    def atlas() -> dict[str, Any]:
        with scim.scimilarity.import_atlas(path, out_folder() / "new.scim") as made:
            return {"obs": made.obs(), "embeddings": made.embeddings()}

    yield "model", model
    yield "atlas", atlas


def targets() -> Iterator[Target]:
    """Yield the targets of this file."""
    for form in ("csr", "csc", "dense", "gzip"):
        yield _cells_target(f"h5ad-{form}", "cells.h5ad", form, groups.forge_group)
    yield _cells_target("zarr", "cells.zarr", "csr", groups.forge_group, forgers.damage_json)
    yield _cells_target("zarr-zip", "cells.zarr.zip", "csr", groups.forge_zip)
    ways = (*GENERIC, groups.forge_group, groups.forge_group, groups.forge_group)
    says = lambda sandbox, file: embed_in_memory(*read_10x(sandbox / "input" / file))  # noqa: E731
    yield Target("10x", "cells.h5", make_10x, ways, read_by_command, says=says)
    says = lambda sandbox, file: embed_in_memory(*read_soma(sandbox / "input" / file))  # noqa: E731
    yield Target("soma", "census", make_soma, GENERIC, import_soma, says=says, seconds=60)
    yield Target(
        "published",
        "published",
        make_published,
        (*GENERIC, forgers.forge_table, mutators.forge_bytes),
        import_published,
        seconds=60,
    )
