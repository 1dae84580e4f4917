"""A model that begins by counting: untrained, it predicts nearly as well as counts can, and all of it can be trained."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

import uprior
from uprior.errors import SpecError
from uprior.evals.ctw import ContextTreeWeighting
from uprior.evals.model import ModelPredictor
from uprior.models.presets import Preset, config_of, fresh_like, from_config
from uprior.sources import PitmanYor
from uprior.train import hardware

# Sixteen symbols, so that building takes no time.
SMALL = Preset("llama", 36, 2, 6, 68, "counting", 16)


@pytest.fixture(scope="module")
def model() -> Any:
    return uprior.build("llama-6m-counting", context=256, seed=0)


@pytest.fixture(scope="module")
def rows() -> Any:
    return uprior.Stream(PitmanYor(), seed=0, batch_size=16, length=256, vocab=256).batch(0).tokens.astype(np.int64)


def test_untrained_it_is_near_context_tree_weighting(model: Any, rows: Any) -> None:
    bits = ModelPredictor(model).bits(rows).bits[:, -64:].mean()
    matching = ModelPredictor(uprior.build("llama-3m-matching-2", context=256)).bits(rows).bits[:, -64:].mean()
    best = ContextTreeWeighting(4, 1 / 16).nats(rows.astype(np.uint8))[:, -64:].mean() / np.log(2)
    assert bits < best + 0.25 < matching - 0.5


def test_it_keeps_little_for_what_never_came(model: Any, rows: Any) -> None:
    with torch.no_grad():
        last = torch.softmax(model(torch.from_numpy(rows)).logits[:, -1].double(), -1)
    unseen = torch.ones_like(last, dtype=torch.bool)
    unseen[torch.arange(len(rows))[:, None], torch.from_numpy(rows)] = False
    assert float((last * unseen).sum(-1).mean()) < 0.1


def test_rounding_costs_little(model: Any, rows: Any) -> None:
    """All numbers of a block are plus or minus one number, and bends make up for what rounding did to those before."""
    rounded = fresh_like(model, seed=0)
    with torch.no_grad():
        for weight in rounded.parameters():
            weight.copy_(weight.bfloat16().float())
    exact, coarse = (ModelPredictor(one).bits(rows).bits.mean() for one in (model, rounded))
    assert abs(coarse - exact) < 0.02


def test_layers_are_never_computed_in_bfloat16(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "has_fast_bfloat16", lambda _: True)
    here = torch.device("cpu")
    assert hardware.resolve_precision("auto", here, model) == "float32"
    assert hardware.resolve_precision("auto", here, uprior.build("32x1", context=16)) == "bfloat16"
    with pytest.raises(
        SpecError, match=r"bfloat16 is not allowed for a model that began by counting.*allowed: float32"
    ):
        hardware.resolve_precision("bfloat16", here, model)


def test_it_is_a_pure_function_of_its_seed_and_all_of_it_is_trained() -> None:
    first, again, other = (from_config(config_of(SMALL, 16, 32), seed) for seed in (0, 0, 1))
    tables = [one.get_input_embeddings().weight for one in (first, again, other)]
    assert torch.equal(tables[0], tables[1]) and not torch.equal(tables[0], tables[2])
    assert fresh_like(first, seed=3).config.first_weights == "counting"
    ids = torch.arange(64).reshape(2, 32) % 16
    logits = first(ids).logits
    torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    assert all(float(weight.grad.abs().max()) > 0 for weight in first.parameters())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"width": 24}, "hidden_size = 24"),
        ({"inner": 67}, "intermediate_size = 67"),
        ({"head_size": 14}, "head_dim = 14"),
    ],
)
def test_sizes_that_cannot_hold_the_symbols_are_refused(change: dict[str, int], said: str) -> None:
    with pytest.raises(SpecError, match=rf"counting: {said} is not allowed with 16 ids; allowed: \d+ or more"):
        config_of(dataclasses.replace(SMALL, **change), 16, 32)
