"""Labels, metadata, refusals and equal atlases for tests of published folders."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest

import scim
from helpers import published
from scim._core import FormatError

LABELS = ("type I pneumocyte", "T cell", "native cell")


def refused(folder, out, match, **how):
    with pytest.raises(FormatError, match=match):
        scim.scimilarity.import_atlas(folder, out, **how)


def same_obs(one, other):
    pd.testing.assert_frame_equal(one.obs(), other.obs())
    np.testing.assert_array_equal(one.embeddings(), other.embeddings())


def write_frame(folder, frame):
    shutil.rmtree(folder / "cellsearch" / "cell_metadata")
    published.write_metadata(folder / "cellsearch" / "cell_metadata", frame, len(frame))
