"""Train with the defaults of `scim.model.train`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import scim
from fixed._atlas import annotated

if TYPE_CHECKING:
    import anndata as ad
    import numpy as np


def predict(
    train: list[ad.AnnData], tests: list[ad.AnnData], label_key: str, *, seed: int, steps: int | None
) -> list[np.ndarray]:
    scim.settings.n_threads = (
        1  # the same seed gives the same model; a network this small gains little from a second thread
    )
    config = scim.model.TrainConfig() if steps is None else scim.model.TrainConfig(n_steps=steps)
    model = scim.model.train(train, label_key=label_key, study_key="study", config=config, rng=seed)
    return annotated(model, train, tests, label_key)
