"""Carry: every parameter has one role; what is copied and what is fresh, by hand; refusals in one line."""

import pytest
import torch
from transfer_harness import (
    FAMILIES,
    WIDTH,
    model_of,
    named,
    said,
    same,
    trained_of,
    values,
)
from transformers import AutoModelForCausalLM, MixtralConfig, Qwen3Config

import uprior
from uprior.errors import CheckpointError, SpecError, UnknownNameError, UpriorError
from uprior.models.presets import PRESETS, config_of, from_config
from uprior.transfer import (
    ROLES,
    average,
    carry,
    compose,
    freeze,
    members,
    same_statistics,
    shuffled_weights,
)

# ------------------------------------------------------------------ roles


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_has_exactly_one_role(family, tied):
    model = model_of(family, tied=tied)
    found = members(model)
    groups = [{m.name for m in found if m.role == role} for role in ROLES]
    for i, group in enumerate(groups):
        assert group.isdisjoint(set().union(*groups[:i]))
    assert set().union(*groups) == {name for name, _ in model.named_parameters()}
    assert sum(m.parameter.numel() for m in found) == sum(p.numel() for p in model.parameters())
    count = {role: len(group) for role, group in zip(ROLES, groups, strict=True)}
    bias = 1 if family == "llama" else 2  # tensors of a norm or linear layer
    assert count == {
        "attention": 2 * 4,
        "mlp": 2 * (3 if family == "llama" else 4),
        "norms": 5 * bias,
        "embeddings": 1,
        "positions": int(family == "gpt2"),
        "head": int(not tied),
    }
    assert {m.layer for m in found if m.role in ("attention", "mlp")} == {0, 1}
    assert {m.layer for m in found if m.role in ("embeddings", "positions", "head")} <= {None}


def test_every_preset_and_a_relative_have_roles():
    with torch.device("meta"):
        for preset in PRESETS.values():
            model = AutoModelForCausalLM.from_config(config_of(preset, 256, 512))
            assert {m.name for m in members(model)} == {name for name, _ in model.named_parameters()}
    small = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "vocab_size": 8,
    }
    qwen = from_config(Qwen3Config(**small, num_key_value_heads=1, head_dim=8), 0)
    assert "model.layers.0.self_attn.q_norm.weight" in named(qwen, "attention")
    mixture = from_config(MixtralConfig(**small, num_key_value_heads=1, num_local_experts=2, num_experts_per_tok=1), 0)
    with pytest.raises(SpecError) as error:
        members(mixture)
    assert "is none of attention, mlp" in said(error)


# ------------------------------------------------------------------ carry


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_are_copied_and_the_rest_is_as_it_was(family):
    trained, fresh = trained_of(family), model_of(family)
    before, source = values(fresh), values(trained)
    table = carry(trained, fresh)
    body = named(fresh, "attention", "mlp", "norms")
    assert same(values(fresh), source) == body
    assert same(values(fresh), before) == set(before) - body
    assert same(values(trained), source) == set(source)
    starts = {record["role"]: record["start"] for record in table.records()}
    absent = "fresh" if family == "gpt2" else "none"
    assert starts == {
        **dict.fromkeys(("attention", "mlp", "norms"), "copied"),
        "embeddings": "fresh",
        "positions": absent,
        "head": "none",
    }


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("part", ["attention", "mlp", "norms"])
def test_one_role_and_a_range_of_layers(family, part):
    trained, fresh = trained_of(family, layers=3), model_of(family, layers=3)
    table = carry(trained, fresh, part, layers=iter((1, 2)))
    copied = named(fresh, part, layers=(1, 2)) | (named(fresh, part, layers=(None,)) if part == "norms" else set())
    assert same(values(fresh), values(trained)) == copied
    mine = {r["start"]: r["layers"] for r in table.records() if r["role"] == part}
    assert mine == {"copied": [1, 2], "fresh": [0]}


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_carried_computes_the_same(family):
    ids = torch.arange(6)[None]
    trained = trained_of(family, tied=False).eval()
    fresh = model_of(family, tied=False).eval()
    uprior.carry(trained, fresh, ROLES)
    assert same(values(fresh), values(trained)) == set(values(fresh))
    assert torch.equal(fresh(ids).logits, trained(ids).logits)


def test_no_parts_is_scratch():
    trained, fresh = trained_of("gpt2", layers=3, vocab=5), model_of("gpt2")
    before = values(fresh)
    table = carry(trained, fresh, ())
    assert same(values(fresh), before) == set(before)
    assert {record["start"] for record in table.records()} == {"fresh", "none"}


def test_weights_in_bfloat16_are_carried_into_float32():
    trained, fresh = trained_of("gpt2").bfloat16(), model_of("gpt2")
    carry(trained, fresh, ROLES[:3], embeddings="mean")
    assert {p.dtype for p in fresh.parameters()} == {torch.float32}
    name = "transformer.h.0.mlp.c_fc.weight"
    assert torch.equal(values(fresh)[name], values(trained)[name].float())


