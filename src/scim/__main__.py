"""The command `scim`, also `python -m scim`."""

import sys


def main() -> None:
    """Run the command line; an interruption while it is imported is as quiet as a later one."""
    try:
        from scim.cli import main as run  # noqa: PLC0415  (its import takes a second, in which users press Ctrl-C)
    except KeyboardInterrupt:
        print("scim: interrupted", file=sys.stderr)  # noqa: T201  (for the user of the command)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
