"""Folders that many processes write together: checkpoints in slices, and a model that no process holds whole.

Slices go through ``torch.distributed.checkpoint`` with its safetensors storage, which records in each file's header where its
slices belong; so any number of processes reads what any number wrote, and each reads only what it needs. (The library's own
file format keeps a pickle, ``.metadata``, that is unpickled on loading; it is neither written nor read here.)
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter

from uprior.errors import CheckpointError
from uprior.files import disk_errors, new_folder, write_json
from uprior.models.folder import write_tokenizer
from uprior.train.distributed import Group


@contextlib.contextmanager
def shared_folder(path: Path, group: Group) -> Iterator[Path]:
    """``new_folder`` for all processes: the first one makes it, each fills it, and it takes its name when all are done.

    What goes wrong in one process is raised in all of them, and the folder does not appear.
    """
    with contextlib.ExitStack() as stack:
        temporary = Path(group.first(lambda: str(stack.enter_context(new_folder(path)))))
        failure: Exception | None = None
        try:
            yield temporary
        except Exception as error:
            failure = error
        group.together(lambda: _raise_as_ours(failure, path))
        group.first(stack.close)


def _raise_as_ours(failure: Exception | None, path: Path) -> None:
    if failure is not None:
        with disk_errors(path):
            raise failure


def write_slices(folder: Path, tensors: Mapping[str, torch.Tensor], group: Group) -> None:
    """Write this process's slices (of DTensors) and its part of what all hold alike into files of its own in ``folder``."""
    state = {name: tensor.detach() for name, tensor in tensors.items()}
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    with _plain_errors():
        state_dict_saver.save(state, storage_writer=writer, process_group=group.control, no_dist=group.size == 1)


def shapes(folder: Path) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Name -> (whole shape, dtype) of every tensor in the safetensors files of a folder, sliced or not.

    CheckpointError naming a tensor of which slices are missing: the library would leave such places as they are.
    """
    found: dict[str, Any] = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    for name, about in found.items():
        if sum(chunk.sizes.numel() for chunk in about.chunks) != about.size.numel():
            raise CheckpointError(
                f"{folder}: slices of {name} are missing; restore the folder, or use another checkpoint"
            )
    return {name: (about.size, about.properties.dtype) for name, about in found.items()}


def read_slices(folder: Path, tensors: Mapping[str, torch.Tensor], group: Group) -> None:
    """Fill ``tensors`` in place from the safetensors files of ``folder``, however they were sliced.

    CheckpointError naming the first tensor that is missing or has another shape.
    """
    there = shapes(folder)
    for name, tensor in tensors.items():
        if name not in there:
            raise CheckpointError(f"{folder} has no tensor {name}: it is of another architecture")
        if there[name][0] != tensor.shape:
            raise CheckpointError(
                f"{folder}: {name} is {list(there[name][0])}, the model wants {list(tensor.shape)}; "
                "use the same --model, vocabulary and context as the run"
            )
    state = {name: tensor.detach() for name, tensor in tensors.items()}
    with _plain_errors(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a single process reads alone is meant
        state_dict_loader.load(
            state,
            storage_reader=HuggingFaceStorageReader(str(folder)),
            process_group=group.control,
            no_dist=group.size == 1,
        )


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """The first process's own exception in place of the BaseException that the library wraps them all in."""
    try:
        yield
    except CheckpointException as error:
        raise next(iter(error.failures.values()))[0] from error


def save_sharded_model(model: Any, folder: Path, group: Group) -> None:
    """Write a model whose weights are sliced over processes as ``save_pretrained`` would, in as many files as processes.

    One tensor at a time is gathered, and kept by the one process that writes it: each needs memory for its share of the weights
    and one tensor more. ``from_pretrained`` opens the folder anywhere.
    """
    with shared_folder(folder, group) as temporary:
        tensors = _distinct(model)
        owner = _owners(tensors, group.size)
        mine = {}
        for name, tensor in tensors.items():
            whole = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor  # all processes take part
            if owner[name] == group.rank:
                mine[name] = whole.cpu().contiguous()
        files = min(group.size, len(tensors))
        if mine:
            save_file(mine, temporary / _file(group.rank, files), metadata={"format": "pt"})
        if group.is_first:
            _write_configuration(model, temporary)
            size = sum(t.numel() * t.element_size() for t in tensors.values())
            weight_map = {name: _file(owner[name], files) for name in sorted(tensors)}
            about = {"total_parameters": sum(p.numel() for p in model.parameters()), "total_size": size}
            write_json(temporary / "model.safetensors.index.json", {"metadata": about, "weight_map": weight_map})


def _distinct(model: Any) -> dict[str, torch.Tensor]:
    """What ``save_pretrained`` saves: parameters and persistent buffers; a shared tensor (tied embeddings) once."""
    seen: set[int] = set()
    tensors = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            tensors[name] = tensor.detach()
    return tensors


def _owners(tensors: Mapping[str, torch.Tensor], size: int) -> dict[str, int]:
    """Which process writes which tensor: the largest first, each to the process with the least so far."""
    load = [0] * size
    owner = {}
    for name in sorted(tensors, key=lambda name: (-tensors[name].numel(), name)):
        rank = load.index(min(load))
        owner[name] = rank
        load[rank] += tensors[name].numel()
    return owner


def _file(rank: int, files: int) -> str:
    return f"model-{rank + 1:05d}-of-{files:05d}.safetensors"


def _write_configuration(model: Any, folder: Path) -> None:
    config = model.config
    config.architectures = [type(model).__name__.removeprefix("FSDP")]  # fully_shard renames the class
    config.dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    config.save_pretrained(folder)
    if model.can_generate():
        model.generation_config.save_pretrained(folder)
    write_tokenizer(config, folder)
