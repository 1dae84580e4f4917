"""Checkpoints made to harm whoever opens them: refused in one line, nothing run, nothing read outside the folder."""

import json
import os
import pickle
import shutil
import struct
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from uprior.errors import CheckpointError
from uprior.models import build, load_model, save_model

pytestmark = pytest.mark.fault("hostile checkpoint")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good") / "m"
    save_model(build("llama-tiny", context=32), folder)
    (folder / "checksums.json").unlink()  # as from another program: what follows must not hang on checksums
    return folder


@pytest.fixture
def folder(good, tmp_path):
    shutil.copytree(good, tmp_path / "m")
    return tmp_path / "m"


def marker(folder):
    """The file that appears as soon as any code of a hostile checkpoint runs."""
    return folder.parent / "executed"


class Payload:
    """Unpickling this writes the marker."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (Path(self.path),))


def configure(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def code(folder, name):
    (folder / name).write_text(f"open({str(marker(folder))!r}, 'w').close()\nclass Config: pass\nclass Model: pass\n")


def index(folder, name):
    """Weights that an index names, without a model.safetensors beside it; a further file makes the folder look whole."""
    keys = list(load_header(folder / "model.safetensors"))
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    text = json.dumps({"metadata": {}, "weight_map": dict.fromkeys(keys, name)})
    (folder / "model.safetensors.index.json").write_text(text)


def load_header(file):
    data = file.read_bytes()
    return json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])


def header(folder, content, length=None):
    text = json.dumps(content).encode()
    weights = folder / "model.safetensors"
    weights.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + bytes(64))


def pickled(suffix):
    def make(folder):
        (folder / "model.safetensors").unlink()
        (folder / f"pytorch_model{suffix}").write_bytes(pickle.dumps(Payload(marker(folder))))

    return make


def pickle_named_as_safetensors(folder):
    (folder / "model.safetensors").write_bytes(pickle.dumps(Payload(marker(folder))))


def index_of_pickles(folder):
    index(folder, "pytorch_model.bin")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(marker(folder))))


def torch_archive(folder):
    (folder / "model.safetensors").unlink()
    torch.save(Payload(marker(folder)), folder / "model.pt")


def remote_code(key, model_type):
    def make(folder):
        code(folder, "modeling_evil.py")
        configure(folder, model_type=model_type)
        configure(folder, auto_map={key: "modeling_evil.Model", "AutoConfig": "modeling_evil.Config"})

    return make


def code_inside(folder):
    code(folder, "evil.py")
    configure(folder, nested={"list": [{"auto_map": {"AutoModel": "evil.Model"}}]})


def attention(key, value):
    return lambda folder: configure(folder, **{key: value})


def outside(name):
    """Names the weights of a stranger's folder beside the checkpoint; absolute where the name says so."""

    def make(folder):
        secret = folder.parent / "secret"
        secret.mkdir()
        shutil.copy(folder / "model.safetensors", secret / "s.safetensors")
        index(folder, name.format(parent=folder.parent))

    return make


def explicit_name(folder):
    shutil.copy(folder / "model.safetensors", folder.parent / "s.safetensors")
    configure(folder, transformers_weights="../s.safetensors")


def checksums_outside(folder):
    (folder / "checksums.json").write_text(json.dumps({"../../../../etc/passwd": "0" * 64}))


def checksums_of_another_kind(folder):
    (folder / "checksums.json").write_text("[1, 2]")


def link(folder):
    secret = folder.parent / "s.safetensors"
    (folder / "model.safetensors").rename(secret)
    (folder / "model.safetensors").symlink_to(secret)


def link_to_device(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("/dev/zero")


def pipe(folder):
    (folder / "config.json").rename(folder / "other.json")
    os.mkfifo(folder / "generation_config.json.x")
    (folder / "other.json").rename(folder / "config.json")


def deep_json(folder):
    (folder / "config.json").write_text('{"a":' + "[" * 200_000 + "]" * 200_000 + "}")


def huge_json(folder):
    with (folder / "config.json").open("r+b") as file:
        file.truncate(1 << 34)  # a hole: it costs the disk nothing


def huge_count(folder):
    """A header that honestly fits its file, which is a hole of 16 GB."""
    header(folder, {"__metadata__": {}}, length=(1 << 34) - 64)
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(1 << 34)


def no_json(folder):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 4) + b"\xff{}x")


def tensor(shape, offsets=(0, 64), dtype="F32"):
    return {"model.embed_tokens.weight": {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}}


def adapter(folder):
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/", "peft_type": "LORA"}))


