"""The edge-of-chaos study of random networks: what their weights' multiplier does to what they write.

Small weights forget what they read and fall into constant or periodic rows; large ones blow up any difference into noise;
structure lies between (Bertschinger and Natschlaeger 2004; Bloem 2025 chose his multipliers by such pictures).
"""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.errors import SpecError
from uprior.sources._base import Draw, Source
from uprior.sources._complexity import deflate_ratio, lempel_ziv_bits
from uprior.sources._machines import MachineSource, Tokens, share_of, start_tokens
from uprior.sources.iterated import Iterated, parents

MULTIPLIERS = (0.25, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 2.8, 4.0, 8.0)
FIELDS = (
    "multiplier", "sensitivity", "late_sensitivity", "deflate_ratio", "lempel_ziv_bits", "largest_share", "used_symbols"
)  # fmt: skip
_SHOWN_FREQUENCIES = 32


def chaos(source: Source, *, seed: int = 0, rows: int = 64, length: int = 256) -> list[dict[str, Any]]:
    """One record per multiplier, every one with the same random numbers.

    multiplier          all weights' (of the hidden layers, where they have one of their own), exact, not drawn
    sensitivity         share of later tokens that differ when one token is changed: the last of each first seed row, or the
                        first of each first parent for machines without seeds. 0 is order; 1 - 1/alphabet is chaos
    late_sensitivity    the same in the last quarter of the rows: what never dies out
    deflate_ratio       raw deflate's size over the row's own, mean over rows
    lempel_ziv_bits     Lempel-Ziv complexity, bits per token, mean over rows
    largest_share       share of the most frequent token of a row, mean over rows
    used_symbols        different tokens in a row, mean over rows
    sorted_frequencies  [32] shares of the most frequent, the next, ... token of a row, mean over rows

    An ``iterated`` source is followed through its largest depth: the change is made in the first pass and read off the last.
    Raises SpecError for a source without a weight multiplier.
    """
    machines = source.source if isinstance(source, Iterated) else source
    depth = len(source.law) - 1 if isinstance(source, Iterated) else 1
    records = []
    for multiplier in MULTIPLIERS:
        fixed = _with_multiplier(machines, multiplier)
        tokens, changed = (_last_pass(fixed, depth, seed, rows, length, change=change) for change in (False, True))
        differs = tokens[:, fixed.seed_length :] != changed[:, fixed.seed_length :]
        shares = _sorted_shares(tokens, fixed.alphabet_size)
        records.append(
            {
                "multiplier": multiplier,
                "sensitivity": float(differs.mean()),
                "late_sensitivity": float(differs[:, -length // 4 :].mean()),
                "deflate_ratio": float(np.mean([deflate_ratio(row, fixed.alphabet_size) for row in tokens])),
                "lempel_ziv_bits": float(np.mean([lempel_ziv_bits(row) for row in tokens])),
                "largest_share": float(shares[:, 0].mean()),
                "used_symbols": float((shares > 0).sum(axis=1).mean()),
                "sorted_frequencies": shares[:, :_SHOWN_FREQUENCIES].mean(axis=0).tolist(),
            }
        )
    return records


def _with_multiplier(source: Source, multiplier: float) -> MachineSource:
    """The source with this multiplier in all its machines."""
    names = {field.name for field in dataclasses.fields(typing.cast(Any, source))}
    for fields in (("multiplier_low", "multiplier_high"), ("hidden_multiplier",)):
        if isinstance(source, MachineSource) and names.issuperset(fields):
            return source.replace(**dict.fromkeys(fields, multiplier))
    raise SpecError(
        f"{source.name} has no weights with a multiplier; allowed: a random network, or iterated:source=(a random network)"
    )


def _last_pass(source: MachineSource, depth: int, seed: int, rows: int, length: int, *, change: bool) -> Tokens:
    """[N, T] what the last of ``depth`` passes writes, with one token of the first pass's input changed or not."""
    draw = Draw((source.name, "chaos", seed), "train", 0)
    alphabet, given = source.alphabet_size, min(source.seed_length, length)
    constants = share_of(draw("constants"), rows, source.constant_fraction)
    condition = start_tokens(draw("conditions"), constants, length, alphabet, source.token_dtype)
    seeds = start_tokens(draw("seeds"), constants, given, alphabet, source.token_dtype)
    if change:
        changed = seeds[:, -1:] if given else condition[:, :1]
        changed[:] = (changed + 1) % alphabet
    tokens = source._write(draw.child("pass", 1), condition, seeds).tokens
    for level in range(2, depth + 1):
        here = draw.child("pass", level)
        tokens = source._write(here, *parents(here, tokens, rows, source.seed_length)).tokens
    return tokens


def _sorted_shares(tokens: Tokens, alphabet_size: int) -> NDArray[np.float64]:
    """[N, A] the share of each token of a row, largest first."""
    counts = np.stack([np.bincount(row, minlength=alphabet_size) for row in tokens])
    shares: NDArray[np.float64] = -np.sort(-counts, axis=1) / tokens.shape[1]
    return shares
