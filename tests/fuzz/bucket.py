"""A server that speaks as much of S3 as a reader needs, and lies."""

from __future__ import annotations

import json
import os
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

BUCKET = "bucket"
KEYS = [
    "{p}index/v000003/../../../../../../../home/.profile", "{p}index/v000003//victim/file", "{p}index/v000003/..",
    "{p}model/../../victim/file", "{p}model/\x01", "{p}model/a\\b", "/etc/passwd", "other", "", "{p}", "{p}/", "{p}model//",
    "{p}index/v000003/./index.json", "{p}index/v000003/a:b", "{p}ledger/../../x", "{p}" + "a/" * 500, "{p}" + "b" * 1000,
]  # fmt: skip
LIES = (
    "none",
    "key",
    "key",
    "key",
    "folder",
    "size",
    "endless",
    "error",
    "body",
    "endless body",
    "xml",
    "html",
    "etag",
)


def damage_answers(path: Path, rng: np.random.Generator, sandbox: Path) -> str:
    """Choose what the server will lie about."""
    lie = {
        "lie": str(rng.choice(LIES)),
        "key": KEYS[rng.integers(len(KEYS))],
        "number": int(rng.choice([-1, 0, 1, 2**40, 2**62])),
        "share": float(rng.choice([0.05, 0.3, 1.0])),
    }
    (sandbox / "scratch" / "lie.json").write_text(json.dumps(lie))
    return str(lie)


class Server(ThreadingHTTPServer):
    """Serve a folder as a bucket, with the lie that was chosen."""

    daemon_threads = True

    def __init__(self, folder: Path, chosen: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.lie, self.key, self.number, self.share = "none", "", 0, 0.0
        if chosen.exists():
            self.__dict__.update(json.loads(chosen.read_text()))
        self.n_asked = 0
        if (
            os.fork() == 0
        ):  # a process of its own, which ends with the case: TileDB keeps the lock of Python while it waits
            os.closerange(3, self.fileno())
            os.closerange(self.fileno() + 1, 4096)
            self.serve_forever()

    def handle_error(self, *_: Any) -> None:
        """Print nothing when a client has gone."""

    def lies(self, *lies: str) -> bool:
        """Return whether this request is answered by one of these lies; some requests are, at regular distances."""
        return self.lie in lies and int(self.n_asked * self.share) != int((self.n_asked - 1) * self.share)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # one packet a response: the client would wait for the second
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(head=True)

    def do_GET(self) -> None:
        self._answer(head=False)

    def do_PUT(self) -> None:
        self._send(403, b"<Error><Code>AccessDenied</Code></Error>")

    do_POST = do_DELETE = do_PUT  # noqa: N815  (names of the library)

    def _answer(self, *, head: bool) -> None:
        self.server.n_asked += 1
        address = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(address.query, keep_blank_values=True).items()}
        key = unquote(address.path).removeprefix(f"/{BUCKET}").removeprefix("/")
        if self.server.lies("error"):
            self._send(int([403, 404, 500, 301, 200][self.server.n_asked % 5]), b"")
        elif not key:
            self._list(query)
        else:
            self._object(key, head=head)

    def _object(self, key: str, *, head: bool) -> None:
        file = self.server.folder / key
        hostile = self.server.lie == "key" and not file.is_file()
        if not hostile and not file.is_file():
            self._send(404, b"" if head else b"<Error><Code>NoSuchKey</Code></Error>")
            return
        content = b"hostile" if hostile else file.read_bytes()
        if self.server.lies("body"):
            content = content[: len(content) // 2] + b"x" * self.server.n_asked
        status, headers = 200, {}
        if span := self.headers.get("Range"):
            start, _, stop = span.removeprefix("bytes=").partition("-")
            first, last = int(start), min(int(stop or len(content) - 1), len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            status, content = 206, content[first : last + 1]
        if self.server.lies("endless body") and not head:
            self._endless()
            return
        length = self.server.number if self.server.lies("size") and head else len(content)
        self._send(
            status, b"" if head else content, {**headers, "Content-Length": str(length), "Accept-Ranges": "bytes"}
        )

    def _endless(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(2**40))
        self.end_headers()
        try:
            while True:
                self.wfile.write(bytes(1 << 16))
                time.sleep(0.001)
        except OSError:
            self.close_connection = True

    def _list(self, query: dict[str, str]) -> None:
        prefix, mark = query.get("prefix", ""), query.get("delimiter")
        names = [
            str(file.relative_to(self.server.folder))
            for file in sorted(self.server.folder.rglob("*"))
            if file.is_file()
        ]
        names = [name.replace(os.sep, "/") for name in names if name.startswith(prefix)]
        folders = sorted(
            {prefix + name[len(prefix) :].split("/")[0] + "/" for name in names if mark and "/" in name[len(prefix) :]}
        )
        names = [name for name in names if not mark or "/" not in name[len(prefix) :]]
        files = [(name, (self.server.folder / name).stat().st_size) for name in names]
        if self.server.lies("key"):
            files.insert(0, (self.server.key.format(p="toy.scim/"), 7))
        if self.server.lies("folder"):
            folders.insert(0, self.server.key.format(p=prefix))
        if self.server.lies("size"):
            files = [(name, self.server.number) for name, _ in files]
        endless = self.server.lies("endless")
        token = f"<NextContinuationToken>t{self.server.n_asked}</NextContinuationToken>" if endless else ""
        parts = [
            f"<Contents><Key>{escape(name)}</Key><Size>{size}</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f'<ETag>"0"</ETag><StorageClass>STANDARD</StorageClass></Contents>' for name, size in files
        ]  # fmt: skip
        parts += [f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in folders]
        text = (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{BUCKET}</Name><Prefix>{escape(prefix)}</Prefix><MaxKeys>1000</MaxKeys><KeyCount>{len(parts)}</KeyCount>"
            f"<IsTruncated>{str(endless).lower()}</IsTruncated>{token}{''.join(parts)}</ListBucketResult>"
        )
        if self.server.lies("xml"):
            text = text[: len(text) // 2] if self.server.n_asked % 2 else "<a>" * 10_000
        if self.server.lies("html"):
            text = "<html><body>Log in</body></html>"
        self._send(200, text.encode())

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        fields = {
            "Content-Type": "application/xml",
            "ETag": '"0"',
            "Content-Length": str(len(content)),
            **(headers or {}),
        }
        if self.server.lies("etag"):
            fields["ETag"] = "\x7f" * 5000
        self.send_response(status)
        for name, value in {**fields, "Last-Modified": formatdate(0, usegmt=True)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
