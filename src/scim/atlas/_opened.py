"""An opened atlas: which commit is read, and what of it is open."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from scim._core import keys
from scim.atlas.commit import Manifest, Space, load_array, read_manifest
from scim.atlas.soma import Guard, open_experiment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from scim.atlas.storage import Storage

_OF_A_COMMIT = ("ids", "model", "index", "labels", "_electorates", "_covering", "_experiment", "_guard", "_removed")
"""What is read when it is first asked for, and again after another commit."""


class Opened:
    """An atlas as it was at one commit, until :meth:`refresh`."""

    def __init__(self, storage: Storage, mode: Literal["r", "w"], manifest: Manifest, *, draft: bool = False) -> None:
        self._storage = storage
        self.mode = mode
        self._manifest = manifest
        self._draft = draft
        self._closed = False
        _ = self._space  # an atlas that has no draft is refused at once

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the store. Closing twice is fine."""
        self._forget()
        self._closed = True

    def refresh(self) -> bool:
        """Move on to what was committed last.

        Returns
        -------
        Whether there was something newer.
        """
        self._check_open()
        return self._take(read_manifest(self._storage))

    @property
    def uri(self) -> str:
        """Where it is: an absolute path, or `s3://bucket/prefix`."""
        return self._storage.uri

    @property
    def path(self) -> Path:
        """Its folder.

        Raises
        ------
        ValueError
            It is remote; it has a `uri`.
        """
        if self._storage.path is None:
            msg = f"The atlas at {self.uri!r} is remote and has no folder; use its uri."
            raise ValueError(msg)
        return self._storage.path

    @property
    def version(self) -> int:
        """Number of the commit that is read; :func:`scim.atlas.open` takes it as `at`."""
        return self._manifest.number

    @property
    def uid(self) -> str:
        """Name of this atlas for machines, the same in every copy of it."""
        return self._manifest.uid

    @functools.cached_property
    def ids(self) -> NDArray[np.int64]:
        """`soma_joinid` of all cells, ascending; those of removed cells are never given again."""
        every = np.arange(self._manifest.n_rows)
        return every if self._removed is None else np.delete(every, self._removed)

    @property
    def _space(self) -> Space:
        if not self._draft:
            return self._manifest.space
        if self._manifest.draft is None:
            msg = f"The atlas at {self.uri!r} has no draft; reembed(model, publish=False) makes one."
            raise ValueError(msg)
        return self._manifest.draft

    @functools.cached_property
    def _experiment(self) -> Any:
        self._guard.check_layout()
        return open_experiment(self._storage, at=self._manifest.timestamp)

    @functools.cached_property
    def _guard(self) -> Guard:
        return Guard(self._storage, self._manifest)

    @functools.cached_property
    def _removed(self) -> NDArray[np.int64] | None:
        return None if self._manifest.removed is None else load_array(self._storage, self._manifest.removed)

    def _open(self) -> Any:
        self._check_open()
        return self._experiment

    def _checked(self, columns: Sequence[str]) -> Any:
        """Return the experiment, after a look at the files of obs."""
        experiment = self._open()
        self._guard.check("obs", later_columns=not set(columns) <= set(keys.ATLAS_COLUMNS))
        return experiment

    def _check_open(self) -> None:
        if self._closed:
            msg = f"The atlas at {self.uri!r} is closed; open it again with scim.atlas.open()."
            raise ValueError(msg)

    def _take(self, manifest: Manifest) -> bool:
        """Read another commit from now on."""
        if manifest == self._manifest:
            return False
        self._forget()
        self._manifest = manifest
        return True

    def _forget(self) -> None:
        if "_experiment" in self.__dict__:
            self._experiment.close()
        for name in _OF_A_COMMIT:
            self.__dict__.pop(name, None)
