"""Published models: valid, damaged and malicious."""

from __future__ import annotations

import json
import os
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch

import scim
from helpers.published import embed, random_decoder, random_encoder, write_model
from scim._core import FormatError, ScimWarning

GENES = ["CD3D", "C12orf74", "PLEKHG7", "CD19", "SEPT7", "AC000032.1", *(f"gene{i}" for i in range(14))]
LABELS = ["type I pneumocyte", "T cell", "native cell"]


@pytest.fixture
def encoder():
    return random_encoder(len(GENES), (9, 7), 5)


@pytest.fixture
def folder(tmp_path, encoder):
    write_model(tmp_path / "m", GENES, encoder, decoder=random_decoder(len(GENES), (9, 7), 5), labels=LABELS)
    return tmp_path / "m"


@pytest.fixture
def X():
    rng = np.random.default_rng(0)
    return np.where(rng.random((30, len(GENES))) < 0.5, rng.random((30, len(GENES))) * 4, 0).astype(np.float32)


def refused(folder, match):
    with pytest.raises(FormatError, match=match):
        scim.scimilarity.import_model(folder)


def change(folder, name, update):
    """Rewrite a checkpoint with other values of some tensors; `None` removes a tensor."""
    content = torch.load(folder / name, weights_only=True)["state_dict"] | update
    torch.save({"state_dict": {key: value for key, value in content.items() if value is not None}}, folder / name)


def rewrite(folder, changes):
    """Write the encoder again, with other content of some entries of its archive."""
    file = folder / "encoder.ckpt"
    with zipfile.ZipFile(file) as old:
        entries = {info.filename: old.read(info) for info in old.infolist()}
    with zipfile.ZipFile(file, "w") as new:
        for name, content in (entries | {f"encoder/{name}": content for name, content in changes.items()}).items():
            new.writestr(name, content)


def test_embeddings_are_those_of_the_published_weights(folder, encoder, X):
    assert np.abs(scim.scimilarity.import_model(folder).encode(X) - embed(encoder, X)).max() < 1e-6


def test_it_decodes(folder, encoder):
    model = scim.scimilarity.import_model(folder)
    z = np.eye(5, dtype=np.float32)
    x, state = z, random_decoder(len(GENES), (9, 7), 5)
    for i, at in ((0, 0), (1, 1)):
        x = x @ state[f"network.{i}.{at}.weight"].T + state[f"network.{i}.{at}.bias"]
        norm = f"network.{i}.{at + 1}"
        x = (x - state[f"{norm}.running_mean"]) / np.sqrt(state[f"{norm}.running_var"] + 1e-5)
        x = x * state[f"{norm}.weight"] + state[f"{norm}.bias"]
        x = np.where(x > 0, x, x * state[f"network.{i}.{at + 2}.weight"])
    x = x @ state["network.2.weight"].T + state["network.2.bias"]
    np.testing.assert_allclose(model.decode(z), x, atol=1e-5)


def test_labels_get_their_current_names_and_unknown_ones_are_listed(folder):
    model = scim.scimilarity.import_model(folder)
    assert model.labels == ("pulmonary alveolar type 1 cell", "T cell", "native cell")
    assert model.label_ids == ("CL:0002062", "CL:0000084", None)
    assert model.metadata["labels"] == LABELS
    assert model.metadata["labels_unmapped"] == ["native cell"]


def test_of_two_names_of_a_gene_the_old_one_stays_a_gene_of_its_own(folder):
    model = scim.scimilarity.import_model(folder)
    assert model.genes[:6].tolist() == [
        "ENSG00000167286", "C12orf74", "ENSG00000187510", "ENSG00000177455", "ENSG00000122545", "AC000032.1",
    ]  # fmt: skip
    assert model.metadata["gene_order"] == GENES


@pytest.mark.parametrize("newline", [False, True])
def test_the_last_gene_may_end_its_line_or_not(folder, newline):
    (folder / "gene_order.tsv").write_text("\n".join(GENES) + "\n" * newline)
    assert scim.scimilarity.import_model(folder).n_genes == len(GENES)


def test_saved_and_loaded_it_is_the_same_model(folder, tmp_path, X):
    model = scim.scimilarity.import_model(folder)
    model.save(tmp_path / "ours")
    loaded = scim.model.load(tmp_path / "ours")
    assert loaded.uid == model.uid
    assert loaded.metadata == model.metadata
    assert np.array_equal(loaded.encode(X), model.encode(X))


