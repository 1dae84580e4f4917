"""Algorithmic probes: how many answers of a task a model gets right, by the published metric and the corrected one.

The code of Jiang, Shinnick et al. (2026, arXiv 2601.21725) counts positions whose *input* is an answer token: the first token of
every answer is neither trained nor counted, and what follows the last one is, where the row goes on. ``accuracy`` counts all
tokens of answers and nothing else, ``accuracy_published`` is theirs. Of answers of one token, as in Haystack, they count that
token, and no end token.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.errors import SpecError
from uprior.evals.model import evaluating
from uprior.sources import KeyedRecall, Source

# Tokens of one forward pass.
MAX_TOKENS = 1 << 15


def probe(
    model: Any,
    source: Source,
    *,
    rows: int = 1000,
    length: int = 0,
    seed: int = 0,
    split: str = "test",
    generate: bool = False,
) -> dict[str, Any]:
    """How a causal model answers the questions of a task source, on rows of a split that training never sees.

    rows, length    how many rows (episodes, where they are not packed), and of how many tokens (0: what the longest needs)
    generate        also let the model write the answers itself, greedily, seeing only questions; rows of one episode each

    {accuracy, se_accuracy: of answer tokens, teacher-forced, mean and standard error over rows; accuracy_published; exact: share
    of rows without a mistake, which is also that of greedy generation; rows, length} and {accuracy_generated, exact_generated} if
    asked. The published metric also counts the blank after an end token where ``length`` leaves room for one.
    Raises SpecError where the source scores nothing, or its ids or rows do not fit the model.
    """
    length = length or getattr(source, "longest_episode", source.shortest_row)
    block = source.block(seed, 0, rows=rows, length=length, split=split)
    if block.scored is None or not block.scored[:, 1:].any():
        raise SpecError(f"probe: {source.name} scores no answers; give a task, as in haystack or addition")
    if source.alphabet_size > model.config.vocab_size:
        raise SpecError(
            f"probe: {source.name} has {source.alphabet_size} symbols, the model {model.config.vocab_size} ids; "
            f"build it with vocab={source.alphabet_size}"
        )
    if length - 1 > (limit := _most_positions(model)):  # the last token is only predicted
        raise SpecError(
            f"probe: rows of {source.name} have {length} tokens, the model's table of positions {limit}; "
            f"build it with context={length - 1}, or take a rotary model"
        )
    tokens, answer = block.tokens.astype(np.int64), block.scored
    right = _predicted(model, tokens) == tokens[:, 1:]
    published = _published(answer, bool(getattr(source, "end_token", False)))
    per_row = _shares(right, answer[:, 1:])
    found = {
        "accuracy": float(per_row.mean()),
        "se_accuracy": float(per_row.std(ddof=1) / math.sqrt(len(per_row))) if len(per_row) > 1 else 0.0,
        "accuracy_published": float(right[published].mean()),
        "exact": float((per_row == 1).mean()),
        "rows": rows,
        "length": length,
    }
    if generate:
        written = _generated(model, tokens, answer)
        shares = _shares(written == tokens, answer)
        found |= {"accuracy_generated": float(shares.mean()), "exact_generated": float((shares == 1).mean())}
    return found


def recall_by_gap(
    model: Any, gaps: Sequence[int] = (0, 16, 64, 256), *, rows: int = 200, pairs: int = 8, seed: int = 0, **fields: Any
) -> list[dict[str, Any]]:
    """Accuracy of recalling values of keys after gaps of so many tokens of filler: a record of ``probe`` per gap, with {gap}.

    ``pairs`` of keys and values, all asked for; ``fields`` are those of ``keyed_recall`` (its filler, its symbols).
    """
    found = []
    for gap in gaps:
        task = KeyedRecall(
            min_items=pairs, max_items=pairs, queries=pairs, min_gap=gap, max_gap=gap, packed=False, **fields
        )
        found.append({"gap": gap, **probe(model, task, rows=rows, seed=seed)})
    return found


def length_generalisation(
    model: Any, source: Source, items: Sequence[int], *, rows: int = 200, seed: int = 0
) -> list[dict[str, Any]]:
    """A record of ``probe`` per difficulty (digits, pairs, symbols), with {items}: beyond what was trained on, too."""
    return [
        {"items": n, **probe(model, source.replace(min_items=n, max_items=n, packed=False), rows=rows, seed=seed)}
        for n in items
    ]


def _most_positions(model: Any) -> float:
    """Tokens of the longest row that has positions: of a learned table its size, of rotary models any."""
    from torch import nn

    reading = model.get_input_embeddings()
    tables = [m.num_embeddings for m in model.modules() if isinstance(m, nn.Embedding) and m is not reading]
    return min(tables, default=math.inf)


def _published(answer: NDArray[np.bool_], ended: bool) -> NDArray[np.bool_]:
    """[N, T-1] which predictions the published code counts: after tokens of answers, or of tokens that are whole answers."""
    longer = answer[:, 1:] & answer[:, :-1]
    if ended:  # an end token makes no answer longer
        longer = longer[:, 1:] & longer[:, :-1]
    return answer[:, :-1] if longer.any() else answer[:, 1:] & ~answer[:, :-1]


def _shares(right: NDArray[np.bool_], counted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[N] share of the counted positions that are right, of rows that have some."""
    count = counted.sum(1)
    shares: NDArray[np.float64] = (right & counted).sum(1)[count > 0] / count[count > 0]
    return shares


def _predicted(model: Any, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """[N, T-1] the likeliest next token after each prefix."""
    import torch

    found = np.empty((len(tokens), tokens.shape[1] - 1), dtype=np.int64)
    with evaluating(model) as where:
        for part in _parts(tokens):
            ids = torch.from_numpy(tokens[part, :-1]).to(where)
            found[part] = model(input_ids=ids, use_cache=False).logits.argmax(-1).cpu().numpy()
    return found


def _generated(model: Any, tokens: NDArray[np.int64], answer: NDArray[np.bool_]) -> NDArray[np.int64]:
    """[N, T] the rows with every answer token replaced by the model's own, each seeing those that it wrote before."""
    import torch

    made = tokens.copy()
    with evaluating(model) as where:
        for place in np.flatnonzero(answer.any(0)):
            asked = np.flatnonzero(answer[:, place])
            for part in _parts(made[asked]):
                ids = torch.from_numpy(made[asked[part], :place]).to(where)
                made[asked[part], place] = model(input_ids=ids, use_cache=False).logits[:, -1].argmax(-1).cpu().numpy()
    return made


def _parts(tokens: NDArray[np.int64]) -> Iterator[slice]:
    rows = max(1, MAX_TOKENS // tokens.shape[1])
    return (slice(start, start + rows) for start in range(0, len(tokens), rows))
