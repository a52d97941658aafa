"""Read the stored predictions of a method, joined with their truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import data
import numpy as np
import tissue_cases
from tissue_panels import WHOLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pandas as pd
    from tissue_cases import Case, Cells

    Load = Callable[[Case, str, str], pd.DataFrame | None]


class Predictions:
    """Stored predictions with their truth."""

    def __init__(self, cells: Cells, load: Load) -> None:
        self.cells, self._load = cells, load
        self._frames: dict[tuple[str, str, str], pd.DataFrame | None] = {}

    def __call__(self, case: str, query: str, variant: str = WHOLE) -> pd.DataFrame | None:
        """Return the predictions of a query joined with `truth`, `known` and `novel`; `None` if there are none."""
        key = case, query, variant
        if key not in self._frames:
            frame = self._load(tissue_cases.CASES[case], query, variant)
            if frame is not None:
                frame = frame.join(tissue_cases.truth(self.cells, tissue_cases.CASES[case], query), how="inner")
            self._frames[key] = frame
        return self._frames[key]

    def of_cases(self, names: Iterable[str], variant: str = WHOLE) -> dict[tuple[str, str], pd.DataFrame]:
        """Return the predictions of some cases by case and query."""
        pairs = [(name, query) for name in names for query in tissue_cases.CASES[name].queries]
        found = {pair: self(*pair, variant) for pair in pairs}
        return {pair: frame for pair, frame in found.items() if frame is not None}

    def of_queries(self, names: Iterable[str], variant: str = WHOLE) -> dict[str, pd.DataFrame]:
        """Return the predictions of some queries, each by the models without its study."""
        found = {name: self(tissue_cases.first_case(name).name, name, variant) for name in names}
        return {name: frame for name, frame in found.items() if frame is not None}


def confidence_reached(found: Predictions, share: float) -> float:
    """Return the confidence that a share of the known cells of blood and pancreas reaches; tests have equal weights."""
    frames = [frame[frame["known"]] for frame in found.of_queries(data.TESTS).values()]
    if not frames:
        return 0.0
    p = np.concatenate([frame["confidence"] for frame in frames])
    weight = np.concatenate([np.full(len(frame), 1 / len(frame)) for frame in frames])
    order = np.argsort(-p)
    return float(p[order][np.searchsorted(np.cumsum(weight[order]), share * len(frames))])
