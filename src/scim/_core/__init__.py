"""What every room stands on: names, types, errors, checks, settings, talk, and the numba decorators."""
