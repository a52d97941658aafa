"""The quickstart runs as it stands."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import matplotlib as mpl
import pytest

import scim

PAGE = Path(__file__).parents[1] / "docs" / "quickstart.md"


# The page says that its small file has neither counts nor many genes; the others are scanpy's and umap's.
@pytest.mark.filterwarnings("ignore")
def test_the_quickstart_runs(tmp_path, monkeypatch):
    mpl.use("agg")
    monkeypatch.setattr(scim.settings, "atlas", None)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) >= 5
    script = tmp_path / "quickstart.py"
    script.write_text("\n".join(blocks))
    adata = runpy.run_path(str(script))["adata"]
    assert adata.obs["scim_label"].notna().mean() > 0.9
    assert set(adata.uns["scim_search"]["groups"]) == set(adata.obs["bulk_labels"])
