"""Checks of an atlas after its writer was killed: it has exactly the committed data and accepts changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import scim
from helpers import changes
from helpers.state import State, differences, state_of
from scim.atlas.commit import commits, read_journal, read_manifest, uncommitted
from scim.atlas.storage import Storage

if TYPE_CHECKING:
    from pathlib import Path

Phase = Literal["before", "during", "after"]


@dataclass(frozen=True)
class Reference:
    """A change that was not interrupted."""

    change: str
    inputs: Path
    base: Path
    """The atlas before it."""

    number: int
    """Version of that atlas."""

    states: dict[int, State]
    """State of the atlas before the change, and after each of its commits."""

    seconds: float

    @property
    def final(self) -> State:
        """Its state in the end."""
        return self.states[max(self.states)]


def measure(
    workers: changes.Workers, change: str, base: Path, inputs: Path, room: Path, *, attempts: int = 1
) -> Reference:
    """Make an uninterrupted change; the shortest time of several attempts counts."""
    before = changes.copy_atlas(base, room / f"{change}-before")
    changes.prepare(before, change, inputs)
    number, states, seconds = read_manifest(Storage.of(before)).number, {}, []
    for attempt in range(attempts):
        after = changes.copy_atlas(before, room / f"{change}-after{attempt}")
        result = workers.run(change=change, uri=str(after), inputs=str(inputs))
        assert result["status"] == 0, result
        assert result["error"] is None, result
        seconds.append(result["seconds"])
    states[number] = state_of(before)
    last = read_manifest(Storage.of(after)).number
    kept = commits(Storage.of(after))
    states |= {n: state_of(after, at=n) for n in range(number + 1, last) if n in kept}
    states[last] = state_of(after)
    return Reference(change, inputs, before, number, states, min(seconds))


def check_killed(path: Path, reference: Reference) -> Phase:
    """Compare the atlas of a killed writer with the committed states; return when it was killed."""
    storage = Storage.of(path)
    manifest = read_manifest(storage)
    # A retry repeats some commits: a draft, an index.
    known = [reference.states[manifest.number]] if manifest.number == reference.number else reference.states.values()
    wrong = min((differences(state_of(path), state) for state in known), key=len)
    assert not wrong, f"version {manifest.number} has other {wrong}"
    left = any(uncommitted(storage, manifest.timestamp, manifest.number))
    problems = [str(problem) for problem in scim.atlas.verify(path) if problem.part not in ("leftover", "foreign")]
    assert not problems, problems
    if manifest.number >= max(reference.states):
        return "after"
    return "during" if left or read_journal(storage) is not None or manifest.number > reference.number else "before"


def check_again(workers: changes.Workers | None, path: Path, reference: Reference, **job: Any) -> None:
    """Make the same change again in another process, or here; the atlas must equal the uninterrupted one."""
    make = changes.make if workers is None else workers.run
    result = make(change=reference.change, uri=str(path), inputs=str(reference.inputs), **job)
    assert result["status"] == 0, result
    committed = read_manifest(Storage.of(path)).number >= max(reference.states)
    if result["error"] is not None:
        assert committed, result
        assert any(words in result["error"]["text"] for words in changes.DONE_ALREADY), result
    wrong = differences(state_of(path), reference.final)
    assert not wrong, f"after another attempt {wrong} differ from those of an undisturbed one"
    problems = [str(problem) for problem in scim.atlas.verify(path)]
    assert not problems, problems
    check_clean(path)


def check_clean(path: Path) -> None:
    """Check that no files of unfinished writes remain."""
    files = [file for file in path.rglob("*") if file.parent.name != "lock"]
    left = [file for file in files if file.name.endswith(".tmp") or file.name.startswith(".making")]
    left += [*(path / "lock").glob("[!.]*"), *path.glob("journal.json")]
    assert not left, left
