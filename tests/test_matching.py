"""Models that begin by matching contexts: they copy untrained, all of them is trained, and they are kept as such."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

import uprior
from uprior.errors import SpecError
from uprior.evals.model import ModelPredictor
from uprior.models.matching import _codes, _parts
from uprior.models.mup import rescale_
from uprior.models.presets import PRESETS, Preset, fresh_like, from_config
from uprior.models.sizes import build, preset_of
from uprior.sources import PitmanYor
from uprior.train.fused import fused_hidden


def periodic(rows: int, length: int, period: int) -> torch.Tensor:
    """[rows, length] a word of different random symbols, over and over."""
    rng = np.random.Generator(np.random.Philox(5))
    words = np.stack([rng.permutation(256)[:period] for _ in range(rows)])
    return torch.from_numpy(words[:, np.arange(length) % period].astype(np.int64))


def share_right(model: Any, ids: torch.Tensor, first: int) -> float:
    with torch.no_grad():
        guesses = model(ids[:, :-1]).logits.argmax(-1)
    return float((guesses == ids[:, 1:])[:, first:].double().mean())


@pytest.mark.parametrize("name", ["llama-1m-matching", "llama-3m-matching", "128x2-matching", "llama-3m-matching-2"])
@pytest.mark.parametrize("period", [20, 100])
def test_it_copies_before_it_is_trained(name: str, period: int) -> None:
    model = build(name, context=256, seed=0)
    ids = periodic(8, 256, period)
    plain = from_config(model.config, 0, plain=True)
    assert share_right(model, ids, period + 4) > 0.8
    assert share_right(plain, ids, period + 4) < 0.1


def test_it_finds_what_stood_hundreds_of_tokens_before() -> None:
    model = uprior.build("llama-1m-matching", context=512)
    assert share_right(model, periodic(8, 512, 250), 260) > 0.6


def test_the_second_version_begins_ahead() -> None:
    rows = uprior.Stream(PitmanYor(), seed=0, batch_size=24, length=256, vocab=256).batch(0).tokens.astype(np.int64)
    first, second = (
        ModelPredictor(uprior.build(f"llama-3m-{name}", context=256)).bits(rows).bits.mean()
        for name in ("matching", "matching-2")
    )
    assert second < first - 0.15


@pytest.mark.parametrize(("head_size", "size"), [(64, 255), (128, 255), (64, 63), (16, 15)])
def test_heads_of_one_order_pass_on_different_dimensions(head_size: int, size: int) -> None:
    torch.manual_seed(0)
    parts = list(_parts([1, 2, 1, 2], head_size, size, apart=True))
    assert all(torch.allclose(part @ part.t(), torch.eye(len(part)), atol=1e-5) for part in parts)
    overlap = float((parts[0] @ parts[2].t()).abs().max())
    assert overlap < 1e-5 or 2 * head_size > size
    assert float((parts[0] @ parts[1].t()).abs().max()) > 0.01  # those of another order choose anew


@pytest.mark.parametrize("name", ["llama-1m-matching", "llama-1m-matching-2"])
def test_everything_in_it_is_trained(name: str) -> None:
    model = uprior.build(name, context=64)
    ids = periodic(2, 64, 20)
    torch.nn.functional.cross_entropy(model(ids[:, :-1]).logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None and float(weight.grad.abs().max()) > 0, name


def test_a_fresh_model_like_it_begins_alike(tmp_path: Any) -> None:
    from transformers import AutoModelForCausalLM

    model = uprior.build("llama-1m-matching", context=128, seed=1)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    again, other = fresh_like(loaded, seed=1), fresh_like(loaded, seed=2)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, loaded.state_dict()[name]) and torch.equal(weight, again.state_dict()[name]), name
    assert not torch.equal(model.lm_head.weight, other.lm_head.weight)
    assert share_right(other, periodic(8, 128, 20), 24) > 0.8


def test_the_fused_pass_knows_its_rotations() -> None:
    model = uprior.build("llama-1m-matching", context=128)
    forward = fused_hidden(model)
    ids = periodic(4, 128, 20)
    assert forward is not None
    with torch.no_grad():
        hidden = forward(ids)
        assert hidden is not None
        expected = model.model(ids).last_hidden_state
    assert float((hidden.float() - expected).norm() / expected.norm()) < 0.1


@pytest.mark.parametrize("name", ["llama-1m-matching", "llama-5m"])
def test_first_weights_do_not_depend_on_threads(name: str) -> None:
    threads = torch.get_num_threads()
    try:
        found = []
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(uprior.build(name, context=32).state_dict())
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    for key, weight in found[0].items():
        assert torch.equal(weight, found[1][key]), key


def test_its_sizes_are_its_own() -> None:
    with pytest.raises(SpecError, match="without -matching"):
        rescale_(uprior.build("llama-1m-matching", context=32), 128)


@pytest.mark.parametrize(("size", "far"), [(95, 0.09), (255, 0.005), (300, 1e-6)])
def test_symbols_lie_as_far_apart_as_the_dimensions_allow(size: int, far: float) -> None:
    torch.manual_seed(0)
    codes = _codes(256, size)
    overlap = codes @ codes.t()
    assert torch.allclose(overlap.diagonal(), torch.ones(256), atol=1e-5)
    off = overlap - torch.diag(overlap.diagonal())
    assert float(off.pow(2).mean().sqrt()) < far


def test_names_of_sizes() -> None:
    second = preset_of("llama-3m-matching-2")
    assert second == dataclasses.replace(PRESETS["llama-3m-matching"], first_weights="matching-2")
    small = Preset("llama", 64, 2, 4, 32, "matching-2", 64)
    assert preset_of("64x2-matching-2") == small
    assert preset_of("512x2-matching") == dataclasses.replace(PRESETS["llama-3m-matching"], head_size=64)
    assert preset_of("gpt2:16x2x4") == Preset("gpt2", 16, 2, 4, 64)
    for wrong in (
        "513x2",
        "512x0",
        "gpt2:16x2x5",
        "gpt2:12x2x4",
        "llama-2m",
        "512x2-other",
        "64x2-matching-3",
        "llama-5m-matching-2",
    ):
        assert preset_of(wrong) is None, wrong
    untied = build("gpt2:16x2x4", vocab=31, context=20, seed=0, untied=True)
    assert untied.lm_head.weight is not untied.transformer.wte.weight and untied.config.vocab_size == 31