def test_without_a_decoder_it_embeds_and_warns(folder, encoder, X):
    (folder / "decoder.ckpt").unlink()
    with pytest.warns(ScimWarning, match=r"no decoder\.ckpt"):
        model = scim.scimilarity.import_model(folder)
    assert model.decoder is None
    assert np.abs(model.encode(X) - embed(encoder, X)).max() < 1e-6


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a SCimilarity model"):
        scim.scimilarity.import_model(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["encoder.ckpt", "layer_sizes.json", "gene_order.tsv", "label_ints.csv"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    refused(folder, f"no file '{name}'")


def test_other_layer_sizes_are_named(folder):
    sizes = json.loads((folder / "layer_sizes.json").read_text())
    (folder / "layer_sizes.json").write_text(json.dumps(sizes | {"network.1.1.weight": [7, 8]}))
    refused(folder, r"do not agree \(network.1.1.weight: \(7, 8\) and \(7, 9\)\)")


@pytest.mark.parametrize("shape", ["many", [-1, 9], [1 << 40, 9], [1.5, 2], None])
def test_sizes_that_are_invalid(folder, shape):
    (folder / "layer_sizes.json").write_text(json.dumps({"network.0.1.weight": shape}))
    refused(folder, "layer_sizes.json' is not what it should be")


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
def test_invalid_json(folder, text):
    (folder / "layer_sizes.json").write_text(text)
    refused(folder, "not readable JSON|expected an object")


def test_another_number_of_genes_is_named(folder):
    (folder / "gene_order.tsv").write_text("\n".join(GENES[:-1]))
    refused(folder, f"has {len(GENES) - 1} genes, but encoder.ckpt reads {len(GENES)}")


def test_a_gene_twice(folder):
    (folder / "gene_order.tsv").write_text("\n".join([*GENES[:-1], "CD19"]))
    refused(folder, r"same gene more than once, as \['CD19'\]")


@pytest.mark.parametrize("text", ['a,b\n0,"x"\n', '"","0"\n1,"x"\n', '"","0"\n0,"x","y"\n', ""])
def test_labels_of_another_form(folder, text):
    (folder / "label_ints.csv").write_text(text)
    refused(folder, "label_ints.csv' must")


@pytest.mark.parametrize("name", ["encoder.ckpt", "decoder.ckpt"])
def test_missing_and_extra_tensors_are_named(folder, name):
    change(folder, name, {"network.0.9.weight": torch.zeros(1), "network.2.bias": None})
    refused(folder, r"missing tensors \['network.2.bias'\], unknown tensors \['network.0.9.weight'\]")


def test_layers_that_do_not_follow_each_other(folder):
    wrong = torch.zeros(7, 3)
    change(folder, "encoder.ckpt", {"network.1.1.weight": wrong})
    sizes = json.loads((folder / "layer_sizes.json").read_text())
    (folder / "layer_sizes.json").write_text(json.dumps(sizes | {"network.1.1.weight": [7, 3]}))
    refused(folder, "that follow each other")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(folder, value):
    change(folder, "encoder.ckpt", {"network.2.bias": torch.full((5,), value)})
    refused(folder, r"network\.2\.bias.*has values from (nan|inf)")


def test_whole_numbers_for_weights(folder):
    change(folder, "encoder.ckpt", {"network.2.bias": torch.zeros(5, dtype=torch.int64)})
    refused(folder, "network.2.bias' holds int64")


class Payload:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch {self.file}",)


def test_a_payload_is_not_executed(folder, tmp_path):
    file = tmp_path / "it-ran"
    torch.save({"state_dict": OrderedDict(x=Payload(file))}, folder / "encoder.ckpt")
    refused(folder, "holds something else than tensors")
    assert not file.exists()


def test_an_old_checkpoint_is_not_executed_either(folder, tmp_path):
    file = tmp_path / "it-ran"
    torch.save({"x": Payload(file)}, folder / "encoder.ckpt", _use_new_zipfile_serialization=False)
    refused(folder, "not what torch.save writes")
    assert not file.exists()


def test_other_things_beside_the_tensors(folder):
    torch.save({"state_dict": {}, "optimizer": {}}, folder / "encoder.ckpt")
    refused(folder, "must hold one entry, 'state_dict'")
    torch.save({"state_dict": {"a": 3}}, folder / "encoder.ckpt")
    refused(folder, "'a' is not a plain tensor")


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.ones(3, device="meta"),
        lambda: torch.ones(3, dtype=torch.complex64),
        lambda: torch.nn.Parameter(torch.ones(3)),
    ],
    ids=["nested", "sparse", "meta", "complex", "parameter"],
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_tensors_of_other_kinds(folder, make):
    state = {"network.2.bias": make()}
    torch.save({"state_dict": state}, folder / "encoder.ckpt")
    refused(folder, "holds something else than tensors|not a plain tensor")


@pytest.mark.parametrize(
    "instructions",
    [
        b"",
        b"\x80\x02.",
        b"\x80\x02}q\xff\xff\xff\xff\xff.",
        b"\x80\x02r\xff\xff\xff\x7f.",
        b"(" * 1000 + b".",
        b")" + b"\x85" * 100_000 + b".",
        b"cos\nsystem\n(X\x02\x00\x00\x00lstR.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"}X\x01\x00\x00\x00a)su.",
        b"}X\x0a\x00\x00\x00state_dict}X\x01\x00\x00\x00a)" + b"q\x00h\x00\x86" * 200 + b"ss.",  # 2**200 tuples
        b"I1" + b"0" * 10_000 + b"\n.",
    ],
)
def test_lists_of_other_instructions(folder, instructions):
    rewrite(folder, {"data.pkl": instructions})
    refused(folder, "holds something else|must hold one entry|not a plain tensor")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"data/0": b"\0" * 4}, "not a plain tensor of this file"),
        ({"byteorder": b"big"}, "another byte order"),
        ({"../../x": b"1"}, "no list of tensors|holds something else|missing tensors"),
        ({f"data/{i}": b"1" for i in range(1000, 12_000)}, "entries that claim more"),
        ({"data.pkl": b"0" * 300_000}, "no list of tensors, 'data.pkl', of at most"),
    ],
    ids=["short", "big endian", "name", "many", "long list"],
)
def test_archives_of_other_entries(folder, changes, match):
    rewrite(folder, changes)
    if "../../x" in changes:
        assert scim.scimilarity.import_model(folder).n_genes == len(GENES)  # no name becomes a path
    else:
        refused(folder, match)


