"""Width transfer (muP): factors by hand, equality with the paper's own multipliers, the coordinate check, refusals, the study."""

import json
import math

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    LlamaConfig,
    MixtralConfig,
    OPTConfig,
    Qwen2Config,
    Qwen3Config,
)

from uprior.cli import main
from uprior.data import Stream
from uprior.errors import SpecError
from uprior.models import build, save_model
from uprior.models.mup import factors, rescale_
from uprior.models.presets import Preset, config_of, from_config
from uprior.sources import Dyck
from uprior.studies.width import Width
from uprior.train import Training, checkpoint
from uprior.train.coordinates import coordinates, slopes, train_steps
from uprior.train.loss import scored_sum
from uprior.train.optimizer import make_optimizer, set_rate

FAMILIES = ("llama", "gpt2", "gpt-neox")
BASE = 32
BATCH = Stream(Dyck(), seed=0, batch_size=8, length=32).batch(0)


def model_of(family, width, *, tied=True, seed=0, head=16):
    config = config_of(Preset(family, width, 2, width // head, 4 * width), 256, 64)
    config.tie_word_embeddings = tied
    return from_config(config, seed)


def logits_of(model, ids=BATCH.tokens[:2]):
    with torch.no_grad():
        return model.eval()(input_ids=torch.from_numpy(ids), use_cache=False).logits


# ------------------------------------------------------------------ factors


def test_the_table_of_factors_by_hand():
    """Width 128 from base 32: r = 1/4, and the preset's 1/sqrt(width) makes s = 2."""
    tied = factors(model_of("llama", 128), 32)
    layer = "model.layers.1."
    assert tied["model.embed_tokens.weight"] == (2.0, 1.0)
    assert tied["model.norm.weight"] == (0.25, 0.25)
    assert tied[layer + "input_layernorm.weight"] == (1.0, 1.0)
    for name in ("self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj"):
        assert tied[f"{layer}{name}.weight"] == pytest.approx((1.0, 0.25))
    untied = factors(model_of("gpt2", 128, tied=False), 32)
    assert untied["lm_head.weight"] == pytest.approx((0.5, 0.25))
    assert untied["transformer.wpe.weight"] == (2.0, 1.0)
    assert untied["transformer.ln_f.weight"] == untied["transformer.h.0.attn.c_attn.bias"] == (1.0, 1.0)
    assert untied["transformer.h.0.attn.c_attn.weight"] == pytest.approx((1.0, 0.25))
    heads = factors(model_of("llama", 128, head=64), 32, base_head_size=16)  # 1/d attention folded into the queries
    assert heads[layer + "self_attn.q_proj.weight"] == pytest.approx((0.5, 0.125))
    assert heads[layer + "self_attn.k_proj.weight"] == pytest.approx((1.0, 0.25))


def test_a_fixed_initial_scale_as_in_transformers_configurations():
    config = LlamaConfig(
        hidden_size=128, num_hidden_layers=1, num_attention_heads=4, intermediate_size=256, vocab_size=64
    )
    found = factors(from_config(config, 0), 32)  # 0.02 at every width: the base model has it too, so s = 1
    assert found["model.embed_tokens.weight"] == (1.0, 1.0)
    assert found["model.layers.0.mlp.up_proj.weight"] == pytest.approx((0.5, 0.25))
    assert found["lm_head.weight"] == pytest.approx((0.25, 0.25))
    given = factors(from_config(config, 0), 32, base_std=0.04)
    assert given["model.embed_tokens.weight"] == (2.0, 1.0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
def test_at_the_base_width_nothing_changes(family, tied):
    plain, scaled = model_of(family, 64, tied=tied), model_of(family, 64, tied=tied)
    rescale_(scaled, 64, base_head_size=16)
    training = Training(learning_rate=0.01)
    losses = list(train_steps(plain, [BATCH] * 3, training))
    again = list(train_steps(scaled, [BATCH] * 3, training.replace(base_width=64, base_head_size=16)))
    assert losses == again
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), scaled.parameters(), strict=True))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
def test_training_equals_the_papers_table_8_with_its_multipliers(family, tied):
    """A second model has the multipliers where the paper puts them, in the forward pass: readout x r; 1/d attention."""
    head, base_head = (32, 16) if family == "llama" else (16, 0)
    ours, paper = (model_of(family, 128, tied=tied, head=head) for _ in range(2))
    rescale_(ours, BASE, base_head_size=base_head)
    ratio, rate, decay, table = BASE / 128, 0.01, 0.1, 128**0.5 / BASE**0.5
    embeddings = {id(m.weight) for m in paper.modules() if isinstance(m, torch.nn.Embedding)}
    readout = paper.get_output_embeddings()
    with torch.no_grad():
        for p in {id(p): p for p in paper.parameters()}.values():
            if id(p) in embeddings or p is readout.weight:
                p.mul_(table)  # table 8: tables and readout keep the base model's scale, hidden matrices 1/sqrt(fan-in)
    readout.register_forward_hook(lambda _module, _inputs, output: output * ratio)
    if base_head:
        for layer in paper.model.layers:
            layer.self_attn.scaling *= math.sqrt(base_head / head)
    assert torch.allclose(logits_of(ours), logits_of(paper), atol=2e-6)
    full_rate = lambda p: p.ndim < 2 or id(p) in embeddings or p is readout.weight  # noqa: E731
    groups = [
        {
            "params": [p for p in paper.parameters() if not full_rate(p)],
            "lr": rate * ratio,
            "weight_decay": decay / ratio,
        },
        {"params": [p for p in paper.parameters() if full_rate(p) and p.ndim >= 2], "lr": rate, "weight_decay": decay},
        {"params": [p for p in paper.parameters() if p.ndim < 2], "lr": rate, "weight_decay": 0.0},
    ]
    theirs = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    tokens, scored = torch.from_numpy(BATCH.tokens), torch.from_numpy(BATCH.scored)
    paper.train()
    for _ in range(4):
        loss = scored_sum(paper(input_ids=tokens, use_cache=False).logits, tokens, scored)[0] / scored[:, 1:].sum()
        torch.autograd.backward(loss)
        theirs.step()
        theirs.zero_grad()
    training = Training(
        learning_rate=rate, warmup_steps=0, weight_decay=decay, clip=1e9, base_width=BASE, base_head_size=base_head
    )
    before = logits_of(ours)
    list(train_steps(ours, [BATCH] * 4, training))
    moved = (logits_of(ours) - before).abs().max()
    assert moved > 0.1
    # What is left is AdamW's epsilon (1e-8), which meets gradients of different sizes, and rounding.
    assert (logits_of(ours) - logits_of(paper)).abs().max() < 5e-3 * moved


