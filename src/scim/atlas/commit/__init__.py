"""What makes a change of an atlas whole or not at all: manifest, ledger, journal, roll back, transaction."""

from scim.atlas.commit._journal import read_journal
from scim.atlas.commit._ledger import LEDGER, SOMA, Ledger, read_ledger, store_files
from scim.atlas.commit._manifest import (
    COMMITS,
    FILE,
    IndexEntry,
    IndexPart,
    Manifest,
    Space,
    StoredArray,
    commit_file,
    commits,
    read_manifest,
)
from scim.atlas.commit._rollback import uncommitted
from scim.atlas.commit._transaction import Transaction, first_commit

__all__ = [
    "COMMITS",
    "FILE",
    "LEDGER",
    "SOMA",
    "IndexEntry",
    "IndexPart",
    "Ledger",
    "Manifest",
    "Space",
    "StoredArray",
    "Transaction",
    "commit_file",
    "commits",
    "first_commit",
    "read_journal",
    "read_ledger",
    "read_manifest",
    "store_files",
    "uncommitted",
]
