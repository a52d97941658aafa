"""Run cases of damage, each in a process of its own with limits of time and memory, and judge what came of it.

A process that has imported everything forks one child for each case. Run by hand:

    python -m fuzz.runner TARGET:SEED          one case, with what was changed and the errors
    python -m fuzz.runner --cases 300 TARGET   many, and a table
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import os
import pickle
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fuzz.verdicts import BAD, judge_error, judge_result, worst

if TYPE_CHECKING:
    from fuzz.target import Target

FIRST_SECONDS = 600.0  # of an undamaged case, which compiles kernels
PATIENCE = 3  # seconds by the clock for one of work: other processes use the same cores
MEMORY = 12 << 30  # addresses that a case may reserve beyond those of the server: TileDB takes 1 GiB for each column
SPARE = 128 << 20  # beyond the memory of the undamaged case and twice the file


class Outcome(NamedTuple):
    """What came of a case."""

    case: str
    verdict: str
    change: str
    detail: str
    seconds: float


class Server:
    """The process from which cases are forked; it has imported all of scim, and started no threads of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = folder / "made"
        self.sandbox = folder / "case"  # always the same: paths are part of some results
        self._truths: dict[str, tuple[dict[str, Any], int]] = {}
        self.made.mkdir(parents=True, exist_ok=True)

    def run(self, target: Target, seed: int) -> Outcome:
        """Run one case."""
        started = time.monotonic()
        truth, most = self.truth(target)
        n_bytes = self._lay_out(target)
        before = _listing(self.sandbox)
        rng = np.random.default_rng([zlib.crc32(target.name.encode()), seed])
        messages, status, peak = self._fork(target, truth, rng)
        change = next((message["change"] for message in messages if "change" in message), "none")
        outcomes = [(message["verdict"], message["detail"]) for message in messages if "verdict" in message]
        doing = next((message["doing"] for message in reversed(messages) if "doing" in message), "start")
        if status == "hung":
            outcomes.append(
                ("hung", f"{doing}: no end after {target.seconds:g} s of work, or {PATIENCE} times as long")
            )
        elif status != "ended":
            outcomes.append(("died", f"{doing}: {status}"))
        if peak > most + 2 * n_bytes + SPARE:
            outcomes.append(("memory", f"{(peak - most) >> 20} MiB more than undamaged, by {doing}"))
        after = _listing(self.sandbox)
        # The change itself may lie behind a link: what it put there is in `change`.
        start = next((message["listing"] for message in messages if "listing" in message), before)
        if after != start:
            touched = sorted(name for name in {*start, *after} if start.get(name) != after.get(name))
            outcomes.append(("outside", f"{doing}: {touched[:3]}"))
        if "FUZZ_OUTPUT" in os.environ:
            sys.stderr.writelines(f"{message}\n" for message in messages if "verdict" in message)
        verdict, detail = worst(outcomes)
        return Outcome(f"{target.name}:{seed}", verdict, change, detail, time.monotonic() - started)

    def truth(self, target: Target) -> tuple[dict[str, Any], int]:
        """Return results and memory of the undamaged target."""
        if target.name not in self._truths:
            path = self.made / target.name
            if not path.exists():
                path.mkdir()
                self._in_child(lambda: target.make(path))
            self._lay_out(target)
            messages, status, peak = self._fork(target, None, None)
            found = pickle.loads((self.sandbox / "truth").read_bytes()) if status == "ended" else {}
            bad = {name: value for name, value in found.items() if isinstance(value, Exception)}
            if bad or not found:
                msg = f"{target.name} fails undamaged: {bad or (status, messages)}"
                raise RuntimeError(msg)
            self._truths[target.name] = found, peak
        return self._truths[target.name]

    def _in_child(self, call: Any) -> None:
        child = os.fork()
        if child == 0:
            try:
                call()
                os._exit(0)
            finally:
                sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
                os._exit(1)
        if os.waitpid(child, 0)[1]:
            msg = "a target could not be made"
            raise RuntimeError(msg)

    def _lay_out(self, target: Target) -> int:
        _remove(self.sandbox)
        for name in ("input", "victim", "home", "scratch", "cwd", "out"):
            (self.sandbox / name).mkdir(parents=True)
        (self.sandbox / "victim" / "kept").write_text("not to be touched")
        (self.sandbox / "home" / ".profile").write_text("not to be touched")
        source = self.made / target.name
        shutil.copytree(source, self.sandbox / "input", dirs_exist_ok=True)
        return sum(file.stat().st_size for file in source.rglob("*") if file.is_file())

    def _fork(self, target: Target, truth: Any, rng: Any) -> tuple[list[dict[str, Any]], str, int]:
        """Run the child; return its messages, how it ended, and its peak of memory."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            _child(target, self.sandbox, truth, rng, writer)
        os.close(writer)
        raw, deadline, is_hung = (
            b"",
            time.monotonic() + (FIRST_SECONDS if truth is None else PATIENCE * target.seconds),
            False,
        )
        while True:
            ready, _, _ = select.select([reader], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                is_hung = True
                break
            part = os.read(reader, 1 << 16)
            raw += part
            if not part:
                break
        if is_hung:
            os.kill(child, signal.SIGUSR1)  # prints where it hangs, with FUZZ_OUTPUT
            time.sleep(0.1)
            os.kill(child, signal.SIGKILL)
        os.close(reader)
        _, status, usage = os.wait4(child, 0)
        _kill_group(child)
        messages = [json.loads(line) for line in raw.decode(errors="replace").splitlines() if line.endswith("}")]
        ended = os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
        how = "hung" if is_hung or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU) else (
            "ended" if ended else f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit {status >> 8}"
        )  # fmt: skip
        return messages, how, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _child(target: Target, sandbox: Path, truth: Any, rng: Any, writer: int) -> None:
    """Damage the input, do with it what the target does, and send a message for each step."""
    os.setsid()
    faulthandler.register(signal.SIGUSR1)

    def send(**message: Any) -> None:
        os.write(writer, json.dumps(message).encode() + b"\n")

    try:
        quiet = os.open(os.devnull, os.O_RDWR)
        if "FUZZ_OUTPUT" not in os.environ:
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
        os.dup2(quiet, 0)
        os.chdir(sandbox / "cwd")
        os.environ.update(HOME=str(sandbox / "home"), TMPDIR=str(sandbox / "scratch"))
        tempfile.tempdir = None
        pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 1 << 20
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
        if truth is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (int(target.seconds), int(target.seconds) + 1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 41,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        found: dict[str, Any] = {}
        change, kind = "none", "none"
        if rng is not None:
            kind, change = _damage(target, sandbox, rng)
            send(change=change, listing=_listing(sandbox))
        says = None if target.says is None else lambda: target.says(sandbox, target.file)  # type: ignore[misc]
        for name, step in target.steps(sandbox, rng):
            send(doing=name)
            started = time.monotonic()
            try:
                found[name] = step()
            except BaseException as error:  # noqa: BLE001  (every kind of error is judged)
                verdict, detail = judge_error(error, sandbox)
                found[name] = RuntimeError(detail)
            else:
                verdict, detail = ("right", "")
                if truth is not None:
                    verdict, detail = judge_result(found[name], truth[name], kind, says)
            send(verdict=verdict, detail=f"{name}: {detail}", seconds=time.monotonic() - started)
        if rng is None:
            (sandbox / "truth").write_bytes(pickle.dumps(found))
    except BaseException as error:  # noqa: BLE001
        import traceback

        send(verdict="suite", detail=f"the suite itself failed: {traceback.format_exc()[-1500:]} {error!r}")
    finally:
        os._exit(0)


def _damage(target: Target, sandbox: Path, rng: np.random.Generator) -> tuple[str, str]:
    path = target.path(sandbox)
    for _ in range(50):
        mutator = target.mutators[rng.integers(len(target.mutators))]
        done = mutator(path, rng, sandbox)
        if done is not None:
            return mutator.__name__.partition("_")[0], f"{mutator.__name__}: {done}"
    return "none", "none"


def _listing(sandbox: Path) -> dict[str, str]:
    """Return a digest of every file that no case may touch."""
    found = {}
    for folder in ("victim", "home", "cwd"):
        for place in sorted((sandbox / folder).rglob("*")):
            is_file = place.is_file() and not place.is_symlink()
            found[str(place.relative_to(sandbox))] = (
                hashlib.sha256(place.read_bytes()).hexdigest() if is_file else "other"
            )
    found |= {place.name: "present" for place in sandbox.iterdir() if place.name not in ("truth",)}
    return found


def _remove(folder: Path) -> None:
    if folder.exists():
        for place in folder.rglob("*"):
            if place.is_dir() and not place.is_symlink():
                place.chmod(0o700)
        shutil.rmtree(folder)


def _kill_group(child: int) -> None:
    try:
        os.killpg(child, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def serve(server: Server) -> int:
    """Print the names of the targets; run the cases whose names come in, a line each, and print a line for each."""
    from fuzz.targets import TARGETS

    _say(json.dumps(list(TARGETS)))
    for line in sys.stdin:
        name, _, seed = line.strip().partition(":")
        _say(json.dumps(server.run(TARGETS[name], int(seed))._asdict()))
    return 0


def report(server: Server, cases: list[str]) -> int:
    """Run cases, print the bad ones and a count of the verdicts of each target; return whether there are bad ones."""
    from fuzz.targets import TARGETS

    counts: dict[str, Counter[str]] = {}
    for case in cases:
        name, _, seed = case.partition(":")
        try:
            outcome = server.run(TARGETS[name], int(seed))
        except RuntimeError as error:
            _say(str(error))
            continue
        counts.setdefault(name, Counter())[outcome.verdict] += 1
        if outcome.verdict in BAD or len(cases) == 1:
            _say(f"{outcome.case} {outcome.verdict}: {outcome.change}\n    {outcome.detail}")
    for name, found in counts.items():
        _say(f"{name}: {found.total()} cases, {dict(found)}")
    return int(any(BAD & set(found) for found in counts.values()))


def main(arguments: list[str]) -> int:
    """Run cases and print what came of them."""
    import argparse

    from fuzz.target import warm
    from fuzz.targets import TARGETS

    parser = argparse.ArgumentParser()
    parser.add_argument("targets", nargs="*", default=list(TARGETS), help="TARGET or TARGET:SEED")
    parser.add_argument("--cases", type=int, default=20, help="of each target")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--serve", action="store_true", help="read the cases from the standard input")
    options = parser.parse_args(arguments)
    seeds = range(options.start, options.start + options.cases)
    cases = [case for name in options.targets for case in ([name] if ":" in name else [f"{name}:{i}" for i in seeds])]
    warm()
    with tempfile.TemporaryDirectory(prefix="scim-fuzz-", ignore_cleanup_errors=True) as folder:
        server = Server(Path(folder))
        try:
            return serve(server) if options.serve else report(server, cases)
        finally:
            _remove(server.sandbox)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