def test_decay_per_step_does_not_depend_on_the_width():
    model = model_of("llama", 128, tied=False)
    rescale_(model, BASE)
    optimizer = make_optimizer(model, Training(learning_rate=0.1, weight_decay=0.5, base_width=BASE))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    set_rate(optimizer, 0.1)
    optimizer.step()
    for name, p in model.named_parameters():
        assert torch.allclose(p, before[name] * (0.95 if p.ndim >= 2 else 1.0), rtol=1e-5), name


def test_the_shares_of_the_rate_survive_a_checkpoint(tmp_path):
    training = Training(learning_rate=0.01, base_width=BASE)
    stream, resumed = Stream(Dyck(), batch_size=4, length=32), model_of("llama", 64, seed=1)
    model = model_of("llama", 64)
    rescale_(model, BASE)
    optimizer = make_optimizer(model, training)

    def steps(which, its_optimizer, first, stop):
        for step in range(first, stop):
            batch = stream.batch(step)
            tokens, scored = torch.from_numpy(batch.tokens), torch.from_numpy(batch.scored)
            torch.autograd.backward(scored_sum(which(tokens).logits, tokens, scored)[0])
            set_rate(its_optimizer, training.rate(step))
            its_optimizer.step()
            its_optimizer.zero_grad()

    steps(model, optimizer, 0, 2)
    checkpoint.save(tmp_path, 2, model, optimizer, keep=2)
    other = make_optimizer(resumed, training)
    assert checkpoint.restore(tmp_path, resumed, other).step == 2
    steps(model, optimizer, 2, 4)
    steps(resumed, other, 2, 4)
    assert sorted(g["rate_share"] for g in other.param_groups) == [0.5, 0.5, 1.0, 1.0]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_saved_checkpoint_gives_the_same_logits_in_plain_transformers(tmp_path, family):
    model = model_of(family, 64)
    rescale_(model, BASE)
    list(train_steps(model, [BATCH] * 2, Training(learning_rate=0.01, base_width=BASE)))
    save_model(model, tmp_path / "model")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    assert type(plain).__module__.startswith("transformers.")
    assert torch.equal(logits_of(plain), logits_of(model))


