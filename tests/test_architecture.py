"""The rooms, the arrows between them, and the one room for each heavy dependency: docs/architecture.md, held by the imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "scim"

ARROWS = {
    "_core": set(),
    "ontology": {"_core"},
    "pp": {"_core", "io"},
    "io": {"_core"},  # the boundary: every room that reads or writes a file goes through it
    "index": {"_core", "io"},
    "label_transfer": {"_core", "ontology", "io"},
    "model": {"_core", "pp", "io"},
    "training": {"_core", "pp", "ontology", "io", "model", "label_transfer"},
    "atlas": {"_core", "pp", "ontology", "io", "index", "model", "label_transfer"},
    "tl": {"_core", "io", "pp", "ontology", "index", "model", "label_transfer", "atlas"},
    "get": {"_core", "io", "atlas", "ontology"},
    "pl": {"_core", "io", "get", "atlas"},  # atlas: for the type of an argument
    "scimilarity": {"_core", "pp", "io", "label_transfer", "index", "model", "atlas", "ontology", "pl"},
    "datasets": {"_core"},
    "cli": {"_core", "io", "tl", "get", "pl", "atlas", "model", "datasets", "ontology", "scimilarity"},
}

HOME = {
    "torch": {"model", "training", "scimilarity"},  # scimilarity: attributions of the published package
    "safetensors": {"io", "model", "training"},  # model and training write
    "captum": {"model"},
    "tiledbsoma": {"atlas"},
    "tiledb": {"scimilarity"},
    "matplotlib": {"pl"},
    "pynndescent": {"index"},
    "cellxgene_ontology_guide": {"ontology"},
    "cyclopts": {"cli"},
    "h5py": {"io"},
    "lightning_fabric": {"training"},
    "pytorch_metric_learning": {"training"},
}


def imports(file: Path) -> set[str]:
    """Return the dotted names that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def rooms() -> list[tuple[str, Path]]:
    return [(file.relative_to(PACKAGE).parts[0], file) for file in sorted(PACKAGE.glob("*/**/*.py"))]


def test_every_room_is_drawn():
    assert {room for room, _ in rooms()} == set(ARROWS)


@pytest.mark.parametrize("room", sorted(ARROWS))
def test_arrows_run_one_way(room):
    taken = set()
    for name, file in rooms():
        if name == room:
            used = {dotted.split(".")[1] for dotted in imports(file) if dotted.startswith("scim.")}
            taken |= {other for other in used if other in ARROWS}
    assert taken - {room} <= ARROWS[room]


def test_the_arrows_have_no_cycle():
    left = dict(ARROWS)
    while left:
        ground = [room for room, below in left.items() if not below & set(left)]
        assert ground, f"a circle among {sorted(left)}"
        for room in ground:
            del left[room]


@pytest.mark.parametrize("package", sorted(HOME))
def test_a_heavy_dependency_has_one_room(package):
    users = {room for room, file in rooms() if any(name.split(".")[0] == package for name in imports(file))}
    assert users <= HOME[package]


def test_numba_is_imported_in_three_files():
    packages = {"numba", "llvmlite"}
    users = [file.name for _, file in rooms() if packages & {name.split(".")[0] for name in imports(file)}]
    assert users == ["dot.py", "kernel_cache.py", "numba.py"]  # the decorators, what they do not give, their cache


def test_import_scim_is_light():
    heavy = ("torch", "tiledbsoma", "numba", "matplotlib", "scanpy", "anndata", "pandas")
    code = f"import scim, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_embedding_needs_neither_lightning_nor_captum():
    heavy = ("lightning_fabric", "pytorch_metric_learning", "sklearn", "captum", "matplotlib")
    code = f"import scim.model, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reading_an_atlas_needs_no_torch():
    code = (
        "import anndata, pandas, scim, sys; a = scim.atlas.open(scim.atlas.PACKAGED); X = a.embeddings(range(20)); "
        "c = anndata.AnnData(obs=pandas.DataFrame(index=[str(i) for i in range(20)]), obsm={'X_scim': X}); "
        "scim.tl.annotate(c, a); scim.tl.search(c, a, k=2); scim.get.hits(c); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_files_are_small():
    long = {str(f.relative_to(PACKAGE)): n for _, f in rooms() if (n := len(f.read_text().splitlines())) > 400}
    assert not long


def test_ci_runs_the_test_command_of_the_readme():
    root = PACKAGE.parents[1]
    readme = (root / "README.md").read_text()
    command = next(line.strip() for line in readme.splitlines() if "pytest" in line and "constraints" in line)
    assert command in (root / ".ci" / "run").read_text()


OPENERS = {"open_memmap", "fromfile", "memmap", ".read_text", ".read_bytes", "load_file", "safe_open"}
OPENERS |= {"np.load", "json.load", "json.loads", "h5py.File", "zarr.open_group", "zarr.open", "os.open"}
OPENERS |= {"anndata.read_h5ad", "anndata.read_zarr", "sc.read_10x_h5"}
"""Calls that read a file, or parse bytes: the last part of a name, a method, or a function of a package."""

OF_OTHERS = {"scim", "tiledbsoma", "tiledb", "atlases", "knn", "PublishedCells"}
"""Functions `open` of these open no file themselves."""

OF_ITS_OWN = {
    "pp/_gene_names.py": {"files('scim.pp').joinpath('genes.tsv.gz').open"},  # of the package
    "pp/_species.py": {"files('scim.pp').joinpath('orthologs_mouse.tsv.gz').open"},
    "cli/_main.py": {"os.open"},  # the null device
}
"""Files that open something which holds nothing from outside, and the calls."""


def openers(file: Path) -> set[str]:
    """Return the calls in a file that open a file to read it, or parse bytes."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            first, last = called.partition(".")[0], called.rpartition(".")[2]
            texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            opens = last == "open" and first not in OF_OTHERS and "r" in (mode := (*texts, "r")[0]) and "+" not in mode
            if {called, last, f".{last}" if "." in called else ""} & OPENERS or opens:
                found.add(called)
    return found


def test_only_the_boundary_opens_files():
    for _, file in rooms():
        name = file.relative_to(PACKAGE).as_posix()
        if not name.startswith("io/"):
            assert openers(file) <= OF_ITS_OWN.get(name, set()), name
