"""Measure the false discovery rate and the power of `tl.enrichment` and of other tests.

    python benchmarks/enrichment/enrichment.py

Each row is 200 simulated atlases; a false discovery rate is the mean of (false / all) values of q <= .05, the power the
mean share of planted values among them.
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import replace

import numpy as np
import other_tests
from scipy import stats
from simulate import Setting, simulate

SETTINGS = {
    "sizes 20-20,000": Setting(),
    "sizes differ by value": Setting(sizes_by_value=True),
    "400 samples": Setting(n_samples=400),
    "60 % of samples without hits": Setting(zeros=0.6, n_samples=400),
    "lognormal, spread 1": Setting(spread=1.0, heavy=True),
    "1,000 hits assigned at random": Setting(spread=1.0, n_hits=1000),
    "studies of many values": Setting(study_spread=0.7),
    "three studies per value": Setting(study_spread=0.7, studies="nested"),
    "the same, 400 samples, sizes by value": Setting(
        study_spread=0.7, studies="nested", n_samples=400, sizes_by_value=True
    ),
    "a study for each two values": Setting(study_spread=0.7, studies="pairs"),
    "3 against 3 samples": Setting(n_samples=6, n_values=2, n_queries=20, planted=0.3, fold=8),
    "6 against 6, one query": Setting(n_samples=12, n_values=2, n_queries=1, planted=0.3, fold=8),
    "nothing planted": Setting(planted=0.0),
    "nothing, sizes by value, spread 1": Setting(planted=0.0, sizes_by_value=True, spread=1.0),
    "nothing, studies of many values": Setting(planted=0.0, study_spread=0.7),
    "nothing, three studies per value": Setting(planted=0.0, study_spread=0.7, studies="nested"),
    "nothing, a study for each two values": Setting(planted=0.0, study_spread=0.7, studies="pairs"),
    "nothing, 6 against 6, one query": Setting(n_samples=12, n_values=2, n_queries=1, planted=0.0),
}
OUTLIERS = {f"one outlying sample: {name}": replace(setting, outlier=30.0) for name, setting in SETTINGS.items()}
TESTS = {
    "scim": other_tests.scim,
    "without leaving out": other_tests.all_samples,
    "without studies": other_tests.scim_without_studies,
    "permutation": other_tests.permutation,
    "Welch": other_tests.welch,
    "Fisher, cells": other_tests.fisher,
}


def discovered(p: np.ndarray) -> np.ndarray:
    tested = ~np.isnan(p)
    found = np.zeros(p.shape, dtype=bool)
    if tested.any():
        found[tested] = stats.false_discovery_control(p[tested]) <= 0.05
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS | OUTLIERS), choices=list(SETTINGS | OUTLIERS))
    parser.add_argument("--tests", nargs="+", default=list(TESTS), choices=list(TESTS))
    arguments = parser.parse_args()
    n, tests = arguments.simulations, {name: TESTS[name] for name in arguments.tests}
    warnings.simplefilter("ignore")
    print("FDR / power | " + " | ".join(tests))
    for name in arguments.settings:
        setting = (SETTINGS | OUTLIERS)[name]
        rates = {test: [] for test in tests}
        for seed in range(n):
            simulated = simulate(setting, np.random.default_rng(seed))
            for test, p_of in tests.items():
                found = discovered(p_of(simulated))
                wrong = (found & ~simulated.truth).sum() / max(1, found.sum())
                rates[test].append((wrong, (found & simulated.truth).sum() / max(1, simulated.truth.sum())))
        means = {test: np.mean(pairs, axis=0) for test, pairs in rates.items()}
        cells = [f"{fdr:.3f}" + ("" if setting.planted == 0 else f" / {power:.2f}") for fdr, power in means.values()]
        print(f"{name} | " + " | ".join(cells), flush=True)
    big = simulate(Setting(n_samples=5000, n_values=300, n_queries=50, study_spread=0.5), np.random.default_rng(0))
    start = time.perf_counter()
    other_tests.scim(big)
    print(f"300 values, 50 queries, 5,000 samples, 25 studies: {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()