# ------------------------------------------------------------------ the coordinate check

WIDTHS = (32, 64, 128, 256)
# Slopes of log size against log width. Blocks: flat within this band at every step; without transfer they are near 1.
BAND = 0.15
# Logits: a random readout's part fades as width^-1/2 (paper, appendix D.2), so they may shrink but never grow. With a
# readout that starts at zero they are flat as well.
LOGITS_BAND = (-0.6, 0.1)


def check(family, *, tied, base, rescale=True, zero_readout=False):
    records = []
    for width in WIDTHS:
        model = model_of(family, width, tied=tied)
        if base and rescale:
            rescale_(model, base)
        if zero_readout:
            torch.nn.init.zeros_(model.lm_head.weight)
        records += coordinates(model, BATCH, Training(learning_rate=0.01, warmup_steps=0, base_width=base), steps=5)
    return {what: slopes(records, what) for what in ("size", "change")}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_activations_keep_their_size_at_every_width(family, tied):
    found = check(family, tied=tied, base=BASE)
    places = {(step, where) for step in range(6) for where in ("block 0", "block 1", "logits")}
    assert set(found["size"]) == places and set(found["change"]) == {p for p in places if p[0]}
    for what in ("size", "change"):
        for (step, where), slope in found[what].items():
            low, high = LOGITS_BAND if where == "logits" else (-BAND, BAND)
            assert low < slope < high, (what, step, where, slope)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_flat_from_a_readout_that_starts_at_zero(family):
    found = check(family, tied=False, base=BASE, zero_readout=True)["size"]
    # The first step moves the readout alone, by the sign of a noisy gradient; from the second on the blocks learn as well.
    assert -0.35 < found[1, "logits"] < 0.1 and all(abs(found[step, "logits"]) < BAND for step in range(2, 6)), found


@pytest.mark.parametrize("family", FAMILIES)
def test_without_it_activations_grow_with_the_width(family):
    found = check(family, tied=True, base=0)
    assert found["change"][5, "block 0"] > 0.5 and found["change"][5, "block 1"] > 0.5
    assert found["size"][5, "block 1"] > 0.4 and found["size"][5, "logits"] > 0.1


def test_initial_weights_alone_do_not_do_it():
    """The check sees a half-made muP: rates without initial weights leave logits growing at the start."""
    found = check("llama", tied=True, base=BASE, rescale=False)
    assert found["size"][0, "logits"] > LOGITS_BAND[0] + 0.5  # no readout factor: the logits do not fade
    records = []
    for width in WIDTHS:
        model = model_of("llama", width)
        rescale_(model, BASE)
        records += coordinates(model, BATCH, Training(learning_rate=0.01, warmup_steps=0), steps=5)
    assert slopes(records, "change")[5, "block 1"] > 0.5  # no shares of the rate


def test_slopes_by_hand():
    records = [{"width": w, "step": 1, "where": "x", "size": 3 * w**0.5, "change": 0.0} for w in (32, 64, 256)]
    assert slopes(records, "size") == {(1, "x"): pytest.approx(0.5)}
    assert slopes(records, "change") == {}


# ------------------------------------------------------------------ models of others, found by structure

SMALL = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
         "intermediate_size": 128, "vocab_size": 256, "max_position_embeddings": 64}  # fmt: skip


@pytest.mark.parametrize("config", [Qwen2Config(**SMALL), Qwen3Config(**SMALL, head_dim=32)], ids=["qwen2", "qwen3"])
def test_attention_by_1_over_d_is_folded_into_biased_and_normed_queries(config):
    folded, scaled = from_config(config, 0), from_config(config, 0)
    with torch.no_grad():
        for model in (folded, scaled):
            for name, p in model.named_parameters():
                if name.endswith("bias"):
                    p.fill_(0.3)
    rescale_(folded, 32, base_head_size=8)
    rescale_(scaled, 32)
    assert not torch.allclose(logits_of(folded), logits_of(scaled), rtol=1e-4)
    scaled.model.layers[0].self_attn.scaling *= 0.5  # sqrt(8 / 32)
    assert torch.allclose(logits_of(folded), logits_of(scaled), rtol=1e-4, atol=1e-7)


