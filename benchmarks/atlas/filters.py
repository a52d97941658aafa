"""Compare `atlas.select(where)` on a million cells with the `value_filter` of SOMA; the selected cells must be equal.

    python benchmarks/atlas/filters.py [--cells 1e6] [--filters 200] [--seed 0] [--folder FOLDER]

Ten columns: six of text (2 to 2,000 values), two of whole numbers, one of fractions, one of truth values. Filters are
drawn at random: one to four comparisons (`== != < <= > >= in not in`) joined by `and` and `or`. `scim` filters by the
index of an atlas made by `from_embedding`; SOMA reads `soma_joinid` with the filter, once from the same atlas and once
from a frame written by tiledbsoma, with dictionary-coded text. All run each filter once, in turns, after a warm-up with
other filters. Both filter languages are equivalent without missing values; the two columns with missing values are
compared with `==`, `in`, `<`, `>` only, which a missing value passes in neither.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import data as cells
import numpy as np
import pandas as pd
import pyarrow as pa
import tiledbsoma

import scim
from scim.atlas import from_embedding

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

DIM, N_WARM = 16, 10
TEXTS = {"sex": 2, "assay": 12, "disease": 60, "tissue": 300, "cell_kind": 600, "donor": 2_000}
NUMBERS = ("age", "n_genes", "mito")
SOME_MISSING = ("disease", "age")
COLUMNS = (*TEXTS, *NUMBERS, "is_primary")


def frame(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return obs; the frequencies of text values are as uneven as in real data."""
    made: dict[str, Any] = {}
    for name, n_values in TEXTS.items():
        codes = rng.choice(n_values, n, p=rng.dirichlet(np.full(n_values, 0.5)))
        codes[rng.random(n) < 0.05 * (name in SOME_MISSING)] = -1
        made[name] = pd.Categorical.from_codes(codes, [f"{name} {i}" for i in range(n_values)])
    made["age"] = pd.array(rng.integers(0, 90, n), dtype="Int64")
    made["age"][rng.random(n) < 0.05] = pd.NA
    made["n_genes"] = rng.negative_binomial(3, 0.002, n)
    made["mito"] = rng.beta(2, 40, n).round(4)
    made["is_primary"] = rng.random(n) < 0.8
    return pd.DataFrame(made, index=[f"cell-{i}" for i in range(n)])


def comparison(obs: pd.DataFrame, rng: np.random.Generator) -> str:
    name = str(rng.choice(COLUMNS))
    if name == "is_primary":
        return f"is_primary == {bool(rng.integers(2))}"
    if name in TEXTS:
        occur = (
            obs[name].cat.remove_unused_categories().cat.categories
        )  # scim raises an error for a value that no cell has
        values = [str(value) for value in rng.choice(occur, int(rng.integers(2, 9)))]
        operators = ("==", "in") if name in SOME_MISSING else ("==", "!=", "in", "not in")
        operator = str(rng.choice(operators))
        return f"{name} {operator} {values if 'in' in operator else repr(values[0])}"
    value = obs[name].dropna().iloc[int(rng.integers(len(obs) // 2))]
    operators = ("<", ">", "==") if name in SOME_MISSING else ("<", "<=", ">", ">=", "==", "!=")
    return f"{name} {rng.choice(operators)} {value}"


def filters(obs: pd.DataFrame, n: int, rng: np.random.Generator) -> list[str]:
    """Return filters that are valid in both languages."""
    made = []
    for _ in range(n):
        where = comparison(obs, rng)
        for _ in range(int(rng.integers(0, 4))):
            where = f"({where}) {rng.choice(['and', 'or'])} ({comparison(obs, rng)})"
        made.append(where)
    return made


def write_frame(obs: pd.DataFrame, uri: str) -> None:
    """Write obs with the defaults of tiledbsoma."""
    table = pa.Table.from_pandas(obs, preserve_index=False)
    table = table.add_column(0, "soma_joinid", pa.array(np.arange(len(obs))))
    coded = pa.dictionary(pa.int32(), pa.large_string())
    kinds = [coded if pa.types.is_dictionary(kind) else kind for kind in table.schema.types]
    table = table.cast(pa.schema(list(zip(table.schema.names, kinds, strict=True)))).combine_chunks()
    domain = [(0, len(obs) - 1)]
    with tiledbsoma.DataFrame.create(uri, schema=table.schema, domain=domain) as made:
        made.write(table)


def select(data: Any, where: str) -> NDArray[np.int64]:
    table = data.read(value_filter=where, column_names=["soma_joinid"]).concat()
    ids: NDArray[np.int64] = np.sort(table["soma_joinid"].to_numpy())
    return ids


def measure(ways: dict[str, Callable[[str], NDArray[np.int64]]], wheres: list[str]) -> dict[str, NDArray[np.float64]]:
    """Return the seconds of each filter by method; raise if the selected cells differ."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    passing = []
    for where in wheres:
        results = {}
        for name, way in ways.items():
            began = time.perf_counter()
            results[name] = way(where)
            taken[name].append(time.perf_counter() - began)
        first, *others = results.values()
        assert all(np.array_equal(first, other) for other in others), where
        passing.append(len(first))
    low, median, high = np.percentile(passing, (10, 50, 90))
    print(f"{len(wheres)} filters, equal results; cells that pass: {low:.0f}, {median:.0f}, {high:.0f} (10, 50, 90 %)")
    return {name: np.array(seconds) for name, seconds in taken.items()}


def report(taken: dict[str, NDArray[np.float64]]) -> None:
    ours = taken["scim"]
    for name, seconds in taken.items():
        spread = "{:.2f} median, {:.2f} mean, {:.2f} max".format(
            *np.array([np.median(seconds), seconds.mean(), seconds.max()]) * 1e3
        )
        ratio = seconds / ours
        factors = (np.median(ratio), ratio.mean(), ratio.min(), seconds.sum() / ours.sum())
        factor = "; {:.0f} x median, {:.0f} x mean, {:.1f} x min, {:.0f} x of all".format(*factors)
        print(f"{name:22s} ms: {spread}{factor if name != 'scim' else ''}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=lambda text: int(float(text)), default=1_000_000)
    parser.add_argument("--filters", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=cells.FOLDER)
    given = parser.parse_args()
    scim.settings.progress = False
    rng = np.random.default_rng(given.seed)
    obs = frame(given.cells, rng)
    wheres = filters(obs, N_WARM + given.filters, rng)
    given.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.folder) as room:
        rows = rng.normal(size=(given.cells, DIM)).astype(np.float32)
        adata = anndata.AnnData(obs=obs, obsm={"X_some": rows})
        write_frame(obs, f"{room}/frame")
        with (
            from_embedding(adata, f"{room}/atlas", obsm="X_some", study="one", columns=COLUMNS) as atlas,
            tiledbsoma.open(f"{room}/atlas/soma") as experiment,
            tiledbsoma.open(f"{room}/frame") as coded,
        ):
            ways = {
                "scim": atlas.select,
                "SOMA, the atlas's": lambda where: select(experiment.obs, where),
                "SOMA, dictionary-coded": lambda where: select(coded, where),
            }
            for where in wheres[:N_WARM]:
                for way in ways.values():
                    way(where)
            report(measure(ways, wheres[N_WARM:]))
        shutil.rmtree(Path(room) / "atlas", ignore_errors=True)


if __name__ == "__main__":
    main()
