"""Damage an atlas, and read its whole content."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import scim
from helpers import fakes
from scim.atlas.soma import COUNTS_PATH, VAR_PATH, IntegrityChecker, named_damage, read_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

QUERIES = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)


def whole_atlas(path: Path, seed: int = 0) -> Path:
    """Make an atlas with counts, two parts of an index, removed cells, a draft and earlier versions."""
    with scim.atlas.create(path, model=fakes.tiny_model(seed)) as atlas:
        columns = ["tissue", "age", "n", "primary"]
        atlas.append(fakes.cells(90, seed + 2), study="one", label_key="cell_type", obs_columns=columns, counts=True)
        atlas.build_index()
        second = fakes.cells(60, seed + 3)
        second.obs["cell_type"] = second.obs["cell_type"].where(second.obs["n"] % 10 != 0)
        second.obs["note"] = second.obs["note"].replace("note 1", "note 1 || more")
        atlas.append(second, study="two", label_key="cell_type", obs_columns=["tissue", "note"], counts=True)
        atlas.remove("study == 'one' and n in [3, 4, 50]")
        atlas.reembed(fakes.tiny_model(seed + 1), publish=False)
    return path


def truncate(file: Path) -> None:
    """Truncate a file to its first half."""
    raw = file.read_bytes()
    file.write_bytes(raw[: len(raw) // 2])


def flip(file: Path, at: float) -> None:
    """Flip the bit at a share of the file."""
    raw = bytearray(file.read_bytes())
    place = int(at * len(raw) * 8)
    raw[place // 8] ^= 1 << (place % 8)
    file.write_bytes(bytes(raw))


def edit_manifest(path: Path, edit: Callable[[dict[str, Any]], Any], *, copy: bool, seal: bool = True) -> None:
    """Change `atlas.json`, with a checksum that fits; and with `copy` that of its commit as well."""
    content = json.loads((path / "atlas.json").read_text())
    digest = content.pop("sha256")
    edit(content)
    if seal:
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    text = json.dumps({**content, "sha256": digest}, indent=1) + "\n"
    (path / "atlas.json").write_text(text)
    if copy:
        (path / f"commits/{content['number']:06d}.json").write_text(text)


EVERY: dict[str, dict[str, Any]] = {"index": {}, "store": {}, "draft": {"draft": True}, "earlier": {"at": 3}}
"""Ways of opening the atlas; the first two have the same cells, and the second does not use the index."""


def results_of(path: Path, ways: Collection[str] = tuple(EVERY)) -> dict[str, Any]:
    """Read the whole content of an atlas; an error with a message for users is a result too."""
    found: dict[str, Any] = {}

    def record(name: str, call: Callable[[], Any]) -> None:
        try:
            found[name] = call()
        except (ValueError, OSError) as error:
            found[name] = error

    opened = {}
    for name in ways:
        record(name, partial(scim.atlas.open, path, **EVERY[name]))
        if not isinstance(found[name], Exception):
            opened[name] = found.pop(name)
    if "store" in opened:
        opened["store"].snapshot.__dict__["_indexed"] = frozenset()  # as if there were no index
    for name in {"index", "store"} & set(opened):
        _record_cells(name, opened[name], record)
    for name in {"index", "draft", "earlier"} & set(opened):
        _record_embeddings(name, opened[name], record)
    if "earlier" in opened:
        record("earlier: obs", opened["earlier"].obs)
    if "index" in opened:
        record("counts", partial(_counts, opened["index"]))
    return found


def _record_cells(name: str, atlas: Any, record: Callable[[str, Callable[[], Any]], None]) -> None:
    record(f"{name}: cells", lambda: (atlas.n_obs, atlas.version, atlas.columns, atlas.ids))
    record(f"{name}: obs", atlas.obs)
    record(f"{name}: some obs", lambda: atlas.obs([100, 5, 5], columns=["tissue", "cell_id", "age"]))
    record(f"{name}: selected", lambda: atlas.select("tissue == 'lung' and (age > 10 or primary == True)"))
    record(f"{name}: labels", lambda: tuple(atlas.labels))


def _record_embeddings(name: str, atlas: Any, record: Callable[[str, Callable[[], Any]], None]) -> None:
    record(f"{name}: embeddings", atlas.embeddings)
    record(f"{name}: neighbours", lambda: tuple(atlas.index.query(QUERIES, 5)))
    record(f"{name}: filtered neighbours", lambda: tuple(atlas.index.query(QUERIES, 5, where="tissue == 'lung'")))
    record(f"{name}: model", lambda: (atlas.model.uid, atlas.model.name, atlas.model.labels, tuple(atlas.model.genes)))


def _counts(atlas: Any) -> Any:
    """Return genes and counts as :meth:`reembed` reads them."""
    checker = IntegrityChecker(atlas.snapshot.storage, atlas.snapshot.manifest)
    checker.check(VAR_PATH)
    checker.check(COUNTS_PATH)
    experiment = atlas.snapshot.experiment
    with named_damage(atlas.snapshot.storage):
        genes = experiment.ms["RNA"].var.read().concat().to_pandas()
        return genes, read_counts(experiment, 0, 150).toarray()


def wrong_results(found: dict[str, Any], truth: dict[str, Any]) -> list[str]:
    """Return the names of the results that differ from the truth and are not errors."""
    return [
        name for name, result in found.items() if not isinstance(result, Exception) and not same(result, truth[name])
    ]


def same(one: Any, other: Any) -> bool:
    """Compare two results."""
    if isinstance(one, tuple | list) and not hasattr(one, "_fields"):
        return len(one) == len(other) and all(map(same, one, other))
    try:
        if isinstance(one, pd.DataFrame):
            pd.testing.assert_frame_equal(one, other)
        elif isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, other)
        else:
            return bool(one == other)
    except AssertionError:
        return False
    return True
