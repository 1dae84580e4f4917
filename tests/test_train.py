"""Models, loss, schedule, the loop, checkpoints. Runs that are killed, poisoned or damaged are in tests/faults."""

import copy
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM

from uprior import sources
from uprior.bench import texts_of
from uprior.data import Stream
from uprior.errors import CheckpointError, SpecError, UnknownNameError
from uprior.files import read_lines
from uprior.models import PRESETS, build, load_model, save_model
from uprior.models.folder import byte_tokenizer
from uprior.models.presets import config_of, flops_per_token, fresh_like
from uprior.sources import Constant, Mixture, Pointwise, Uniform
from uprior.train import Training, fit
from uprior.train.checkpoint import folders
from uprior.train.distributed import ALONE
from uprior.train.loop import _step
from uprior.train.loss import scored_sum
from uprior.train.optimizer import make_optimizer
from uprior.train.parallel import spread_over
from uprior.types import Batch

SOURCE = Mixture(sources=(Pointwise(max_symbols=4), Uniform()), shares=(3, 1))


def alone(model):
    return spread_over(model, ALONE, "auto", torch.device("cpu"))


def tiny(seed=0):
    return build("llama-tiny", context=32, seed=seed)


def stream(**options):
    return Stream(SOURCE, **({"seed": 0, "batch_size": 8, "length": 32, "block_rows": 64} | options))


# ------------------------------------------------------------------ loss and schedule, by hand


def test_the_loss_is_the_sum_over_scored_positions_of_minus_log_p():
    logits = torch.log(torch.tensor([[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [1 / 3, 1 / 3, 1 / 3]]]))
    tokens, scored = torch.tensor([[2, 1, 0]]), torch.tensor([[True, True, False]])
    loss, nats = scored_sum(logits, tokens, scored)
    assert nats[0].tolist() == pytest.approx([-math.log(0.25), -math.log(0.1)])
    assert float(loss) == pytest.approx(-math.log(0.25))


def test_unscored_positions_get_no_gradient():
    logits = torch.zeros(1, 3, 5, requires_grad=True)
    loss, _ = scored_sum(logits, torch.tensor([[0, 1, 2]]), torch.tensor([[True, True, False]]))
    torch.autograd.backward(loss)
    assert logits.grad[0, 0].abs().sum() > 0
    assert logits.grad[0, 1].abs().sum() == 0 and logits.grad[0, 2].abs().sum() == 0


@pytest.mark.parametrize("text", texts_of())
def test_every_source_teaches_something(text):
    source = sources.get(text)
    length, vocabulary = max(32, source.shortest_row), max(256, source.alphabet_size)
    batch = Stream(source, batch_size=4, length=length, block_rows=8, vocab=vocabulary).batch(0)
    model = build("llama-tiny", context=length, vocab=vocabulary)
    tokens = torch.from_numpy(batch.tokens)
    loss, _ = scored_sum(model(tokens).logits, tokens, torch.from_numpy(batch.scored))
    torch.autograd.backward(loss)
    assert all(bool(p.grad.abs().sum() > 0) for p in model.parameters())


def test_schedules():
    common = {"steps": 100, "learning_rate": 1.0, "warmup_steps": 10, "final_share": 0.1}
    constant, cosine, wsd = (Training(schedule=s, **common) for s in ("constant", "cosine", "wsd"))
    assert [constant.rate(s) for s in (0, 4, 9, 50, 99)] == pytest.approx([0.1, 0.5, 1, 1, 1])
    assert cosine.rate(10) == pytest.approx(1.0) and cosine.rate(55) == pytest.approx(0.55)
    assert cosine.rate(99) == pytest.approx(0.1, abs=1e-3)
    assert [wsd.rate(s) for s in (79, 80, 90, 100)] == pytest.approx([1, 1, 0.55, 0.1])


def test_micro_batches_give_the_same_gradient():
    batch = stream().batch(0)
    scored = batch.scored.copy()
    scored[:3, 5:] = False  # uneven, so that a mean of means would differ
    batch = Batch(batch.tokens, scored, batch.floor_nats)
    updated = []
    for micro in (0, 3):
        model, training = tiny(), Training(steps=1, precision="float32", micro_batch=micro)
        record = _step(alone(model), make_optimizer(model, training), batch, training, 1e-3)
        updated.append((record, model.model.layers[0].mlp.up_proj.weight.detach()))
    assert updated[0][0].loss_nats == pytest.approx(updated[1][0].loss_nats, rel=1e-5)
    assert updated[0][0].gradient_norm == pytest.approx(updated[1][0].gradient_norm, rel=1e-4)
    assert torch.allclose(updated[0][1], updated[1][1], atol=2e-4)


