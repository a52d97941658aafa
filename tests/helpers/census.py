"""A small SOMA experiment in the schema of the CELLxGENE Census, and its content."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import tiledbsoma

import scim
from helpers import fakes

if TYPE_CHECKING:
    from pathlib import Path

    from scipy import sparse

_TYPES = {"T cell": "CL:0000084", "B cell": "CL:0000236", "classical monocyte": "CL:0000860"}
_TEXT = pa.dictionary(pa.int8(), pa.large_string())
_SCHEMA = pa.schema(
    [
        ("soma_joinid", pa.int64()),
        *((name, _TEXT) for name in ("dataset_id", "assay", "cell_type", "cell_type_ontology_term_id")),
        *((name, _TEXT) for name in ("disease", "sex", "development_stage", "self_reported_ethnicity", "donor_id")),
        *((name, _TEXT) for name in ("suspension_type", "tissue", "tissue_general")),
        ("observation_joinid", pa.large_string()),
        ("is_primary_data", pa.bool_()),
        ("raw_sum", pa.float64()),
        ("nnz", pa.int64()),
    ]
)


class Truth(NamedTuple):
    """The written content."""

    obs: pd.DataFrame
    var: pd.DataFrame
    X: sparse.csr_matrix
    scvi: np.ndarray


def write(path: Path, n_obs: int = 120, *, mouse: bool = False) -> Truth:
    """Write an experiment of toy cells; the last tenth have no embedding in `some`, every 7th cell is of unknown type."""
    adata = scim.datasets.toy(n_obs, rng=4)
    ids = scim.pp.canonical_genes(adata.var_names)
    if mouse:
        adata, _ = fakes.of_a_mouse(adata)
        ids = [f"ENSMUSG{i:011d}" for i in range(adata.n_vars)]
    row = np.arange(n_obs)
    label = np.where(row % 7 == 6, "unknown", adata.obs["cell_type"].to_numpy(dtype=object))
    obs = pd.DataFrame(
        {
            "soma_joinid": row,
            "dataset_id": np.array(["d-one", "d-two", "d-three"])[row // 50],
            "assay": np.array(["10x 3' v3", "Smart-seq2"])[row % 2],
            "cell_type": label,
            "cell_type_ontology_term_id": [_TYPES.get(name, "unknown") for name in label],
            "disease": np.array(["normal", "asthma", "asthma || pulmonary fibrosis"])[row % 3],
            "sex": np.array(["male", "female"])[row // 3 % 2],
            "development_stage": "adult stage",
            "self_reported_ethnicity": [None if i % 11 == 0 else "unknown" for i in row],
            "donor_id": [f"donor {i // 10}" for i in row],
            "suspension_type": "cell",
            "tissue": np.array(["blood", "lung parenchyma"])[row % 2],
            "tissue_general": np.array(["blood", "lung"])[row % 2],
            "observation_joinid": [f"{i:x}-cell" for i in row],
            "is_primary_data": row % 4 > 0,
            "raw_sum": np.where(row % 13 == 0, np.nan, np.asarray(adata.X.sum(axis=1)).ravel()),
            "nnz": np.diff(adata.X.indptr),
        }
    )
    var = pd.DataFrame(
        {
            "soma_joinid": np.arange(adata.n_vars),
            "feature_id": [f"{gene}.3" for gene in ids],
            "feature_name": adata.var_names,
            "feature_length": np.arange(adata.n_vars) + 500,
            "nnz": np.asarray((adata.X > 0).sum(axis=0)).ravel(),
        }
    )
    scvi = np.random.default_rng(0).normal(size=(n_obs, 5)).astype(np.float32)
    with tiledbsoma.Experiment.create(str(path)) as experiment:
        _add_frame(experiment, "obs", pa.Table.from_pandas(obs, schema=_SCHEMA, preserve_index=False))
        rna = experiment.add_new_collection("ms").add_new_collection("RNA", tiledbsoma.Measurement)
        _add_frame(rna, "var", pa.Table.from_pandas(var, preserve_index=False))
        coo = adata.X.tocoo()
        layers = rna.add_new_collection("X")
        layers.add_new_sparse_ndarray("raw", type=pa.float32(), shape=adata.shape).write(_triples(coo))
        layers.add_new_dense_ndarray("dense", type=pa.float32(), shape=adata.shape).write(
            (slice(None),), pa.Tensor.from_numpy(adata.X.toarray())
        )
        embeddings = rna.add_new_collection("obsm")
        embeddings.add_new_dense_ndarray("scvi", type=pa.float32(), shape=scvi.shape).write(
            (slice(None),), pa.Tensor.from_numpy(scvi)
        )
        at, of = np.divmod(np.arange(n_obs * 9 // 10 * 5), 5)
        some = pa.table({"soma_dim_0": at, "soma_dim_1": of, "soma_data": scvi[at, of]})
        embeddings.add_new_sparse_ndarray("some", type=pa.float32(), shape=scvi.shape).write(some)
    return Truth(obs, var, adata.X, scvi)


def _add_frame(parent, name: str, table: pa.Table) -> None:
    domain = [(0, len(table) - 1)]
    parent.add_new_dataframe(name, schema=table.schema, domain=domain, index_column_names=["soma_joinid"]).close()
    # tiledbsoma 2.3 loses the values of dictionaries that are written without opening the frame again.
    with tiledbsoma.DataFrame.open(f"{parent.uri}/{name}", "w") as frame:
        frame.write(table)


def _triples(coo) -> pa.Table:
    at, of = coo.row.astype(np.int64), coo.col.astype(np.int64)
    return pa.table({"soma_dim_0": at, "soma_dim_1": of, "soma_data": coo.data})
