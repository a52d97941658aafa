"""Readers while an atlas changes: every result is that of a committed version. benchmarks/atlas/readers.py has 20."""

from __future__ import annotations

import pytest

from helpers import changes, reading

pytestmark = pytest.mark.slow


def test_every_result_is_that_of_a_committed_version(workers, inputs, tmp_path):
    path = str(changes.copy_atlas(inputs / "base.scim", tmp_path))
    notes = [tmp_path / f"notes{number}" for number in range(3)]
    jobs: list[dict[str, object]] = [{"append": {"seconds": 10, "pause": 0}}]
    jobs += [{"read": {"seconds": 10, "notes": str(file), "keep": bool(number)}} for number, file in enumerate(notes)]
    ended = workers.all([{**job, "uri": path, "result": str(tmp_path / f"result{n}")} for n, job in enumerate(jobs)])
    assert [result["error"] for result in ended] == [None] * 4
    n_readings, n_versions, wrong = reading.wrong_notes(tmp_path / "base.scim", notes)
    assert wrong == []
    assert n_readings > n_versions > 1