def test_nats_above_floor_count_only_rows_whose_floor_is_known():
    batch = stream().batch(0)
    floor = batch.floor_nats.copy()
    floor[1:] = np.nan
    training = Training(steps=1, precision="float32")
    model = tiny()
    with torch.no_grad():
        nats = scored_sum(model(torch.from_numpy(batch.tokens)).logits, torch.from_numpy(batch.tokens),
                          torch.from_numpy(batch.scored))[1].numpy()  # fmt: skip
    known = Batch(batch.tokens, batch.scored, floor)
    record = _step(alone(model), make_optimizer(model, training), known, training, 1e-3)
    assert record.above_floor_nats == pytest.approx(float((nats[0] - floor[0, 1:]).mean()), abs=1e-4)


# ------------------------------------------------------------------ models


def test_fresh_weights_are_random_and_no_more_unless_the_preset_says_so():
    """A start that helps on random computation made real text harder to learn (docs/LOG.md): nobody's baseline may have it."""
    model = build("llama-1m", context=64)
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            size = parameter.detach() / model.config.initializer_range
            assert abs(float(size.std()) - 1) < 0.03 and abs(float(size.mean())) < 4 / size.numel() ** 0.5, name
    plain = build("llama-1m", context=64, plain=True)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))


def test_every_preset_has_about_the_size_in_its_name():
    sizes = {"tiny": (1e4, 1e5), "1m": (0.7e6, 1.5e6), "3m": (2.5e6, 3.5e6), "4m": (3.5e6, 5e6), "5m": (4e6, 6e6),
             "6m": (5e6, 6.5e6), "7m": (6e6, 8e6), "30m": (25e6, 35e6), "125m": (80e6, 140e6), "small": (80e6, 130e6),
             "350m": (300e6, 400e6), "1.3b": (1.2e9, 1.4e9)}  # fmt: skip
    for name, preset in PRESETS.items():
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config_of(preset, 256, 512))
        low, high = sizes[name.removesuffix(f"-{preset.first_weights}").rpartition("-")[2]]
        assert low < sum(p.numel() for p in model.parameters()) < high, name


def test_weights_are_a_function_of_the_seed_and_leave_global_randomness_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = tiny(0), tiny(0), tiny(1)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first.lm_head.weight, second.lm_head.weight)
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)
    assert torch.equal(fresh_like(other, seed=0).lm_head.weight, first.lm_head.weight)


def test_flops_count_every_matrix_that_multiplies_once():
    tied = tiny()
    assert flops_per_token(tied) == 6 * sum(p.numel() for p in tied.parameters() if p.ndim == 2)
    config = copy.deepcopy(tied.config)
    config.tie_word_embeddings = False
    untied = AutoModelForCausalLM.from_config(config)  # its table is only looked up, its head multiplies
    assert flops_per_token(untied) == flops_per_token(tied)


