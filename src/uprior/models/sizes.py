"""Models by size where no preset has it: ``WIDTHxLAYERS``, and ``FAMILY:WIDTHxLAYERSxHEADS``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from uprior.errors import CheckpointError, SpecError, UnknownNameError, unknown_name
from uprior.models.folder import find_model
from uprior.models.guard import inspect
from uprior.models.matching import MATCHING, MATCHING_2
from uprior.models.presets import PRESETS, Preset, config_of, from_config

SIZES = (
    "WIDTHxLAYERS with a width of 32, 64, ..., as in 128x4, WIDTHxLAYERS-matching, WIDTHxLAYERS-matching-2, "
    "FAMILY:WIDTHxLAYERSxHEADS with a family of gpt2, gpt-neox, llama, as in gpt2:16x2x4"
)
ALLOWED = f"{SIZES}, or one of {', '.join(PRESETS)}"
# Of a configuration: what says nothing about the architecture.
_ASIDE = ("architectures", "dtype", "transformers_version", "_name_or_path")
# Of matching starts: at least four heads, which tell matches of 1, 2, 3 and 0 symbols apart.
LEAST_MATCHING_HEADS, MATCHING_HEAD_SIZE = 4, 64


def preset_of(text: str) -> Preset | None:
    """The preset of a name or size; None where the text is neither (ALLOWED says what is).

    ``WIDTHxLAYERS``               a Llama, heads of 32, gates 8/3 wide
    ``WIDTHxLAYERS-matching``      a Llama that begins by matching contexts: 4 or more heads of 64, gates half as wide
    ``...-matching-2``             these sizes and presets with the second version of that start
    ``FAMILY:WIDTHxLAYERSxHEADS``  gates of a Llama 8/3 wide, other MLPs 4 wide; ``gpt2:16x2x4`` is what the published
                                   diagnostics call 2_4_16

    >>> preset_of("64x3"), preset_of("63x3")
    (Preset(family='llama', width=64, layers=3, heads=2, inner=176, first_weights='', head_size=0), None)
    """
    if text in PRESETS:
        return PRESETS[text]
    if text.endswith(MATCHING_2):
        first = preset_of(text.removesuffix(MATCHING_2) + MATCHING)
        return first and replace(first, first_weights=MATCHING_2)
    if size := re.fullmatch(r"([1-9]\d*)x([1-9]\d*)(-matching)?", text):
        width, layers = int(size[1]), int(size[2])
        if width % 32:
            return None
        if size[3]:
            heads = max(LEAST_MATCHING_HEADS, width // MATCHING_HEAD_SIZE)
            return Preset("llama", width, layers, heads, width // 2, MATCHING, MATCHING_HEAD_SIZE)
        return Preset("llama", width, layers, width // 32, _gates(width))
    if size := re.fullmatch(r"(gpt2|gpt-neox|llama):([1-9]\d*)x([1-9]\d*)x([1-9]\d*)", text):
        width, layers, heads = map(int, size.groups()[1:])
        if width % heads or (width // heads) % 2:  # rotations turn pairs
            return None
        return Preset(size[1], width, layers, heads, _gates(width) if size[1] == "llama" else 4 * width)
    return None


def build(
    name: str, *, vocab: int = 256, context: int = 512, seed: int = 0, plain: bool = False, untied: bool = False
) -> Any:
    """A fresh model of a preset's name or a size: float32, no dropout, weights a pure function of the arguments (and of the
    installed transformers version and linear algebra library, so studies keep the step-0 weights file). Global random state is
    untouched.

    ``vocab`` 2 or more ids; ``context`` 2 or more positions; ``plain``: random weights, whatever start the model has here;
    ``untied``: reading and writing have a table each. Raises UnknownNameError, SpecError.

    >>> sum(p.numel() for p in build("32x1", context=16).parameters())
    20832
    """
    preset = preset_of(name)
    if preset is None:
        raise unknown_model(name, PRESETS)
    for what, value in (("vocab", vocab), ("context", context)):
        if value < 2:
            raise SpecError(f"model {name}: {what} = {value} is not allowed; allowed: a whole number from 2")
    config = config_of(preset, vocab, context)
    if untied:
        config.tie_word_embeddings = False
    return from_config(config, seed, plain=plain)


def unknown_model(name: str, known: Iterable[str]) -> UnknownNameError:
    """The error for a name that is no preset's, no size, and none of ``known``."""
    error = unknown_name("model", name, known)
    return UnknownNameError(f"{error}; or a size: {SIZES}")


def size_of(checkpoint: str | Path) -> str:
    """The preset's name or size of which a checkpoint (a folder, or a shipped name) is a model, its start included.

    So a fresh model beside a trained one is ``build(size_of("universal"), ...)``. Raises CheckpointError where there is no
    such checkpoint, or where its architecture has no name here.
    """
    from transformers import AutoConfig

    folder = find_model(checkpoint)
    inspect(folder)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    width, layers, heads = config.hidden_size, config.num_hidden_layers, config.num_attention_heads
    sizes = [f"{family}:{width}x{layers}x{heads}" for family in ("gpt2", "gpt-neox", "llama")]
    names = (*PRESETS, f"{width}x{layers}", f"{width}x{layers}-matching", *sizes)
    for text in (*names, *(f"{name}-2" for name in names)):
        preset = preset_of(text)
        if preset is not None and _same(config_of(preset, config.vocab_size, config.max_position_embeddings), config):
            return text
    raise CheckpointError(f"{checkpoint}: its architecture is of no preset and no size; allowed: {ALLOWED}")


def _same(one: Any, other: Any) -> bool:
    """Do two configurations describe the same model?"""
    first, second = (config.to_dict() for config in (one, other))
    return all(first.get(key) == second.get(key) for key in {*first, *second} - {*_ASIDE})


def _gates(width: int) -> int:
    return -(-8 * width // 3 // 8) * 8
