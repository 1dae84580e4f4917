"""Questions answered: bits, accuracy and whole answers of a byte model, to the last character and with the end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uprior.data.answers import Answers
from uprior.errors import CorpusError, SpecError
from uprior.evals.model import evaluating
from uprior.rng import generator

if TYPE_CHECKING:
    import torch

Row = tuple[NDArray[np.int64], NDArray[np.bool_]]


def score_answers(
    model: Any, answers: Answers, *, split: str = "test", count: int = 200, longest: int = 512, seed: int = 0
) -> dict[str, float]:
    """How a byte model answers ``count`` questions of a split, teacher-forced: each answer is read as the file has it.

    The items are drawn without replacement from those of at most ``longest`` bytes, question, separator, answer and END together
    (all of them where there are no more than ``count``): a pure function of (file, split, count, longest, seed). The model is
    read on its own device in evaluation mode, and each of its modules is afterwards in the mode that it was in.

    {bits_per_byte of answers, accuracy of their bytes (0..1) and exact share of answers (0..1), END included;
    accuracy_published: without END and the last character, as the published metric has it; NaN where no answer has two; items}.
    Exact is also that of greedy generation. Raises UnknownNameError (split), SpecError (count), CorpusError where no item fits.
    """
    if count < 1:
        raise SpecError(f"score_answers: count = {count} is not allowed; allowed: a whole number from 1")
    bits, total, right, whole, published = 0.0, 0, 0, 0, []
    rows = _drawn(answers, split, count, longest, seed)
    with evaluating(model) as device:
        for row in rows:
            costs, correct = _scored(model, row, device)
            bits += float(costs.sum()) / math.log(2)
            total, right, whole = total + correct.size, right + int(correct.sum()), whole + bool(correct.all())
            published += correct[:-2].tolist()
    return {
        "bits_per_byte": bits / total,
        "accuracy": right / total,
        "exact": whole / len(rows),
        "accuracy_published": float(np.mean(published)) if published else math.nan,
        "items": float(len(rows)),
    }


def _drawn(answers: Answers, split: str, count: int, longest: int, seed: int) -> list[Row]:
    """At most ``count`` of the rows that fit, by chance: a file is often sorted by difficulty, so its first are no sample."""
    rows = [row for row in map(answers.row, answers.items(split)) if len(row[0]) <= longest]
    if not rows:
        raise CorpusError(
            f"{answers.label}: no item of its {split} split fits into {longest} bytes; give a larger longest=..."
        )
    chosen = generator("score answers", split, longest, seed).permutation(len(rows))[:count]
    return [rows[k] for k in chosen]


def _scored(model: Any, row: Row, device: torch.device) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Of the bytes of an answer, END included: -ln p, and whether each was the likeliest."""
    import torch

    ids, counts = (torch.from_numpy(part).to(device) for part in row)
    logits = model(input_ids=ids[None, :-1], use_cache=False).logits[0].float()
    target, counted = ids[1:], counts[1:]
    costs = torch.logsumexp(logits, -1) - logits.gather(-1, target[:, None])[:, 0]
    correct = logits.argmax(-1) == target
    return costs[counted].cpu().numpy().astype(np.float64), correct[counted].cpu().numpy()
