"""The linear objectives by name."""

from __future__ import annotations

from typing import Literal

LinearObjective = Literal["whitening", "lda", "linear_nca", "lmnn", "itml"]
LINEAR: tuple[LinearObjective, ...] = ("whitening", "lda", "linear_nca", "lmnn", "itml")