HOSTILE = {
    "pickle .bin": (pickled(".bin"), "pickled weights"),
    "pickle .pt": (pickled(".pt"), "pickled weights"),
    "pickle .ckpt": (pickled(".ckpt"), "pickled weights"),
    "pickle .pkl": (pickled(".pkl"), "pickled weights"),
    "torch archive": (torch_archive, "pickled weights"),
    "pickle under the name of safetensors": (pickle_named_as_safetensors, "is damaged: a header of"),
    "index of pickles": (index_of_pickles, "uprior opens safetensors alone"),
    "code of a known model type": (remote_code("AutoModelForCausalLM", "llama"), "code of its own, which uprior never runs"),
    "code of a new model type": (remote_code("AutoModelForCausalLM", "evil"), "code of its own, which uprior never runs"),
    "code deep in the configuration": (code_inside, "code of its own, which uprior never runs"),
    "code, trusted by its own word": (attention("trust_remote_code", True), "which uprior never runs"),
    "kernels from a hub": (attention("attn_implementation", "evil/kernel"), "kernels from elsewhere"),
    "kernels from a hub, private key": (attention("_attn_implementation", "evil/kernel@main:f"), "kernels from elsewhere"),
    "kernels from a hub, by fallback": (attention("_attn_implementation", "flash_attention_2"), "kernels from elsewhere"),
    "quantiser": (attention("quantization_config", {"quant_method": "bitsandbytes"}), "quantised weights"),
    "adapter of another folder": (adapter, "an adapter, not a model"),
    "index leads up": (outside("../secret/s.safetensors"), "leads out of the folder"),
    "index leads up from below": (outside("a/../../secret/s.safetensors"), "leads out of the folder"),
    "index leads to the root": (outside("{parent}/secret/s.safetensors"), "leads out of the folder"),
    "index with a backslash": (outside("..\\secret\\s.safetensors"), "leads out of the folder"),
    "index with a zero byte": (outside("s.safetensors\0"), "leads out of the folder"),
    "index with a name of a megabyte": (outside("../" * 300_000), "leads out of the folder"),
    "weights named in the configuration": (explicit_name, "leads out of the folder"),
    "checksums of other files": (checksums_outside, "leads out of the folder"),
    "checksums that are a list": (checksums_of_another_kind, "is damaged (no JSON object)"),
    "link out of the folder": (link, "is a link out of the checkpoint"),
    "link to a device": (link_to_device, "is a link out of the checkpoint"),
    "pipe": (pipe, "neither a file nor a folder"),
    "JSON nested deeply": (deep_json, "is damaged"),
    "JSON of 16 GB": (huge_json, "is damaged"),
    "header longer than its file": (lambda f: header(f, {}, length=(1 << 63) - 1), "a header of 9223372036854775807 bytes"),
    "header of 16 GB": (huge_count, "a header of 17179869120 bytes"),
    "header that is no JSON": (no_json, "no readable header"),
    "header that is a list": (lambda f: header(f, [1]), "no readable header"),
    "shape beyond the file": (lambda f: header(f, tensor([1 << 40, 1 << 40])), "a tensor of shape [1099511627776"),
    "shape below zero": (lambda f: header(f, tensor([-4, -4])), "a tensor of shape [-4, -4]"),
    "shape of a thousand axes": (lambda f: header(f, tensor([1] * 1000)), "a tensor of shape [1, 1"),
    "shape of words": (lambda f: header(f, tensor(["a"])), "a tensor of shape"),
    "offsets that overlap": (lambda f: header(f, tensor([4, 4], (32, 96))), "cannot open"),
    "unknown number type": (lambda f: header(f, tensor([4, 4], dtype="EVIL")), "cannot open"),
    "a billion layers": (lambda f: configure(f, num_hidden_layers=10**9), "num_hidden_layers = 1000000000"),
    "matrices of terabytes": (lambda f: configure(f, intermediate_size=10**12), "config.json describes"),
    "more numbers than 64 bits count": (lambda f: configure(f, vocab_size=10**30), "cannot open"),
    "matrices a little too large": (lambda f: configure(f, intermediate_size=97), "do not fit config.json"),
    "unknown model type": (lambda f: configure(f, model_type="../../evil"), "cannot open"),
    "no model type": (lambda f: (f / "config.json").write_text("{}"), "cannot open"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_checkpoints_are_refused_in_one_line(folder, name, capfd, monkeypatch):
    make, message = HOSTILE[name]
    make(folder)
    modules = set(sys.modules)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked a question"))
    with pytest.raises(CheckpointError) as caught:
        load_model(folder)
    text = str(caught.value)
    assert message in text and "\n" not in text and len(text) < 600, text
    assert not marker(folder).exists()
    assert not {module for module in set(sys.modules) - modules if "evil" in module}
    assert capfd.readouterr().err == ""


# ------------------------------------------------------------------ what looks alike and is no harm


def same(model, good):
    return torch.equal(model.lm_head.weight, load_model(good).lm_head.weight)


def test_the_cache_of_the_hub_links_into_its_blobs(good, tmp_path):
    """models--x/snapshots/REVISION/model.safetensors -> ../../blobs/HASH"""
    snapshot, blobs = tmp_path / "models--x" / "snapshots" / "abc", tmp_path / "models--x" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(sorted(good.iterdir())):
        shutil.copy(file, blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    assert same(load_model(snapshot), good)


def test_shards_are_opened(folder, good):
    model = load_model(good)
    shutil.rmtree(folder)
    model.save_pretrained(folder, max_shard_size="50KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    assert same(load_model(folder), good)


def test_a_shard_that_is_missing_is_named(folder, good):
    index(folder, "model-00002-of-00002.safetensors")
    with pytest.raises(CheckpointError, match=r"model-00002-of-00002\.safetensors is missing"):
        load_model(folder)


def test_pickles_beside_safetensors_are_left_alone(folder, good):
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(marker(folder))))
    torch.save(Payload(marker(folder)), folder / "training_args.pt")
    assert same(load_model(folder), good) and not marker(folder).exists()


def test_plain_attention_and_a_word_of_caution_are_no_code(folder, good):
    configure(folder, _attn_implementation="sdpa", trust_remote_code=False)
    assert same(load_model(folder), good)


def test_untied_weights_and_other_number_types_are_opened(folder, good):
    tensors = {name: t.to(torch.bfloat16) for name, t in load_model(good).state_dict().items()}
    tensors["lm_head.weight"] = tensors["lm_head.weight"].clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert load_model(folder).lm_head.weight.dtype == torch.float32
