"""Packages that an extra installs."""

from __future__ import annotations

from importlib.util import find_spec


def require(package: str, extra: str) -> None:
    """Check that an optional package is installed.

    Parameters
    ----------
    package
        Name by which it is imported.
    extra
        Extra of scim-atlas that installs it.

    Raises
    ------
    ImportError
        It is not installed; the message names the extra.
    """
    if find_spec(package) is None:
        msg = f'{package} is not installed; run: pip install "scim-atlas[{extra}]".'
        raise ImportError(msg, name=package)
