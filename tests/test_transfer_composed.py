"""What several steps make of models: composition, averages, freezing, and the table that tells what was done."""

import json

import pytest
import torch
from transfer_harness import (
    CONTEXT,
    FAMILIES,
    VOCAB,
    WIDTH,
    model_of,
    named,
    same,
    trained_of,
    values,
)

from uprior.models import load_model, save_model
from uprior.train import Training
from uprior.train.optimizer import make_optimizer
from uprior.transfer import (
    ROLES,
    average,
    carry,
    compose,
    freeze,
)


@pytest.mark.parametrize("family", FAMILIES)
def test_composition_takes_each_part_from_its_model(family):
    first, second, fresh = trained_of(family), trained_of(family, seed=8), model_of(family)
    table = compose(fresh, {"sets": (first, ("attention", "norms")), "automata": (second, "mlp")})
    got = values(fresh)
    assert same(got, values(first)) == named(fresh, "attention", "norms")
    assert same(got, values(second)) == named(fresh, "mlp")
    starts = {r["role"]: r["start"] for r in table.records()}
    assert (starts["attention"], starts["mlp"]) == ("copied from sets", "copied from automata")
    twice = model_of(family)
    joined = carry(first, twice, ("attention", "norms")).then(carry(second, twice, "mlp"))
    assert same(values(twice), got) == set(got)
    assert {r["role"]: r["start"] for r in joined.records()}["attention"] == "copied"


@pytest.mark.parametrize("family", FAMILIES)
def test_an_average_is_the_mean_and_leaves_its_models_alone(family):
    models = [trained_of(family), trained_of(family, seed=8)]
    before = [values(model) for model in models]
    made = average(models)
    for name, parameter in made.named_parameters():
        assert torch.allclose(parameter, (before[0][name] + before[1][name]) / 2, atol=1e-6)
    assert [same(values(m), b) == set(b) for m, b in zip(models, before, strict=True)] == [True, True]
    assert same(values(average(models[:1])), before[0]) == set(before[0])


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("family", FAMILIES)
def test_frozen_parameters_do_not_move(family, optimizer):
    if optimizer == "muon" and not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")
    model = trained_of(family)
    table = freeze(model, ("attention", "norms", "embeddings"), layers=(1,))
    frozen = (
        named(model, "attention", "norms", layers=(1,))
        | named(model, "embeddings")
        | named(model, "norms", layers=(None,))
    )
    assert {n for n, p in model.named_parameters() if not p.requires_grad} == frozen
    assert sum(r["parameters"] for r in table.records() if r["frozen"]) == sum(
        p.numel() for n, p in model.named_parameters() if n in frozen
    )
    assert "is the head too: one tensor" in {r["note"] for r in table.records()}
    before = values(model)
    optim = make_optimizer(model, Training(optimizer=optimizer, weight_decay=0.1))
    ids = torch.arange(8)[None] % VOCAB
    model(ids).logits.square().mean().backward()
    optim.step()
    assert same(values(model), before) == frozen


def test_the_table_adds_up_and_prints():
    trained, fresh = trained_of("gpt2", layers=3), model_of("gpt2", layers=3)
    table = carry(trained, fresh, "attention", layers=(0, 2)).then(
        freeze(fresh, ("attention", "positions"), layers=(0,))
    )
    assert json.loads(json.dumps(table.records())) == table.records()
    assert table.parameters == sum(r["parameters"] for r in table.records()) == fresh.num_parameters()
    attention = WIDTH * 4 * WIDTH + 4 * WIDTH
    lines = [line.split() for line in str(table).splitlines()]
    assert lines[0] == ["role", "layers", "weights", "training", "parameters"]
    assert ["attention", "0", "copied", "frozen", f"{attention:,}"] in lines
    assert ["attention", "1", "fresh", "trained", f"{attention:,}"] in lines
    assert ["attention", "2", "copied", "trained", f"{attention:,}"] in lines
    assert ["positions", "fresh", "frozen", str(CONTEXT * WIDTH)] in lines
    assert lines[-1] == ["all", f"{fresh.num_parameters():,}"]


def test_a_carried_model_is_saved_and_opened(tmp_path):
    fresh = model_of("gpt-neox")
    carry(trained_of("gpt-neox"), fresh, ROLES[:4])
    save_model(fresh, tmp_path / "model")
    assert same(values(load_model(tmp_path / "model")), values(fresh)) == set(values(fresh))
