"""How a model is divided between processes, and exported as if it had not been."""

import json

import pytest
import torch
from distributed_harness import stream, tiny, together
from safetensors.torch import load_file
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

import uprior
from uprior.errors import SpecError
from uprior.models import build, load_model, save_model
from uprior.models.presets import PRESETS
from uprior.train import sharded
from uprior.train.distributed import ALONE, Group
from uprior.train.parallel import blocks, resolve, spread_over

SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 64}


@pytest.mark.parametrize(
    ("kind", "changes", "block"),
    [
        ("llama", {}, "LlamaDecoderLayer"),
        ("gpt2", {"n_embd": 32, "n_layer": 3, "n_head": 2}, "GPT2Block"),
        ("gpt_neox", {}, "GPTNeoXLayer"),
        ("roberta", {"is_decoder": True}, "RobertaLayer"),
        ("mixtral", {"num_local_experts": 8, "num_key_value_heads": 2}, "MixtralDecoderLayer"),
    ],
)
def test_blocks_are_found_by_structure_in_every_family(kind, changes, block):
    with torch.device("meta"):
        config = AutoConfig.for_model(kind, **(SMALL if kind != "gpt2" else {"vocab_size": 64}), **changes)
        found = blocks(AutoModelForCausalLM.from_config(config))
    assert [type(module).__name__ for module in found] == [block] * 3


def test_experts_inside_a_layer_are_no_blocks():
    layers = [nn.ModuleDict({"experts": nn.ModuleList([nn.Linear(2, 2) for _ in range(5)])}) for _ in range(3)]
    model = nn.ModuleDict({"odd": nn.ModuleList([nn.Linear(2, 2), nn.ReLU()] * 4), "layers": nn.ModuleList(layers)})
    assert blocks(model) == layers
    assert blocks(nn.Linear(2, 2)) == []


def test_ways_are_chosen_and_refused():
    model, cpu = tiny(), torch.device("cpu")
    assert resolve("fsdp", model, ALONE, cpu) == "none"
    assert resolve("auto", model, Group(0, 2), cpu) == "ddp" and resolve("fsdp", model, Group(0, 2), cpu) == "fsdp"
    with pytest.raises(SpecError, match="parallel = 'both' is not allowed; allowed: auto, ddp, fsdp"):
        uprior.pretrain(model, stream(), out="never", steps=1, parallel="both")


# ------------------------------------------------------------------ export


def _export(path, group):
    for name in FAMILIES:
        model = build(name, context=16)
        if group.is_first:
            save_model(model, path / name / "whole")
        spread_over(model, group, "fsdp", torch.device("cpu"))
        sharded.save_sharded_model(model, path / name / "sharded", group)


FAMILIES = sorted({name for name in PRESETS if name.endswith("-tiny")} | {"llama-1m"})


def test_a_sliced_model_is_exported_as_transformers_would(tmp_path):
    assert together(2, _export, tmp_path) == [None, None]
    for name in FAMILIES:
        whole, sharded = tmp_path / name / "whole", tmp_path / name / "sharded"
        index = json.loads((sharded / "model.safetensors.index.json").read_text())["weight_map"]
        files = {file: load_file(sharded / file) for file in set(index.values())}
        expected = load_file(whole / "model.safetensors")
        assert index.keys() == expected.keys() and len(files) == 2
        assert all(torch.equal(files[index[tensor]][tensor], value) for tensor, value in expected.items())
        sizes = [sum(t.numel() for t in tensors.values()) for tensors in files.values()]
        assert max(sizes) <= min(sizes) + max(
            t.numel() for t in expected.values()
        )  # nobody held much more than a share
        for file in ("config.json", "generation_config.json", "tokenizer.json"):
            assert (whole / file).read_bytes() == (sharded / file).read_bytes(), file
        again = load_model(sharded)
        assert all(torch.equal(a, b) for a, b in zip(again.parameters(), load_model(whole).parameters(), strict=True))
