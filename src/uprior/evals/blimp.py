"""Minimal pairs: is the grammatical one of two sentences likelier to a model? (BLiMP: Warstadt et al. 2020, arXiv 1912.00582)"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.corpora.jsonl import records_of
from uprior.errors import CorpusError
from uprior.evals.model import MAX_TOKENS

FIELDS = ("sentence_good", "sentence_bad", "UID")


def minimal_pairs(
    model: Any, path: str | Path, *, encode: Callable[[str], Sequence[int]] | None = None, limit: int = 0
) -> list[dict[str, Any]]:
    """Share of pairs whose good sentence has the higher summed log-probability, from the second token on, as published.

    path     JSON lines (.gz too) with the fields sentence_good, sentence_bad, UID (the paradigm) and, if there is one, field
    encode   text -> ids; None: its UTF-8 bytes. A first token is given, so sentences that differ in it alone are a tie
    limit    only the first so many pairs of each paradigm; 0: all

    A record per paradigm, per field, and one for all: {level: "paradigm", "field" or "all", name, accuracy, se_accuracy, pairs}.
    A tie counts half (published code counts it as wrong). Raises CorpusError (file, lines, fields).
    """
    pairs = _read(Path(path), limit)
    ids = [list((encode or _bytes)(text)) for pair in pairs for text in (pair["sentence_good"], pair["sentence_bad"])]
    scores = _scores(model, ids).reshape(-1, 2)
    won = np.where(scores[:, 0] == scores[:, 1], 0.5, scores[:, 0] > scores[:, 1])
    records = []
    for level, key in (("paradigm", "UID"), ("field", "field")):
        names = [str(pair.get(key, "")) for pair in pairs]
        records += [_record(level, name, won[[n == name for n in names]]) for name in dict.fromkeys(names) if name]
    return [*records, _record("all", "all", won)]


def _record(level: str, name: str, won: NDArray[np.float64]) -> dict[str, Any]:
    mean = float(won.mean())
    error = math.sqrt(mean * (1 - mean) / len(won))
    return {"level": level, "name": name, "accuracy": mean, "se_accuracy": error, "pairs": len(won)}


def _read(path: Path, limit: int) -> list[dict[str, Any]]:
    """The pairs, of every paradigm the first ``limit``."""
    kept: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    for record in records_of(path, FIELDS):
        seen[record["UID"]] = seen.get(record["UID"], 0) + 1
        if not limit or seen[record["UID"]] <= limit:
            kept.append(record)
    if not kept:
        raise CorpusError(f"'{path}' holds no pairs; give JSON lines with {', '.join(FIELDS)}, as in blimp.jsonl")
    return kept


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _scores(model: Any, ids: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """[N] summed ln p of tokens 1, 2, .. of each sequence; sequences of like length share a pass, padded on the right."""
    import torch

    order = sorted(range(len(ids)), key=lambda n: len(ids[n]))
    found = np.empty(len(ids), dtype=np.float64)
    modes = [(module, module.training) for module in model.modules()]
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    model.eval()
    try:
        with torch.inference_mode():
            while order:
                rows = max(1, MAX_TOKENS // max(1, len(ids[order[-1]])))
                part, order = order[-rows:], order[:-rows]
                length = len(ids[part[-1]])
                tokens = torch.zeros((len(part), length), dtype=torch.int64)
                for row, n in enumerate(part):
                    tokens[row, : len(ids[n])] = torch.tensor(ids[n])
                tokens = tokens.to(device)
                logits = model(input_ids=tokens[:, :-1], use_cache=False).logits.float()
                nats = torch.logsumexp(logits, -1) - logits.gather(-1, tokens[:, 1:, None])[..., 0]
                sizes = torch.tensor([len(ids[n]) for n in part], device=device)
                counted = torch.arange(1, length, device=device) < sizes[:, None]
                found[part] = -(nats.double() * counted).sum(1).cpu().numpy()
    finally:
        for module, training in modes:
            module.training = training
    return found
