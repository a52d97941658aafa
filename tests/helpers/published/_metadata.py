"""The data frame `cell_metadata`: 25 columns as in version 1.1, with its markers of missing values."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

COLUMNS = (
    "index", "study", "sample", "prediction", "fm_signature_score", "n_genes_by_counts", "total_counts",
    "total_counts_mt", "pct_counts_mt", "prediction_nn_dist", "data_type", "organism", "in_vivo", "cell_line",
    "cell_line_ID", "tissue", "tissue_raw", "cell_line_cleaned", "disease", "disease_raw", "sex", "sex_cleaned",
    "age", "author_label", "author_label_id",
)  # fmt: skip
"""The names that are known, and likely ones up to the 25 that there are."""

TISSUES = np.array(["blood", "lung", "pancreas", "kidney", "bone marrow", "NA"], object)
DISEASES = np.array(
    ["healthy", "COVID-19", "idiopathic pulmonary fibrosis", "systemic scleroderma;anemia", "NA"], object
)
SEXES = np.array(["male", "female", "NA"], object)
LINES = np.array(["NA", "NA", "NA", "A549", "K-562"], object)
SAMPLES_OF_A_STUDY = 12


def metadata_block(
    rows: NDArray[np.int64],
    study: NDArray[np.int64],
    labels: Sequence[str],
    *,
    annotated: NDArray[np.bool_],
    label: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the metadata of some cells, a function of `seed` and of the first row.

    Parameters
    ----------
    rows, study
        The cells' numbers, and the numbers of their studies, (n,).
    labels
        Names of cell types.
    annotated
        Which cells were trained with, (n,).
    label
        Which of `labels` is the prediction, (n,); any if not given.
    """
    rng = np.random.default_rng([seed, 77, int(rows[0]) if len(rows) else 0])
    names = np.array(labels, object)
    n = len(rows)
    sample = study * SAMPLES_OF_A_STUDY + rng.integers(0, SAMPLES_OF_A_STUDY, n)
    tissue, disease, sex = TISSUES[sample % len(TISSUES)], DISEASES[sample % len(DISEASES)], SEXES[sample % len(SEXES)]
    line = LINES[study % len(LINES)]
    total = rng.integers(500, 60_000, n).astype(np.float64)
    share = rng.random(n) * 20
    data_type = np.where(annotated, "train", np.where(rng.random(n) < 0.1, "test", "NA"))
    values = {
        "index": rows,
        "study": np.array([f"GSE{100_000 + s}" for s in range(int(study.max(initial=0)) + 1)], object)[study],
        "sample": _texts("GSM", sample),
        "prediction": names[rng.integers(0, len(names), n) if label is None else label],
        "fm_signature_score": rng.normal(0, 0.3, n),
        "n_genes_by_counts": np.round(total * 0.1),
        "total_counts": total,
        "total_counts_mt": np.round(total * share / 100),
        "pct_counts_mt": share,
        "prediction_nn_dist": rng.random(n) * 0.05,
        "data_type": data_type.astype(object),
        "organism": np.full(n, "Homo sapiens", object),
        "in_vivo": np.where(line == "NA", "True", "False").astype(object),
        "cell_line": line,
        "cell_line_ID": np.where(line == "NA", "NA", "CVCL_0023").astype(object),
        "tissue": tissue,
        "tissue_raw": tissue,
        "cell_line_cleaned": line,
        "disease": disease,
        "disease_raw": disease,
        "sex": sex,
        "sex_cleaned": sex,
        "age": np.where(sample % 4 == 0, "NA", _texts("", 20 + sample % 60)),
        "author_label": np.where(rng.random(n) < 0.3, "NA", names[rng.integers(0, len(names), n)]).astype(object),
        "author_label_id": np.full(n, "NA", object),
    }
    return pd.DataFrame({name: values[name] for name in COLUMNS})


def _texts(prefix: str, numbers: NDArray[np.int64]) -> NDArray[np.object_]:
    """Return prefix and number as text; equal texts share an object."""
    different, of = np.unique(numbers, return_inverse=True)
    return np.array([f"{prefix}{i}" for i in different], object)[of]


def write_metadata(path: Path, frames: pd.DataFrame | Iterable[pd.DataFrame], n: int) -> None:
    """Write the dense data frame that `tiledb.from_pandas` makes; from frames of `n` rows together, one after the other.

    from_pandas makes an array as long as the frame that it gets, so the array of many frames is made as long as all of
    them, with everything else as from_pandas has it.
    """
    import tiledb

    if isinstance(frames, pd.DataFrame):
        tiledb.from_pandas(str(path), frames)
        return
    start = 0
    for frame in frames:
        if start == 0:
            _create(path, frame, n)
        with tiledb.open(str(path), "w") as array:
            array[start : start + len(frame)] = {name: frame[name].to_numpy() for name in frame}
        start += len(frame)
    assert start == n, f"expected {n} rows, got {start}"


def _create(path: Path, frame: pd.DataFrame, n: int) -> None:
    import tiledb

    pattern = path.with_name(path.name + ".pattern")
    tiledb.from_pandas(str(pattern), frame.iloc[:2])
    with tiledb.open(str(pattern)) as array:
        one, notes = array.schema, dict(array.meta.items())
    dim = one.domain.dim(0)
    domain = tiledb.Domain(
        tiledb.Dim(name=dim.name, domain=(0, n - 1), tile=min(10_000, n), dtype=dim.dtype, filters=dim.filters)
    )
    attributes = [one.attr(i) for i in range(one.nattr)]
    schema = tiledb.ArraySchema(domain=domain, attrs=attributes)
    tiledb.Array.create(str(path), schema)
    with tiledb.open(str(path), "w") as array:
        array.meta.update(notes)
    shutil.rmtree(pattern)
