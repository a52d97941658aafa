"""Devices, logs, early stopping, and files of a training."""

from __future__ import annotations

import csv
import random
import sys

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

import scim
from helpers import trainings
from scim.training.data import combine, gathered, pick_genes
from scim.training.loop import _loop, _train
from scim.training.loop._validation import Validation


@pytest.fixture(autouse=True)
def _threads_of_the_session():
    n_threads = scim.settings.n_threads
    yield
    scim.settings.n_threads = n_threads


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def three_studies():
    return {"data": [trainings.toy(), trainings.toy(48, 1), trainings.toy(48, 2)], "validation": ["study1"]}


# Log, precision, processes ------------------------------------------------------------------------------------------


def test_the_log_has_the_losses(tmp_path, monkeypatch):
    """The log is complete for any number of steps, and a second run has another log."""
    monkeypatch.setattr(_loop, "_LOG_EVERY", 5)
    trainings.fit(tmp_path, **three_studies())
    found = rows_of(tmp_path / "log" / "version_0" / "metrics.csv")
    assert set(found[0]) == {"step", "loss", "lr", "triplet", "reconstruction", "validation_macro_f1"}
    losses = {int(row["step"]): row for row in found if row["loss"]}
    assert sorted(losses) == [5, 10]
    for row in losses.values():
        total = float(row["triplet"]) + 0.1 * float(row["reconstruction"])
        assert float(row["loss"]) == pytest.approx(total, rel=1e-5)
    scores = [int(row["step"]) for row in found if row["validation_macro_f1"]]
    assert scores == [4, 8, 11]


def test_the_fabric_of_the_user_is_used():
    """Half precision where torch has it; the weights stay in single precision."""
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    half = trainings.fit(fabric=fabric)
    assert {value.dtype for value in half.encoder.parameters()} == {torch.float32}
    assert half.uid == trainings.fit(fabric=Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")).uid
    whole = trainings.fit()
    assert half.uid != whole.uid
    a, b = (torch.cat([value.flatten() for value in model.encoder.parameters()]) for model in (half, whole))
    assert torch.isfinite(a).all()
    assert (a - b).norm() < 0.3 * b.norm()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked as on Linux")
def test_two_processes_return_one_model(tmp_path):
    """They draw different cells, stop together, and resume after both were killed; seconds, for four processes."""
    changes = {**three_studies(), "patience": 1, "n_steps": 30}
    assert trainings.run(trainings.fit_with_two, tmp_path / "a", changes) == 0
    a, b = (scim.model.load(tmp_path / "a" / f"rank{i}") for i in range(2))
    assert a.uid == b.uid
    assert a.metadata["validation"] == b.metadata["validation"] != []
    assert a.uid != trainings.fit(**changes).uid
    kept = {**changes, "checkpoint": tmp_path / "state"}
    assert trainings.run(trainings.fit_with_two, tmp_path / "b", {**kept, "last_step": 7}) != 0
    assert [path.name for path in (tmp_path / "state").glob("step_*")] == ["step_000000006"]
    assert trainings.run(trainings.fit_with_two, tmp_path / "b", kept) == 0
    assert scim.model.load(tmp_path / "b" / "rank1").uid == a.uid
    with pytest.raises(ValueError, match=r"n_processes \(was 2, is 1\)"):
        trainings.fit(tmp_path / "state", **changes)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked as on Linux")
@pytest.mark.parametrize("checkpoint", [False, True])
def test_two_processes_without_a_seed_draw_the_same(tmp_path, checkpoint):
    """Different seeds would select different cells to align the members, and the checkpoint would be refused; seconds."""
    changes = {**three_studies(), "rng": None, "n_members": 2, "reconstruction_weight": 0.0, "n_steps": 5}
    changes |= {"checkpoint": tmp_path / "state"} if checkpoint else {}
    assert trainings.run(trainings.fit_with_two, tmp_path, changes) == 0
    a, b = (scim.model.load(tmp_path / f"rank{i}") for i in range(2))
    assert a.uid == b.uid


def test_several_devices_must_be_launched():
    with pytest.raises(RuntimeError, match=r"launch\(\)"):
        trainings.fit(fabric=Fabric(accelerator="cpu", devices=2, strategy="ddp_fork"))


# Schedule -----------------------------------------------------------------------------------------------------------


def schedule_of(n_steps, **changes):
    """Return learning rate and momentum of each step, and the rate after the last."""
    weight = torch.nn.Parameter(torch.zeros(1))
    config = trainings.config_of(n_steps=n_steps, lr=0.2, **changes)
    optimizer = torch.optim.AdamW([weight], lr=config.lr)
    schedule = _loop.schedule(optimizer, config)
    found = []
    for _ in range(n_steps):
        weight.sum().backward()
        found.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["betas"][0]))
        optimizer.step()
        schedule.step()
    return *map(list, zip(*found, strict=True)), optimizer.param_groups[0]["lr"]


