"""What makes a change of an atlas whole or not at all: manifest, ledger, journal, roll back, transaction."""

from scim.atlas.commit._arrays import load_array, restore_array, store_array
from scim.atlas.commit._journal import read_journal
from scim.atlas.commit._ledger import (
    LEDGER,
    SOMA,
    Ledger,
    belongs,
    needed_files,
    read_ledger,
    restore_ledger,
    store_files,
)
from scim.atlas.commit._manifest import (
    COMMITS,
    FILE,
    Counted,
    IndexEntry,
    IndexPart,
    Manifest,
    Space,
    StoredArray,
    commit_file,
    commits,
    read_manifest,
)
from scim.atlas.commit._rollback import roll_back, uncommitted
from scim.atlas.commit._transaction import Transaction, first_commit, is_older_copy

__all__ = [
    "COMMITS",
    "FILE",
    "LEDGER",
    "SOMA",
    "Counted",
    "IndexEntry",
    "IndexPart",
    "Ledger",
    "Manifest",
    "Space",
    "StoredArray",
    "Transaction",
    "belongs",
    "commit_file",
    "commits",
    "first_commit",
    "is_older_copy",
    "load_array",
    "needed_files",
    "read_journal",
    "read_ledger",
    "read_manifest",
    "restore_array",
    "restore_ledger",
    "roll_back",
    "store_array",
    "store_files",
    "uncommitted",
]
