"""The pages that need no file of one's own run as they stand."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

import scim

DOCS = Path(__file__).parents[1] / "docs"


def run_page(name, folder):
    """Run the Python of a page; return its variables."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / name).read_text(), re.DOTALL)
    assert len(blocks) >= 4
    script = folder / "page.py"
    script.write_text("\n".join(blocks))
    return runpy.run_path(str(script))


# The page says that its small file has neither counts nor many genes; the others are scanpy's and umap's.
@pytest.mark.filterwarnings("ignore")
def test_the_quickstart_runs(tmp_path, monkeypatch):
    mpl.use("agg")
    monkeypatch.setattr(scim.settings, "atlas", None)
    adata = run_page("quickstart.md", tmp_path)["adata"]
    assert adata.obs["scim_label"].notna().mean() > 0.9
    assert set(adata.uns["scim_search"]["groups"]) == set(adata.obs["bulk_labels"])


def test_search_of_any_embedding_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = run_page("search_any_embedding.md", tmp_path)
    X, obs, ids = found["X"], found["obs"], found["hits"].ids
    assert ((obs["tissue"].to_numpy()[ids] == "lung") & (obs["age"].to_numpy()[ids] >= 40)).all()
    exact = scim.index.build(X, obs=obs, kind="exact").query(X[:100], 50, where="tissue == 'lung' and age >= 40").ids
    assert np.mean([len(np.intersect1d(a, b)) for a, b in zip(ids, exact, strict=True)]) / 50 > 0.97
    assert (tmp_path / "my_grown_index" / "index.json").exists()
