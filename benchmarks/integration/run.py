"""Score how well embeddings integrate held-out studies, by the metrics of scib (Luecken et al., Nature Methods 2022).

    python benchmarks/integration/run.py [FOLDER] --python ENVIRONMENT/bin/python --models scim=MODEL paper=MODEL
        [--pancreas-models "scim, no pancreas=MODEL"] [--sets ...] [--latents FOLDER]

Models embed the studies as they are: no retraining, no knowledge of their batches. The others see the evaluated cells:
PCA and Harmony these alone, scVI and `scANVI, all labels` these alone or, for `tissues`, with all other studies in one
training. scANVI with all labels is an upper bound: it is trained on the labels by which it is scored. `scANVI,
reference` sees the labels of the training studies only. environment.txt describes the environment of the peers.
Embeddings and scores are stored under `--data`, so an interrupted run resumes. `--latents` is where the latents of all
studies of the reference are written.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import sets

import scim

if TYPE_CHECKING:
    from anndata import AnnData
    from sets import Cells

    Embeddings = dict[str, np.ndarray]

import methods  # of benchmarks/quality
import tables

CACHE = Path(tempfile.gettempdir()) / "scim-bench" / "integration"
BATCH, MOST_EPOCHS, MOST_BATCHES = 128, 400, 1500
"""scvi trains small sets for 400 epochs; here no training has more than 1,500 batches, so that it fits a CPU."""
LINEAR, TRAINED = ["PCA", "Harmony"], ["scVI", "scANVI, all labels"]
LABELS = {"fine": TRAINED[1], "known": "scANVI", "known without pancreas": "scANVI, no pancreas"}
"""Embeddings of the reference beside scVI, by the column of labels."""


def main() -> None:
    """Embed and score the sets, and print a table for each."""
    arguments = parsed()
    warnings.filterwarnings("ignore")
    scim.settings.n_threads, scim.settings.progress = 1, False
    cells = sets.split.read(arguments.folder)
    found = {} if arguments.no_reference else reference(arguments, cells)
    if arguments.latents and found:
        write_latents(found, arguments.latents)
    titles = {}
    for name in arguments.sets:
        adata, chosen = sets.evaluated(cells, name), sets.SETS[name]
        embeddings = of_models(arguments, cells, name, adata) | of_peers(arguments, name, adata, LINEAR, [])
        if chosen.alone:
            embeddings |= of_peers(arguments, name, adata, TRAINED, ["label"])
        if found and chosen.known:
            embeddings |= of_reference(found, chosen, adata)
        obs = {key: adata.obs[key].to_numpy(str) for key in ("study", "label")}
        np.savez(arguments.data / name / "embeddings.npz", **obs, **embeddings)
        titles[name] = list(embeddings)
    if not arguments.no_scores:
        for name, table in scored(arguments, titles).items():
            print(f"{name}\n\n{tables.markdown(table)}\n")


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=sets.split.data.FOLDER, help="of the studies")
    parser.add_argument("--python", required=True, help="interpreter of the peers and of scib-metrics")
    parser.add_argument(
        "--models", nargs="*", default=[], metavar="NAME=FOLDER", help="trained without the held-out studies"
    )
    parser.add_argument(
        "--pancreas-models", nargs="*", default=[], metavar="NAME=FOLDER", help="trained without pancreas"
    )
    parser.add_argument("--sets", nargs="+", choices=sets.SETS, default=list(sets.SETS))
    parser.add_argument("--data", type=Path, default=CACHE, help="folder of embeddings and scores")
    parser.add_argument("--latents", type=Path, help="folder for scvi.npz and scanvi.npz: X, ids")
    parser.add_argument("--no-reference", action="store_true", help="leave out what is trained on the reference")
    parser.add_argument("--no-scores", action="store_true", help="make embeddings only")
    parser.add_argument("--limit", type=float, default=3600, help="seconds for one training")
    return parser.parse_args()


def of_models(arguments: argparse.Namespace, cells: Cells, name: str, adata: AnnData) -> Embeddings:
    """Return the embeddings of trained models, each study with all of its genes."""
    given = arguments.models + (arguments.pancreas_models if name == "pancreas" else [])
    embeddings = {}
    for title, _, folder in (text.partition("=") for text in given):
        model, rows = scim.model.load(folder), []
        for every in sets.whole_files(cells, sets.SETS[name].studies).values():
            study = every[every.obs_names.isin(adata.obs_names)].copy()
            scim.tl.embed(study, model=model)
            rows.append(pd.DataFrame(study.obsm["X_scim"], index=study.obs_names))
        embeddings[title] = pd.concat(rows).loc[adata.obs_names].to_numpy()
    return embeddings


def of_peers(
    arguments: argparse.Namespace, name: str, adata: AnnData, titles: list[str], labels: list[str]
) -> Embeddings:
    """Return the embeddings of peers that are computed from some cells, from the cache or by the worker.

    `titles` are those of the embeddings: PCA and Harmony, or scVI and scANVI with each of `labels`.
    """
    folder = arguments.data / name
    paths = [folder / f"{title}.npy" for title in titles]
    if not all(path.exists() for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
        epochs = 0 if titles == LINEAR else min(MOST_EPOCHS, round(MOST_BATCHES * BATCH / adata.n_obs))
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "cells.h5ad"
            adata.write_h5ad(path)
            options = {"seed": 0, "epochs": epochs, "labels": labels}
            task = {"method": "peer_embeddings", "sets": [0], "predictions": [[str(path) for path in paths]]}
            files = {"train": [str(path)], "tests": [], "label_key": "label"}
            job = {
                "sets": [files],
                "tasks": [task | {"options": options}],
                "limit": arguments.limit,
                "memory": int(2e10),
            }
            os.environ["PYTHONPATH"] = str(Path(__file__).parent)
            for took in methods.run(job, Path(scratch), arguments.python, threads=1):
                print(f"{name}: {', '.join(titles)}, {epochs} epochs, {took}", file=sys.stderr, flush=True)
    return {title: np.load(path) for title, path in zip(titles, paths, strict=True)}


def reference(arguments: argparse.Namespace, cells: Cells) -> dict[str, pd.DataFrame]:
    """Return the embeddings of the reference, rows by cell."""
    adata = sets.reference(cells)
    found = of_peers(arguments, "reference", adata, ["scVI", *LABELS.values()], list(LABELS))
    return {title: pd.DataFrame(rows, index=adata.obs_names) for title, rows in found.items()}


def of_reference(found: dict[str, pd.DataFrame], chosen: sets.Evaluated, adata: AnnData) -> Embeddings:
    """Return the rows of the evaluated cells: scANVI with the labels that the set allows; scVI; with all labels."""
    titles = {"scANVI, reference": LABELS[chosen.known]} | ({} if chosen.alone else {name: name for name in TRAINED})
    return {title: found[name].loc[adata.obs_names].to_numpy() for title, name in titles.items()}


def write_latents(found: dict[str, pd.DataFrame], folder: Path) -> None:
    """Write the latents of all studies with whole transcriptomes: `X`, `ids`."""
    folder.mkdir(parents=True, exist_ok=True)
    for title in ("scVI", "scANVI"):
        rows = found[title]
        np.savez(folder / f"{title.lower()}.npz", X=rows.to_numpy(np.float32), ids=rows.index.to_numpy(str))


def scored(arguments: argparse.Namespace, titles: dict[str, list[str]]) -> dict[str, pd.DataFrame]:
    """Return the scores of each set, best first; scib-metrics runs in the environment of the peers."""
    folders = {name: arguments.data / name for name in titles}
    script = Path(__file__).with_name("score.py")
    subprocess.run([arguments.python, str(script), *map(str, folders.values())], check=True)
    found = {}
    for name, folder in folders.items():
        rows = {title: json.loads((folder / f"{title}.json").read_text()) for title in titles[name]}
        found[name] = pd.DataFrame(rows).T.sort_values("Total", ascending=False)
    return found


if __name__ == "__main__":
    main()