def test_without_warmup_the_rate_is_a_cosine_by_hand():
    """From lr at the first step to 0 after the last: lr / 2 * (1 + cos(pi t / n)); momentum stays."""
    rates, momenta, last = schedule_of(4, warmup=0.0)
    assert rates == pytest.approx([0.2, 0.1 * (1 + 0.5**0.5), 0.1, 0.1 * (1 - 0.5**0.5)])
    assert last == pytest.approx(0)
    assert momenta == [0.9] * 4


@pytest.mark.parametrize(("warmup", "top"), [(0.1, 1), (0.5, 9), (1.0, 19)])
def test_the_rate_rises_over_the_warmup(warmup, top):
    """The first of the 20 steps is the lowest of the rise; momentum is lowest where the rate is highest."""
    rates, momenta, _ = schedule_of(20, warmup=warmup)
    assert np.argmax(rates) in (top, top + 1)
    assert np.argmin(momenta) == np.argmax(rates)
    assert max(rates) == pytest.approx(0.2, rel=0.02)
    assert rates[0] == pytest.approx(0.2 / 25)


# Seeds, threads, global state ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_seed_is_a_model_with_any_number_of_threads(n_threads, monkeypatch):
    monkeypatch.setattr(scim.settings, "n_threads", n_threads)
    data = [trainings.toy(), trainings.toy(48, 1)]
    options = {"label_key": "cell_type", "config": trainings.config_of(n_steps=4), **trainings.SIZES}
    seeds = (0, np.random.default_rng(0), 1)
    a, b, c = (scim.model.train(data, rng=seed, **options).uid for seed in seeds)
    assert a == b != c


def state_of_the_world():
    numpy_state = np.random.get_state()  # noqa: NPY002  (it is the global state that must not move)
    return (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.get_rng_state().numpy().tobytes(),
        numpy_state[1].tobytes(),
        numpy_state[2],
        random.getstate(),
    )


@pytest.mark.parametrize(
    ("objective", "deterministic"),
    [("triplet", (False, False)), ("supcon", (True, False)), ("moco", (True, True)), ("lda", (False, False))],
)
def test_global_state_is_unchanged(objective, deterministic):
    torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
    try:
        before = state_of_the_world()
        options = {"label_key": "cell_type", "rng": 0, **trainings.SIZES}
        config = trainings.config_of(n_steps=2, objective=objective)
        scim.model.train([trainings.toy(), trainings.toy(48, 1)], config=config, **options)
        assert state_of_the_world() == before
    finally:
        torch.use_deterministic_algorithms(mode=False)


def test_global_state_is_unchanged_after_an_error(monkeypatch):
    def fail(run):
        assert torch.get_num_threads() == scim.settings.n_threads == 1
        assert torch.are_deterministic_algorithms_enabled()
        torch.set_num_threads(3)
        raise KeyboardInterrupt

    monkeypatch.setattr(_loop.Run, "_take_step", fail)
    before = state_of_the_world()
    with pytest.raises(KeyboardInterrupt):
        trainings.fit()
    assert state_of_the_world() == before


def test_progress_follows_the_settings(monkeypatch, capsys):
    for wanted in (True, False):
        monkeypatch.setattr(scim.settings, "progress", wanted)
        trainings.fit(n_steps=2)
        out, error = capsys.readouterr()
        assert out == ""
        assert all((word in error) == wanted for word in ("train:", "read study0:", "choose genes: study0:"))


# Validation ---------------------------------------------------------------------------------------------------------


def test_validation_studies_never_train(monkeypatch):
    """Their cells are not drawn and do not select genes: other counts of these studies change nothing."""
    drawn = []
    make = _loop.Batches.__init__

    def spy(batches, cells, *args, **kwargs):
        drawn.append((cells.studies, len(cells.label), cells.panels.shape[0]))
        make(batches, cells, *args, **kwargs)

    monkeypatch.setattr(_loop.Batches, "__init__", spy)
    changes = three_studies()
    first = trainings.fit(**changes, patience=9)
    assert drawn == [(("study0", "study2"), 108, 2)]
    assert first.metadata["studies"] == {"study0": 60, "study2": 48}
    held = changes["data"][1]
    held.X = held.X[:, ::-1].tocsr()
    found = trainings.fit(**{**changes, "patience": 9})
    assert found.genes.tolist() == first.genes.tolist()
    assert [one["step"] for one in found.metadata["validation"]] == [4, 8, 11]
    last = {"best": True} if found.uid == first.uid else {}
    assert last or found.metadata["validation"] != first.metadata["validation"]


