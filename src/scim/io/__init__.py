"""The boundary: bytes and names from outside become checked values here; files are opened, and appear whole.

Matrices of cells are in `scim.io.cells`.
"""

from scim.io._folder import files_below, flush, new_array, new_folder, release_pages, write_json
from scim.io._json import Record, as_record, parse_json, parse_object, read_json
from scim.io._mapped import MappedFiles
from scim.io._names import check_name, inside, is_link
from scim.io._npy import check_array, map_npy, map_records, parse_npy, parse_npz, read_npy
from scim.io._open import MOST_JSON, check_regular, checksum, open_file, read_bytes, read_text
from scim.io._paths import local_path, new_path, real_path
from scim.io._sealed import (
    check_content,
    check_size,
    describe_file,
    digest,
    sealed,
    sealed_with,
    unsealed,
    unsealed_with,
)

__all__ = [
    "MOST_JSON",
    "MappedFiles",
    "Record",
    "as_record",
    "check_array",
    "check_content",
    "check_name",
    "check_regular",
    "check_size",
    "checksum",
    "describe_file",
    "digest",
    "files_below",
    "flush",
    "inside",
    "is_link",
    "local_path",
    "map_npy",
    "map_records",
    "new_array",
    "new_folder",
    "new_path",
    "open_file",
    "parse_json",
    "parse_npy",
    "parse_npz",
    "parse_object",
    "read_bytes",
    "read_json",
    "read_npy",
    "read_text",
    "real_path",
    "release_pages",
    "sealed",
    "sealed_with",
    "unsealed",
    "unsealed_with",
    "write_json",
]
