"""A server that speaks as much of S3 as reading needs, and whose lists and files say what a test wants them to say."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

MODIFIED = "2026-01-01T00:00:00.000Z"


class Bucket:
    """What the server serves: a bucket "b" with any keys."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.listed: dict[str, int] = {}
        """Bytes that the list states of a key, if others than it has; a key may have none."""
        self.stated: dict[str, int] = {}
        """Bytes that the header of a file states, if others than it has."""
        self.endless = False
        """Whether each list says that there is more."""
        self.status = 0
        """The status of every response, as 403; 0 = what is right."""
        self.endpoint = ""

    def page(self, prefix: str) -> bytes:
        sizes = {key: len(content) for key, content in self.files.items()} | self.listed
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>{MODIFIED}</LastModified><Size>{size}</Size></Contents>"
            for key, size in sorted(sizes.items())
            if key.startswith(prefix)
        )
        more = "<NextContinuationToken>more</NextContinuationToken>" if self.endless else ""
        head = f"<IsTruncated>{str(self.endless).lower()}</IsTruncated>{more}<Name>b</Name><KeyCount>1</KeyCount>"
        return f"<ListBucketResult>{head}{contents}</ListBucketResult>".encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bucket: Bucket

    def do_GET(self) -> None:  # (the name that the standard library calls)
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        key = unquote(url.path).removeprefix("/b").removeprefix("/")
        query = parse_qs(url.query)
        if self.bucket.status:
            self._send(b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>", self.bucket.status)
        elif "list-type" in query:
            self._send(self.bucket.page(query.get("prefix", [""])[0]))
        elif not key or key in self.bucket.files:
            self._send_file(key)
        else:
            self._send(b"<Error><Code>NoSuchKey</Code></Error>", 404)

    do_HEAD = do_PUT = do_GET  # noqa: N815  (as above)

    def _send_file(self, key: str) -> None:
        content, status = self.bucket.files.get(key, b""), 200
        n_bytes, headers = self.bucket.stated.get(key, len(content)), {}
        if (part := self.headers.get("Range")) and self.command == "GET":
            first, last = (int(text) for text in part.removeprefix("bytes=").split("-"))
            content, status = content[first : last + 1], 206
            headers = {"Content-Range": f"bytes {first}-{last}/{n_bytes}"}
            n_bytes = last + 1 - first
        self._send(content, status, n_bytes, headers)

    def _send(
        self, content: bytes, status: int = 200, n_bytes: int = -1, headers: dict[str, str] | None = None
    ) -> None:
        n_bytes = len(content) if n_bytes < 0 else n_bytes
        self.send_response(status)
        for name, value in {
            "Content-Length": str(n_bytes),
            "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.close_connection = n_bytes != len(content)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving() -> Iterator[Bucket]:
    """Serve a bucket from a thread of this process."""
    bucket = Bucket()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"bucket": bucket}))
    server.daemon_threads = True
    bucket.endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield bucket
    finally:
        server.shutdown()
        server.server_close()
