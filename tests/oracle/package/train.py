"""A small model, trained for a minute by the package's own training classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytorch_lightning as pl
from scimilarity.anndata_data_models import MetricLearningDataModule
from scimilarity.training_models import MetricLearning

from scimilarity import ontologies

if TYPE_CHECKING:
    from pathlib import Path

HIDDEN = [256, 256, 256]
LATENT = 64
EPOCHS = 6
BATCHES = 12
BATCH_SIZE = 200


def run(folder: Path, cells: Path, terms: Path) -> None:
    """Train on `cells`, with the types of the file `terms` as the ontology, and save all that the package saves.

    Batches are a fifth of the usual size: the package mines triplets in Python, in time that grows with their square.
    """
    ontologies.import_cell_ontology.__defaults__ = (str(terms),)  # the package would download the ontology
    pl.seed_everything(0)
    data = MetricLearningDataModule(
        train_path=str(cells), label_column="celltype_name", study_column="study", batch_size=BATCH_SIZE, num_workers=1
    )
    model = MetricLearning(
        data.n_genes, latent_dim=LATENT, hidden_dim=HIDDEN, triplet_loss_weight=0.1, max_epochs=EPOCHS
    )
    trainer = pl.Trainer(
        max_epochs=EPOCHS,
        limit_train_batches=BATCHES,
        limit_val_batches=0,  # without a file for validation the package returns no loader, which Lightning refuses
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        default_root_dir=str(folder),
    )
    trainer.fit(model, datamodule=data)
    model.save_all(model_path=str(folder))
