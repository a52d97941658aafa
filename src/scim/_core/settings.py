"""Settings of the session: `scim.settings`."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from typing import Any

from scim._core.display import hide_login, hide_secrets


def _threads() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity mask
        return os.cpu_count() or 1


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    try:
        return int(text)
    except ValueError:
        msg = f"The environment variable {variable} must be a whole number, got {text!r}."
        raise ValueError(msg) from None


def _flag(variable: str) -> bool:
    text = os.environ.get(variable, "").lower()
    if text not in ("", "0", "false", "no", "off", "1", "true", "yes", "on"):
        msg = f"The environment variable {variable} must be 1 or 0, got {text!r}."
        raise ValueError(msg)
    return text in ("1", "true", "yes", "on")


def _words(variable: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in os.environ.get(variable, "").split(",") if word.strip())


def _without_secrets(settings: Any, *, addresses: tuple[str, ...] = ()) -> str:
    """Return the `repr` of a dataclass without passwords; `addresses` are fields that may have no scheme."""
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    values |= {name: hide_login(values[name]) for name in addresses if isinstance(values[name], str)}
    shown = ", ".join(f"{name}={hide_secrets(repr(value))}" for name, value in values.items())
    return f"{type(settings).__name__}({shown})"


@dataclass(repr=False)
class StorageSettings:
    """How scim reads and writes atlases on S3, and where it caches their parts.

    Credentials are those of AWS tools: the environment (`AWS_ACCESS_KEY_ID`, `AWS_PROFILE`) or `~/.aws`.

    Attributes
    ----------
    region
        Region of the bucket, as `"eu-central-1"`; `None` leaves it to the AWS configuration.
        Starts from the environment variable `SCIM_S3_REGION`.
    endpoint
        Address of a server that speaks S3, as `"https://minio.example.org:9000"`; `None` is AWS.
        Starts from `SCIM_S3_ENDPOINT`.
    proxy
        Address of a proxy, as `"http://proxy.example.org:8080"`. Starts from `SCIM_S3_PROXY`.
    anonymous
        Whether to read without credentials, which public buckets allow. Starts from `SCIM_S3_ANONYMOUS`.
    cache
        Folder for copies of remote indices and models; `None` is the cache folder of the user.
        Starts from `SCIM_CACHE`.
    cache_bytes
        Largest size of the cache; the least recently used copies are deleted first. Starts from `SCIM_CACHE_BYTES`.
    """

    region: str | None = field(default_factory=lambda: os.environ.get("SCIM_S3_REGION") or None)
    endpoint: str | None = field(default_factory=lambda: os.environ.get("SCIM_S3_ENDPOINT") or None)
    proxy: str | None = field(default_factory=lambda: os.environ.get("SCIM_S3_PROXY") or None)
    anonymous: bool = field(default_factory=lambda: _flag("SCIM_S3_ANONYMOUS"))
    cache: str | None = field(default_factory=lambda: os.environ.get("SCIM_CACHE") or None)
    cache_bytes: int = field(default_factory=lambda: _number("SCIM_CACHE_BYTES", 20 * 10**9))

    def __repr__(self) -> str:
        return _without_secrets(self, addresses=("endpoint", "proxy"))


@dataclass(repr=False)
class Settings:
    """Defaults of arguments that are left out.

    Attributes
    ----------
    atlas
        Path of the atlas that `scim.tl` functions use; `None` is the atlas that comes with the package.
        Starts from the environment variable `SCIM_ATLAS`.
    progress
        Whether long work draws a progress bar on standard error.
        `None` draws one where standard error is a terminal.
    n_threads
        Number of threads of the numerical kernels; starts from the number of usable cores, more than the cores are not
        used. In a process that was forked from one that used scim it is 1.
    no_label
        Words that mean "no label", beside those that scim knows, such as "unknown", "N/A" or "doublet": cells with such
        a label count as unlabelled wherever labels are read. Upper and lower case are the same.
        Starts from `SCIM_NO_LABEL`, separated by commas.
    storage
        Access to atlases on S3, and the cache of their parts.
    """

    atlas: str | None = field(default_factory=lambda: os.environ.get("SCIM_ATLAS") or None)
    progress: bool | None = None
    n_threads: int = field(default_factory=_threads)
    no_label: tuple[str, ...] = field(default_factory=lambda: _words("SCIM_NO_LABEL"))
    storage: StorageSettings = field(default_factory=StorageSettings)

    def __repr__(self) -> str:
        return _without_secrets(self)


settings = Settings()