def _trained():
    model = build("llama-tiny", context=64)
    list(train_steps(model, [BATCH] * 3, Training(learning_rate=0.05, warmup_steps=0)))
    return model


def _rescaled():
    model = build("llama-tiny", context=64)
    rescale_(model, 16)
    return model


def _gain_that_is_no_factor():
    model = build("llama-tiny", context=64)
    model.model.norm.forward = lambda x: x
    return model


MISTAKES = {
    "trained": (_trained, {}, "rescale a fresh model, once"),
    "rescaled": (_rescaled, {}, "rescale a fresh model, once"),
    "no factor": (_gain_that_is_no_factor, {}, "tie_word_embeddings=False"),
    "fused heads": (lambda: model_of("gpt2", 32), {"base_head_size": 8}, "use a base model with heads of 16"),
    "negative": (lambda: model_of("gpt2", 32), {"base_head_size": -1}, "base_head_size = -1"),
    "zero width": (lambda: model_of("gpt2", 32), {"base_width": 0}, "base_width = 0"),
    "gemma": (lambda: from_config(GemmaConfig(**SMALL, head_dim=32, pad_token_id=None), 0), {}, "embeddings by the width"),
    "mixtral": (lambda: from_config(MixtralConfig(**SMALL), 0), {}, "neither an embedding nor a linear layer"),
    "opt": (
        lambda: from_config(OPTConfig(hidden_size=64, num_hidden_layers=1, num_attention_heads=2, ffn_dim=64, vocab_size=64,
                                      word_embed_proj_dim=64, init_std=0.02, do_layer_norm_before=False), 0),
        {}, "initializer_range",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_cannot_be_transferred_is_refused_and_left_as_it_was(mistake):
    make, options, words = MISTAKES[mistake]
    model = make()
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(SpecError, match="width transfer: ") as caught:
        rescale_(model, **({"base_width": 16} | options))
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


# ------------------------------------------------------------------ the command line and the study


def test_pretrain_base_width_rescales_a_preset_and_records_it(tmp_path, capsys):
    command = ["pretrain", "--source", "dyck", "--model", "llama-tiny", "--base-width", "16", "--steps", "2",
               "--batch-size", "2", "--context", "32", "--evaluations", "0", "--quiet",
               "--out", str(tmp_path / "run")]  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 0
    expected = build("llama-tiny", context=32)
    rescale_(expected, 16)
    start = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "start")
    assert torch.equal(logits_of(start), logits_of(expected))
    assert json.loads((tmp_path / "run" / "config.json").read_text())["training"]["base_width"] == 16
    capsys.readouterr()


TINY = Width(check_widths=(32, 64), check_steps=2, sweep_widths=(32, 64), rates=(0.002, 0.008), steps=4)


def test_the_study_goes_on_where_it_stopped(tmp_path, monkeypatch):
    done: list[tuple] = []
    measure = Width._loss

    def counted(self, *run):
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(run)
        return measure(self, *run)

    monkeypatch.setattr(Width, "_loss", counted)
    with pytest.raises(KeyboardInterrupt):
        TINY.run(tmp_path)
    monkeypatch.setattr(Width, "_loss", lambda self, *run: done.append(run) or measure(self, *run))
    TINY.run(tmp_path)
    assert len(done) == len(set(done)) == 2 * 2 * 3  # seeds x rates x (base, standard, muP)
    records = [json.loads(line) for line in (tmp_path / "sweep.jsonl").read_text().splitlines()]
    best = json.loads((tmp_path / "width.json").read_text())["best_learning_rate"]["mup 64"]
    mine = [r for r in records if r["parametrisation"] == "mup"]
    means = {rate: sum(r["loss_nats"] for r in mine if r["learning_rate"] == rate) / 2 for rate in (0.002, 0.008)}
    assert best["rate"] == min(means, key=means.get) and best["loss_nats"] == pytest.approx(min(means.values()))
    for name in ("width-coordinates.svg", "width-sweep.svg"):
        assert "<svg" in (tmp_path / name).read_text()
    assert (tmp_path / "report.html").read_text().count("data:image/svg+xml") == 2


def test_the_study_takes_no_real_data(capsys):
    with pytest.raises(SystemExit):
        main(["run", "width", "--eval", "python_stdlib"])
    assert "unknown option of width 'eval'" in capsys.readouterr().err
