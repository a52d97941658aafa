"""Sphinx: `sphinx-build docs docs/_build`."""

from __future__ import annotations

from importlib.metadata import version as installed

project = "scim"
author = "the scim developers"
copyright = "2026, the scim developers"
release = version = installed("scim-atlas")

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinxcontrib.bibtex",
]
autosummary_generate = True
autodoc_typehints = "signature"
numpydoc_show_class_members = False
bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"
myst_enable_extensions = ["dollarmath"]
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
exclude_patterns = ["_build"]
html_theme = "sphinx_book_theme"
html_title = "scim"
