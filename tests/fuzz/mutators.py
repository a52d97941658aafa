"""Damage to files and folders, drawn by a seeded generator.

A mutator changes what is at a path and returns what it did, or `None` if it does not apply there. Mutators whose name
begins with `forge_` compute the checksums again that our formats have, so that only the values can be refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import zipfile
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import zarr

from fuzz.seals import reseal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Mutator = Callable[[Path, np.random.Generator, Path], str | None]

HOLE = 1 << 40
NAMES = [
    "..",
    "../../home/.profile",
    "/victim",
    "a\nb",
    "\x1b[31mred",
    "-rf",
    "a\\b",
    "CON",
    "x" * 300,
    "\udcff",
    "c:d",
]


def nested(depth: int = 100_000) -> str:
    """Return JSON text that is nested deeper than any parser follows."""
    return "[" * depth + "]" * depth


VALUES: list[Any] = [
    None, True, False, -1, 0, 1, 2**31, 2**40, 2**63, 10**30, 10**400, 0.5, float("nan"), float("inf"), "", "x", "../../x",
    "/etc/passwd", "\x1b[31m", "\0", "\ud800", "1", [], [[]], [None], {}, {"x": 1}, [0] * 1000, {"..": "../.."},
]  # fmt: skip

# bytes of one file


def damage_bytes(path: Path, rng: np.random.Generator, sandbox: Path) -> str | None:
    """Change the content of one file."""
    file = choose_file(path, rng)
    if file is None:
        return None
    raw = file.read_bytes()
    ways: list[Callable[[bytes, np.random.Generator], bytes]] = [
        _flip, _flip, _flip, _truncate, _zeros, _noise, _swapped, _appended, _doubled, _number,
    ]  # fmt: skip
    way = ways[rng.integers(len(ways))]
    changed = way(raw, rng)
    if changed == raw:
        return None
    file.write_bytes(changed)
    return f"{way.__name__} {_name(file, path)}"


def forge_bytes(path: Path, rng: np.random.Generator, sandbox: Path) -> str | None:
    """Change the content of one file, and its checksums."""
    done = damage_bytes(path, rng, sandbox)
    return done and _resealed(path, done)


def _flip(raw: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(raw)
    for at in rng.integers(len(raw) * 8, size=rng.choice([1, 1, 1, 8])):
        changed[at // 8] ^= 1 << (at % 8)
    return bytes(changed)


def _span(raw: bytes, rng: np.random.Generator) -> slice:
    start = int(rng.integers(len(raw)))
    return slice(start, start + int(rng.choice([1, 4, 8, 64, 512, len(raw)])))


def _truncate(raw: bytes, rng: np.random.Generator) -> bytes:
    return raw[: int(rng.integers(len(raw)))]


def _zeros(raw: bytes, rng: np.random.Generator) -> bytes:
    part = _span(raw, rng)
    return raw[: part.start] + bytes(len(raw[part])) + raw[part.stop :]


def _noise(raw: bytes, rng: np.random.Generator) -> bytes:
    part = _span(raw, rng)
    return raw[: part.start] + rng.bytes(len(raw[part])) + raw[part.stop :]


def _swapped(raw: bytes, rng: np.random.Generator) -> bytes:
    one, other = sorted(rng.integers(len(raw), size=2))
    n = min(int(rng.choice([4, 8, 64, 512])), other - one)
    middle, end = raw[one + n : other], raw[other + n :]
    return raw[:one] + raw[other : other + n] + middle + raw[one : one + n] + end


def _appended(raw: bytes, rng: np.random.Generator) -> bytes:
    return raw + rng.bytes(int(rng.choice([1, 8, 1000])))


def _doubled(raw: bytes, rng: np.random.Generator) -> bytes:
    return raw + raw


def _number(raw: bytes, rng: np.random.Generator) -> bytes:
    """Write an extreme number over eight bytes, as a forged size or offset."""
    at = int(rng.integers(len(raw))) & ~7
    number = int(rng.choice([-1, 2**31 - 1, 2**40, 2**62, 1, 255], shuffle=False))
    return raw[:at] + number.to_bytes(8, "little", signed=True) + raw[at + 8 :]


# the tree of files


def damage_tree(path: Path, rng: np.random.Generator, sandbox: Path) -> str | None:
    """Replace a file or folder by something else, or swap, remove or rename it."""
    places = [path, *sorted(path.rglob("*"))] if path.is_dir() else [path]
    if path.is_dir() and rng.random() < 0.5:  # folders are few, and the more worth attacking
        places = [place for place in places if place.is_dir()]
    place = places[rng.integers(len(places))]
    ways = [_swap, _remove, _empty, _folder, _pipe, _socket, _device, _link_file, _link_folder, _loop, _hole, _rename]
    way = ways[rng.integers(len(ways))]
    if way == _link_folder and (place == path or not place.is_dir()):
        way = _link_file  # a user may pass a link to a folder
    name = _name(place, path)
    if way in (_swap, _rename):
        return f"{way.__name__} {name}{done}" if (done := way(place, path, rng)) is not None else None
    way(place, sandbox)
    return f"{way.__name__} {name}"


def forge_tree(path: Path, rng: np.random.Generator, sandbox: Path) -> str | None:
    """Change the tree, and checksums."""
    done = damage_tree(path, rng, sandbox)
    return done and _resealed(path, done)


def _delete(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink()


def _swap(place: Path, path: Path, rng: np.random.Generator) -> str | None:
    others = [other for other in sorted(path.rglob("*")) if other.is_file() and other != place]
    if not others or not place.is_file():
        return None
    near = [other for other in others if other.parent == place.parent or other.suffix == place.suffix] or others
    other = near[rng.integers(len(near))]
    one, two = place.read_bytes(), other.read_bytes()
    place.write_bytes(two)
    other.write_bytes(one)
    return None if one == two else f" and {_name(other, path)}"


def _rename(place: Path, path: Path, rng: np.random.Generator) -> str | None:
    name = NAMES[rng.integers(len(NAMES))]
    if place == path or "/" in name or name == "..":
        return None
    with contextlib.suppress(OSError):
        place.rename(place.with_name(name))
        return f" to {name!r}"
    return None


def _remove(place: Path, sandbox: Path) -> None:
    _delete(place)


def _empty(place: Path, sandbox: Path) -> None:
    is_folder = place.is_dir()
    _delete(place)
    place.mkdir() if is_folder else place.touch()


def _folder(place: Path, sandbox: Path) -> None:
    _delete(place)
    (place / "inner").mkdir(parents=True)


def _pipe(place: Path, sandbox: Path) -> None:
    _delete(place)
    os.mkfifo(place)


def _socket(place: Path, sandbox: Path) -> None:
    _delete(place)
    here = os.open(".", os.O_RDONLY)
    os.chdir(place.parent)  # the path of a socket has at most 107 bytes
    with contextlib.suppress(OSError):
        socket.socket(socket.AF_UNIX).bind(place.name[:100])
    os.chdir(here)
    os.close(here)


def _device(place: Path, sandbox: Path) -> None:
    _delete(place)
    place.symlink_to("/dev/zero")


def _link_file(place: Path, sandbox: Path) -> None:
    """Put a link to a file outside in its place, which has the same content if it was a file."""
    content = place.read_bytes() if place.is_file() else b"victim"
    _delete(place)
    (sandbox / "victim" / "file").write_bytes(content)
    place.symlink_to(sandbox / "victim" / "file")


def _link_folder(place: Path, sandbox: Path) -> None:
    """Put a link to a folder outside in its place, which has the same content."""
    behind = sandbox / "victim" / "folder"
    shutil.copytree(place, behind, symlinks=True)
    _delete(place)
    place.symlink_to(behind)


def _loop(place: Path, sandbox: Path) -> None:
    _delete(place)
    place.symlink_to(place.name)


def _hole(place: Path, sandbox: Path) -> None:
    """Make it a file of 2^40 bytes that takes no room."""
    if place.is_dir():
        _delete(place)
    with place.open("ab") as file, contextlib.suppress(OSError):
        os.ftruncate(file.fileno(), HOLE)


# JSON


def damage_json(path: Path, rng: np.random.Generator, sandbox: Path) -> str | None:
    """Change, remove, add or double an entry of a JSON file."""
    file = choose_file(path, rng, ".json")
    if file is None:
        return None
    if rng.random() < 0.05:
        file.write_text(nested())
        return f"nested {_name(file, path)}"
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
    return f"{done} of {'.'.join(keys)} in {_name(file, path)}"


def forge_json(path: Path, rng: np.random.Generator, sandbox: Path) -> str | None:
    """Change an entry of a JSON file, and its checksums."""
    done = damage_json(path, rng, sandbox)
    return done and _resealed(path, done)


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


# arrays


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
        return _resealed(path, f"{done[1]} of {_name(file, path)}")
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    name = sorted(entries)[rng.integers(len(entries))]
    import io

    done = _forged_npy(io.BytesIO(entries[name]), rng)
    if done is None:
        return None
    entries[name] = done[0]
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, raw in entries.items():
            archive.writestr(entry, raw)
    return _resealed(path, f"{done[1]} of {_name(file, path)}/{name}")


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
    import io

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


# helpers


def choose_file(path: Path, rng: np.random.Generator, *suffixes: str) -> Path | None:
    """Return a file; each folder of the first level is as likely as another, so that no part has all the cases."""
    if not path.is_dir():
        return path if not suffixes or path.suffix in suffixes else None
    files = [
        file for file in sorted(path.rglob("*")) if file.is_file() and not file.is_symlink() and file.stat().st_size
    ]
    files = [file for file in files if not suffixes or file.suffix in suffixes]
    groups = sorted({file.relative_to(path).parts[0] for file in files})
    if not groups:
        return None
    group = groups[rng.integers(len(groups))]
    members = [file for file in files if file.relative_to(path).parts[0] == group]
    return members[rng.integers(len(members))]


def _name(file: Path, path: Path) -> str:
    return str(file.relative_to(path)) if file != path else path.name


def _resealed(path: Path, done: str) -> str:
    reseal(path)
    return f"{done}, resealed"
