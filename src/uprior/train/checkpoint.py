"""Checkpoints of a running stage: weights, optimiser, dropout state and step, in safetensors, whole or not at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from uprior.errors import CheckpointError, UpriorError
from uprior.files import disk_errors, new_folder, verify_folder, write_json


@dataclass(frozen=True)
class State:
    """What was restored: the number of steps done, and one line for every checkpoint that had to be passed over."""

    step: int
    passed_over: list[str]


def folder_of(run: Path, step: int) -> Path:
    """Where the checkpoint after ``step`` steps lies."""
    return run / "checkpoints" / f"step-{step:08d}"


def save(run: Path, step: int, model: Any, optimizer: torch.optim.Optimizer, *, keep: int) -> Path:
    """Write the checkpoint after ``step`` steps, then delete all but the newest ``keep`` and the one of step 0."""
    folder = folder_of(run, step)
    with new_folder(folder) as temporary:
        save_file(
            {name: t.detach().contiguous() for name, t in _tensors(model).items()}, temporary / "model.safetensors"
        )
        save_file(_optimizer_tensors(optimizer), temporary / "optimizer.safetensors")
        generators = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            generators["cuda"] = torch.cuda.get_rng_state()
        save_file(generators, temporary / "random.safetensors")
        write_json(temporary / "state.json", {"step": step, "torch": torch.__version__})
    with disk_errors(folder):
        for old in [f for f in folders(run) if f != folder_of(run, 0)][:-keep]:
            shutil.rmtree(old)
    return folder


def folders(run: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(p for p in (run / "checkpoints").glob("step-*") if p.is_dir())


def restore(run: Path, model: Any, optimizer: torch.optim.Optimizer) -> State | None:
    """Load the newest good checkpoint into model and optimiser; None if there is none at all.

    A damaged one is passed over for the one before, and said. CheckpointError if all are damaged, or the weights do not fit.
    """
    passed_over: list[str] = []
    for folder in reversed(folders(run)):
        try:
            verify_folder(folder)
            step = int(json.loads((folder / "state.json").read_text("utf-8"))["step"])
            load_weights(model, folder / "model.safetensors")
            _restore_optimizer(optimizer, load_file(folder / "optimizer.safetensors"))
            states = load_file(folder / "random.safetensors")
        except (UpriorError, OSError, KeyError, ValueError, SafetensorError) as error:
            passed_over.append(str(error))
            continue
        torch.set_rng_state(states["cpu"])
        if "cuda" in states and torch.cuda.is_available():
            torch.cuda.set_rng_state(states["cuda"])
        return State(step, passed_over)
    if passed_over:
        raise CheckpointError(f"no good checkpoint left in {run}: {passed_over[0]}; start anew with another --out")
    return None


def load_weights(model: Any, file: Path) -> None:
    """Copy the tensors of a file into a model of the same architecture; CheckpointError naming the first that does not fit."""
    tensors = load_file(file)
    own = _tensors(model)
    for name, tensor in own.items():
        if name not in tensors:
            raise CheckpointError(f"{file} has no tensor {name}: it is of another architecture")
        if tensors[name].shape != tensor.shape:
            raise CheckpointError(
                f"{file}: {name} is {list(tensors[name].shape)}, the model wants {list(tensor.shape)}; "
                "use the same --model, vocabulary and context as the run"
            )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def _tensors(model: Any) -> dict[str, torch.Tensor]:
    """Parameters and buffers by name; a shared tensor (tied embeddings) once, under its first name."""
    return dict(model.named_parameters(remove_duplicate=True)) | dict(model.named_buffers())


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Every tensor of the optimiser's state as ``<parameter index>.<name>``."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value).contiguous()
        for index, values in state.items()
        for name, value in values.items()
    }


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
