"""Compare appending h5ad files with their counts to plain tiledbsoma, on the same files in the same run.

    python benchmarks/atlas/append.py [--files 4] [--cells 250000] [--values 700] [--rounds 1] [--check]

`scim` appends all files to an empty atlas in one call: obs, counts and an embedding of 128 numbers by an encoder with
one hidden layer of 64. `tiledbsoma` registers the files, makes an experiment, and calls `from_h5ad` for each, as in its
documentation. Both run in separate processes, in turns. Another process samples the memory every 20 ms, interpreter and
libraries included: `anonymous` is the memory of the process, `resident` includes pages of mapped files.
With `--check` every count and every column of obs that `scim` stored is compared with the files, and a few reads are
timed. With `--keep FOLDER` the atlas is kept there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import data as cells
import numpy as np
from timing import Parts, bytes_in, run_child

if TYPE_CHECKING:
    from scim.model import Model

WAYS = ("scim", "tiledbsoma")


def small_model(n_genes: int, *, dim: int = 128) -> Model:
    """Return a small model with random weights."""
    import torch  # noqa: PLC0415  (plain tiledbsoma needs none)

    from scim.model import (  # noqa: PLC0415
        Encoder,
        Labels,
        Model,
        ModelConfig,
    )

    net = Encoder(ModelConfig(n_genes, hidden=(64,), latent_dim=dim), torch.Generator().manual_seed(0)).eval()
    return Model(net.config, cells.gene_names(n_genes), Labels((), ()), net)


def with_scim(files: list[Path], out: Path, n_genes: int) -> dict[str, Any]:
    """Append with scim; return the seconds in total and by step."""
    import tiledbsoma  # noqa: PLC0415

    import scim  # noqa: PLC0415
    from scim.atlas import _append  # noqa: PLC0415
    from scim.atlas.commit import Transaction, _transaction  # noqa: PLC0415
    from scim.atlas.soma import Writer, _write  # noqa: PLC0415

    scim.settings.progress = False
    parts = Parts()
    for owner, name, part in (
        (_append, "_embed", "embedding"),
        (_append, "_counts", "reading"),
        (_append, "align", "genes aligned"),
        (Writer, "block", "obs and embedding stored"),
        (_write, "_triplets", "counts stored"),
        (tiledbsoma.SparseNDArray, "write", "counts stored"),
        (Transaction, "reached", "journal"),
        (_append, "hash_names", "names"),
        (_append, "known_rows", "names"),
        (_append, "add_names", "names"),
        (_append, "_column_types", "types"),
        (_append, "as_type", "types"),
        (_transaction, "write_inventory", "checksums"),
    ):
        parts.watch(owner, name, part)
    with scim.atlas.create(out, model=small_model(n_genes)) as atlas:
        began, busy = time.perf_counter(), time.process_time()
        n = atlas.append(
            [*map(str, files)],
            study=[f"study {i}" for i in range(len(files))],
            label_key="cell_type",
            obs_columns=cells.COLUMNS,
            counts=True,
        )
        seconds, cpu = time.perf_counter() - began, time.process_time() - busy
    return {"seconds": seconds, "cpu": cpu, "cells": n, "parts": parts.seconds, "bytes": bytes_in(out)}


def with_tiledbsoma(files: list[Path], out: Path) -> dict[str, Any]:
    """Append with tiledbsoma."""
    import tiledbsoma  # noqa: PLC0415
    import tiledbsoma.io  # noqa: PLC0415

    names, uri = [*map(str, files)], str(out)
    began, busy = time.perf_counter(), time.process_time()
    how: dict[str, Any] = {"measurement_name": "RNA"}
    plan = tiledbsoma.io.register_h5ads(None, names, obs_field_name="obs_id", var_field_name="var_id", **how)
    tiledbsoma.io.from_h5ad(uri, names[0], ingest_mode="schema_only", registration_mapping=plan, uns_keys=[], **how)
    plan.prepare_experiment(uri)
    for name in names:
        tiledbsoma.io.from_h5ad(uri, name, registration_mapping=plan, uns_keys=[], **how)
    seconds, cpu = time.perf_counter() - began, time.process_time() - busy
    with tiledbsoma.open(uri) as experiment:
        n = experiment.obs.count
        kinds = str(experiment.ms["RNA"].X["data"].schema.field("soma_data").type)
    assert kinds == "float"  # the value type of scim
    return {"seconds": seconds, "cpu": cpu, "cells": n, "parts": {}, "bytes": bytes_in(out)}


def check(files: list[Path], out: Path) -> None:
    """Compare the stored counts and columns with the files."""
    import scim  # noqa: PLC0415
    from scim.atlas.soma import read_counts  # noqa: PLC0415

    first = 0
    with scim.atlas.open(out) as atlas:
        obs = atlas.obs()
        experiment = atlas.snapshot.experiment
        stored = experiment.ms["RNA"].var.read().concat()["gene_id"].to_pylist()
        for number, path in enumerate(files):
            backed = anndata.read_h5ad(path, backed="r")
            assert stored == backed.var_names.tolist()
            rows = obs.iloc[first : first + backed.n_obs]
            assert rows["cell_id"].tolist() == backed.obs_names.tolist()
            assert (rows["study"] == f"study {number}").all()
            for name in cells.COLUMNS:
                assert rows[name].tolist() == backed.obs[name].tolist(), name
            for start in range(0, backed.n_obs, 20_000):
                want = backed.X[start : start + 20_000]
                got = read_counts(experiment, first + start, first + start + want.shape[0])
                assert (got != want).nnz == 0
                assert got.nnz == want.nnz
            first += backed.n_obs
        assert first == atlas.n_obs
    print("all counts and columns as in the files")


def reads(out: Path) -> None:
    """Print the seconds of a few reads, the best of three."""
    import scim  # noqa: PLC0415
    from scim.atlas.soma import read_counts  # noqa: PLC0415

    with scim.atlas.open(out) as atlas:
        n, experiment = atlas.n_obs, atlas.snapshot.experiment
        scattered = np.random.default_rng(0).choice(n, 50, replace=False)
        ways = {
            "50 scattered rows of obs": lambda: atlas.obs(scattered),
            "50 scattered embeddings": lambda: atlas.embeddings(scattered),
            "counts of 10,000 cells": lambda: read_counts(experiment, n // 2, n // 2 + min(n // 2, 10_000)),
            "counts of 100 cells": lambda: read_counts(experiment, n // 2, n // 2 + 100),
        }
        for name, way in ways.items():
            taken = []
            for _ in range(3):
                began = time.perf_counter()
                way()
                taken.append(time.perf_counter() - began)
            print(f"  {name}: {min(taken) * 1e3:.0f} ms")


def report(way: str, result: dict[str, Any]) -> None:
    seconds, n = result["seconds"], result["cells"]
    memory = f"anonymous {result['anonymous'] / 1e9:.2f} GB, resident {result['resident'] / 1e9:.2f} GB"
    cpu, disk = f"{result['cpu']:.0f} s of CPU", f"disk {result['bytes'] / 1e9:.2f} GB"
    print(f"{way:10s} {seconds:7.1f} s, {n / seconds:.0f} cells/s, {cpu}, {memory}, {disk}")
    parts = result["parts"]
    if parts:
        rest = seconds - parts["embedding"]
        print(f"  without the embedding {rest:.1f} s, {n / rest:.0f} cells/s")
        parts = parts | {"else": seconds - sum(parts.values())}
        print("  " + ", ".join(f"{part} {taken:.1f}" for part, taken in sorted(parts.items(), key=lambda p: -p[1])))


def compare(results: dict[str, list[dict[str, Any]]]) -> None:
    ours, theirs = (min(results[way], key=lambda result: result["seconds"]) for way in WAYS)
    rest = ours["seconds"] - ours["parts"]["embedding"]
    print(
        f"scim / tiledbsoma, best of each: {ours['seconds'] / theirs['seconds']:.2f} x the time, "
        f"{ours['cpu'] / theirs['cpu']:.2f} x the CPU, "
        f"{rest / theirs['seconds']:.2f} x without the embedding, {ours['bytes'] / theirs['bytes']:.2f} x the disk, "
        f"{ours['anonymous'] / theirs['anonymous']:.2f} x the memory"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cells.add_arguments(parser)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--keep", type=Path, help="folder in which the atlas is kept")
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    how = {"n_genes": given.genes, "values": given.values, "seed": given.seed}
    files = cells.made(given.folder, given.files, given.cells, **how)
    if given.one:
        work = with_tiledbsoma if given.one == "tiledbsoma" else with_scim
        print(json.dumps(work(files, given.out, *[given.genes] * (given.one == "scim"))))
        return
    shape = ["--files", "--cells", "--genes", "--values", "--seed", "--folder"]
    same = [text for flag in shape for text in (flag, str(getattr(given, flag[2:])))]
    results: dict[str, list[dict[str, Any]]] = {way: [] for way in given.ways}
    for number in range(given.rounds):
        for way in given.ways[:: -1 if number % 2 else 1]:
            with tempfile.TemporaryDirectory(dir=given.folder) as room:
                out = Path(room) / way
                results[way].append(run_child(__file__, *same, "--one", way, "--out", str(out)))
                report(way, results[way][-1])
                sys.stdout.flush()
                if way == "scim" and number == 0:
                    if given.check:
                        check(files, out)
                        reads(out)
                    if given.keep is not None:
                        shutil.move(out, given.keep)
    if set(given.ways) == set(WAYS):
        compare(results)


if __name__ == "__main__":
    main()
