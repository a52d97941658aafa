"""Folders and results of the published package; run as a folder, by the interpreter of its own environment.

    PYTHON tests/oracle/package network FOLDER CELLS.h5ad        a network of full shape
    PYTHON tests/oracle/package train FOLDER CELLS.h5ad CELLS.obo  a small one, trained
    PYTHON tests/oracle/package build FOLDER CELLS.h5ad           its indices, embeddings and metadata
    PYTHON tests/oracle/package outputs FOLDER QUERY.h5ad OUT     the results of the package for a query
    PYTHON tests/oracle/package names OUT                         its public names and their arguments

Nothing here imports scim: the tests compare the results.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # tests: for helpers.published


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=["network", "train", "build", "outputs", "names"])
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--only", nargs="+", default=[], help="of `outputs`: which parts")
    parser.add_argument("--knn", default="hnswlib", help="of `outputs`: hnswlib or tiledb_vector_search")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    more = {"only": given.only, "knn": given.knn} if given.job == "outputs" else {}
    importlib.import_module(given.job).run(*given.paths, **more)


if __name__ == "__main__":
    main()
