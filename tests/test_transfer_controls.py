"""Controls on weights: values stay, places go; cut by hand; pure functions of their arguments; carried like any other model."""

import pytest
import torch
from transfer_harness import (
    FAMILIES,
    HEADS,
    OUTPUTS,
    WIDTH,
    model_of,
    named,
    same,
    trained_of,
    values,
)
from transformers import LlamaConfig

from uprior.models.presets import from_config
from uprior.transfer import carry, members, same_statistics, shuffled_weights


def sorted_values(tensor):
    return tensor.flatten().sort().values


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("per", ["tensor", "head"])
@pytest.mark.parametrize("outputs", [True, False])
def test_shuffled_weights_keep_their_values_and_lose_their_places(family, per, outputs):
    trained = trained_of(family)
    before = values(trained)
    state = torch.get_rng_state()
    made = values(shuffled_weights(trained, per=per, output_projections=outputs, seed=3))
    assert torch.equal(torch.get_rng_state(), state)
    left = {name for name in before if any(f"{output}." in name for output in OUTPUTS)} if not outputs else set()
    assert same(made, before) == named(trained, "norms", "embeddings", "positions", "head") | left
    assert all(torch.equal(sorted_values(made[name]), sorted_values(before[name])) for name in before)
    assert same(values(trained), before) == set(before)
    again = values(shuffled_weights(trained, per=per, output_projections=outputs, seed=3))
    other = values(shuffled_weights(trained, per=per, output_projections=outputs, seed=4))
    assert same(made, again) == set(made)
    assert same(made, other) == same(made, before)


def pieces(family, name, tensor):
    """Queries, keys and values of each head, cut by hand as the family's own code reads them. [outputs, inputs] each."""
    size = WIDTH // HEADS
    if family == "gpt2":  # [inputs, 3 x heads x size]
        return tensor.t().reshape(3, HEADS, size, WIDTH).flatten(0, 1)
    if family == "gpt-neox":  # [heads x 3 x size, inputs]
        return tensor.reshape(HEADS, 3, size, WIDTH).flatten(0, 1)
    return tensor.reshape(HEADS, size, WIDTH)


@pytest.mark.parametrize("family", FAMILIES)
def test_shuffling_per_head_stays_within_queries_keys_or_values_of_a_head(family):
    trained = trained_of(family)
    before = values(trained)
    by_head, by_tensor = (values(shuffled_weights(trained, per=per)) for per in ("head", "tensor"))
    makers = [
        n
        for n in before
        if any(f"{m}.weight" in n for m in ("q_proj", "k_proj", "v_proj", "c_attn", "query_key_value"))
    ]
    assert len(makers) == (6 if family == "llama" else 2)
    for name in makers:
        cut = [pieces(family, name, source[name]) for source in (before, by_head, by_tensor)]
        for old, new, anywhere in zip(*cut, strict=True):
            assert torch.equal(sorted_values(old), sorted_values(new)) and not torch.equal(old, new)
            assert not torch.equal(sorted_values(old), sorted_values(anywhere))
    outputs = [n for n in before if any(f"{output}.weight" in n for output in OUTPUTS)]
    assert len(outputs) == 2
    for name in outputs:
        cut = [
            (source[name] if family != "gpt2" else source[name].t()).reshape(WIDTH, HEADS, WIDTH // HEADS).unbind(1)
            for source in (before, by_head)
        ]
        for old, new in zip(*cut, strict=True):
            assert torch.equal(sorted_values(old), sorted_values(new)) and not torch.equal(old, new)


def test_shuffling_per_head_where_heads_share_keys():
    config = LlamaConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=16,
        vocab_size=8,
    )
    trained = from_config(config, 0)
    made = shuffled_weights(trained, "attention", per="head")
    old, new = (m.model.layers[0].self_attn.k_proj.weight.reshape(2, 4, 16) for m in (trained, made))
    for i in range(2):
        assert torch.equal(sorted_values(old[i]), sorted_values(new[i]))


@pytest.mark.parametrize("family", FAMILIES)
def test_same_statistics_and_nothing_else(family):
    trained = trained_of(family)
    with torch.no_grad():
        constant = next(m.parameter for m in members(trained) if m.role == "mlp")
        constant.fill_(0.25)
    before = values(trained)
    made = values(same_statistics(trained, layers=(0,), seed=1))
    drawn = named(trained, "attention", "mlp", layers=(0,))
    unmoved = {m.name for m in members(trained) if m.parameter is constant}
    assert same(made, before) == (set(before) - drawn) | unmoved
    for name in drawn:
        assert made[name].double().mean() == pytest.approx(float(before[name].double().mean()), abs=1e-6)
        assert made[name].double().std() == pytest.approx(float(before[name].double().std()), rel=1e-5, abs=1e-9)
        assert set(made[name].flatten().tolist()).isdisjoint(before[name].flatten().tolist()) or name in unmoved
    again, other = (values(same_statistics(trained, layers=(0,), seed=seed)) for seed in (1, 2))
    assert same(made, again) == set(made)
    assert same(made, other) == (set(before) - drawn) | unmoved


def test_a_control_is_carried_like_a_trained_model():
    trained, fresh = trained_of("gpt2"), model_of("gpt2")
    control = shuffled_weights(trained, per="head", output_projections=False)
    carry(control, fresh)
    assert named(fresh, "attention", "mlp", "norms") == same(values(fresh), values(control))