def test_other_depths():
    trained, fresh = trained_of("llama", layers=2), model_of("llama", layers=3)
    with pytest.raises(CheckpointError) as error:
        carry(trained, fresh)
    assert "layers=range(2)" in said(error) and "{0: 0, 2: 1}" in said(error)
    before = values(fresh)
    carry(trained, fresh, layers=range(2))
    assert named(fresh, "attention", "mlp", "norms", layers=(2, None)) <= same(values(fresh), before)
    table = carry(trained, fresh, layers={0: 0, 1: 1, 2: 1})
    got, source = values(fresh), values(trained)
    for layer, old in ((0, 0), (1, 1), (2, 1)):
        name = "model.layers.{}.mlp.up_proj.weight"
        assert torch.equal(got[name.format(layer)], source[name.format(old)])
    assert torch.equal(got["model.norm.weight"], source["model.norm.weight"])
    assert {"role": "mlp", "layers": [2], "start": "copied", "frozen": False} | {
        "parameters": 3 * WIDTH * 4 * WIDTH,
        "note": "layer 1 of the trained model",
    } in table.records()


# ------------------------------------------------------------------ tables


@pytest.mark.parametrize("family", FAMILIES)
def test_mean_and_partial_by_hand(family):
    trained, fresh = trained_of(family, vocab=3, tied=False), model_of(family, vocab=4, tied=False)
    with torch.no_grad():
        for table, shift in ((trained.get_input_embeddings(), 0.0), (trained.get_output_embeddings(), 10.0)):
            table.weight.copy_(torch.tensor([0.0, 1.0, 5.0])[:, None].expand(3, WIDTH) + shift)
    tables = (fresh.get_input_embeddings().weight, fresh.get_output_embeddings().weight)
    carry(trained, fresh, ("attention", "head"), embeddings="mean")
    assert [table[:, 0].tolist() for table in tables] == [[2.0] * 4, [12.0] * 4]
    done = carry(trained, fresh, ("head",), embeddings="partial")
    assert [table[:, 0].tolist() for table in tables] == [[0.0, 1.0, 5.0, 2.0], [10.0, 11.0, 15.0, 12.0]]
    assert {r["note"] for r in done.records() if r["start"] == "partial"} == {"3 of 4 rows, the mean for others"}
    carry(trained, fresh, (), embeddings="partial", vocabularies=({"a": 0, "b": 1, "c": 2}, ["c", "x", "a", "y"]))
    assert tables[0][:, -1].tolist() == [5.0, 2.0, 0.0, 2.0]


def test_frozen_random_embeddings():
    fresh = model_of("gpt2", tied=False)
    before = values(fresh)
    table = carry(trained_of("gpt2", tied=False), fresh, embeddings="frozen")
    assert named(fresh, "embeddings") <= same(values(fresh), before)
    assert [r["role"] for r in table.records() if r["frozen"]] == ["embeddings"]
    assert "head" not in {m.role for m in members(fresh) if not m.parameter.requires_grad}


def test_positions_by_hand():
    trained, fresh = trained_of("gpt2", context=4), model_of("gpt2", context=6)
    old, new = trained.transformer.wpe.weight, fresh.transformer.wpe.weight
    before = new.detach().clone()
    with pytest.raises(CheckpointError) as error:
        carry(trained, fresh, positions="keep")
    assert "4 positions, the fresh one 6; type positions='extend'" in said(error)
    table = carry(trained, fresh, positions="extend")
    assert torch.equal(new, torch.cat([old, before[4:]]))
    assert ("extended", "the first 4 of 6 rows") in {(r["start"], r["note"]) for r in table.records()}
    short = model_of("gpt2", context=3)
    carry(trained, short, ("positions",))
    assert torch.equal(short.transformer.wpe.weight, old[:3])
    rotary = carry(trained_of("llama", context=4), model_of("llama", context=6), positions="keep")
    assert [r["note"] for r in rotary.records() if r["role"] == "positions"] == ["no table: rotary"]


def test_another_rotation_is_refused_unless_asked_for():
    rope = {"rope_type": "default", "rope_theta": 500.0}
    trained, fresh = trained_of("llama", rope_parameters=rope), model_of("llama")
    with pytest.raises(CheckpointError) as error:
        carry(trained, fresh)
    assert "500.0" in said(error) and "positions='fresh'" in said(error)
    carry(trained, fresh, positions="fresh")
    carry(trained, fresh, "mlp")


def test_tied_tables_say_so():
    notes = {}
    for old in (True, False):
        for new in (True, False):
            fresh = model_of("llama", tied=new)
            table = carry(trained_of("llama", tied=old), fresh, embeddings="keep")
            notes[old, new] = next(r["note"] for r in table.records() if r["role"] == "embeddings")
    assert notes == {
        (True, True): "is the head too: one tensor",
        (True, False): "the trained head, the same tensor, is not carried",
        (False, True): "the trained head, a tensor of its own, is not carried; is the head too: one tensor",
        (False, False): "",
    }
    tied, own = trained_of("llama"), trained_of("llama", tied=False)
    with pytest.raises(SpecError, match="one tensor \\(tied\\), so the head cannot be carried alone"):
        carry(own, model_of("llama"), ("head",))
    with pytest.raises(CheckpointError, match="has a head of its own"):
        carry(own, model_of("llama"), ("embeddings", "head"))
    fresh = model_of("llama", tied=False)
    carry(tied, fresh, ("embeddings", "head"))
    assert torch.equal(fresh.lm_head.weight, tied.lm_head.weight) and fresh.lm_head.weight is not tied.lm_head.weight
    assert torch.equal(fresh.lm_head.weight, fresh.model.embed_tokens.weight)


