"""Hostile arrays, forms and links in HDF5 files, zarr folders and zips of them."""

from __future__ import annotations

import contextlib
import shutil
import zipfile
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import zarr

from fuzz.forgers import forge_values, nested
from fuzz.mutators import HOLE

if TYPE_CHECKING:
    from pathlib import Path


def forge_group(path: Path, rng: np.random.Generator, sandbox: Path) -> str | None:
    """Change an array, its form, its name or an attribute of an HDF5 file or a zarr folder."""
    with contextlib.ExitStack() as stack:
        root = zarr.open_group(str(path), mode="r+") if path.is_dir() else stack.enter_context(h5py.File(path, "r+"))
        names = sorted(_names(root))
        heavy = [name for name in names if name.split("/")[-1] in ("data", "indices", "indptr", "X", "codes", "_index")]
        pool = heavy if heavy and rng.random() < 0.7 else names
        name = pool[rng.integers(len(pool))]
        node = root[name]
        way = int(rng.integers(10))
        is_array = hasattr(node, "shape")
        if way == 0:
            del root[name]
            return f"removal of {name}"
        if way == 9:
            return _replace(root, name, sandbox, path, rng)
        if way == 1 or not is_array:
            return _forge_attribute(node, name, rng)
        values = np.asarray(node[()])
        if values.dtype.kind not in "iufb" or not values.size:
            return _forge_attribute(node, name, rng)
        done = "copy"
        if way == 2:
            values, done = values.astype(rng.choice(["f8", "i8", "f4", "u1", "i2", "S3"])), "another type"
        elif way == 3:
            values, done = values[: int(rng.integers(len(values)))] if values.ndim else values, "fewer values"
        elif way == 4:
            values, done = np.concatenate([values, values]) if values.ndim else values, "doubled values"
        elif way == 5:
            values, done = values.reshape([(1, -1), (-1, 1, 1), (-1,)][rng.integers(3)]), "another shape"
        elif way == 8:
            return _declare(root, name, values.dtype, rng)
        else:
            done = forge_values(values, rng)
            node[...] = values
            return f"{done} of {name}"
        attrs = dict(node.attrs)
        del root[name]
        root[name] = values
        root[name].attrs.update(attrs)
        return f"{done} of {name}"


def _declare(root: Any, name: str, dtype: Any, rng: np.random.Generator) -> str:
    """Put an array in its place that has a huge shape and no content."""
    shape = [(HOLE,), (1 << 31,), (HOLE, HOLE), (1 << 33, 100)][rng.integers(4)]
    chunks = (1 << 16,) if len(shape) == 1 else (1 << 10, 64)
    attrs = dict(root[name].attrs)
    del root[name]
    make = root.create_dataset if isinstance(root, h5py.File) else root.create_array
    make(name, shape=shape, dtype=dtype, chunks=chunks).attrs.update(attrs)
    return f"shape {shape} without content of {name}"


def _replace(root: Any, name: str, sandbox: Path, path: Path, rng: np.random.Generator) -> str | None:
    """Put a link to another file, or to itself, an empty value or a text in the place of a part of an HDF5 file."""
    if not isinstance(root, h5py.File):
        return None
    outside = sandbox / "victim" / "cells.h5"
    shutil.copy(path, outside)
    kinds = [
        h5py.ExternalLink(str(outside), name), h5py.SoftLink(f"/{name}"), h5py.SoftLink("/absent"), h5py.Empty("f4"), "text", 1, [[1.5]],
        np.zeros(3, [("a", "f4"), ("b", "i4")]), np.array([b"\xff\xfe", b"x"]), np.array([1 + 2j]),
    ]  # fmt: skip
    kind = kinds[rng.integers(len(kinds))]
    attrs = dict(root[name].attrs)
    del root[name]
    root[name] = kind
    with contextlib.suppress(KeyError, TypeError, OSError, RuntimeError):
        if rng.random() < 0.5 and not isinstance(kind, h5py.ExternalLink):
            root[name].attrs.update(attrs)
    return f"{str(kind)[:60]} in place of {name}"


def _names(group: Any, prefix: str = "") -> Any:
    for name in group:
        yield prefix + name
        if not hasattr(group[name], "shape"):
            yield from _names(group[name], f"{prefix}{name}/")


def _forge_attribute(node: Any, name: str, rng: np.random.Generator) -> str | None:
    keys = sorted(node.attrs)
    if not keys:
        return None
    key = keys[rng.integers(len(keys))]
    if key == "shape":
        shapes = [
            [HOLE, 5],
            [-1, 5],
            [0, 0],
            [2**62, 2**62],
            [3],
            [10, 10_000_000],
            ["a", "b"],
            [1.5, 2],
            [59, 111],
            [60, 110],
        ]
        value: Any = shapes[rng.integers(len(shapes))]
    else:
        value = ["csc_matrix", "csr_matrix", "array", "dataframe", "x", "", 3, "categorical", ["a"]][rng.integers(9)]
    if rng.random() < 0.2:
        del node.attrs[key]
        return f"removal of {name}@{key}"
    node.attrs[key] = value
    return f"{value!r} for {name}@{key}"


def forge_zip(path: Path, rng: np.random.Generator, sandbox: Path) -> str | None:
    """Change a zarr folder that is in a zip, or give the zip hostile entries."""
    folder = sandbox / "scratch" / "unzipped"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    done = forge_group(folder, rng, sandbox) if rng.random() < 0.7 else "hostile entries"
    if done is None:
        return None
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, str(file.relative_to(folder)))
        if done == "hostile entries":
            for name in ("../../home/.profile", "/victim/x", "X/../../../victim/y"):
                archive.writestr(name, "hostile")
            archive.writestr("X/zarr.json", nested())
    shutil.rmtree(folder)
    return done
