"""The command `scim`, also `python -m scim`."""

import os
import sys


def main() -> None:
    """Run the command line; an interruption while it is imported is as quiet as a later one."""
    _open_streams()
    try:
        from scim.cli import main as run  # noqa: PLC0415  (its import takes a second, in which users press Ctrl-C)
    except KeyboardInterrupt:
        print("scim: interrupted", file=sys.stderr)  # noqa: T201  (for the user of the command)
        sys.exit(130)
    except Exception as error:  # noqa: BLE001  (a wrong environment variable, a package that cannot be loaded, ...)
        print(f"scim: error: scim could not start: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    run()


def _open_streams() -> None:
    """Open the standard streams that the caller has closed, to nowhere: else the next files would take their place."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123  (open to the end)


if __name__ == "__main__":
    main()