def test_a_changed_number_has_another_checksum(folder):
    content = bytearray((folder / "encoder.ckpt").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "encoder.ckpt").write_bytes(content)
    refused(folder, "Bad CRC-32|truncated or damaged")


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.mkdir(), lambda path: path.symlink_to("/dev/zero")])
@pytest.mark.parametrize("name", ["encoder.ckpt", "gene_order.tsv", "label_ints.csv", "metadata.json"])
def test_what_is_no_file(folder, name, make):
    (folder / name).unlink()
    make(folder / name)
    refused(folder, f"{name}' is a (pipe|folder|device)")


@pytest.mark.parametrize("genes", [["CD3D", "ENSG00000167286"], ["CD19", "A\0B"]])
def test_a_symbol_beside_its_own_id_and_control_characters(folder, genes):
    (folder / "gene_order.tsv").write_text("\n".join([*genes, *GENES[2:]]))
    refused(folder, "same gene more than once|must have a gene symbol in every line")


@pytest.mark.parametrize("text", ['"","0"\n0,"x"\n1,"x"\n', '"","0"\n0,"a\0b"\n', '"","0"\n0,"x', '"","0"\n-1,"x"\n'])
def test_labels_that_are_no_labels(folder, text):
    (folder / "label_ints.csv").write_text(text)
    refused(folder, "label_ints.csv'")


def test_a_small_file_of_a_huge_tensor(folder):
    huge = torch.zeros(1).expand(1 << 20, 1 << 20)  # 4 TB of one number
    change(folder, "encoder.ckpt", {"network.0.1.weight": huge})
    refused(folder, "not a plain tensor of this file")


def test_many_tensors_of_the_same_bytes(folder):
    state = torch.load(folder / "encoder.ckpt", weights_only=True)["state_dict"]
    one = torch.zeros(9, 9)
    state |= {f"network.{i}.1.weight": one for i in range(10, 300)}
    torch.save({"state_dict": state}, folder / "encoder.ckpt")
    refused(folder, "tensors of more bytes than its")


def test_a_very_long_label(folder):
    (folder / "label_ints.csv").write_text('"","0"\n0,"' + "x" * 200_000 + '"\n')
    refused(folder, "is no table of labels")


def test_a_deflated_archive_is_not_inflated(folder, tmp_path):
    with zipfile.ZipFile(folder / "encoder.ckpt") as old:
        entries = {info.filename: old.read(info) for info in old.infolist()}
    with zipfile.ZipFile(folder / "encoder.ckpt", "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in entries.items():
            new.writestr(name, content)
        new.writestr("archive/data/99", bytes(10_000_000))
    refused(folder, "are compressed")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.98])
def test_a_truncated_checkpoint(folder, share):
    content = (folder / "encoder.ckpt").read_bytes()
    (folder / "encoder.ckpt").write_bytes(content[: int(len(content) * share)])
    refused(folder, "truncated")


def test_a_storage_that_claims_more_than_it_has(folder):
    """The list claims 2**40 numbers for a storage of 180."""
    file = folder / "encoder.ckpt"
    with zipfile.ZipFile(file) as old:
        entries = {info.filename: old.read(info) for info in old.infolist()}
    name = next(name for name in entries if name.endswith("data.pkl"))
    small, large = b"K\xb4", b"\x8a\x06" + (1 << 40).to_bytes(6, "little")  # 180 = 9 x 20 numbers; as BININT1, as LONG1
    assert entries[name].count(small) == 1
    entries[name] = entries[name].replace(small, large)
    with zipfile.ZipFile(file, "w") as new:
        for entry, content in entries.items():
            new.writestr(entry, content)
    refused(folder, "not a plain tensor of this file")


def test_genes_that_are_no_text(folder):
    (folder / "gene_order.tsv").write_bytes(b"\xff\xfe\x00")
    refused(folder, "is not text in UTF-8")
