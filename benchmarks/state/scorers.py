"""The methods, and their scores of all cells for all states, cached on disk: FOLDER/scores/METHOD.npz.

    scim                               tl.score_similarity, models trained without the study of the query
    scim, mean; scim, contrast         the same with other centroids
    others of --models                 the same with other models, as one of the paper's recipe
    score_genes, AUCell                signature of fifty genes
    PCA, Harmony                       of all files, genes that a file has not are zero
    PCA (shared genes), Harmony (...)  of the files of the whole transcriptome
    others of --latents                latent spaces that were made elsewhere: npz of X and ids, `file cell`

Latent spaces are compared with the centroid of a state, with its ten nearest cells, and with the contrasted centroid.
"""

from __future__ import annotations

import functools
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import latent_scores
import numpy as np
import scim_scores
import signature_scores

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from numpy.typing import NDArray
    from tissue_cases import Cells

    Scores = dict[str, NDArray[np.float32]]

PEERS = Path(__file__).with_name("peer_scores.py")
CENTROIDS: dict[scim_scores.Centroid, str] = {"counts": "", "embedding": ", mean", "contrast": ", contrast"}
LATENT_SCORES: dict[latent_scores.By, str] = {"centroid": "", "nearest": ", nearest", "contrast": ", contrast"}
"""Words behind the name of the method."""


@dataclass(frozen=True)
class Inputs:
    """What the methods read."""

    cells: Cells
    obs: pd.DataFrame
    folder: Path
    models: dict[str, Path]
    """Folder of a model, or of several by the study left out, by method."""
    latents: dict[str, Path]
    """Latent spaces by method."""
    python: str | None
    """Interpreter of the peers; without one, they are left out."""

    @functools.cached_property
    def lognormalised(self) -> Cells:
        """Log-normalised cells with Ensembl ids as names of the genes."""
        return signature_scores.lognormalised(self.cells)

    @functools.cached_property
    def signatures(self) -> dict[str, list[str]]:
        """Genes of each state."""
        return signature_scores.signatures(self.lognormalised)


def all_scores(inputs: Inputs) -> dict[str, Scores]:
    """Return the scores of all methods, by name of method and state."""
    (inputs.folder / "scores").mkdir(parents=True, exist_ok=True)
    jobs: dict[str, Callable[[], Scores]] = {}
    for name, models in inputs.models.items():
        for centroid, words in CENTROIDS.items():
            jobs[name + words] = functools.partial(_of_model, inputs, models, Path(name), centroid)
    jobs["score_genes"] = lambda: signature_scores.score_genes(inputs.lognormalised, inputs.signatures)
    if inputs.python is not None:
        jobs["AUCell"] = functools.partial(_of_ranks, inputs)
    for name, latent in _latents(inputs).items():
        for by, words in LATENT_SCORES.items():
            jobs[name + words] = functools.partial(_of_latent, inputs, latent, by)
    return {name: _cached(inputs.folder / "scores" / f"{name}.npz", job) for name, job in jobs.items()}


def _cached(path: Path, job: Callable[[], Scores]) -> Scores:
    if not path.exists():
        scores = job()
        draft = path.with_suffix(".draft.npz")
        np.savez(draft, **scores)
        draft.rename(path)
    with np.load(path) as stored:
        return dict(stored)


def _of_model(inputs: Inputs, models: Path, atlases: Path, centroid: scim_scores.Centroid) -> Scores:
    return scim_scores.score(inputs.cells, models, inputs.folder / "atlases" / atlases, centroid)


def _of_ranks(inputs: Inputs) -> Scores:
    """Run AUCell on all files that have no scores yet, and return its scores; NaN in files without the genes."""
    folder = inputs.folder / "ranks"
    folder.mkdir(parents=True, exist_ok=True)
    genes = folder / "signatures.json"
    genes.write_text(json.dumps(inputs.signatures), encoding="utf-8")
    files = [folder / f"{file}.h5ad" for file in inputs.lognormalised]
    for file, adata in zip(files, inputs.lognormalised.values(), strict=True):
        ad.AnnData(adata.X, var=adata.var[[]]).write_h5ad(file)
    _run_peer(inputs, "aucell", genes, *(file for file in files if not file.with_suffix(".npz").exists()))
    parts = []
    for file, adata in zip(files, inputs.lognormalised.values(), strict=True):
        absent = np.full(adata.n_obs, np.nan, dtype=np.float32)
        with np.load(file.with_suffix(".npz")) as found:
            parts.append({name: found.get(name, absent) for name in inputs.signatures})
    return {name: np.concatenate([part[name] for part in parts]) for name in inputs.signatures}


def _of_latent(inputs: Inputs, latent: Path, by: latent_scores.By) -> Scores:
    with np.load(latent, allow_pickle=False) as found:
        return latent_scores.score(found["X"], found["ids"].astype(str), inputs.obs, by)


def _latents(inputs: Inputs) -> dict[str, Path]:
    """Return the files of the latent spaces by method; components, and these by Harmony, are made unless there."""
    found = {}
    for note, panels in (("", True), (" (shared genes)", False)):
        pca = inputs.folder / f"PCA{note}.npz"
        if not pca.exists():
            X, ids = latent_scores.pca(inputs.lognormalised, panels=panels)
            np.savez(pca, X=X, ids=ids, study=inputs.obs["study"].reindex(ids).to_numpy(dtype=str))
        found[f"PCA{note}"] = pca
        harmony = inputs.folder / f"Harmony{note}.npz"
        if inputs.python is not None and not harmony.exists():
            _run_peer(inputs, "harmony", pca, harmony)
        if harmony.exists():
            found[f"Harmony{note}"] = harmony
    return found | inputs.latents


def _run_peer(inputs: Inputs, *arguments: str | Path) -> None:
    subprocess.run([str(inputs.python), str(PEERS), *map(str, arguments)], check=True)
