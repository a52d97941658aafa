"""The files of an atlas in a bucket, by pyarrow; an error of the network is a `StorageError` naming what was tried."""

from __future__ import annotations

import contextlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow.fs import AwsStandardS3RetryStrategy, FileSelector, FileType, S3FileSystem

from scim._core import StorageError, error_text, settings
from scim._core.fork import refuse_fork
from scim.atlas.storage._local import CHUNK, StoredFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from urllib.parse import SplitResult

CONNECT_SECONDS, REQUEST_SECONDS, TRIES = 3, 5, 3  # "request" is the time without a single byte
N_PARALLEL = 16


_processes: list[int] = []  # those that have used AWS's library, a fork after its parent


class S3Files:
    """Files under a prefix of a bucket."""

    def __init__(self, root: str) -> None:
        _check_process()
        self.root = root  # "bucket/prefix"
        self.system = _system()

    def tiledb_config(self) -> dict[str, str]:
        """Return the options with which TileDB reaches the same bucket."""
        chosen = settings.storage
        options = {
            "connect_timeout_ms": str(CONNECT_SECONDS * 1000),
            "request_timeout_ms": str(REQUEST_SECONDS * 1000),
            "connect_max_tries": str(TRIES - 1),  # TileDB counts those after the first
        }
        if region := _region():
            options["region"] = region
        if endpoint := _address("endpoint"):
            options |= {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme}
            options["use_virtual_addressing"] = "false"
        if proxy := _address("proxy"):
            options |= {"proxy_scheme": proxy.scheme, "proxy_host": str(proxy.hostname), "proxy_port": _port(proxy)}
            options |= {"proxy_username": proxy.username or "", "proxy_password": proxy.password or ""}
        if chosen.anonymous:
            options["no_sign_request"] = "true"
        return {f"vfs.s3.{name}": value for name, value in options.items()}

    def exists(self, name: str) -> bool:
        with self._tried("look for", name):
            return bool(self.system.get_file_info(self._key(name)).type != FileType.NotFound)

    def read(self, name: str) -> bytes:
        # pyarrow reads the size first and then so many bytes: of a file that grew in between, a part.
        for _ in range(TRIES):
            content = b"".join(self.chunks(name))
            with self._tried("read", name):
                if self.system.get_file_info(self._key(name)).size in (len(content), None):  # None: deleted since
                    return content
        msg = f"'s3://{self._key(name)}' changes while it is read; try again."
        raise StorageError(msg)

    def chunks(self, name: str) -> Iterator[bytes]:
        with self._tried("read", name):
            stream = self.system.open_input_stream(self._key(name), compression=None)
        with stream:
            while chunk := self._next(stream, name):
                yield chunk

    def _next(self, stream: Any, name: str) -> bytes:
        try:
            with self._tried("read", name):
                return bytes(stream.read(CHUNK))
        except StorageError:
            # A file that was deleted since it was opened is "Failed to flush response stream" to pyarrow.
            if self.exists(name):
                raise
            msg = f"No 's3://{self._key(name)}'."
            raise FileNotFoundError(msg) from None

    def write(self, name: str, content: bytes, *, new: bool) -> None:
        if new and self.exists(name):
            msg = f"'s3://{self._key(name)}' exists already."
            raise FileExistsError(msg)
        with self._tried("write", name), self._writer(name) as stream:
            stream.write(content)

    def put(self, file: Path, name: str) -> None:
        with file.open("rb") as source, self._tried("write", name), self._writer(name) as stream:
            shutil.copyfileobj(source, stream, CHUNK)

    def delete(self, names: Iterable[str]) -> None:
        def delete(name: str) -> None:
            with contextlib.suppress(FileNotFoundError), self._tried("delete", name):
                self.system.delete_file(self._key(name))

        with ThreadPoolExecutor(N_PARALLEL) as pool:
            list(pool.map(delete, names))

    def delete_folder(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError), self._tried("delete", name):
            self.system.delete_dir(self._key(name))

    def files(self, folder: str) -> list[StoredFile]:
        start, infos = len(self.root) + 1, self._list(folder, recursive=True)
        return sorted(StoredFile(info.path[start:], info.size, info.mtime_ns / 1e9) for info in infos if info.is_file)

    def folders(self, folder: str) -> list[str]:
        return sorted(info.base_name for info in self._list(folder, recursive=False) if not info.is_file)

    def _list(self, folder: str, *, recursive: bool) -> list[Any]:
        # Not allow_not_found: a missing bucket would be an empty folder as well.
        selector = FileSelector(self._key(folder), recursive=recursive)
        with contextlib.suppress(FileNotFoundError), self._tried("list", folder):
            return list(self.system.get_file_info(selector))
        return []

    def _key(self, name: str) -> str:
        return f"{self.root}/{name}" if name else self.root

    def _writer(self, name: str) -> Any:
        return self.system.open_output_stream(self._key(name), compression=None)

    @contextlib.contextmanager
    def _tried(self, what: str, name: str) -> Iterator[None]:
        _check_process()
        uri = f"s3://{self._key(name)}"
        try:
            yield
        except FileNotFoundError as error:
            msg = f"No {uri!r}."
            raise FileNotFoundError(msg) from error
        except (OSError, pa.ArrowException) as error:
            chosen = settings.storage  # not the proxy, which may have a password
            how = f"endpoint={chosen.endpoint!r}, region={chosen.region!r}, anonymous={chosen.anonymous}"
            msg = f"Could not {what} {uri!r}: {error_text(error)}. Check scim.settings.storage: {how}."
            raise StorageError(msg) from error


def _check_process() -> None:
    if not _processes:
        _processes.append(os.getpid())
    if _processes[0] != os.getpid():  # the clients of a fork wait for threads of its parent
        refuse_fork("Access to S3")


def _system() -> Any:
    options: dict[str, Any] = {}
    if endpoint := _address("endpoint"):
        options |= {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme}
    if proxy := _address("proxy"):
        parts = {"scheme": proxy.scheme, "host": proxy.hostname, "port": int(_port(proxy))}
        login = {"username": proxy.username, "password": proxy.password}
        options["proxy_options"] = parts | {key: value for key, value in login.items() if value}
    return S3FileSystem(
        region=_region(),
        anonymous=settings.storage.anonymous,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=TRIES),
        # A small file is one request then, and an error is raised where the file is closed, not in a thread.
        allow_delayed_open=True,
        background_writes=False,
        **options,
    )


def _region() -> str | None:
    # Other servers have no regions, but the signature names one; without it AWS's library would search for it.
    return settings.storage.region or ("us-east-1" if settings.storage.endpoint else None)


def _address(name: str) -> SplitResult | None:
    """Return the address in a setting."""
    text: str | None = getattr(settings.storage, name)
    if not text:
        return None
    address = urlsplit(text if "://" in text else f"https://{text}")
    if address.scheme not in ("http", "https") or not address.hostname or address.path.strip("/") or address.query:
        msg = f"scim.settings.storage.{name} must be as 'https://host:port', got {text!r}."
        raise ValueError(msg)
    return address


def _port(address: SplitResult) -> str:
    return str(address.port or (443 if address.scheme == "https" else 80))
