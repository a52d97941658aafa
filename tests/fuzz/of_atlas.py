"""Atlases in a folder and in a bucket, tables of their labels, and passwords in addresses."""

from __future__ import annotations

import contextlib
import csv
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np

import scim
from fuzz import bucket
from fuzz.target import SEALED, Target, command, out_folder
from helpers import damage, fakes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fuzz.target import Step


def make_atlas(folder: Path) -> None:
    """Write a whole atlas, and cells to append."""
    damage.whole_atlas(folder / "toy.scim")
    for file in (folder / "toy.scim" / "lock").glob("*"):
        file.unlink()
    more = fakes.cells(8, seed=5)
    more.write_h5ad(folder / "more.h5ad")


def read_atlas(path: Path | str) -> Iterator[Step]:
    """Everything a reader does."""
    query = fakes.cells(6, seed=7)

    def cells() -> dict[str, Any]:
        with scim.atlas.open(path) as atlas:
            facts = {
                key: value
                for key, value in atlas.info().items()
                if key in ("cells", "removed", "genes", "labels", "studies")
            }
            return {"info": facts, "obs": atlas.obs(), "embeddings": atlas.embeddings(), "ids": atlas.ids}

    def neighbours() -> dict[str, Any]:
        with scim.atlas.open(path) as atlas:
            queries = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
            return {
                "all": list(atlas.index.query(queries, 5)),
                "some": list(atlas.index.query(queries, 5, where="tissue == 'lung' and age > 10")),
                "selected": atlas.select("primary == True"),
            }

    def annotate() -> dict[str, Any]:
        adata = query.copy()
        scim.tl.embed(adata, path)
        scim.tl.annotate(adata, path, max_error=1)
        names = ["scim_label_confidence", "scim_label_distance"]
        return {
            "labels": adata.obs["scim_label"].astype(str).tolist(),
            "values": adata.obs[names].to_numpy(),
            "X": adata.obsm["X_scim"],
        }

    yield "cells", cells
    yield "neighbours", neighbours
    yield "annotate", annotate


def change_atlas(path: Path) -> Iterator[Step]:
    """Everything a writer does; returns the cells afterwards."""

    def after(call: Callable[[Any], Any]) -> dict[str, Any]:
        with scim.atlas.open(path, mode="w", timeout=0.2) as atlas:
            call(atlas)
        return content()

    def content() -> dict[str, Any]:
        with scim.atlas.open(path) as atlas:
            return {"obs": atlas.obs(), "embeddings": atlas.embeddings()}

    def verify(*, repair: bool) -> dict[str, Any]:
        problems = scim.atlas.verify(path, repair=repair, timeout=0.2)
        listed(problems)
        with contextlib.suppress(scim._core.FormatError, OSError):
            return content() if repair else {}
        if repair and not problems:
            msg = "verify finds nothing, and the atlas cannot be read"
            raise AssertionError(msg)
        return {}

    yield (
        "append",
        lambda: after(lambda atlas: atlas.append(path.parent / "more.h5ad", study="three", label_key="cell_type")),
    )
    yield "remove", lambda: after(lambda atlas: atlas.remove("tissue == 'lung'"))
    yield "vacuum", lambda: after(lambda atlas: atlas.vacuum())
    yield "compact", lambda: after(lambda atlas: atlas.compact())
    yield "build", lambda: after(lambda atlas: atlas.build_index())
    yield "publish", lambda: after(lambda atlas: atlas.publish())
    yield "verify", lambda: verify(repair=False)
    yield "repair", lambda: verify(repair=True)
    yield "info", lambda: command("atlas", "info", path) and None
    yield "overwrite", lambda: scim.atlas.create(path, model=path / "model", overwrite=True).close()


# bucket


def read_bucket(path: Path) -> Iterator[Step]:
    """Read the atlas from a bucket of a server that lies."""
    from scim.atlas.storage import _s3

    _s3.RESPONSE_SECONDS = 3  # in this process: else a response without an end is read for a minute
    server = bucket.Server(path.parent, Path(os.environ["TMPDIR"]) / "lie.json")
    scim.settings.storage.endpoint = f"http://127.0.0.1:{server.server_port}"
    scim.settings.storage.region = "us-east-1"
    scim.settings.storage.cache = str(Path(os.environ["TMPDIR"]) / "cache")
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    yield from read_atlas(f"s3://{bucket.BUCKET}/{path.name}")
    yield "verify", lambda: listed(scim.atlas.verify(f"s3://{bucket.BUCKET}/{path.name}"))


def listed(problems: list[Any]) -> None:
    """Read the problems that were found."""
    for problem in problems:
        str(problem)


# tables: labels and names of cells are anything that a file may hold

TEXTS = [
    "=1+1",
    "+cmd",
    "-2",
    "@SUM(A1)",
    "a\rb",
    "a\nb",
    'a"b',
    "a,b",
    "a\tb",
    "\x1b[31mred",
    "\x1b]0;t\x07",
    "\x9b2J",
    "\u202egnp",
    " ",
    "x" * 5000,
]


def make_labelled(folder: Path) -> None:
    """Write cells with labels, and the model of an atlas."""
    fakes.tiny_model().save(folder / "a-model", dtype="float32")
    adata = fakes.cells(30, seed=2)
    adata.obs = adata.obs[["cell_type"]]
    adata.write_h5ad(folder / "cells.h5ad")


