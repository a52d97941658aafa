"""Hostile values in JSON, npy, HDF5 and zarr, with checksums that fit."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import zipfile
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import zarr

from fuzz.mutators import HOLE, NAMES, choose_file, name_in, resealed

if TYPE_CHECKING:
    from pathlib import Path


def nested(depth: int = 100_000) -> str:
    """Return JSON text that is nested deeper than any parser follows."""
    return "[" * depth + "]" * depth


VALUES: list[Any] = [
    None, True, False, -1, 0, 1, 2**31, 2**40, 2**63, 10**30, 10**400, 0.5, float("nan"), float("inf"), "", "x", "../../x",
    "/etc/passwd", "\x1b[31m", "\0", "\ud800", "1", [], [[]], [None], {}, {"x": 1}, [0] * 1000, {"..": "../.."},
]  # fmt: skip


def damage_json(path: Path, rng: np.random.Generator, sandbox: Path) -> str | None:
    """Change, remove, add or double an entry of a JSON file."""
    file = choose_file(path, rng, ".json")
    if file is None:
        return None
    if rng.random() < 0.05:
        file.write_text(nested())
        return f"nested {name_in(file, path)}"
    content = json.loads(file.read_bytes())
    spots = list(_spots(content))
    if not spots:
        return None
    keys = [*map(str, spots[rng.integers(len(spots))])]
    parent = content
    for key in keys[:-1]:
        parent = parent[int(key) if isinstance(parent, list) else key]
    last: Any = int(keys[-1]) if isinstance(parent, list) else keys[-1]
    done = _change_entry(parent, last, rng)
    file.write_text(json.dumps(content).replace('"deep"', nested(2000)))
    return f"{done} of {'.'.join(keys)} in {name_in(file, path)}"


def forge_json(path: Path, rng: np.random.Generator, sandbox: Path) -> str | None:
    """Change an entry of a JSON file, and its checksums."""
    done = damage_json(path, rng, sandbox)
    return done and resealed(path, done)


def _spots(node: Any, at: tuple[Any, ...] = ()) -> Any:
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in list(entries)[:40]:
        yield (*at, key)
        yield from _spots(value, (*at, key))


def _change_entry(parent: Any, key: Any, rng: np.random.Generator) -> str:
    way = rng.integers(10)
    if way == 0:
        del parent[key]
        return "removal"
    if way == 1:
        if isinstance(parent, list):
            parent.append(parent[key])
        else:
            parent["another"] = parent[key]
        return "copy"
    old, value = parent[key], VALUES[rng.integers(len(VALUES))]
    if way == 2 and isinstance(old, int | float) and not isinstance(old, bool):
        value = old + int(rng.choice([-1, 1, 1000]))
    if way == 3:
        value = "deep"
    if way == 4 and isinstance(old, str):
        value = NAMES[rng.integers(len(NAMES))]
    parent[key] = value
    return f"{str(value)[:40]!r} in place"


def forge_npy(path: Path, rng: np.random.Generator, sandbox: Path) -> str | None:
    """Change values or the header of an npy file, in a zip too, and the checksums."""
    file = choose_file(path, rng, ".npy", ".npz")
    if file is None:
        return None
    if file.suffix == ".npy":
        with file.open("rb") as stream:
            done = _forged_npy(stream, rng)
        if done is None:
            return None
        file.write_bytes(done[0])
        return resealed(path, f"{done[1]} of {name_in(file, path)}")
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    name = sorted(entries)[rng.integers(len(entries))]
    done = _forged_npy(io.BytesIO(entries[name]), rng)
    if done is None:
        return None
    entries[name] = done[0]
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, raw in entries.items():
            archive.writestr(entry, raw)
    return resealed(path, f"{done[1]} of {name_in(file, path)}/{name}")


def _forged_npy(stream: Any, rng: np.random.Generator) -> tuple[bytes, str] | None:
    try:
        array = np.load(stream, allow_pickle=False)
    except (ValueError, OSError, EOFError):
        return None
    if rng.random() < 0.25:
        shape = [
            tuple(array.shape),
            (HOLE,),
            (0,),
            (-1,),
            (2**62, 4),
            array.shape[::-1],
            (array.size,),
            (1, 1, array.size),
            (),
        ]
        kinds = [array.dtype.str, "<f8", "|O", "<i1", "|S0", "<c16", "|V3", ">f4", "<M8[s]", "[('a','<f4')]"]
        order = bool(rng.integers(2))
        header = {
            "descr": kinds[rng.integers(len(kinds))],
            "fortran_order": order,
            "shape": shape[rng.integers(len(shape))],
        }
        text = rng.choice([repr(header), repr(header), repr(header)[:-3], "(" * 900, "{'descr': '<f4'}"]) + "\n"
        version = bytes([int(rng.choice([1, 1, 2, 3, 9])), 0])
        length = len(text).to_bytes(2 if version[0] == 1 else 4, "little")
        return b"\x93NUMPY" + version + length + text.encode() + array.tobytes(), f"header {text[:90].strip()}"
    if not array.size:
        return None
    array = array.copy()
    done = forge_values(array, rng)
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue(), done


def forge_values(array: np.ndarray[Any, Any], rng: np.random.Generator) -> str:
    """Replace values of an array by extremes; return what was done."""
    flat = array.reshape(-1)
    at = rng.integers(flat.size, size=int(rng.choice([1, 1, 3, flat.size])))
    if array.dtype.kind == "f":
        choices: list[Any] = [np.nan, np.inf, -np.inf, -1, 0, 1e-40, 1e30, 0.5, np.finfo(array.dtype).max]
    elif array.dtype.kind in "iu":
        info = np.iinfo(array.dtype)
        choices = [info.min, info.max, info.max // 2, 0, 1, len(array), array.size, 10_000, -1]
        choices = [value for value in choices if info.min <= value <= info.max]
    elif array.dtype.kind == "b":
        choices = [True, False]
    else:
        choices = ["", "x", "\x1b[31m", "=1+1"]
    value = choices[rng.integers(len(choices))]
    if rng.random() < 0.2:
        rng.shuffle(flat)
        return "shuffled values"
    flat[at] = value
    return f"{value!r} at {at[:3].tolist()}"


def forge_group(path: Path, rng: np.random.Generator, sandbox: Path) -> str | None:
    """Change an array, its form, its name or an attribute of an HDF5 file or a zarr folder."""
    with contextlib.ExitStack() as stack:
        root = zarr.open_group(str(path), mode="r+") if path.is_dir() else stack.enter_context(h5py.File(path, "r+"))
        names = sorted(_names(root))
        heavy = [name for name in names if name.split("/")[-1] in ("data", "indices", "indptr", "X", "codes", "_index")]
        name = (heavy if heavy and rng.random() < 0.6 else names)[0]
        pool = heavy if heavy and rng.random() < 0.7 else names
        name = pool[rng.integers(len(pool))]
        node = root[name]
        way = int(rng.integers(8))
        is_array = hasattr(node, "shape")
        if way == 0:
            del root[name]
            return f"removal of {name}"
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
            values, done = values.reshape(1, -1), "another shape"
        else:
            done = forge_values(values, rng)
            node[...] = values
            return f"{done} of {name}"
        attrs = dict(node.attrs)
        del root[name]
        root[name] = values
        root[name].attrs.update(attrs)
        return f"{done} of {name}"


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
