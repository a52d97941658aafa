from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import scim
from scim._core import FormatError
from scim.model import Decoder, Encoder, Labels, Model, ModelConfig, load

if TYPE_CHECKING:
    from pathlib import Path

N_GENES = 12


@pytest.fixture
def model():
    config = ModelConfig(N_GENES, (6, 5), 3)
    generator = torch.Generator().manual_seed(0)
    genes = scim.pp.canonical_genes(["CD3D", "CD3E", "CD19", "MS4A1", *(f"gene{i}" for i in range(N_GENES - 4))])
    labels = Labels(("T cell", "odd one"), ("CL:0000084", None))
    nets = Encoder(config, generator), Decoder(config, generator)
    return Model(config, genes, labels, *nets, name="tiny", metadata={"n_cells": 3, "studies": {"a": 3}})


@pytest.fixture
def folder(model, tmp_path) -> Path:
    model.save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def X():
    return np.random.default_rng(0).random((4, N_GENES)).astype(np.float32)


def test_a_loaded_model_equals_the_saved_one(model, folder, X):
    loaded = load(folder)
    assert loaded.uid == model.uid
    assert loaded.config == model.config
    assert loaded.genes.tolist() == model.genes.tolist()
    assert (loaded.labels, loaded.label_ids) == (model.labels, model.label_ids)
    assert (loaded.name, loaded.metadata) == ("tiny", {"n_cells": 3, "studies": {"a": 3}})
    Z = model.encode(X)
    assert np.array_equal(loaded.encode(X), Z)
    assert np.array_equal(loaded.decode(Z), model.decode(Z))
    assert sorted(f.name for f in folder.iterdir()) == ["config.json", "genes.tsv", "labels.tsv", "weights.safetensors"]


def test_float16_is_smaller_and_close(model, folder, tmp_path, X):
    model.save(tmp_path / "half", dtype="float16")
    half = load(tmp_path / "half")
    assert np.allclose(half.encode(X), model.encode(X), atol=5e-3)
    assert half.encode(X).dtype == np.float32
    assert (tmp_path / "half/weights.safetensors").stat().st_size < (folder / "weights.safetensors").stat().st_size
    half.save(tmp_path / "again", dtype="float16")
    assert load(tmp_path / "again").uid == half.uid


def test_without_a_decoder(model, tmp_path, X):
    model.save(tmp_path / "m", decoder=False)
    loaded = load(tmp_path / "m")
    assert loaded.decoder is None
    with pytest.raises(ValueError, match="has no decoder"):
        loaded.decode(X[:, :3])
    assert "no decoder" in repr(loaded)


def test_decode_requires_embeddings(model, X):
    with pytest.raises(ValueError, match=r"shape \(n, 3\), got \(4, 12\)"):
        model.decode(X)


def test_an_existing_folder_is_replaced_only_on_request(model, folder):
    with pytest.raises(FileExistsError, match="overwrite=True"):
        model.save(folder)
    model.save(folder, overwrite=True)
    assert load(folder).uid == model.uid


def test_a_label_with_a_tab_is_refused_and_nothing_is_left(model, tmp_path):
    model.labels = ("a\tb", "c")
    with pytest.raises(ValueError, match="tab"):
        model.save(tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def edit_config(**entries):
    def edit(folder):
        content = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(content | entries))

    return edit


def edit_sizes(**sizes):
    def edit(folder):
        content = json.loads((folder / "config.json").read_text())
        content["config"] |= sizes
        (folder / "config.json").write_text(json.dumps(content))

    return edit


def edit_weights(change):
    def edit(folder):
        weights = load_file(folder / "weights.safetensors")
        change(weights)
        save_file(weights, folder / "weights.safetensors")

    return edit


def edit_lines(name, change):
    def edit(folder):
        lines = (folder / name).read_text().splitlines()
        (folder / name).write_text("\n".join(change(lines)) + "\n")

    return edit


def truncate(name):
    def edit(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return edit


def remove(name):
    return lambda folder: (folder / name).unlink()


def forge(folder):
    """Seal config.json again, and list the files as they are, as a forger would."""
    content = json.loads((folder / "config.json").read_text())
    files = {name: scim.io.describe_file(folder / name) for name in content["files"] if (folder / name).exists()}
    content = {**content, "files": files}
    del content["sha256"]
    (folder / "config.json").write_text(json.dumps(scim.io.sealed(content)))


def make_old(folder):
    """Make the folder of an earlier version, which has no checksums."""
    content = json.loads((folder / "config.json").read_text())
    kept = {key: value for key, value in content.items() if key not in ("files", "sha256")}
    (folder / "config.json").write_text(json.dumps(kept))


@pytest.mark.parametrize("name", ["config.json", "genes.tsv", "labels.tsv", "weights.safetensors"])
@pytest.mark.parametrize("at", [0.1, 0.5, 0.9])
def test_any_changed_byte_is_refused(folder, name, at):
    content = bytearray((folder / name).read_bytes())
    content[int(at * len(content))] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(FormatError, match=name):
        load(folder)


def test_a_folder_of_an_earlier_version_is_read(model, folder):
    make_old(folder)
    assert load(folder).uid == model.uid


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("genes.tsv"), lambda path: path.mkdir(), os.mkfifo])
def test_weights_that_are_no_file(folder, make):
    (folder / "weights.safetensors").unlink()
    make(folder / "weights.safetensors")
    with pytest.raises(FormatError, match="weights.safetensors.*is a (link|folder|pipe)"):
        load(folder)