def damage_labels(path: Path, rng: np.random.Generator, sandbox: Path) -> str:
    """Rename a label, and cells."""
    adata = anndata.read_h5ad(path)
    label, name = TEXTS[rng.integers(len(TEXTS))], TEXTS[rng.integers(len(TEXTS))]
    adata.obs["cell_type"] = adata.obs["cell_type"].cat.rename_categories({"T cell": label})
    adata.obs_names = [f"{name}{i}" for i in range(adata.n_obs)]
    adata.write_h5ad(path)
    return f"label {label[:20]!r}, cells {name[:20]!r}"


def read_labelled(path: Path) -> Iterator[Step]:
    """Make an atlas of the cells, annotate them, and read the tables and what was printed."""

    def tables() -> dict[str, Any]:
        atlas, table = out_folder() / "new.scim", out_folder() / "labels.csv"
        command("atlas", "create", atlas, "--model", path.parent / "a-model")
        printed = command("atlas", "append", atlas, path, "--label-key", "cell_type", "--study", "one")
        printed += command("atlas", "index", atlas) + command("atlas", "info", atlas)
        printed += command("annotate", path, "--atlas", atlas, "-o", table, "--max-error", "1")
        with table.open(newline="", encoding="utf-8") as file:
            read = list(csv.reader(file))
        names = anndata.read_h5ad(path).obs_names
        return {
            "columns": len(read[0]),
            "rows": len(read) - 1,
            "names": [row[0] for row in read[1:]] == names.tolist(),
            "printable": all(character.isprintable() or character in "\n\t" for character in printed),
        }

    yield "tables", tables


# passwords in addresses

PASSWORD = "hunter2"
ADDRESSES = [
    "http://me:{}@127.0.0.1:9", "s3://me:{}@bucket/atlas", "s3://bucket:{}@x/atlas", "https://me:{}@127.0.0.1:9/atlas", "//me:{}@host",
    "http://:{}@127.0.0.1:9", "http://me:{}@[::1]:9", "http://me:{}@host:port", "ftp://me:{}@host", "me:{}@127.0.0.1:9", "http://a%40b:{}@127.0.0.1:9",
]  # fmt: skip
PLACES = ("endpoint", "proxy", "open", "create", "append", "command", "soma", "model", "cells")


def damage_addresses(path: Path, rng: np.random.Generator, sandbox: Path) -> str:
    """Choose an address with a password, and where it is given."""
    chosen = {"address": ADDRESSES[rng.integers(len(ADDRESSES))], "place": PLACES[rng.integers(len(PLACES))]}
    path.write_text(json.dumps(chosen))
    return str(chosen)


def read_addresses(path: Path) -> Iterator[Step]:
    """Give an address where one can be given; the password is in no message, log line or setting."""

    def try_address() -> bool:
        chosen = json.loads(path.read_text())
        address, seen = chosen["address"].format(PASSWORD), list[str]()
        handler = logging.Handler()
        handler.emit = lambda record: seen.append(record.getMessage())  # type: ignore[method-assign]
        logging.getLogger("scim").addHandler(handler)
        logging.getLogger("scim").setLevel(logging.DEBUG)
        try:
            _give(chosen["place"], address)
        except (Exception, SystemExit) as error:  # noqa: BLE001  (its text is what counts)
            while error is not None:
                seen.append(f"{error} {error!r} {getattr(error, 'filename', '')}")
                error = error.__cause__
        seen.append(repr(scim.settings))
        if any(PASSWORD in text for text in seen):
            msg = f"a message has the password: {next(text for text in seen if PASSWORD in text)}"
            raise AssertionError(msg)
        return True

    yield "message", try_address


def _give(place: str, address: str) -> None:
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    storage = scim.settings.storage
    storage.region = "us-east-1"
    if place in ("endpoint", "proxy"):
        setattr(storage, place, address)
        scim.atlas.open("s3://bucket/atlas").close()
    elif place == "open":
        scim.atlas.open(address)
    elif place == "create":
        scim.atlas.create(address, model=fakes.tiny_model())
    elif place == "append":
        scim.atlas.create(out_folder() / "new.scim", model=fakes.tiny_model()).append(address, study="one")
    elif place == "command":
        command("atlas", "info", address)
    elif place == "soma":
        scim.atlas.from_soma(address, out_folder() / "new.scim", model=fakes.tiny_model())
    elif place == "model":
        scim.model.load(address)
    else:
        command("embed", address, "-o", out_folder() / "rows.npy")


def targets() -> Iterator[Target]:
    """Yield the targets of this file."""
    answers = (bucket.damage_answers, bucket.damage_answers, *SEALED)
    yield Target("atlas", "toy.scim", make_atlas, SEALED, read_atlas, change_atlas)
    yield Target("bucket", "toy.scim", make_atlas, answers, lambda path: iter(()), read_bucket, seconds=60)
    yield Target("tables", "cells.h5ad", make_labelled, (damage_labels,), read_labelled)
    first = {"address": ADDRESSES[0], "place": "model"}
    make = lambda folder: (folder / "address.json").write_text(json.dumps(first))  # noqa: E731
    yield Target("addresses", "address.json", make, (damage_addresses,), read_addresses, seconds=60)
