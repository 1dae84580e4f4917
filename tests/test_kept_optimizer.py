"""A stage that goes on with the optimiser's state of the one before: parameter by parameter, or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import uprior
from uprior.data import Stream
from uprior.errors import CheckpointError
from uprior.files import CHECKSUMS, file_sha256, write_json
from uprior.sources import Uniform
from uprior.train import checkpoint
from uprior.train.loop import fit
from uprior.train.optimizer import make_optimizer
from uprior.train.settings import Training


def train(folder: Path, steps: int, *, first: int = 0, start: Any = None, **options: Any) -> Any:
    model = uprior.build("llama-tiny", context=16, seed=0)
    if start is not None:
        model.load_state_dict(start.state_dict())
    stream = Stream(Uniform(), batch_size=4, length=16)
    fit(
        model,
        stream,
        Training(steps=steps, warmup_steps=0, precision="float32"),
        folder,
        show=False,
        first_batch=first,
        **options,
    )
    return model


def test_a_kept_optimiser_goes_on_as_one_stage_would(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", 6)
    half = train(tmp_path / "half", 3)
    kept = train(tmp_path / "kept", 3, first=3, start=half, optimizer_from=tmp_path / "half")
    reset = train(tmp_path / "reset", 3, first=3, start=half)
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, kept.state_dict()[name]), name
    assert not torch.equal(whole.lm_head.weight, reset.lm_head.weight)


def test_a_state_that_does_not_fit_is_told(tmp_path: Path) -> None:
    half = train(tmp_path / "half", 2)
    model = uprior.build("llama-1m", context=16)
    stream = Stream(Uniform(), batch_size=4, length=16)
    with pytest.raises(CheckpointError, match="carry everything"):
        fit(model, stream, Training(steps=1), tmp_path / "other", show=False, optimizer_from=tmp_path / "half")
    with pytest.raises(CheckpointError, match="keep_checkpoints=True"):
        train(tmp_path / "again", 1, start=half, optimizer_from=tmp_path / "nothing")


class Toy(torch.nn.Module):
    """Matrices of these names and one shape, in this order, after a vector; and what an optimiser asks of a model."""

    def __init__(self, *names: str, shape: tuple[int, ...] = (2, 3)) -> None:
        super().__init__()
        self.offset = torch.nn.Parameter(torch.zeros(3))
        for n, name in enumerate(names):
            self.register_parameter(name, torch.nn.Parameter(torch.full(shape, 1.0 + n)))

    def get_output_embeddings(self) -> None:
        return None


def stepped(folder: Path, model: Toy, **training: Any) -> torch.optim.Optimizer:
    """The optimiser of a stage of one step, whose gradient is different for every name; its checkpoint is in ``folder``."""
    optimizer = make_optimizer(model, Training(**training))
    for name, parameter in model.named_parameters():
        parameter.grad = torch.full_like(parameter, float(ord(name[0])))
    optimizer.step()
    checkpoint.save(folder, 1, model, optimizer, keep=2)
    return optimizer


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_state_goes_to_the_parameter_of_its_name(tmp_path: Path, kind: str) -> None:
    before = Toy("a", "b")
    old = stepped(tmp_path, before, optimizer=kind)
    after = Toy("b", "a")
    new = make_optimizer(after, Training(optimizer=kind))
    checkpoint.take_optimizer(tmp_path, after, new)
    value = "momentum_buffer" if kind == "muon" else "exp_avg"
    for name in ("a", "b"):
        taken, kept = new.state[getattr(after, name)][value], old.state[getattr(before, name)][value]
        assert torch.equal(taken, kept) and float(kept.abs().max()) > 0
    assert not torch.equal(old.state[before.a][value], old.state[before.b][value])


@pytest.mark.parametrize(
    ("after", "kind", "words"),
    [
        (Toy("a", "b"), "muon", r"state of adamw, this stage trains with muon; give Training\(optimizer='adamw'\)"),
        (Toy("a", "c"), "adamw", "no state of c, which this stage trains; carry everything"),
        (Toy("a", "b", "c"), "adamw", "no state of c, which"),
        (Toy("a"), "adamw", "a state of b, which this stage does not train; carry everything"),
        (Toy("a", "b", shape=(3, 2)), "adamw", r"exp_avg of a is \[2, 3\], here the parameter is \[3, 2\]"),
    ],
)
def test_a_state_of_other_parameters_is_refused_by_name(tmp_path: Path, after: Toy, kind: str, words: str) -> None:
    stepped(tmp_path, Toy("a", "b"))
    optimizer = make_optimizer(after, Training(optimizer=kind))
    with pytest.raises(CheckpointError, match=words) as caught:
        checkpoint.take_optimizer(tmp_path, after, optimizer)
    assert "\n" not in str(caught.value) and "leave optimizer_from away" in str(caught.value) and not optimizer.state


def test_a_checkpoint_without_names_goes_on_but_gives_its_state_to_nobody(tmp_path: Path) -> None:
    stepped(tmp_path, Toy("a", "b"))
    folder = checkpoint.folder_of(tmp_path, 1)
    write_json(folder / "state.json", {"step": 1, "torch": torch.__version__})  # as earlier versions wrote it
    sums = json.loads((folder / CHECKSUMS).read_text("utf-8"))
    write_json(folder / CHECKSUMS, sums | {"state.json": file_sha256(folder / "state.json")})
    model = Toy("a", "b")
    optimizer = make_optimizer(model, Training())
    with pytest.raises(CheckpointError, match="does not name the parameters"):
        checkpoint.take_optimizer(tmp_path, model, optimizer)
    state = checkpoint.restore(tmp_path, model, optimizer)
    assert state is not None and state.step == 1 and set(optimizer.state) == set(model.parameters())
