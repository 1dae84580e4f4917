"""Looking a checkpoint folder over before any library opens it: nothing in it is run, and nothing outside it is read.

Weights are a file of numbers, but a folder from elsewhere can also ask for code (``auto_map``, attention kernels from a
hub), point out of itself (names in an index, links) or describe a model that no memory holds.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from uprior.errors import CheckpointError
from uprior.files import CHECKSUMS

INDEX = "model.safetensors.index.json"
# The index of a model of a hundred thousand tensors has 10 MB, its headers together as much.
MOST_JSON_BYTES = 32 << 20
# What config.json may not hold, at any depth, and why.
REFUSED_KEYS = {
    "auto_map": "asks for code of its own, which uprior never runs; take a checkpoint of a model type of transformers",
    "trust_remote_code": "asks for code of its own, which uprior never runs; take a checkpoint of a model type of transformers",
    "quantization_config": "describes quantised weights, which cannot be trained; take the checkpoint they were made from",
    "kernel_config": "asks for kernels from elsewhere, which uprior never runs; delete the key",
}
PLAIN_ATTENTION = (None, "eager", "sdpa", "flex_attention")
_IMPLEMENTATION = re.compile(r"_?(attn|experts)_implementation(_internal)?")
_COUNTS_MODULES = re.compile(r"(num|n)_(\w+_)?(layers?|blocks?|experts?)|depth")


def inspect(folder: Path) -> None:
    """Raise CheckpointError, in one line, for a folder that asks for more than its own numbers to be read.

    Refused: links and names that lead out of the folder, things that are no files, code and kernels from elsewhere, adapters,
    quantised weights, headers that do not fit their file, and a configuration larger than the weights.
    """
    for entry in sorted(folder.iterdir()):
        _check_entry(folder, entry)
    config = read_object(folder / "config.json")
    for key, value in _pairs(config):
        if key in REFUSED_KEYS and value:
            raise CheckpointError(f"{folder / 'config.json'}: {key} {REFUSED_KEYS[key]}")
        if _IMPLEMENTATION.fullmatch(key) and value not in PLAIN_ATTENTION:
            raise CheckpointError(
                f"{folder / 'config.json'}: {key} = {_short(value)} asks for kernels from elsewhere, which uprior never runs; "
                "delete the key"
            )
    if (folder / "adapter_config.json").exists():
        raise CheckpointError(f"{folder} holds an adapter, not a model; merge it into its model and save that")
    for name in read_object(folder / CHECKSUMS) if (folder / CHECKSUMS).exists() else ():
        _inside(folder, name)
    tensors = elements = 0
    for file in _weight_files(folder, config):
        here = _shapes(file)
        tensors, elements = tensors + len(here), elements + sum(map(math.prod, here))
    _check_size(folder, config, tensors, elements)


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object of a file that may be hostile: neither huge, nor endlessly nested, nor something else."""
    try:
        if file.stat().st_size > MOST_JSON_BYTES:
            raise ValueError(f"{file.stat().st_size} bytes; allowed: {MOST_JSON_BYTES}")
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is damaged ({_short(error)}); use another checkpoint") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{file} is damaged (no JSON object); use another checkpoint")
    return found


def _check_entry(folder: Path, entry: Path) -> None:
    real = entry.resolve()
    if entry.is_symlink() and not any(real.is_relative_to(home) for home in _homes(folder)):
        raise CheckpointError(f"{entry} is a link out of the checkpoint, to {real}; copy the file itself there")
    if not (real.is_file() or real.is_dir()):
        raise CheckpointError(f"{entry} is neither a file nor a folder; use another checkpoint")


def _homes(folder: Path) -> list[Path]:
    """Where a file of the folder may lie: in it, or, in the Hugging Face cache, in the ``blobs`` beside its snapshot."""
    real = folder.resolve()
    return [real, real.parent.parent / "blobs"] if real.parent.name == "snapshots" else [real]


def _inside(folder: Path, name: str) -> Path:
    """The path of a name that a file of the checkpoint gives, if it stays in the folder."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in name or "\0" in name:
        raise CheckpointError(f"{folder}: the file name {_short(name)} leads out of the folder; use another checkpoint")
    return folder / path


def _weight_files(folder: Path, config: dict[str, Any]) -> list[Path]:
    """Every safetensors file that the folder names."""
    names = {"model.safetensors"} if (folder / "model.safetensors").exists() else set()
    if (folder / INDEX).exists():
        shards = read_object(folder / INDEX).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
            raise CheckpointError(f"{folder / INDEX} is damaged (no weight_map of file names); use another checkpoint")
        names |= set(shards.values())
    if isinstance(named := config.get("transformers_weights"), str):
        names.add(named)
    for name in sorted(names):
        file = _inside(folder, name)
        if file.suffix != ".safetensors":
            raise CheckpointError(f"{folder} names {_short(name)} as weights; uprior opens safetensors alone")
        if not file.is_file():
            raise CheckpointError(f"{file} is missing; use a complete checkpoint")
    return [folder / name for name in sorted(names)]


def _shapes(file: Path) -> list[list[int]]:
    """The shapes of a safetensors file's tensors, read from a header that fits the file and its data."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > min(size - 8, MOST_JSON_BYTES):
            raise CheckpointError(f"{file} is damaged: a header of {length} bytes in {size}; use another checkpoint")
        try:
            header = json.loads(stream.read(length))
            shapes = [list(entry["shape"]) for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"{file} is damaged: no readable header; use another checkpoint") from error
    for shape in shapes:
        # No number takes less than four bits.
        if (
            len(shape) > 16
            or not all(isinstance(n, int) and 0 <= n <= 2 * size for n in shape)
            or math.prod(shape) > 2 * size
        ):
            raise CheckpointError(
                f"{file} is damaged: a tensor of shape {_short(shape)} in {size} bytes; use another checkpoint"
            )
    return shapes


def _check_size(folder: Path, config: dict[str, Any], tensors: int, elements: int) -> None:
    """Refuse a configuration of more layers or parameters than the weights have, before memory is taken for them."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    for key, value in _pairs(config):
        if _COUNTS_MODULES.fullmatch(key) and isinstance(value, int) and value > max(256, tensors):
            raise CheckpointError(
                f"{folder}: config.json has {key} = {_short(value)}, the weights are {tensors} tensors; "
                "use weights and configuration of one model"
            )
    with torch.device("meta"):  # shapes without memory
        model = AutoModelForCausalLM.from_config(
            AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False), trust_remote_code=False
        )
    described = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    # Twice: tied weights are stored once. The rest is room for tables that are computed, as of positions.
    if described > 2 * elements + (1 << 24):
        raise CheckpointError(
            f"{folder}: config.json describes {described} parameters, the weights have {elements}; "
            "use weights and configuration of one model"
        )


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at any depth."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield from found.items()
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)


def _short(value: object) -> str:
    """What a file says, as part of one line of a message."""
    text = repr(value) if isinstance(value, str) else " ".join(str(value).split())
    return text if len(text) <= 80 else text[:77] + "..."
