"""Simultaneous writers: each adds its cells or names the owner of the lock. benchmarks/atlas/writers.py has more trials."""

from __future__ import annotations

import pytest

from helpers import concurrent_writers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def alone(workers, inputs, tmp_path_factory):
    return concurrent_writers.alone(workers, inputs / "base.scim", tmp_path_factory.mktemp("alone"), n_writers=3)


def test_waiting_writers_succeed_also_if_one_is_killed(workers, inputs, alone, tmp_path):
    ended = concurrent_writers.trial(workers, inputs / "base.scim", alone, tmp_path, 3, timeout=60, dies=2)
    assert ended == {"succeeded": 2, "killed": 1}


def test_writers_that_do_not_wait_name_the_lock_owner(workers, inputs, alone, tmp_path):
    ended = concurrent_writers.trial(workers, inputs / "base.scim", alone, tmp_path, 2, timeout=0)
    assert ended["succeeded"] + ended["refused by the lock"] == 2
