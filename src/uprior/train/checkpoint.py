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
from uprior.train.optimizer import kind_of

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
    # The state itself numbers its parameters; a later stage that takes it asks for them by name.
    names = _parameter_names(model, optimizer)
    about = {"step": step, "torch": torch.__version__, "optimizer": kind_of(optimizer), "parameters": names}
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


def take_optimizer(run: Path, model: Any, optimizer: torch.optim.Optimizer) -> None:
    """Fill an optimiser with what the last checkpoint of another, finished stage had: means, variances, counts of steps.

    For a stage that goes on with the same parameters (all carried, none frozen) and the same kind of optimiser; each parameter
    of ``model`` takes the state of the one of its name. Raises CheckpointError where there is no checkpoint any more, where it
    names no parameters or several processes wrote it, and where names, shapes or the kind of optimiser differ.
    """
    folder, tensors = _last_optimizer(run)
    about = json.loads((folder / "state.json").read_text("utf-8"))
    if "parameters" not in about:
        raise CheckpointError(
            f"{folder} does not name the parameters of its optimiser's state (an earlier version wrote it); train that stage "
            "again, or leave optimizer_from away"
        )
    if about["optimizer"] != kind_of(optimizer):
        raise CheckpointError(
            f"{folder} has the state of {about['optimizer']}, this stage trains with {kind_of(optimizer)}; give "
            f"Training(optimizer='{about['optimizer']}'), or leave optimizer_from away"
        )
    there, here = about["parameters"], _parameter_names(model, optimizer)
    state = {}
    for key, tensor in tensors.items():
        index, _, value = key.partition(".")
        state[there[int(index)], value] = tensor
    difference = _difference(there, dict(zip(here, _parameters(optimizer), strict=True)), state)
    if difference:
        raise CheckpointError(
            f"{folder}: {difference}; carry everything, freeze nothing, and use one --model for both stages, "
            "or leave optimizer_from away"
        )
    places = {name: index for index, name in enumerate(here)}
    with torch.no_grad():
        _restore_optimizer(optimizer, {f"{places[name]}.{value}": tensor for (name, value), tensor in state.items()})


def _last_optimizer(run: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """The newest checkpoint of a run, found whole, and the state of the optimiser in it."""
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
    return kept[-1], load_file(file)


def _difference(
    there: list[str], here: dict[str, torch.Tensor], state: dict[tuple[str, str], torch.Tensor]
) -> str | None:
    """The first thing by which a state is not that of these parameters; None if there is none."""
    for name in here:
        if name not in there:
            return f"it has no state of {name}, which this stage trains"
    for name in there:
        if name not in here:
            return f"it has a state of {name}, which this stage does not train"
    for (name, value), tensor in state.items():
        if tensor.shape not in ((), here[name].shape):
            return f"{value} of {name} is {list(tensor.shape)}, here the parameter is {list(here[name].shape)}"
    return None


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
    parameters = _parameters(optimizer)
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


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """In the order in which ``state_dict`` numbers them."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def _parameter_names(model: Any, optimizer: torch.optim.Optimizer) -> list[str]:
    """The names in ``model`` of the optimiser's parameters, in that order."""
    names = {id(p): name for name, p in model.named_parameters()}
    return [names[id(p)] for p in _parameters(optimizer)]


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
