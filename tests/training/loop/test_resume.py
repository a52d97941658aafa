"""A killed run resumes, and ends with the weights of an uninterrupted run, to the last bit."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import scim
from helpers import trainings
from scim._core import FormatError
from scim.model import ModelConfig
from scim.training.loop import _loop

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are killed by signals")

STEP = "scim.training.loop._loop:Run._take_step"
SAVE = "scim.training.loop._checkpoint:save_file"
JSON = "scim.training.loop._checkpoint:write_json"
RENAME = "pathlib:Path.rename"
REMOVE = "scim.training.loop._checkpoint:shutil.rmtree"


def states(folder):
    return sorted(path.name for path in folder.glob("step_*"))


def same(a, b):
    """Return whether two models are equal to the last bit, the decoder and the history of the validation included."""
    pairs = [(a.encoder.state_dict(), b.encoder.state_dict())]
    if a.decoder is not None:
        pairs.append((a.decoder.state_dict(), b.decoder.state_dict()))
    equal = all(x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x) for x, y in pairs)
    return equal and a.uid == b.uid and a.metadata == b.metadata


def kill(folder, where, call, when="before", **changes):
    status = trainings.run(trainings.fit_and_die, folder, where, call, when, **changes)
    assert status == -signal.SIGKILL


@pytest.fixture(scope="module")
def uninterrupted():
    """Models by their arguments, trained in this process without a checkpoint."""
    known = {}

    def find(**changes):
        key = json.dumps(changes)
        if key not in known:
            known[key] = trainings.fit(**changes)
        return known[key]

    return find


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "calls"),
    [
        ({"objective": "triplet"}, (2, 7)),
        ({"objective": "moco"}, (5, 8)),
        ({"objective": "supcon", "label_perturbation": 0.5}, (10,)),
    ],
    ids=lambda changes: changes.get("objective") if isinstance(changes, dict) else "",
)
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, uninterrupted, changes, calls):
    """Killed again after it resumed, in each process before its step number `call`; a process per kill, so seconds."""
    for call in calls:
        kill(tmp_path, STEP, call, **changes)
        assert len(states(tmp_path)) <= 1
    assert states(tmp_path) != []
    assert same(trainings.fit(tmp_path, **changes), uninterrupted(**changes))
    assert states(tmp_path) == ["step_000000011"]


MOMENTS = [
    (SAVE, 2, "before", 3),
    (SAVE, 2, "after", 3),
    (JSON, 2, "before", 3),
    (JSON, 2, "after", 3),
    (RENAME, 2, "before", 3),
    (RENAME, 2, "after", 6),
    (REMOVE, 1, "before", 6),
    (REMOVE, 1, "after", 6),
]
"""Calls of the functions that write the second state, of step 6, and the step of the state that should be found."""


@pytest.mark.slow
@pytest.mark.parametrize(("where", "call", "when", "step"), MOMENTS)
def test_killed_while_a_checkpoint_is_written(tmp_path, uninterrupted, where, call, when, step):
    kill(tmp_path, where, call, when)
    found = []
    restore = _loop.Run._restore

    def spy(run, checkpoints):
        restore(run, checkpoints)
        found.append(run.step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_loop.Run, "_restore", spy)
        model = trainings.fit(tmp_path)
    assert found == [step]
    assert same(model, uninterrupted())
    left = [path.name for path in tmp_path.iterdir() if path.name != "log"]
    assert left == ["step_000000011"]


def test_a_resumed_run_with_validation_stops_at_the_same_step(tmp_path):
    changes = {"validation": ["study1"], "patience": 1, "validate_every": 2}
    changes["data"] = [trainings.toy(), trainings.toy(48, 1), trainings.toy(48, 2)]
    whole = trainings.fit(**changes)
    assert len(whole.metadata["validation"]) > 1
    kill(tmp_path, STEP, 4, **changes)
    again = trainings.fit(tmp_path, **changes)
    assert same(again, whole)
    assert same(trainings.fit(tmp_path, **changes), whole)


def test_a_resumed_run_goes_on_in_the_middle_of_its_epoch(tmp_path):
    """Cells that were drawn before the interruption are not drawn again, and the cosine goes on."""
    changes = {"epoch": 5, "warmup": 0.0, "batch_size": 4, "data": [trainings.toy(120), trainings.toy(120, 1)]}
    kill(tmp_path, STEP, 8, **changes)
    assert states(tmp_path) == ["step_000000006"]
    assert same(trainings.fit(tmp_path, **changes), trainings.fit(**changes))


def test_a_run_without_a_seed_resumes(tmp_path):
    kill(tmp_path, STEP, 5, rng=None)
    [one] = states(tmp_path)
    assert one == "step_000000003"
    model = trainings.fit(tmp_path, rng=None)
    assert same(trainings.fit(tmp_path, rng=None), model)
    shutil.rmtree(tmp_path)
    assert not same(trainings.fit(tmp_path, rng=None), model)


def test_a_finished_run_gives_its_model_at_once(tmp_path, uninterrupted, monkeypatch):
    first, other = trainings.fit(tmp_path), uninterrupted()

    def refuse(run):
        raise AssertionError

    monkeypatch.setattr(_loop.Run, "_take_step", refuse)
    assert same(trainings.fit(tmp_path), first)
    assert same(first, other)


def other_data():
    second = trainings.toy(48, 1, slice(0, 90))
    second.X[0, 0] += 1
    return [trainings.toy(), second]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"data": other_data()}, r"what differs: data\. Name another folder"),
        ({"rng": 1}, r"what differs: seed\. Name"),
        ({"margin": 0.5, "n_steps": 12}, r"what differs: margin \(was 1\.0, is 0\.5\), n_steps \(was 11, is 12\)\."),
        ({"model": ModelConfig(hidden=(9,), latent_dim=4)}, r"what differs: hidden \(was \[8\], is \[9\]\)\."),
        (
            {"validation": ["study1"], "data": [trainings.toy(), trainings.toy(48, 1), trainings.toy(9, 2)]},
            "differs: data",
        ),
        ({"objective": "moco", "rng": 3}, r"what differs: seed, objective \(was 'triplet', is 'moco'\)\."),
    ],
)
def test_another_run_is_refused(finished, changes, match):
    with pytest.raises(ValueError, match=match):
        trainings.fit(finished, **changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run; no test writes into it."""
    folder = tmp_path_factory.mktemp("finished")
    trainings.fit(folder)
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy")


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        ("cut tensors", r"tensors.safetensors' has .*step_000000011' is damaged; delete it to start again"),
        ("no tensors", r"it has no 'tensors.*step_000000011' is damaged; delete it"),
        ("cut json", r"state\.json' is not readable JSON"),
        ("foreign", r"step_000000011' is not a training state that this scim reads"),
        ("no run", r"step_000000011' is damaged; delete it"),
    ],
)
def test_a_damaged_checkpoint_is_named(copied, damage, match):
    tensors, state = (copied / "step_000000011" / name for name in ("tensors.safetensors", "state.json"))
    content = json.loads(state.read_text())
    match damage:
        case "cut tensors":
            os.truncate(tensors, tensors.stat().st_size // 2)
        case "no tensors":
            tensors.unlink()
        case "cut json":
            os.truncate(state, 20)
        case "foreign":
            state.write_text(json.dumps(content | {"format": "other"}))
        case "no run":
            state.write_text(json.dumps({"format": content["format"]}))
    with pytest.raises(FormatError, match=match):
        trainings.fit(copied)


def forge(folder, change):
    """Change content and tensors of a state, and seal it again."""
    path = folder / "step_000000011"
    content, tensors = json.loads((path / "state.json").read_text()), load_file(path / "tensors.safetensors")
    change(content, tensors)
    save_file(tensors, path / "tensors.safetensors")
    kept = {key: value for key, value in content.items() if key not in ("files", "sha256")}
    (path / "state.json").write_text(json.dumps(scim.io.sealed_with(path, kept, ["tensors.safetensors"])))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda c, t: c.update(step="11"), r"\$\.step"),
        (lambda c, t: c.update(step=10**30), "step"),
        (lambda c, t: c.update(step=12), "step 12 of 11"),
        (lambda c, t: c["values"]["epoch"][0].update(batch=10**6), "batch 1000000 of"),
        (lambda c, t: c["values"].update(epoch=[]), "index out of range"),
        (lambda c, t: c["values"]["random"][0].update(state=3), "damaged"),
        (lambda c, t: c["values"].update(history=[{"step": 3}]), "macro_f1"),
        (lambda c, t: t.pop("average.encoder.head.bias"), r"average\.\* are of another net"),
        (lambda c, t: t["learner.encoder.head.bias"].fill_(float("nan")), "learner.encoder.head.bias is"),
        (lambda c, t: t.update({"optimizer.0.exp_avg": torch.ones(3)}), "optimizer.0.exp_avg is"),
        (lambda c, t: t.update({"optimizer.999.step": torch.ones(())}), "its optimizer is another"),
        (lambda c, t: t["generator.0.cpu"].fill_(255), "mt19937"),
        (lambda c, t: t.update({"generator.0.cpu": torch.ones(7, dtype=torch.uint8)}), "damaged"),
    ],
)
def test_a_forged_state_is_refused(copied, change, match):
    forge(copied, change)
    with pytest.raises(FormatError, match=match):
        trainings.fit(copied)


