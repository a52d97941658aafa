"""`python -m scim` is the command `scim`."""

from scim.cli import main

main()
