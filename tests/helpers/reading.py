"""Readers and a writer at the same time: readers record the content of each version."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import scim
from helpers import fakes
from helpers.state import digest, published

if TYPE_CHECKING:
    from collections.abc import Iterator


def read_for(uri: str, *, seconds: float, notes: str, keep: bool) -> None:
    """Read an atlas repeatedly; record its version and a digest of its content.

    Parameters
    ----------
    uri
        The atlas.
    seconds
        For how long.
    notes
        File of the records, a line per read.
    keep
        Whether to keep it open: then each version is read twice, later once more unchanged, and `refresh` advances.
    """
    end = time.monotonic() + seconds
    with Path(notes).open("w") as file:
        for line in _kept(uri, end) if keep else _opened_again(uri, end):
            file.write(line + "\n")
            file.flush()


def _opened_again(uri: str, end: float) -> Iterator[str]:
    while time.monotonic() < end:
        with scim.atlas.open(uri) as atlas:
            yield f"{atlas.version} {digest(published(atlas))}"


def _kept(uri: str, end: float) -> Iterator[str]:
    with scim.atlas.open(uri) as atlas:
        while time.monotonic() < end:
            for _ in range(2):
                yield f"{atlas.version} {digest(published(atlas))}"
            atlas.refresh()


def append_for(uri: str, *, seconds: float, pause: float) -> None:
    """Append studies until the time is over; also remove some, build the index and compact."""
    end, number = time.monotonic() + seconds, 0
    with scim.atlas.open(uri, "w") as atlas:
        while time.monotonic() < end:
            number += 1
            cells = fakes.cells(24, seed=100 + number)
            atlas.append(
                cells, study=f"study {number}", obs_columns=["n", "tissue" if number % 2 else "note"], counts=True
            )
            if number % 5 == 0:
                atlas.remove(f"study == 'study {number - 2}'")
            if number % 7 == 0:
                atlas.build_index()
            if number % 20 == 0:
                atlas.compact()
            time.sleep(pause)


def wrong_notes(path: Path, notes: list[Path]) -> tuple[int, int, list[str]]:
    """Compare the records of the readers with the versions; return the numbers of reads and versions, and the differences."""
    records = [line.split() for file in notes for line in file.read_text().splitlines()]
    versions = sorted({int(version) for version, _ in records})
    true = {}
    for version in versions:
        with scim.atlas.open(path, at=version) as atlas:
            true[version] = digest(published(atlas))
    wrong = [f"version {version} gave {content}" for version, content in records if true[int(version)] != content]
    return len(records), len(versions), wrong
