"""Minimal pairs: is the grammatical one of two sentences likelier to a model? (BLiMP: Warstadt et al. 2020, arXiv 1912.00582)"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uprior.corpora.jsonl import records_of
from uprior.errors import CheckpointError, CorpusError, SpecError
from uprior.evals.model import MAX_LOGITS, evaluating, tokens_at_once

if TYPE_CHECKING:
    import torch

FIELDS = ("sentence_good", "sentence_bad", "UID")
# What records are about, and the field of a pair that has its name; a pair may lack the last two.
LEVELS = (("paradigm", "UID"), ("phenomenon", "linguistics_term"), ("field", "field"))


def minimal_pairs(
    model: Any, path: str | Path, *, encode: Callable[[str], Sequence[int]] | None = None, limit: int = 0
) -> list[dict[str, Any]]:
    """Share of pairs whose good sentence has the higher summed log-probability, from the second token on, as published.

    path     JSON lines (.gz too) with the fields sentence_good, sentence_bad, UID (the paradigm) and, if there are any,
             linguistics_term (the phenomenon) and field
    encode   text -> ids; None: its UTF-8 bytes. A first token is given, so sentences that differ in it alone are a tie
    limit    only the first so many pairs of each paradigm; 0: all

    A record per paradigm, per phenomenon, per field, and one for all: {level: "paradigm", "phenomenon", "field" or "all", name,
    accuracy: 0..1, chance 0.5; se_accuracy: its standard error over pairs; pairs}. Pairs of one paradigm are alike, so of many
    paradigms it is too small to stand for others. A tie counts half (published code counts it as wrong).
    Raises CorpusError (file, lines, fields, a sentence of one token), SpecError where the model has no position or no id for a
    token, CheckpointError where it gives NaN or infinity.
    """
    pairs = read_pairs(path, limit)
    texts = [pair[key] for pair in pairs for key in ("sentence_good", "sentence_bad")]
    ids = [list((encode or _bytes)(text)) for text in texts]
    for text, one in zip(texts, ids, strict=True):
        if len(one) < 2:
            raise CorpusError(f"'{path}': the sentence {text!r} has no second token, which is the first to be scored")
    scores = _scores(model, ids).reshape(-1, 2)
    won = np.where(scores[:, 0] == scores[:, 1], 0.5, scores[:, 0] > scores[:, 1])
    records = []
    for level, key in LEVELS:
        names = [str(pair.get(key, "")) for pair in pairs]
        records += [_record(level, name, won[[n == name for n in names]]) for name in dict.fromkeys(names) if name]
    return [*records, _record("all", "all", won)]


def _record(level: str, name: str, won: NDArray[np.float64]) -> dict[str, Any]:
    error = float(won.std()) / math.sqrt(len(won))
    return {"level": level, "name": name, "accuracy": float(won.mean()), "se_accuracy": error, "pairs": len(won)}


def read_pairs(path: str | Path, limit: int = 0) -> list[dict[str, Any]]:
    """The pairs of a file in order, of every paradigm the first ``limit`` (0: all). Raises CorpusError."""
    kept: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    instead = f"give JSON lines with {', '.join(FIELDS)}, all text, as in BLiMP"
    for record in records_of(path, FIELDS, instead):
        seen[record["UID"]] = seen.get(record["UID"], 0) + 1
        if not limit or seen[record["UID"]] <= limit:
            kept.append(record)
    if not kept:
        raise CorpusError(f"'{path}' holds no pairs; {instead}")
    return kept


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _check(model: Any, ids: Sequence[Sequence[int]]) -> int:
    """Before any work: raise for what the model cannot read. Its number of ids."""
    config = getattr(model, "config", None)
    context, vocabulary = (getattr(config, field, None) for field in ("max_position_embeddings", "vocab_size"))
    longest, highest = max(map(len, ids)), max(map(max, ids))
    if context and longest > context:
        raise SpecError(
            f"the model reads at most {context} tokens; the longest sentence has {longest}; give a model that reads so many"
        )
    if vocabulary and highest >= vocabulary:
        raise SpecError(
            f"the model has a vocabulary of {vocabulary}; a sentence has the id {highest}; "
            "give its own encode, or a model built with vocab=256"
        )
    return vocabulary or highest + 1


def _scores(model: Any, ids: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """[N] summed ln p of tokens 1, 2, .. of each sequence; sequences of like length share a pass, padded on the right."""
    vocabulary = _check(model, ids)
    order = sorted(range(len(ids)), key=lambda n: len(ids[n]))
    found = np.empty(len(ids), dtype=np.float64)
    with evaluating(model) as device:
        most = min(tokens_at_once(device), MAX_LOGITS // vocabulary)
        while order:
            rows = max(1, most // len(ids[order[-1]]))
            part, order = order[-rows:], order[:-rows]
            found[part] = _summed(model, [ids[n] for n in part], device).cpu().numpy()
    if not np.isfinite(found).all():
        bad = int((~np.isfinite(found)).sum())
        raise CheckpointError(
            f"the model gives NaN or infinity for {bad:,} of {len(ids):,} sentences; take an earlier checkpoint"
        )
    return found


def _summed(model: Any, ids: Sequence[Sequence[int]], device: torch.device) -> torch.Tensor:
    """[B] float64: the scores of one pass. What stands right of a sentence is neither seen by it (causal) nor counted."""
    import torch

    sizes = torch.tensor([len(one) for one in ids], device=device)
    tokens = torch.zeros((len(ids), int(sizes.max())), dtype=torch.int64)
    for row, one in enumerate(ids):
        tokens[row, : len(one)] = torch.tensor(one)
    tokens = tokens.to(device)
    logits = model(input_ids=tokens[:, :-1], use_cache=False).logits.float()
    log_p = logits.gather(-1, tokens[:, 1:, None])[..., 0] - torch.logsumexp(logits, -1)
    padding = torch.arange(1, tokens.shape[1], device=device) >= sizes[:, None]
    scores: torch.Tensor = log_p.double().masked_fill(padding, 0.0).sum(1)
    return scores
