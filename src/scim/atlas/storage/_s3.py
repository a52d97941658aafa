"""Files in a bucket, by pyarrow; every error of the network says what was tried and is a `StorageError`."""

from __future__ import annotations

import contextlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyarrow as pa

from scim._core.errors import StorageError
from scim._core.settings import settings
from scim.atlas.storage._files import CHUNK, StoredFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from urllib.parse import SplitResult

# A server that stopped in the middle is an error after 3 × 5 s. "Request" is the time without a single byte.
CONNECT_SECONDS = 3
REQUEST_SECONDS = 5
TRIES = 3
N_PARALLEL = 16


class S3Files:
    """Files under a prefix of a bucket."""

    def __init__(self, root: str) -> None:
        self.root = root  # "bucket/prefix"
        self.system = _system()

    def exists(self, name: str) -> bool:
        from pyarrow.fs import FileType  # noqa: PLC0415  (those who read a folder need no S3)

        with self._tried("look for", name):
            return bool(self.system.get_file_info(self._key(name)).type != FileType.NotFound)

    def read(self, name: str) -> bytes:
        # pyarrow asks for the size first and then for so many bytes: of a file that grew in between it reads a part.
        for _ in range(TRIES):
            content = b"".join(self.chunks(name))
            with self._tried("read", name):
                if self.system.get_file_info(self._key(name)).size in (len(content), None):  # None: it went since
                    return content
        msg = f"'s3://{self._key(name)}' changes while it is read; try again."
        raise StorageError(msg)

    def chunks(self, name: str) -> Iterator[bytes]:
        with self._tried("read", name):
            stream = self.system.open_input_stream(self._key(name), compression=None)
        with stream:
            while True:
                chunk = self._next(stream, name)
                if not chunk:
                    return
                yield chunk

    def _next(self, stream: Any, name: str) -> bytes:
        try:
            with self._tried("read", name):
                return bytes(stream.read(CHUNK))
        except StorageError:
            # Of a file that was deleted since it was opened pyarrow says "Failed to flush response stream".
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
        with ThreadPoolExecutor(N_PARALLEL) as pool:
            list(pool.map(self._delete, names))

    def _delete(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError), self._tried("delete", name):
            self.system.delete_file(self._key(name))

    def delete_folder(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError), self._tried("delete", name):
            self.system.delete_dir(self._key(name))

    def files(self, folder: str) -> list[StoredFile]:
        start = len(self.root) + 1
        found = [
            StoredFile(info.path[start:], info.size, info.mtime_ns / 1e9)
            for info in self._list(folder, recursive=True)
            if info.is_file
        ]
        return sorted(found)

    def folders(self, folder: str) -> list[str]:
        return sorted(info.base_name for info in self._list(folder, recursive=False) if not info.is_file)

    def _list(self, folder: str, *, recursive: bool) -> list[Any]:
        from pyarrow.fs import FileSelector  # noqa: PLC0415  (as above)

        # Not allow_not_found: a bucket that is not there would be an empty folder as well.
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
        uri = f"s3://{self._key(name)}"
        try:
            yield
        except FileNotFoundError as error:
            msg = f"No {uri!r}."
            raise FileNotFoundError(msg) from error
        except (OSError, pa.ArrowException) as error:
            chosen = settings.storage  # not the proxy: its password is nobody's business
            how = f"endpoint={chosen.endpoint!r}, region={chosen.region!r}, anonymous={chosen.anonymous}"
            msg = f"Could not {what} {uri!r}: {_line(error)}. Check scim.settings.storage: {how}."
            raise StorageError(msg) from error


def tiledb_config() -> dict[str, str]:
    """Return what TileDB must know to reach the same bucket."""
    chosen = settings.storage
    config = {
        "vfs.s3.connect_timeout_ms": str(CONNECT_SECONDS * 1000),
        "vfs.s3.request_timeout_ms": str(REQUEST_SECONDS * 1000),
        "vfs.s3.connect_max_tries": str(TRIES - 1),  # TileDB counts those after the first
    }
    if region := _region():
        config["vfs.s3.region"] = region
    if chosen.endpoint:
        address = _address("endpoint", chosen.endpoint)
        config["vfs.s3.endpoint_override"] = address.netloc
        config["vfs.s3.scheme"] = address.scheme
        config["vfs.s3.use_virtual_addressing"] = "false"
    if chosen.proxy:
        proxy = _address("proxy", chosen.proxy)
        config["vfs.s3.proxy_scheme"] = proxy.scheme
        config["vfs.s3.proxy_host"] = str(proxy.hostname)
        config["vfs.s3.proxy_port"] = str(_port(proxy))
        config["vfs.s3.proxy_username"] = proxy.username or ""
        config["vfs.s3.proxy_password"] = proxy.password or ""
    if chosen.anonymous:
        config["vfs.s3.no_sign_request"] = "true"
    return config


def _system() -> Any:
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem  # noqa: PLC0415  (as above)

    chosen = settings.storage
    options: dict[str, Any] = {}
    if chosen.endpoint:
        address = _address("endpoint", chosen.endpoint)
        options |= {"endpoint_override": address.netloc, "scheme": address.scheme}
    if chosen.proxy:
        proxy = _address("proxy", chosen.proxy)
        parts = {"scheme": proxy.scheme, "host": proxy.hostname, "port": _port(proxy)}
        login = {"username": proxy.username, "password": proxy.password}
        options["proxy_options"] = parts | {key: value for key, value in login.items() if value}
    return S3FileSystem(
        region=_region(),
        anonymous=chosen.anonymous,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=TRIES),
        # A small file is one request then, and an error is raised where the file is closed, not in a thread.
        allow_delayed_open=True,
        background_writes=False,
        **options,
    )


def _region() -> str | None:
    # A server of one's own has no regions, but the signature names one; without it AWS's library would ask around.
    return settings.storage.region or ("us-east-1" if settings.storage.endpoint else None)


def _address(name: str, text: str) -> SplitResult:
    address = urlsplit(text if "://" in text else f"https://{text}")
    if address.scheme not in ("http", "https") or not address.hostname or address.path.strip("/") or address.query:
        msg = f"scim.settings.storage.{name} must be as 'https://host:port', got {text!r}."
        raise ValueError(msg)
    return address


def _port(address: SplitResult) -> int:
    return address.port or (443 if address.scheme == "https" else 80)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")