def test_only_states_are_removed(tmp_path):
    (tmp_path / "step_by_step").mkdir()
    (tmp_path / "step_by_step" / "state.json").write_text("{}")
    (tmp_path / ".step_notes").mkdir()
    trainings.fit(tmp_path)
    assert {"step_by_step", ".step_notes", "step_000000011"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("content", ['{"seed": "3"}', '{"seed": -1}', "[]", "{}"])
def test_a_forged_seed_is_refused(tmp_path, content):
    (tmp_path / "seed.json").write_text(content)
    with pytest.raises(FormatError, match="seed.json"):
        trainings.fit(tmp_path, rng=None)


@pytest.mark.skipif(sys.platform != "linux", reason="disks are filled as on Linux")
def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, uninterrupted):
    """Files have a size limit that is too small for the tensors, and then even for JSON."""
    folder, told = tmp_path / "state", tmp_path / "told"
    kill(folder, STEP, 5)
    for limit in (200, 12_000):
        assert trainings.run(trainings.fit_on_a_full_disk, folder, limit, told) == 0
        kinds, text = json.loads(told.read_text())
        assert "OSError" in kinds, (kinds, text)
        assert re.search(
            r"No state of training .* to '.*state' \(.*[Ff]ile too large.*\); the one before is kept", text
        )
        assert states(folder) == ["step_000000003"]
        assert not [*folder.glob(".step_*")]
    assert same(trainings.fit(folder), uninterrupted())


def test_batches_after_resuming_are_those_of_the_rest(tmp_path, monkeypatch):
    """Compare the drawn cells step by step, not only the final weights."""
    drawn = []
    whole = _loop.Batches.draw

    def spy(batches):
        batch = whole(batches)
        drawn.append((batch.labels.numpy().copy(), batch.views[0].x.sum().item()))
        return batch

    monkeypatch.setattr(_loop.Batches, "draw", spy)
    trainings.fit()
    expected = drawn[:]
    drawn.clear()
    kill(tmp_path, STEP, 9)
    trainings.fit(tmp_path)
    assert len(drawn) == 5
    for (labels, total), (resumed_labels, resumed_total) in zip(expected[6:], drawn, strict=True):
        assert np.array_equal(labels, resumed_labels)
        assert total == resumed_total
