"""The recipes that are compared: the paper's, our default, and the paper's with one setting changed at a time.

The paper trained on 7.9 million cells of 56 studies, 28,231 genes and 50,000 batches. Here are 21,000 cells of 16
studies, so that the main run has as many batches as twenty minutes of one core allow, on the 3,000 best marker genes:
700 batches of 1,000 cells are 33 passes over the cells, the paper's 50,000 were 6. Everything else is as published. The
ablations have a network a quarter as wide, 1,000 genes and 100 batches, 5 passes, all alike.

The filters on counts and genes are off: 10x 3' v1 and panels of 1,000 genes would lose most of their cells. Labels of a
single study become their nearest ancestor that two studies share, as in the paper, for the training alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from scim.model import CellFilters, ModelConfig, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Iterator


class Recipe(NamedTuple):
    """What :func:`scim.model.train` takes."""

    config: TrainConfig
    net: ModelConfig
    filters: CellFilters | None
    seed: int = 0


MAIN, DEFAULT, BASE = "paper", "default", "base"
STEPS, FEW_STEPS = 700, 100
FILTERS = CellFilters(min_studies=2)
SMALL = ModelConfig.paper(n_genes=1000, hidden=(256, 256, 256))
ABLATIONS: dict[str, list[dict[str, Any]]] = {
    "weight of the triplets": [{"objective_weight": w, "reconstruction_weight": 1 - w} for w in (0.0, 0.01, 0.1, 1.0)],
    "margin": [{"margin": margin} for margin in (0.2, 1.0)],
    "negatives": [{"mining": mining} for mining in ("hardest", "random")],
    "positives": [{"positives": "any"}],
    "label perturbation": [{"label_perturbation": 0.5}],
    "L1 of the first layer": [{"l1": 0.0}],
    "sampling": [{"sampling": "balanced"}, {"epoch": 0}],
}
"""Changes of the base recipe by group; the base is in every group."""


def changed(group: str, **changes: Any) -> str:
    """Return the name of a changed recipe, which is that of its folder too."""
    values = [value for name, value in changes.items() if name != "reconstruction_weight"]
    return f"{group.replace(' ', '_')}-{values[0]}"


def recipes() -> Iterator[tuple[str, Recipe]]:
    """Yield all recipes by name; the base has three seeds, which show how much is chance."""
    yield MAIN, Recipe(TrainConfig.paper(n_steps=STEPS), ModelConfig.paper(n_genes=3000), FILTERS)
    yield DEFAULT, Recipe(TrainConfig(), ModelConfig(), None)
    for seed in range(3):
        yield f"{BASE}-{seed}", Recipe(TrainConfig.paper(n_steps=FEW_STEPS), SMALL, FILTERS, seed)
    for group, options in ABLATIONS.items():
        for changes in options:
            yield changed(group, **changes), Recipe(TrainConfig.paper(n_steps=FEW_STEPS, **changes), SMALL, FILTERS)