class Scripted:
    """A validation with predefined scores, which records the weights."""

    def __init__(self, scores):
        self.scores, self.shown = iter(scores), []

    def score(self, encoder):
        self.shown.append({name: value.clone() for name, value in encoder.state_dict().items()})
        return next(self.scores)


@pytest.mark.parametrize(
    ("scores", "patience", "n_looks", "best"),
    [
        ([0.1, 0.5, 0.4, 0.45, 0.9], 2, 4, 1),
        ([0.5, 0.5, 0.5], 2, 3, 0),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 1, 6, 5),
        ([0.5, 0.1, 0.6, 0.1, 0.7, 0.1], 2, 6, 4),
        ([0.3, 0.2], 1, 2, 0),
    ],
)
def test_training_stops_after_patience_with_the_best_weights(monkeypatch, scores, patience, n_looks, best):
    """Validates at steps 2, 4, ..., 11."""
    scripted = Scripted(scores)
    monkeypatch.setattr(_train, "Validation", lambda *args: scripted)
    model = trainings.fit(**three_studies(), patience=patience, validate_every=2)
    history = model.metadata["validation"]
    assert [one["macro_f1"] for one in history] == scores[:n_looks]
    assert [one["step"] for one in history] == [2, 4, 6, 8, 10, 11][:n_looks]
    for name, value in model.encoder.state_dict().items():
        assert torch.equal(value, scripted.shown[best][name]), name


def cells_of(adatas):
    with gathered(adatas, label_key="cell_type", study_key=None) as (sets, _):
        genes = pick_genes(sets, None, 200)
        return [combine([data], genes, max_memory=10**9) for data in sets]


class Lookup(torch.nn.Module):
    """An encoder that maps a cell to a row of a table, by the gene of its highest value."""

    def __init__(self, config, table):
        super().__init__()
        self.config, self.table = config, table
        self.head = torch.nn.Linear(1, 1)

    def forward(self, x, observed):
        return self.table[(x * observed).argmax(1)]


def test_the_score_by_hand():
    """Cells with one highly expressed gene each: genes 0, 1, 2 are the known labels, and give the predicted label.

    Training: 20 of each label. Held out: 4 T cells of which 1 is taken for a B cell, 2 B cells of which 1 is taken for
    a monocyte, 2 monocytes, all found. F1 of T: p 1, r 3/4; of B: p 1/2, r 1/2; of monocytes: p 2/3, r 1.
    """
    known, new = trainings.toy(60), trainings.toy(8)
    words = {"T cell": 0, "B cell": 1, "classical monocyte": 2}
    loud = [words[word] for word in known.obs["cell_type"]]
    new.obs["cell_type"] = ["T cell"] * 4 + ["B cell"] * 2 + ["classical monocyte"] * 2
    for adata, genes in ((known, loud), (new, [0, 0, 0, 1, 1, 2, 2, 2])):
        X = np.ones(adata.shape, dtype=np.float32)
        X[np.arange(len(genes)), genes] = 100
        adata.X = X
    training, others = cells_of([known, new])
    genes = scim.pp.canonical_genes(known.var_names[:3])
    place = [int(np.flatnonzero(training.genes == gene)[0]) for gene in genes]
    table = torch.zeros(len(training.genes), 3)
    table[place] = torch.eye(3)
    encoder = Lookup(scim.model.ModelConfig(len(training.genes)), table).train()
    score = Validation(training, others, np.random.default_rng(0)).score(encoder)
    assert score == pytest.approx((6 / 7 + 1 / 2 + 4 / 5) / 3)
    assert encoder.training


def test_a_validation_without_known_labels_is_refused():
    adatas = three_studies()["data"]
    adatas[1].obs["cell_type"] = "neuron"
    with pytest.raises(ValueError, match=r"validation have no label that training has.*\['neuron'\]"):
        trainings.fit(data=adatas, validation=["study1"])


@pytest.mark.parametrize(
    ("studies", "match"), [(["gone"], "there is no study"), (["study0", "study1", "study2"], "none|no study is left")]
)
def test_studies_of_the_validation_exist(studies, match):
    with pytest.raises(ValueError, match=match):
        trainings.fit(**{**three_studies(), "validation": studies})
