"""What a run decides by itself, and the options it has: compiling, recomputing, Muon."""

import pytest
import torch

from uprior.data import Stream
from uprior.errors import SpecError
from uprior.files import read_lines
from uprior.models import build, load_model
from uprior.sources import Pointwise
from uprior.train import Training, fit, plan
from uprior.train import optimizer as optimizers
from uprior.train.optimizer import make_optimizer, set_rate
from uprior.train.plan import activation_bytes, compiles, recomputes

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def tiny(name="llama-tiny"):
    return build(name, context=32)


def run(folder, evaluate=None, **changes):
    stream = Stream(Pointwise(), seed=0, batch_size=4, length=32, vocab=256)
    training = Training(**({"steps": 5, "warmup_steps": 0, "precision": "float32", "checkpoint_every": 2} | changes))
    fit(tiny(), stream, training, folder, evaluate=evaluate, evaluate_at=frozenset({3}), show=False)
    lines = [line for line in read_lines(folder / "log.jsonl") if line["event"] == "train"]
    return [line["loss_nats"] for line in lines], load_model(folder).state_dict()


def test_long_runs_on_a_gpu_are_compiled_and_others_are_not():
    model, enough = tiny(), int(plan.FLOPS_WORTH_COMPILING / plan.flops_per_token(tiny())) + 1
    assert compiles(Training(), model, enough, "none", GPU) and compiles(Training(), model, enough, "ddp", GPU)
    assert not compiles(Training(), model, enough // 2, "none", GPU)
    assert not compiles(Training(), model, enough, "none", CPU) and not compiles(Training(), model, enough, "fsdp", GPU)
    assert compiles(Training(compile="on"), model, 1, "none", CPU)
    assert not compiles(Training(compile="off"), model, enough, "none", GPU)
    with pytest.raises(SpecError, match="compile = 'on' is not allowed; allowed: auto or off with --parallel fsdp"):
        compiles(Training(compile="on"), model, 1, "fsdp", CPU)


def test_activations_are_recomputed_where_they_would_not_fit(monkeypatch):
    model = tiny()
    needed = activation_bytes(model, 8, 32)
    assert needed == 8 * 32 * 2 * (32 * 32 + 8 * 96)
    weights = 16 * sum(p.numel() for p in model.parameters())
    monkeypatch.setattr(plan, "_memory_bytes", lambda where: weights + needed / 0.6 + 1)
    assert not recomputes(Training(), model, 8, 32, CPU) and recomputes(Training(), model, 9, 32, CPU)
    assert not recomputes(Training(recompute="off"), model, 9, 32, CPU)
    model.supports_gradient_checkpointing = False
    assert not recomputes(Training(), model, 9, 32, CPU)
    with pytest.raises(SpecError, match="recompute = 'on' is not allowed; allowed: auto or off with LlamaForCausalLM"):
        recomputes(Training(recompute="on"), model, 8, 32, CPU)


@pytest.mark.parametrize("name", ["llama-tiny", "gpt2-tiny", "gpt-neox-5m"])
def test_the_estimate_of_activations_is_near_what_is_kept(name):
    model, kept = build(name, context=64), {}

    def keep(tensor):
        if not isinstance(tensor, torch.nn.Parameter) and tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = (tensor, tensor.untyped_storage().nbytes())
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    ids = torch.zeros(8, 64, dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    assert states.requires_grad
    assert 0.5 < sum(size for _, size in kept.values()) / activation_bytes(model, 8, 64) < 2


def test_recomputing_changes_no_result(tmp_path):
    losses, weights = run(tmp_path / "plain")
    again, same = run(tmp_path / "recompute", recompute="on")
    assert again == losses and all(torch.equal(same[name], weights[name]) for name in weights)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_compiling_changes_results_by_rounding_only(tmp_path, monkeypatch):
    losses, weights = run(tmp_path / "plain")
    # Graphs are captured as always; turning them into machine code takes half a minute, and is not ours.
    calls, original = [], torch.compile
    monkeypatch.setattr(torch, "compile", lambda *a, **k: calls.append(1) or original(*a, **k, backend="eager"))
    compiled, near = run(tmp_path / "compiled", compile="on")
    assert calls and compiled == pytest.approx(losses, abs=1e-4)
    assert all(torch.allclose(near[name], weights[name], atol=5e-3) for name in weights)


@pytest.mark.parametrize("fast", [True, False])
def test_muon_moves_hidden_matrices_along_orthogonal_directions(fast, monkeypatch):
    """In torch's own bfloat16 steps and in ours in float32, which are for CPUs without it."""
    monkeypatch.setattr(optimizers, "has_fast_bfloat16", lambda device: fast)
    model = tiny()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = make_optimizer(model, Training(optimizer="muon", weight_decay=0.0))
    set_rate(optimizer, 0.01)
    torch.manual_seed(0)
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    optimizer.step()
    moved = {name: p.detach() - before[name] for name, p in model.named_parameters()}
    for name, change in moved.items():
        if name.endswith("proj.weight"):
            sizes = torch.linalg.svdvals(change) / (0.01 * 0.2 * max(change.shape) ** 0.5)
            assert sizes.median() > 0.6 and sizes.max() < 1.5, name
        else:  # AdamW's first step has the rate's size everywhere
            assert torch.allclose(change.abs(), torch.tensor(0.01), rtol=1e-3), name


def test_muon_in_float32_takes_the_steps_of_torch_but_for_rounding(monkeypatch):
    after = {}
    for fast in (True, False):
        monkeypatch.setattr(optimizers, "has_fast_bfloat16", lambda device, fast=fast: fast)
        model = tiny()
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimizer = make_optimizer(model, Training(optimizer="muon", weight_decay=0.1))
        generator = torch.Generator().manual_seed(0)
        for _ in range(3):
            for p in model.parameters():
                p.grad = torch.randn(p.shape, generator=generator)
            optimizer.step()
        after[fast] = {name: p.detach() - before[name] for name, p in model.named_parameters()}
    for name, change in after[True].items():
        assert (after[False][name] - change).norm() < 0.03 * change.norm(), name


@pytest.mark.parametrize("part", ["proj", "embed_tokens"])
def test_muon_where_all_of_one_kind_is_frozen(part):
    """Hidden matrices alone leave AdamW nothing, tables alone leave Muon nothing."""
    model = tiny()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for name, p in model.named_parameters():
        p.requires_grad_(part in name)
        p.grad = torch.ones_like(p) if p.requires_grad else None
    optimizer = make_optimizer(model, Training(optimizer="muon"))
    set_rate(optimizer, 0.01)
    optimizer.step()
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) != (part in name), name


def test_muon_goes_on_bit_for_bit(tmp_path):
    def interrupt(model, step):
        raise KeyboardInterrupt

    losses, weights = run(tmp_path / "whole", optimizer="muon", steps=7)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", interrupt, optimizer="muon", steps=7)
    again, same = run(tmp_path / "cut", optimizer="muon", steps=7)
    assert again == losses and all(torch.equal(same[name], weights[name]) for name in weights)


def test_muon_says_what_it_does_not_do(monkeypatch):
    with pytest.raises(SpecError, match="optimizer = 'muon' is not allowed; allowed: adamw, where base_width is given"):
        Training(optimizer="muon", base_width=32)
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(SpecError, match=r"adamw with torch .*; muon needs torch 2.9 or newer"):
        make_optimizer(tiny(), Training(optimizer="muon"))
