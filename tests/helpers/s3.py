"""An S3 server in a separate process, which a test can stop at any time."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

BUCKET = "atlases"
REGION = "us-east-1"
UP_WITHIN = 60.0  # seconds; usually one
# moto checks that a request is signed, but accepts any account.
SIGNED = {"Authorization": f"AWS4-HMAC-SHA256 Credential=testing/20260101/{REGION}/s3/aws4_request, Signature=0"}


class Server:
    """moto on a free port of this machine; its data is lost when it stops."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def environment(self) -> dict[str, str]:
        """Return the environment variables to use the server, without any account of the machine."""
        return {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "SCIM_S3_ENDPOINT": self.endpoint,
            "SCIM_S3_REGION": REGION,
        }

    def start(self) -> None:
        """Start it, with an empty bucket."""
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + UP_WITHIN
        while True:
            try:
                self.request("PUT", f"/{BUCKET}")
            except OSError:
                if time.monotonic() > end or self._process.poll() is not None:
                    self.stop()
                    raise
                time.sleep(0.05)
            else:
                return

    def request(self, method: str, path: str, headers: dict[str, str] | None = None) -> bytes:
        """Send a request without the code under test."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, headers={**SIGNED, **(headers or {})})
            return connection.getresponse().read()
        finally:
            connection.close()

    def uri(self, name: str = "atlas") -> str:
        """Return a new address."""
        return f"s3://{BUCKET}/{uuid.uuid4().hex[:8]}/{name}"

    def stop(self) -> None:
        """End it at once; connections are refused from then on."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Make it hang: connections are accepted, and no response is sent."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume it after `pause`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


def use(server: Server, patch, cache: Path) -> None:
    """Set a server and a cache for this process and its children until `patch` is undone."""
    from scim._core import settings

    for name, value in {**server.environment(), "SCIM_CACHE": str(cache)}.items():
        patch.setenv(name, value)
    patch.setattr(settings.storage, "endpoint", server.endpoint)
    patch.setattr(settings.storage, "region", REGION)
    patch.setattr(settings.storage, "cache", str(cache))
