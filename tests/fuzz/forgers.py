"""Hostile values in JSON, npy, tables and tensors, with checksums that fit."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

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
    way = rng.integers(12)
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
    if way == 10 and isinstance(parent, dict):
        name = NAMES[rng.integers(len(NAMES))]
        parent[name] = parent.pop(key)
        return f"{name!r} as the name"
    if way in (4, 5, 6) and isinstance(old, str):
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
    if rng.random() < 0.1:
        entries[name] = entries.pop(name)[:128]
        _write_zip(file, entries, n_zeros=1 << 29)
        return resealed(path, f"bomb in {name_in(file, path)}/{name}")
    done = _forged_npy(io.BytesIO(entries[name]), rng)
    if done is None:
        return None
    entries[name] = done[0]
    _write_zip(file, entries)
    return resealed(path, f"{done[1]} of {name_in(file, path)}/{name}")


def _write_zip(file: Path, entries: dict[str, bytes], n_zeros: int = 0) -> None:
    """Write entries, the last one with zeros behind it, in parts: the memory of this process counts."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, raw in entries.items():
            with archive.open(entry, "w") as stream:
                stream.write(raw)
                for _ in range(n_zeros >> 20 if entry == list(entries)[-1] else 0):
                    stream.write(bytes(1 << 20))


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


def forge_table(path: Path, rng: np.random.Generator, sandbox: Path) -> str | None:
    """Change lines of a table, and the checksums."""
    file = choose_file(path, rng, ".tsv", ".csv", ".txt")
    if file is None:
        return None
    lines = file.read_text().splitlines(keepends=True)
    one, other = rng.integers(len(lines), size=2)
    way = ["swap", "double", "remove", "cell", "empty", "long"][rng.integers(6)]
    if way == "swap":
        lines[one], lines[other] = lines[other], lines[one]
    elif way == "double":
        lines.insert(other, lines[one])
    elif way == "remove":
        del lines[one]
    elif way == "cell":
        cells = lines[one].rstrip("\n").split("\t")
        cells[rng.integers(len(cells))] = ["", "x", "../../x", "\x1b[31m", "nan", "1e999", "\t\t", '"', "\0"][
            rng.integers(9)
        ]
        lines[one] = "\t".join(cells) + "\n"
    else:
        lines[one] = "\n" if way == "empty" else "x" * 100_000
    file.write_text("".join(lines))
    return resealed(path, f"{way} of line {one} of {name_in(file, path)}")


def forge_tensors(path: Path, rng: np.random.Generator, sandbox: Path) -> str | None:
    """Change values or the header of a safetensors file, and the checksums."""
    file = choose_file(path, rng, ".safetensors")
    if file is None:
        return None
    raw = file.read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    header, values = json.loads(raw[8:end]), bytearray(raw[end:])
    names = [name for name in header if name != "__metadata__"]
    name = names[rng.integers(len(names))]
    if rng.random() < 0.6 and header[name]["dtype"] in ("F32", "F16", "F64"):
        start, stop = header[name]["data_offsets"]
        part = np.frombuffer(
            bytes(values[start:stop]), {"F16": "f2", "F32": "f4", "F64": "f8"}[header[name]["dtype"]]
        ).copy()
        done = forge_values(part, rng) if part.size else "nothing"
        values[start:stop] = part.tobytes()
    else:
        done = _change_entry(header[name], ["dtype", "shape", "data_offsets"][rng.integers(3)], rng)
    text = json.dumps(header).replace('"deep"', nested(200)).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(values))
    return resealed(path, f"{done} of {name} in {name_in(file, path)}")


BESIDE = [
    "journal.json", "lock/0123.json", "lock/x", "commits/000007.json", "ledger/000007.json", "index/v000007/index.json", "names/000007.npy",
    ".new.0123.tmp/x", "removed/x", "atlas.json.tmp", "commits/²", "model/x", "soma/x", "x", "models/000007/config.json", "samples/000007-0.npz",
]  # fmt: skip


def damage_beside(path: Path, rng: np.random.Generator, sandbox: Path) -> str | None:
    """Add a file that the folder did not have: the journal or the lease of another writer, a commit, any name."""
    name = BESIDE[rng.integers(len(BESIDE))]
    place = path / name
    if place.exists() or not path.is_dir():
        return None
    place.parent.mkdir(parents=True, exist_ok=True)
    keys = ["base", "what", "token", "n_done", "timestamp", "files", "host", "pid", "heartbeat", "uid", "started"]
    hostile = {key: VALUES[rng.integers(len(VALUES))] for key in keys}
    near = [file for file in place.parent.iterdir() if file.is_file()]
    contents = [json.dumps(hostile), json.dumps(VALUES[rng.integers(len(VALUES))]), nested(), "", "{", "x" * 100]
    content = contents[rng.integers(len(contents))].encode()
    if near and rng.random() < 0.3:
        content = near[rng.integers(len(near))].read_bytes()
    place.write_bytes(content)
    return f"{content[:30]!r} as {name}"
