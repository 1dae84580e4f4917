"""What a source costs, in floating-point operations per token it emits: generation is charged to the arm that trains on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, cast

import numpy as np

from uprior.errors import SpecError
from uprior.sources import Source

# Symbolic sources take tens of integer operations and memory reads per token (0.02 to 0.1 microseconds on one core). This is what
# a core does in three to ten times that time; it is charged to every source and wrapper, for weights, sampling and moving too.
SYMBOLIC = 500.0
# Of the machines that ``banded`` tries, the share it keeps is known only after the fact; its error message recommends a half.
KEPT_BY_BAND = 0.25


def generation_flops_per_token(source: Source, *, length: int) -> float:
    """FLOPs per emitted token of a stream of rows of ``length`` tokens.

    Networks: 2 per multiplied weight and written token (embedding look-ups do not multiply), attention over half a row on
    average. Wrappers: what they have written, emitted or not: every pass of ``Iterated``; of ``Buffered`` source_rows rows per
    batch_rows emitted. Its spin-up is not charged: in a run as long as the published ones it is 3 % of the rows, and that ours
    happens in every block is no part of the published system. Mixtures: the mean over rows. All others: SYMBOLIC. SpecError for a
    neural source whose operations are not known here.
    """

    def inner(wrapped: Source, *, times: float = 1.0) -> float:
        return SYMBOLIC + times * generation_flops_per_token(wrapped, length=length)

    s = cast(Any, source)  # the fields of a class are those of its catalogue name
    match source.name:
        case "mixture" | "universal":
            shares = np.array(s.shares or (1,) * len(s.sources), dtype=np.float64)
            return float(np.average([inner(part) for part in s.sources], weights=shares))
        case "iterated":
            return inner(s.source, times=passes(s.law))
        case "buffered":
            return inner(s.source, times=s.source_rows / s.batch_rows)
        case "packed":
            mean = (s.episode_length + (s.shortest_episode or s.episode_length)) / 2
            return inner(s.source, times=s.episode_length / mean)
        case "banded":
            probes = s.probe_rows / getattr(s.source, "rows_per_machine", s.probe_rows)
            return inner(s.source, times=(1 + probes) / KEPT_BY_BAND)
    parts = list(wrapped_by(source))
    if parts:
        return sum(inner(part) for part in parts)
    return SYMBOLIC + 2 * _products(source, length)


def passes(law: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Rows written by machines per emitted row, of chains with this law of depth: a pass writes what deeper ones need.

    >>> passes(np.array([0.0, 0.25, 0.25, 0.5])), passes(np.array([0.5, 0.5]))
    (1.5, 0.5)
    """
    return float(np.maximum.accumulate(law[::-1])[:-1].sum())


def wrapped_by(source: Source) -> Iterator[Source]:
    """The sources in the fields of a source."""
    for field in dataclasses.fields(cast(Any, source)):
        value = getattr(source, field.name)
        yield from (part for part in (value if isinstance(value, tuple) else (value,)) if isinstance(part, Source))


def _products(source: Source, length: int) -> float:
    """Multiplications per written token of a network; 0 for what is none."""
    if source.family != "neural" and source.name != "neural_cellular_automaton":
        return 0.0
    s = cast(Any, source)
    match source.name:
        case "random_lstm" | "random_gru":
            gates = 4 if source.name == "random_lstm" else 3
            return float(gates * s.hidden**2 * (2 * s.layers + 1) + s.hidden * s.alphabet_size)
        case "random_mlp":
            heard = ((1 + s.window) / 2 + 1) * s.embedding_width
            return float(heard * s.hidden + (s.layers - 1) * s.hidden**2 + s.hidden * s.alphabet_size)
        case "random_transformer" | "autoregressive_transformer":
            width = s.width if source.name == "random_transformer" else s.hidden
            return float(s.layers * (12 * width**2 + width * length) + width * s.alphabet_size)
        case "echo_state":
            return float(s.units * (s.connections + (s.min_symbols + s.max_symbols) / 2))
        case "neural_cellular_automaton":
            per_step = s.grid**2 * s.hidden * (9 + s.colours)
            frames = max(1.0, length / s.frame_tokens)
            return float(per_step * (s.burn_in + (frames - 1) * s.stride) / (frames * s.frame_tokens))
    raise SpecError(f"compute: the operations of source {source.name} are not known; leave it out of this study")
