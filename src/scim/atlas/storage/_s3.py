"""The files of an atlas in a bucket, by pyarrow; an error of the network is a `StorageError` naming what was tried.

The server is not trusted: its names are checked, it sends no more than was asked for, and each response ends in time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow.fs import AwsStandardS3RetryStrategy, FileSelector, FileType, S3FileSystem, finalize_s3

from scim._core import FormatError, StorageError, error_text, hide_login, settings
from scim._core.fork import refuse_fork
from scim.atlas.storage._layout import is_ours
from scim.atlas.storage._local import CHUNK, StoredFile
from scim.io import check_name, open_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from urllib.parse import SplitResult

CONNECT_SECONDS, REQUEST_SECONDS, TRIES = 3, 5, 3  # "request" is the time without a single byte
RESPONSE_SECONDS = 60
"""Seconds for a list of a folder, of some 300,000 files, or a part of a file: a server could send more without end."""
N_PARALLEL = 16
_REJECTED = ("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "INVALID_CLIENT_TOKEN", " 403")

_processes: list[int] = []  # those that have used AWS's library, a fork after its parent


class S3Files:
    """Files under a prefix of a bucket."""

    def __init__(self, root: str) -> None:
        _check_process()
        self.root = root  # "bucket/prefix"
        with self._tried("use", ""):
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
            options |= {"proxy_username": unquote(proxy.username or "")}
            options |= {"proxy_password": unquote(proxy.password or "")}
        if chosen.anonymous:
            options["no_sign_request"] = "true"
        return {f"vfs.s3.{name}": value for name, value in options.items()}

    def exists(self, name: str) -> bool:
        with self._tried("look for", name):
            return bool(self._info(name).type != FileType.NotFound)

    def read(self, name: str, most: int) -> bytes:
        # pyarrow reads the size first and then so many bytes: of a file that grew in between, a part.
        for _ in range(TRIES):
            content, n_bytes = [], 0
            for chunk in self.chunks(name):
                content.append(chunk)
                n_bytes += len(chunk)
                if n_bytes > most:
                    msg = f"'s3://{self._key(name)}' has more than {most} bytes; it is damaged or something else."
                    raise FormatError(msg)
            with self._tried("read", name):
                if self._info(name).size in (n_bytes, None):  # None: deleted since
                    return b"".join(content)
        msg = f"'s3://{self._key(name)}' changes while it is read; try again."
        raise StorageError(msg)

    def chunks(self, name: str) -> Iterator[bytes]:
        with self._tried("read", name):
            stream = _within(lambda: self.system.open_input_stream(self._key(name), compression=None))
        with stream:
            while chunk := self._next(stream, name):
                yield chunk

    def _next(self, stream: Any, name: str) -> bytes:
        try:
            with self._tried("read", name):
                return bytes(_within(lambda: stream.read(CHUNK)))
        except StorageError:
            # A file that was deleted since it was opened is "Failed to flush response stream" to pyarrow.
            if self.exists(name):
                raise
            msg = f"No 's3://{self._key(name)}'."
            raise FileNotFoundError(msg) from None

    def _info(self, name: str) -> Any:
        return _within(lambda: self.system.get_file_info(self._key(name)))

    def write(self, name: str, content: bytes, *, new: bool) -> None:
        if new and self.exists(name):
            msg = f"'s3://{self._key(name)}' exists already."
            raise FileExistsError(msg)
        with self._tried("write", name), self._writer(name) as stream:
            stream.write(content)

    def put(self, file: Path, name: str) -> None:
        with open_file(file) as source, self._tried("write", name), self._writer(name) as stream:
            shutil.copyfileobj(source, stream, CHUNK)

    def delete(self, names: Iterable[str]) -> None:
        def delete(name: str) -> None:
            with contextlib.suppress(FileNotFoundError), self._tried("delete", name):
                self.system.delete_file(self._key(name))

        with ThreadPoolExecutor(N_PARALLEL) as pool:
            list(pool.map(delete, names))

    def delete_folder(self, name: str) -> None:
        files = [file.name for file in self.files(name)]
        self.delete([file for file in files if is_ours(file)])
        if all(map(is_ours, files)):  # pyarrow leaves a mark of the folder
            with contextlib.suppress(FileNotFoundError), self._tried("delete", name):
                _within(lambda: self.system.delete_dir(self._key(name)))

    def files(self, folder: str) -> list[StoredFile]:
        infos = [info for info in self._list(folder, recursive=True) if info.is_file]
        # A size below 0 is `None` to pyarrow, or itself; a file has more bytes then than are listed.
        sizes = [max(info.size or 0, 0) for info in infos]
        return sorted(
            StoredFile(self._name(info.path), size, (info.mtime_ns or 0) / 1e9)
            for info, size in zip(infos, sizes, strict=True)
        )

    def folders(self, folder: str) -> list[str]:
        infos = [info for info in self._list(folder, recursive=False) if not info.is_file]
        return sorted(self._name(info.path).rpartition("/")[2] for info in infos)

    def unfinished(self) -> list[str]:
        return []  # files appear whole

    def sweep(self) -> None:
        pass

    def drop_empty(self, folder: str) -> None:
        pass

    def _list(self, folder: str, *, recursive: bool) -> list[Any]:
        # Not allow_not_found: a missing bucket would be an empty folder as well.
        selector = FileSelector(self._key(folder), recursive=recursive)
        with contextlib.suppress(FileNotFoundError), self._tried("list", folder):
            return list(_within(lambda: self.system.get_file_info(selector)))
        return []

    def _name(self, key: str) -> str:
        """Return the name of a file of the atlas, which the server gave as a key."""
        try:
            if key.startswith(f"{self.root}/"):
                return check_name(key[len(self.root) + 1 :])
        except FormatError:
            pass
        msg = (
            f"The server lists {key[:200]!r} in 's3://{self.root}', which is no name of a file of an atlas: delete it."
        )
        raise FormatError(msg)

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
            if isinstance(error, StorageError):
                raise
            text = error_text(error)
            rejected = any(word in text for word in _REJECTED)
            why = " The server rejects the credentials, or they do not allow it." if rejected else ""
            chosen = settings.storage  # not the proxy, which may have a password
            how = f"endpoint={chosen.endpoint!r}, region={chosen.region!r}, anonymous={chosen.anonymous}"
            msg = f"Could not {what} {uri!r}: {text}.{why} Check scim.settings.storage: {how}."
            raise StorageError(msg) from error


def _within(call: Callable[[], Any]) -> Any:
    """Return the result of a call of pyarrow, which reads a list to its end, however long; StorageError if it is late.

    The call cannot be interrupted: what ends it is the end of S3 in this process.
    """
    result: Future[Any] = Future()

    def run() -> None:
        try:
            result.set_result(call())
        except BaseException as error:  # noqa: BLE001  (raised where it is waited for)
            result.set_exception(error)

    threading.Thread(target=run, name="scim-s3", daemon=True).start()
    try:
        return result.result(RESPONSE_SECONDS)
    except TimeoutError:
        if result.done():
            raise
        finalize_s3()
        msg = (
            f"the server sent for {RESPONSE_SECONDS} s without an end; S3 is closed in this process, start Python again"
        )
        raise OSError(msg) from None


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
        options["proxy_options"] = parts | {key: unquote(value) for key, value in login.items() if value}
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
    with contextlib.suppress(ValueError):  # its message may have the password
        address = urlsplit(text if "://" in text else f"https://{text}")
        more = address.path.strip("/") or address.query or (name == "endpoint" and "@" in address.netloc)
        if address.scheme in ("http", "https") and address.hostname and not more and address.port != 0:
            return address
    msg = f"scim.settings.storage.{name} must be as 'https://host:port', got {hide_login(text)!r}."
    if name == "endpoint" and "@" in text:
        msg += " Credentials are those of AWS tools, as in AWS_SECRET_ACCESS_KEY."
    raise ValueError(msg)


def _port(address: SplitResult) -> str:
    return str(address.port or (443 if address.scheme == "https" else 80))
