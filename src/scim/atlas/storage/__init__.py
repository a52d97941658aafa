"""The files of an atlas, in a folder or on S3; the cache of remote folders; the lock of writers."""

from scim.atlas.storage._cache import cached
from scim.atlas.storage._layout import NUMBERED, is_ours, number_of
from scim.atlas.storage._local import ABANDONED_AFTER, StoredFile
from scim.atlas.storage._lock import Lock
from scim.atlas.storage._storage import Storage

__all__ = ["ABANDONED_AFTER", "NUMBERED", "Lock", "Storage", "StoredFile", "cached", "is_ours", "number_of"]