@pytest.mark.parametrize(
    ("damage", "error", "match"),
    [
        (remove("config.json"), FileNotFoundError, "is not a scim model: it has no 'config.json'"),
        (truncate("config.json"), FormatError, "config.json.*not readable JSON"),
        (edit_config(format="other"), FormatError, "not the configuration of a scim model"),
        (edit_config(schema=99), FormatError, "schema 99.*update"),
        (edit_config(name=3), FormatError, "name=3, expected str"),
        (edit_config(config={"n_genes": 3}), FormatError, "config.json.*missing entries"),
        (edit_sizes(depth=3), FormatError, r"unknown entries \['depth'\]"),
        (edit_config(metadata=[]), FormatError, r"metadata=\[\], expected dict"),
        (edit_sizes(latent_dim=-1), FormatError, "latent_dim must lie"),
        (edit_sizes(latent_dim=10**9), FormatError, "latent_dim must lie"),
        (edit_sizes(hidden=[1] * 1000), FormatError, "at most 64 widths"),
        (edit_sizes(target_sum=float("inf")), FormatError, "target_sum must be finite"),
        (edit_sizes(target_sum=float("nan")), FormatError, "target_sum must lie"),
        (edit_sizes(dropout=1), FormatError, "dropout must lie"),
        (edit_sizes(standardize="no"), FormatError, "standardize must be True or False"),
        (edit_sizes(latent_dim="3"), FormatError, "latent_dim must be a whole number"),
        (edit_sizes(hidden=3), FormatError, "hidden must be a tuple"),
        (edit_sizes(latent_dim=4), FormatError, "weights.safetensors.*shape"),
        (edit_sizes(hidden=[6]), FormatError, "weights.safetensors.*unknown tensors"),
        (edit_sizes(n_genes=11), FormatError, "genes.tsv.*12 genes.*has 11"),
        (remove("genes.tsv"), FormatError, "has no 'genes.tsv'"),
        (truncate("genes.tsv"), FormatError, "genes.tsv.*not a whole table"),
        (edit_lines("genes.tsv", lambda rows: [rows[0], *rows[:0:-1]]), FormatError, "genes.tsv.*order.*hash"),
        (edit_lines("genes.tsv", lambda rows: rows[1:]), FormatError, "genes.tsv.*columns"),
        (remove("labels.tsv"), FormatError, "has no 'labels.tsv'"),
        (edit_lines("labels.tsv", lambda rows: rows[:-1]), FormatError, "labels.tsv.*1 labels.*has 2"),
        (lambda folder: (folder / "labels.tsv").write_bytes(b"\xff\xfe\n"), FormatError, "labels.tsv.*not text"),
        (edit_lines("labels.tsv", lambda rows: [*rows[:-1], "odd one\tnot an id"]), FormatError, "id of a term"),
        (remove("weights.safetensors"), FormatError, "has no 'weights.safetensors'"),
        (truncate("weights.safetensors"), FormatError, "weights.safetensors.*truncated"),
        (edit_weights(lambda w: w.pop("encoder.head.bias")), FormatError, r"missing tensors \['encoder.head.bias'\]"),
        (edit_weights(lambda w: w.update(extra=torch.ones(1))), FormatError, r"unknown tensors \['extra'\]"),
        (edit_weights(lambda w: w["encoder.head.bias"].fill_(torch.nan)), FormatError, "head.bias.*values from nan"),
        (edit_weights(lambda w: w["encoder.blocks.0.2.running_var"].neg_()), FormatError, "running_var.*expected 0"),
        (edit_weights(lambda w: w["encoder.head.weight"].fill_(torch.inf)), FormatError, "head.weight.*to inf"),
        (
            edit_weights(lambda w: w.update({"encoder.head.bias": torch.ones(3, dtype=torch.int32)})),
            FormatError,
            "head.bias' holds int32",
        ),
    ],
)
@pytest.mark.parametrize("sealed", [False, True])
def test_damage_is_named(folder, damage, error, match, sealed):
    """In a folder of an earlier version, and where the checksums are forged too."""
    if not sealed:
        make_old(folder)
    damage(folder)
    if sealed and (folder / "config.json").exists() and "truncated" not in match and "readable" not in match:
        forge(folder)
    with pytest.raises(error, match=match):
        load(folder)


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        load(tmp_path / "nothing")


def test_a_gene_twice(model, tmp_path):
    model.genes[1] = model.genes[0]
    model.save(tmp_path / "m")
    with pytest.raises(FormatError, match="a gene twice"):
        load(tmp_path / "m")


def test_metadata_that_json_cannot_hold(model, tmp_path):
    model.metadata = {1: "a", "1": "b"}
    with pytest.raises(FormatError, match="metadata of tiny.*occurs twice"):
        model.save(tmp_path / "m")


def test_embeddings_that_are_not_finite_are_refused(model, X):
    model.encoder.head.weight.data.fill_(3e38)
    with pytest.raises(ValueError, match="4 embeddings of model 'tiny' are not finite"):
        model.encode(X)


def test_weights_that_were_rounded_stay_small(model, tmp_path):
    model.save(tmp_path / "whole")
    assert json.loads((tmp_path / "whole" / "config.json").read_text())["dtype"] == "float32"
    model.save(tmp_path / "half", dtype="float16")
    half = scim.model.load(tmp_path / "half")
    half.save(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["dtype"] == "float16"
    assert scim.model.load(tmp_path / "again").uid == half.uid != model.uid
