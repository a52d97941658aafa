"""Label cells by the classifier of 324 human types in the wheel of actinn-jax, in an environment that has it.

    python pan_human.py QUERY.h5ad LABELS.csv

The table has `cell`, `label` and `confidence`. The package names a Cell Ontology term for each of its types.
This module does not need scim.
"""

from __future__ import annotations

import sys

import actinn_jax
import anndata as ad
import pandas as pd

REFERENCE = "panhuman_distill_v1"
SAME = {"CL:0001054": "CL:0000860"}
"""The studies call CD14+ monocytes classical; to the ontology neither of the terms is above the other."""
TERMS = {
    "CD8 T cell": "CL:0000625",
    "CD16 monocyte": "CL:0000875",
    "Delta cell": "CL:0000173",
    "Excitatory neuron": "CL:0000679",
    "Inhibitory neuron": "CL:0000617",
}
"""Types that the package gives a more general term than their name says, or that of another organ."""


def main() -> None:
    model = actinn_jax.bundled_reference(REFERENCE)
    adata = ad.read_h5ad(sys.argv[1])
    try:
        found = actinn_jax.annotate(adata, model).obs
    except ValueError as error:
        if "too few to annotate" not in str(error):
            raise
        found = pd.DataFrame({"celltype": "", "celltype_probability": 0.0}, index=adata.obs_names)
    terms = {name: SAME.get(term, term) for name, term in model.class_to_cl.items() if term.startswith("CL:")} | TERMS
    labels = found["celltype"].astype(str).map(terms).fillna("")
    table = {"label": labels.to_numpy(), "confidence": found["celltype_probability"].to_numpy()}
    pd.DataFrame(table, index=adata.obs_names.rename("cell")).to_csv(sys.argv[2])


if __name__ == "__main__":
    main()