def test_saved_models_give_the_same_logits_in_plain_transformers_in_a_fresh_process(tmp_path):
    code = (
        "import sys, torch, json; from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "for folder in sys.argv[1:]:\n"
        "    m = AutoModelForCausalLM.from_pretrained(folder); t = AutoTokenizer.from_pretrained(folder)\n"
        "    ids = t('naïve ☃ text', return_tensors='pt').input_ids\n"
        "    print(json.dumps([ids[0].tolist(), m(ids).logits[0, -1].tolist()]))"
    )
    models = {name: build(name, context=32).eval() for name in ("llama-tiny", "gpt2-tiny")}
    for name, model in models.items():
        save_model(model, tmp_path / name)
    command = [sys.executable, "-c", code, *(tmp_path / name for name in models)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    for model, line in zip(models.values(), shown.stdout.splitlines(), strict=True):
        ids, logits = json.loads(line)
        assert ids == list("naïve ☃ text".encode())
        with torch.no_grad():
            assert logits == pytest.approx(model(torch.tensor([ids])).logits[0, -1].tolist(), abs=1e-6)


def test_a_model_over_other_ids_than_bytes_gets_no_byte_tokenizer(tmp_path):
    for vocab in (255, 256, 257):
        save_model(build("llama-tiny", vocab=vocab, context=32), tmp_path / str(vocab))
    assert [path.parent.name for path in tmp_path.glob("*/tokenizer.json")] == ["256"]


def test_the_byte_tokenizer_reads_and_writes_every_byte():
    text = "".join(map(chr, [*range(128), 0xE9, 0x20AC, 0x1F600]))
    tokenizer = byte_tokenizer()
    assert tokenizer(text).input_ids == list(text.encode())
    assert tokenizer.decode(list(text.encode())) == text


def test_bad_models_are_one_line(tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean 'llama-5m'"):
        build("lama-5m")
    with pytest.raises(SpecError, match="vocab = 1 is not allowed"):
        build("llama-tiny", vocab=1)
    with pytest.raises(CheckpointError, match="does not exist"):
        load_model(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match=r"is not a checkpoint: it needs config\.json"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(CheckpointError, match="pickled weights"):
        load_model(tmp_path)


@pytest.mark.parametrize("checksums", [True, False])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "other architecture"])
def test_damaged_or_foreign_weights_are_refused_by_name(tmp_path, damage, checksums):
    folder = tmp_path / "m"
    save_model(tiny(), folder)
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    if damage == "truncated":
        weights.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        data[2 if not checksums else -5] ^= 0x10  # without checksums only a damaged header can be noticed
        weights.write_bytes(data)
    else:
        other = build("llama-tiny", context=32, vocab=300)
        save_model(other, tmp_path / "other")
        weights.write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    if not checksums:
        (folder / "checksums.json").unlink()
    with pytest.raises(CheckpointError) as caught:
        load_model(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


# ------------------------------------------------------------------ the loop

SETTINGS = {"steps": 12, "learning_rate": 3e-3, "warmup_steps": 2, "checkpoint_every": 3}


def evaluator(model, step):
    with torch.no_grad():
        return [{"file": "x", "bits_mean": float(model(torch.arange(8)[None]).logits.mean())}]


def run_loop(path, **changes):
    model = tiny()
    at = frozenset({0, 4, 12})
    result = fit(
        model, stream(), Training(**(SETTINGS | changes)), path, evaluate=evaluator, evaluate_at=at, show=False
    )
    return result, (path / "log.jsonl").read_text(), model


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole")
    result, log, model = run_loop(path)
    assert result.finished and result.steps == 12
    return log, model, path


def test_every_step_is_logged(uninterrupted):
    lines = [json.loads(line) for line in uninterrupted[0].splitlines()]
    train = [line for line in lines if line["event"] == "train"]
    assert [line["step"] for line in train] == list(range(1, 13))
    assert [line["step"] for line in lines if line["event"] == "eval"] == [0, 4, 12]
    assert [line["tokens"] for line in train] == [256 * s for s in range(1, 13)]
    assert all(line["loss_nats"] > line["above_floor_nats"] > 0 for line in train)
    assert [folder.name for folder in folders(uninterrupted[2])] == ["step-00000000", "step-00000009", "step-00000012"]


def test_the_loop_learns_what_can_be_learned(tmp_path):
    constant = Stream(Constant(), batch_size=8, length=16)
    settings = Training(steps=100, learning_rate=3e-2, warmup_steps=5)
    result = fit(tiny(), constant, settings, tmp_path, show=False)
    first = read_lines(tmp_path / "log.jsonl")[0]["loss_nats"]
    assert first > 3 and result.loss_nats < 1  # the second token of a row already tells all the others


def test_two_runs_are_bit_identical(uninterrupted, tmp_path):
    _, log, model = run_loop(tmp_path)
    assert log == uninterrupted[0]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), uninterrupted[1].parameters(), strict=True))


FULL = "No space left on device"


@pytest.mark.parametrize(
    "error", [OSError(28, FULL), SafetensorError(f"while serializing: I/O error: {FULL} (os error 28)")]
)
def test_a_disk_that_fills_up_during_a_checkpoint_leaves_the_one_before(uninterrupted, tmp_path, monkeypatch, error):
    from uprior.train import checkpoint

    original = checkpoint.save_file

    def full(tensors, path):
        if "step-00000006" in str(path):
            raise error
        original(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(ValueError, match="No space left on device; what was saved before is intact"):
        run_loop(tmp_path)
    assert [folder.name for folder in folders(tmp_path)] == ["step-00000000", "step-00000003"]
    monkeypatch.setattr(checkpoint, "save_file", original)
    assert run_loop(tmp_path)[1] == uninterrupted[0]


def test_timing_is_apart_from_what_was_computed(uninterrupted):
    lines = read_lines(uninterrupted[2] / "timing.jsonl")
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert all(line["tokens_per_second"] > 0 and line["data_wait"] >= 0 for line in lines)
