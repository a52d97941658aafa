"""Corruptions of an atlas, as by bugs, other tools and users, and the problem that `verify` names for each."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pyarrow as pa
import pytest
import tiledbsoma

import scim
from helpers import fakes
from helpers.damage import edit_manifest
from scim.atlas.commit import Transaction
from scim.index._files import header_digest

OBS, COUNTS, VAR = "soma/obs", "soma/ms/RNA/X/counts", "soma/ms/RNA/var"
EMBEDDING, DRAFT = "soma/ms/RNA/obsm/X_scim", "soma/ms/RNA/obsm/X_scim_000006"


def edit_obs(path, at, change):
    """Change rows of obs at a SOMA time, as any tool that writes SOMA could."""
    with tiledbsoma.DataFrame.open(str(path / OBS)) as obs:
        table = obs.read((slice(10, 11),)).concat()
    with tiledbsoma.DataFrame.open(str(path / OBS), "w", tiledb_timestamp=at) as obs:
        obs.write(change(table))


def relabelled(table):
    values = pa.array(["B cell"] * len(table), pa.large_string())
    return table.set_column(table.schema.get_field_index("label"), "label", values)


def renamed(table):
    values = pa.array([table["cell_id"][0].as_py()] * len(table), pa.large_string())
    return table.set_column(table.schema.get_field_index("cell_id"), "cell_id", values)


def edit_embedding(path, at, row):
    with tiledbsoma.DenseNDArray.open(str(path / EMBEDDING), "w", tiledb_timestamp=at) as array:
        array.write((slice(20, 20), slice(0, 15)), pa.Tensor.from_numpy(row.astype(np.float32)[None]))


def delete_row(path, at):
    with tiledbsoma.DataFrame.open(str(path / OBS), "d", tiledb_timestamp=at) as obs:
        obs.delete_cells((slice(10, 10),))


def committed_time(path):
    return json.loads((path / "atlas.json").read_text())["timestamp"]


def drop_fragment(path, array, *, marker):
    fragment = min((path / array / "__fragments").iterdir())
    shutil.rmtree(fragment)
    if marker:
        (path / array / "__commits" / f"{fragment.name}.wrt").unlink()


def graft_fragment(path, other, array):
    """Add a fragment of another atlas, at a time that readers read."""
    at = committed_time(path) - 1
    for folder in ("__schema", "__fragments", "__commits"):
        for found in [found for found in (other / array / folder).glob("__[0-9]*") if found.suffix != ".del"]:
            first, *_, uid = found.name.strip("_").split("_", 2)
            new = path / array / folder / (f"__{at}_{at}_{uid}" if folder != "__schema" else found.name)
            assert first.isdigit()
            (shutil.copytree if found.is_dir() else shutil.copy)(found, new)


def replace_folder(new, old):
    shutil.rmtree(old)
    shutil.copytree(new, old)


def unfinished_append(path):
    with pytest.MonkeyPatch.context() as patch, scim.atlas.open(path, "w") as atlas:
        patch.setattr(Transaction, "commit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            atlas.append(fakes.cells(20, seed=7), study="three", label_key="cell_type", counts=True)


def interrupted(*_, **__):
    raise KeyboardInterrupt


def stale_journal(path):
    facts = {"base": 6, "what": "append of 9 cells", "token": None, "n_done": 0, "timestamp": 0}
    (path / "journal.json").write_text(json.dumps(facts))


def leave_folder(path, name):
    (path / "index" / name).mkdir()
    (path / "index" / name / "embeddings.npy").write_bytes(b"0")


def reindexed(path, edit):
    """Build the first part of the index from other rows than the store's, and commit it."""
    with scim.atlas.open(path, at=3) as atlas:
        ids, obs, rows = atlas.ids, atlas.obs(), atlas.embeddings()
    obs = obs.drop(columns=[name for name in obs if obs[name].isna().all()])
    edit(obs, rows)
    folder = path / "index" / "v000003"
    scim.index.build(rows, ids, obs=obs, kind="exact", path=folder, overwrite=True)

    def change(content):
        content["space"]["index"]["parts"][0]["digest"] = header_digest(folder)

    edit_manifest(path, change, copy=True)


def set_value(name, value):
    def edit(obs, _):
        obs.loc[obs.index[7], name] = value

    return edit


def turn_row(_, rows):
    rows[7] = -rows[7]


def set_entry(name, value):
    return lambda content: content.update({name: value})


def sorted_by_id(path):
    """Write the names in another order, with a matching checksum."""
    file = path / "names/000004.npy"
    names = np.load(file)
    np.save(file, names[:, np.argsort(names[1])])

    def change(content):
        content["names"][0]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()

    edit_manifest(path, change, copy=True)


LATER, EARLIER = 60_000, -1
NAN, LONG = np.full(16, np.nan), np.full(16, 1.0)

