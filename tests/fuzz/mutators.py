"""Damage to files and folders, drawn by a seeded generator.

A mutator changes what is at a path and returns what it did, or `None` if it does not apply there. Mutators whose name
begins with `forge_` (those of `forgers` too) compute the checksums again that our formats have, so that only values can
tell.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from typing import TYPE_CHECKING

from fuzz.seals import reseal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np

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
    return f"{way.__name__} {name_in(file, path)}"


def forge_bytes(path: Path, rng: np.random.Generator, sandbox: Path) -> str | None:
    """Change the content of one file, and its checksums."""
    done = damage_bytes(path, rng, sandbox)
    return done and resealed(path, done)


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
    name = name_in(place, path)
    if way in (_swap, _rename):
        return f"{way.__name__} {name}{done}" if (done := way(place, path, rng)) is not None else None
    way(place, sandbox)
    return f"{way.__name__} {name}"


def forge_tree(path: Path, rng: np.random.Generator, sandbox: Path) -> str | None:
    """Change the tree, and checksums."""
    done = damage_tree(path, rng, sandbox)
    return done and resealed(path, done)


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
    return None if one == two else f" and {name_in(other, path)}"


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


def name_in(file: Path, path: Path) -> str:
    return str(file.relative_to(path)) if file != path else path.name


def resealed(path: Path, done: str) -> str:
    reseal(path)
    return f"{done}, resealed"