# ------------------------------------------------------------------ refusals


REFUSED = {
    "attn": (lambda t, f: carry(t, f, ("attn",)), UnknownNameError, "did you mean 'attention'?"),
    "way": (lambda t, f: carry(t, f, embeddings="means"), UnknownNameError, "did you mean 'mean'?"),
    "contradiction": (
        lambda t, f: carry(t, f, ("embeddings",), embeddings="random"),
        SpecError,
        "leave 'embeddings' out",
    ),
    "layer": (lambda t, f: carry(t, f, layers=(2,)), SpecError, "layer 2 is not allowed in a model of 2 layers"),
    "number": (lambda t, f: carry(t, f, layers=1), SpecError, "type layers=(1,)"),
    "empty": (lambda t, f: carry(t, f, layers=()), SpecError, "layers is empty"),
    "path": (lambda t, f: carry("runs/warm", f), SpecError, "uprior.load('runs/warm')"),
    "itself": (lambda t, f: carry(f, f), SpecError, "one model"),
    "family": (lambda t, f: carry(t, model_of("llama")), CheckpointError, "is a gpt2, the fresh one a llama"),
    "vocabulary": (
        lambda t, f: carry(t, model_of("gpt2", vocab=5), ("embeddings",)),
        CheckpointError,
        "type embeddings='partial' or 'mean'",
    ),
    "unasked": (lambda t, f: carry(t, f, vocabularies=({}, {})), SpecError, "embeddings='partial'"),
    "strangers": (
        lambda t, f: carry(t, f, embeddings="partial", vocabularies=({"a": 0}, {"b": 0})),
        SpecError,
        "no token in common",
    ),
    "outside": (
        lambda t, f: carry(t, f, embeddings="partial", vocabularies=({"a": 12}, {"a": 0})),
        SpecError,
        "gives 'a' the id 12",
    ),
    "heads": (
        lambda t, f: carry(t, model_of("gpt2", n_head=4)),
        CheckpointError,
        "num_attention_heads is 2 in the trained model and 4",
    ),
    "inner": (
        lambda t, f: carry(t, model_of("gpt2", n_inner=8)),
        CheckpointError,
        "mlp.c_fc.weight is [16, 64] in the trained model and [16, 8]",
    ),
    "twice": (lambda t, f: compose(f, {"a": (t, "mlp"), "b": (t, "mlp")}), SpecError, "'mlp' is named twice"),
    "no pair": (lambda t, f: compose(f, {"a": t}), SpecError, "'a' must be a pair"),
    "later": (
        lambda t, f: compose(f, {"a": (t, "mlp"), "b": (model_of("llama"), "attention")}),
        CheckpointError,
        "is a llama",
    ),
    "freeze head": (lambda t, f: freeze(f, "head"), SpecError, "('embeddings', 'head')"),
    "freeze nothing": (
        lambda t, f: freeze(model_of("llama"), "positions"),
        SpecError,
        "no parameters in the part positions",
    ),
    "average none": (lambda t, f: average([]), SpecError, "at least one"),
    "average others": (lambda t, f: average([t, model_of("gpt2", vocab=5)]), CheckpointError, "model 2 has another"),
    "average heads": (
        lambda t, f: average([t, model_of("gpt2", n_head=4)]),
        CheckpointError,
        "another num_attention_heads",
    ),
    "per": (lambda t, f: shuffled_weights(t, per="heads"), UnknownNameError, "did you mean 'head'?"),
    "seed": (lambda t, f: same_statistics(t, seed=0.5), SpecError, "seed = 0.5"),
    "tables": (lambda t, f: carry(t, f).then(freeze(model_of("llama"), "mlp")), SpecError, "different models"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_have_one_line_and_change_nothing(case):
    call, kind, words = REFUSED[case]
    trained, fresh = trained_of("gpt2"), model_of("gpt2")
    before = values(fresh)
    with pytest.raises(kind) as error:
        call(trained, fresh)
    assert words in said(error) and isinstance(error.value, UpriorError)
    assert case == "tables" or same(values(fresh), before) == set(before)
    assert all(parameter.requires_grad for parameter in fresh.parameters())


def test_a_bias_that_only_one_model_has():
    with_bias, without = trained_of("llama", attention_bias=True), model_of("llama")
    for trained, fresh, whose in ((with_bias, without, "trained"), (without, with_bias, "fresh")):
        with pytest.raises(CheckpointError) as error:
            carry(trained, fresh)
        assert f"the {whose} model has a self_attn.k_proj.bias" in said(error)
