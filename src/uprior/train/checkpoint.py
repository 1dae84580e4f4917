"""Checkpoints of a running stage: weights, optimiser, dropout state and step, in safetensors, whole or not at all.

One process writes whole tensors; several write slices side by side (``uprior.train.sharded``). Any number of processes goes on
from either. A checkpoint lies between two optimiser steps: a run that is killed within an accumulation repeats that step's batch.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from uprior.errors import CheckpointError, UpriorError
from uprior.files import CHECKSUMS, disk_errors, new_folder, verify_folder, write_json
from uprior.train.distributed import ALONE, Group

# The folder of slices inside a checkpoint that several processes wrote.
SLICES = "slices"


@dataclass(frozen=True)
class State:
    """What was restored: the number of steps done, and one line for every checkpoint that had to be passed over."""

    step: int
    passed_over: list[str]


def folder_of(run: Path, step: int) -> Path:
    """Where the checkpoint after ``step`` steps lies."""
    return run / "checkpoints" / f"step-{step:08d}"


def save(
    run: Path, step: int, model: Any, optimizer: torch.optim.Optimizer, *, keep: int, group: Group = ALONE
) -> Path:
    """Write the checkpoint after ``step`` steps, then delete all but the newest ``keep`` and the one of step 0."""
    folder = folder_of(run, step)
    about = {"step": step, "torch": torch.__version__}
    if group.size == 1:
        with new_folder(folder) as temporary:
            save_file(
                {name: t.detach().contiguous() for name, t in _tensors(model).items()}, temporary / "model.safetensors"
            )
            save_file(_optimizer_tensors(optimizer), temporary / "optimizer.safetensors")
            save_file(_random_state(), temporary / _random_file(group))
            write_json(temporary / "state.json", about)
    else:
        from uprior.train import sharded  # half a second to import, and only several processes need it

        with sharded.shared_folder(folder, group) as temporary:
            tensors = _tensors(model) | _optimizer_tensors(optimizer)
            sharded.write_slices(temporary / SLICES, tensors, group)
            save_file(_random_state(), temporary / _random_file(group))
            if group.is_first:
                write_json(temporary / "state.json", about | {"processes": group.size})
    group.first(lambda: _prune(run, keep))
    return folder


def _prune(run: Path, keep: int) -> None:
    with disk_errors(run):
        for old in [f for f in folders(run) if f != folder_of(run, 0)][:-keep]:
            shutil.rmtree(old)


def folders(run: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(p for p in (run / "checkpoints").glob("step-*") if p.is_dir())


def restore(
    run: Path, model: Any, optimizer: torch.optim.Optimizer, *, group: Group = ALONE, seed: int = 0
) -> State | None:
    """Load the newest good checkpoint into model and optimiser; None if there is none at all.

    A damaged one is passed over for the one before, and said. CheckpointError if all are damaged, or the weights do not fit.
    Written by another number of processes, it has no dropout state for these: a new one is drawn from ``seed``.
    """
    passed_over: list[str] = []
    for name in reversed(group.first(lambda: [folder.name for folder in folders(run)])):
        folder = run / "checkpoints" / name
        try:
            group.first(partial(_verify, folder))
            step = group.together(partial(_load, folder, model, optimizer, group))
        except UpriorError as error:
            passed_over.append(str(error))
            continue
        _restore_random_state(folder / _random_file(group), group.seed(seed, step))
        return State(step, passed_over)
    if passed_over:
        raise CheckpointError(f"no good checkpoint left in {run}: {passed_over[0]}; start anew with another --out")
    return None


def take_optimizer(run: Path, optimizer: torch.optim.Optimizer) -> None:
    """Fill an optimiser with what the last checkpoint of another, finished stage had: means, variances, counts of steps.

    For a stage that goes on with the same parameters (all carried, none frozen) and the same optimiser. Raises CheckpointError
    where there is no checkpoint any more, where several processes wrote it, and where parameters or optimiser differ.
    """
    kept = folders(run)
    if not kept:
        raise CheckpointError(
            f"{run} has no checkpoint, so its optimiser's state is gone; train that stage with keep_checkpoints=True"
        )
    file = kept[-1] / "optimizer.safetensors"
    if not file.exists():
        raise CheckpointError(
            f"{kept[-1]} was written by several processes; take the optimiser's state of a run of one"
        )
    _verify(kept[-1])
    tensors = load_file(file)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        fits = int(index) < len(parameters) and tensor.shape in ((), parameters[int(index)].shape)
        if not fits:
            raise CheckpointError(
                f"{file}: {name} of parameter {index} is {list(tensor.shape)}, which does not fit this stage's optimiser; carry "
                "everything, freeze nothing, and use the same --optimizer, or leave the state away"
            )
    with torch.no_grad():
        _restore_optimizer(optimizer, tensors)


def _verify(folder: Path) -> None:
    """A folder of ours always has checksums; ``verify_folder`` also knows those of other programs."""
    if not (folder / CHECKSUMS).exists():
        raise CheckpointError(f"{folder / CHECKSUMS} is missing")
    verify_folder(folder)


def _load(folder: Path, model: Any, optimizer: torch.optim.Optimizer, group: Group) -> int:
    """Fill model and optimiser from a checkpoint, whole or sliced; the number of steps done. CheckpointError."""
    try:
        step = int(json.loads((folder / "state.json").read_text("utf-8"))["step"])
        slices = folder / SLICES
        if group.size == 1 and not slices.exists():
            load_weights(model, folder / "model.safetensors")
            _restore_optimizer(optimizer, load_file(folder / "optimizer.safetensors"))
        else:
            _read_slices(slices if slices.exists() else folder, model, optimizer, group)
    except UpriorError:
        raise
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: {error}") from error
    return step


def _read_slices(folder: Path, model: Any, optimizer: torch.optim.Optimizer, group: Group) -> None:
    from uprior.train import sharded

    tensors = _tensors(model)
    parameters = [p for g in optimizer.param_groups for p in g["params"]]
    averages = {}
    for name, (shape, dtype) in sharded.shapes(folder).items():
        index, _, _ = name.partition(".")
        if name in tensors or not index.isdecimal() or int(index) >= len(parameters):
            continue
        own = parameters[int(index)].detach()
        # An average is sliced like its parameter; a count of steps is whole everywhere.
        averages[name] = torch.zeros_like(own) if own.shape == shape else torch.zeros(shape, dtype=dtype)
    sharded.read_slices(folder, tensors | averages, group)
    _restore_optimizer(optimizer, averages)


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


def _random_file(group: Group) -> str:
    return "random.safetensors" if group.size == 1 else f"random-{group.rank + 1:05d}-of-{group.size:05d}.safetensors"


def _random_state() -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _restore_random_state(file: Path, seed: int) -> None:
    if not file.exists():
        torch.manual_seed(seed)
        return
    states = load_file(file)
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