# The corruption of an atlas (and another); the part and the path or words of the problem; whether it can be repaired.
PLANTED = {
    "obs lost a fragment": (lambda p, _: drop_fragment(p, OBS, marker=False), "store", "d0.tdb", False),
    "obs lost a fragment and its marker": (lambda p, _: drop_fragment(p, OBS, marker=True), "store", ".wrt", False),
    "counts lost a fragment": (lambda p, _: drop_fragment(p, COUNTS, marker=True), "store", COUNTS, False),
    "embedding lost a fragment": (lambda p, _: drop_fragment(p, EMBEDDING, marker=True), "store", EMBEDDING, False),
    "obs of another atlas": (lambda p, o: graft_fragment(p, o, OBS), "foreign", OBS, True),
    "counts of another atlas": (lambda p, o: graft_fragment(p, o, COUNTS), "foreign", COUNTS, True),
    "embedding of another atlas": (lambda p, o: graft_fragment(p, o, EMBEDDING), "foreign", EMBEDDING, True),
    "label edited later": (lambda p, _: edit_obs(p, committed_time(p) + LATER, relabelled), "leftover", "", True),
    "label edited earlier": (lambda p, _: edit_obs(p, committed_time(p) + EARLIER, relabelled), "foreign", OBS, True),
    "name twice, later": (lambda p, _: edit_obs(p, committed_time(p) + LATER, renamed), "leftover", "", True),
    "name twice, earlier": (lambda p, _: edit_obs(p, committed_time(p) + EARLIER, renamed), "foreign", OBS, True),
    "row deleted later": (lambda p, _: delete_row(p, committed_time(p) + LATER), "leftover", "", True),
    "row deleted earlier": (lambda p, _: delete_row(p, committed_time(p) + EARLIER), "foreign", ".del", True),
    "NaN, later": (lambda p, _: edit_embedding(p, committed_time(p) + LATER, NAN), "leftover", "", True),
    "NaN, earlier": (lambda p, _: edit_embedding(p, committed_time(p) + EARLIER, NAN), "foreign", EMBEDDING, True),
    "long row, earlier": (
        lambda p, _: edit_embedding(p, committed_time(p) + EARLIER, LONG),
        "foreign",
        EMBEDDING,
        True,
    ),
    "index of another version": (
        lambda p, _: replace_folder(p / "index/v000003", p / "index/v000004"),
        "index",
        "v000004/index.json",
        True,
    ),
    "draft's index is the published": (
        lambda p, _: replace_folder(p / "index/v000003", p / "index/v000006"),
        "index",
        "v000006/index.json",
        True,
    ),
    "index of another atlas": (
        lambda p, o: replace_folder(o / "index/v000003", p / "index/v000003"),
        "index",
        "v000003/index.json",
        True,
    ),
    "index is gone": (lambda p, _: shutil.rmtree(p / "index"), "index", "v000003/index.json", True),
    "model of another atlas": (lambda p, o: replace_folder(o / "model", p / "model"), "model", "model/", False),
    "draft's model is the published": (
        lambda p, _: replace_folder(p / "model", p / "models/000006"),
        "model",
        "models/000006",
        False,
    ),
    "number of cells edited": (
        lambda p, _: edit_manifest(p, set_entry("n_obs", 140), copy=False, seal=False),
        "manifest",
        "atlas.json",
        True,
    ),
    "number of cells edited and sealed": (
        lambda p, _: edit_manifest(p, set_entry("n_obs", 140), copy=False),
        "manifest",
        "atlas.json",
        True,
    ),
    "number of rows edited and sealed": (
        lambda p, _: edit_manifest(p, set_entry("n_rows", 140), copy=False),
        "manifest",
        "atlas.json",
        True,
    ),
    "what was done edited and sealed": (
        lambda p, _: edit_manifest(p, set_entry("what", "nothing"), copy=False),
        "manifest",
        "atlas.json",
        True,
    ),
    "stale journal": (lambda p, _: stale_journal(p), "leftover", "journal.json", True),
    "journal of nonsense": (lambda p, _: (p / "journal.json").write_bytes(b"\x93\xff"), "leftover", "journal", True),
    "uncommitted append": (lambda p, _: unfinished_append(p), "leftover", "journal.json", True),
    "folder of a build": (lambda p, _: leave_folder(p, ".making-abc"), "leftover", "index/.making-abc", True),
    "half an index": (lambda p, _: leave_folder(p, ".v000007.0a1b2c3d.tmp"), "leftover", "index/.v000007", True),
    "names in another order": (lambda p, _: sorted_by_id(p), "names", "names/000004.npy", True),
}


# Corruptions of which another of the same kind is tested.
ALIKE = {"name twice, later", "row deleted later", "NaN, later", "long row, earlier", "name twice, earlier"}
ALIKE |= {
    "counts of another atlas",
    "embedding of another atlas",
    "draft's index is the published",
    "folder of a build",
}
ALIKE |= {"number of cells edited", "number of rows edited and sealed", "counts lost a fragment", "stale journal"}

WRONG_INDEX = {
    "the embedding": turn_row,
    "column 'label'": set_value("label", "odd cell"),
    "column 'tissue'": set_value("tissue", None),
    "column 'age'": set_value("age", 300.5),
    "column 'n'": set_value("n", 77),
    "column 'primary'": set_value("primary", True),
}
