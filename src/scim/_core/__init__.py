"""Keys, types, errors, checks, settings, logging and files that every room uses; without numba and pandas."""

from __future__ import annotations

from scim._core.checks import (
    check_adata,
    check_choice,
    check_count,
    check_key,
    check_names,
    check_obs_key,
    check_range,
    check_recall,
    check_rep,
    check_writable,
    refuse_absent,
    require,
)
from scim._core.errors import (
    CountsError,
    FilterError,
    FormatError,
    GeneOverlapError,
    LockedError,
    ScimWarning,
    StorageError,
    error_text,
)
from scim._core.folder import new_array, new_folder, read_json, release_pages, write_json
from scim._core.log import logger, progress, warn
from scim._core.settings import Settings, StorageSettings, settings
from scim._core.types import Alternative, Ancestors, Centroid, Duplicates, IndexKind, SpeciesName, Weights

__all__ = [
    "Alternative",
    "Ancestors",
    "Centroid",
    "CountsError",
    "Duplicates",
    "FilterError",
    "FormatError",
    "GeneOverlapError",
    "IndexKind",
    "LockedError",
    "ScimWarning",
    "Settings",
    "SpeciesName",
    "StorageError",
    "StorageSettings",
    "Weights",
    "check_adata",
    "check_choice",
    "check_count",
    "check_key",
    "check_names",
    "check_obs_key",
    "check_range",
    "check_recall",
    "check_rep",
    "check_writable",
    "error_text",
    "logger",
    "new_array",
    "new_folder",
    "progress",
    "read_json",
    "refuse_absent",
    "release_pages",
    "require",
    "settings",
    "warn",
    "write_json",
]
