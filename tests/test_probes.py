"""Probes: hand-worked rows, splits that share no problem, both metrics, and what a model writes itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import uprior
from uprior import evals
from uprior.errors import SpecError
from uprior.sources import Addition, Haystack, Multiplication, ReversedAddition, Source, Uniform
from uprior.types import SPLITS


class Stub(torch.nn.Module):
    """Predicts what ``answer(prefix [t])`` says at every position."""

    def __init__(self, answer: Any, vocab: int = 512) -> None:
        super().__init__()
        self.answer, self.vocab = answer, vocab
        self.config = SimpleNamespace(vocab_size=vocab)

    def get_input_embeddings(self) -> None:
        return None

    def forward(self, input_ids: torch.Tensor, use_cache: bool = False) -> Any:
        del use_cache
        logits = torch.zeros((*input_ids.shape, self.vocab))
        for n, row in enumerate(input_ids.tolist()):
            for t in range(len(row)):
                logits[n, t, self.answer(row[: t + 1])] = 1.0
        return SimpleNamespace(logits=logits)


def adder(first_digit: int = 0) -> Any:
    """Knows addition; ``first_digit`` is added to the first digit of every answer."""

    def answer(prefix: list[int]) -> int:
        if 11 not in prefix:
            return 0
        n, done = prefix.index(10), len(prefix) - prefix.index(11) - 1
        a, b = (int("".join(map(str, prefix[i : i + n]))) for i in (0, n + 1))
        digits = str(a + b).zfill(n + 1)
        if done > n:
            return 30 if done == n + 1 else 12
        return 20 + (int(digits[done]) + (first_digit if done == 0 else 0)) % 10

    return answer


# ------------------------------------------------------------------ rows


def one(source: Source, **place: Any) -> list[int]:
    tokens: list[int] = source.block(0, 0, rows=1, length=source.shortest_row, **place).tokens[0].tolist()
    return tokens


def test_layouts_are_the_published_ones() -> None:
    assert Addition.preset("procedural").shortest_row == 19
    assert ReversedAddition.preset("procedural").shortest_row == 34
    assert Haystack.preset("procedural").block(0, 0, rows=50, length=63).tokens.max() <= 187
    row = one(Addition.preset("procedural"))
    assert (row[5], row[11], row[18]) == (10, 11, 30)
    a, b, total = (int("".join(map(str, digits))) for digits in (row[:5], row[6:11], [t - 20 for t in row[12:18]]))
    assert a + b == total
    row = one(ReversedAddition.preset("procedural"))
    a, b, total = (int("".join(map(str, d[::-1]))) for d in (row[:10], row[11:21], [t - 20 for t in row[22:33]]))
    assert a + b == total
    row = one(Multiplication.preset("procedural"))
    a, b, total = (int("".join(map(str, d))) for d in (row[:5], row[6:11], [t - 20 for t in row[12:22]]))
    assert a * b == total
    counts = Haystack.preset("procedural").block(0, 0, rows=5000, length=63).info["items"]
    assert set(counts.tolist()) == set(range(1, 31)) and abs((1 / counts).mean() - 0.133) < 0.01


PROBLEMS = {
    "addition": (Addition(min_items=2, max_items=2, packed=False), 5),
    "reversed addition": (ReversedAddition(min_items=2, max_items=2, packed=False), 5),
    "multiplication": (Multiplication(min_items=1, max_items=1, packed=False), 3),
    "haystack": (Haystack(min_items=1, max_items=1, keys=3, values=20, packed=False), 2),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_no_problem_is_in_two_splits(name: str) -> None:
    """Of few problems, drawn so often that each split has seen nearly all of its own: nothing is left to luck."""
    source, question = PROBLEMS[name]
    size = source.shortest_row

    def problems(split: str) -> set[tuple[int, ...]]:
        blocks = [source.block(seed, 0, rows=20_000, length=size, split=split) for seed in (0, 1)]
        return {tuple(row[:question]) for block in blocks for row in block.tokens.tolist()}

    seen = {split: problems(split) for split in SPLITS}
    assert all(seen[a].isdisjoint(seen[b]) for a in SPLITS for b in SPLITS if a != b)
    every = set().union(*seen.values())
    assert len(every) > 0.99 * {"multiplication": 100, "haystack": 60}.get(name, 10_000)
    assert 0.7 < len(seen["train"]) / len(every) < 0.9


# ------------------------------------------------------------------ metrics


def test_who_knows_the_answers_gets_them() -> None:
    source = Addition(min_items=3, max_items=3, packed=False)
    found = evals.probe(Stub(adder()), source, rows=20, generate=True, length=16)
    names = ("accuracy", "accuracy_published", "exact", "accuracy_generated", "exact_generated")
    assert [found[name] for name in names] == [1, 1, 1, 1, 1]


def test_the_published_metric_does_not_see_the_first_digit() -> None:
    source = Addition(min_items=3, max_items=3, packed=False)
    found = evals.probe(Stub(adder(first_digit=1)), source, rows=20, generate=True, length=16)
    assert found["accuracy"] == pytest.approx(4 / 5) and found["accuracy_published"] == 1.0 and found["exact"] == 0.0
    assert found["accuracy_generated"] == pytest.approx(4 / 5)  # this stub looks at the question alone


def test_haystack_counts_the_value() -> None:
    source = Haystack.preset("procedural", max_items=4)

    def recall(prefix: list[int]) -> int:
        return prefix[prefix.index(prefix[-1] - 30) + 1] if prefix[-1] >= 158 else 0

    assert evals.probe(Stub(recall), source, rows=30)["accuracy"] == 1.0
    guess = evals.probe(Stub(lambda prefix: prefix[1] if len(prefix) > 1 else 0), source, rows=400)
    assert (
        abs(guess["accuracy"] - (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4) < 0.1
        and guess["accuracy"] == guess["accuracy_published"]
    )


def test_generation_goes_on_from_its_own_mistakes() -> None:
    """A model that copies the digit before: right only where the answer repeats itself, and then wrong for good."""
    source = Addition(min_items=2, max_items=2, packed=False)
    found = evals.probe(Stub(lambda prefix: prefix[-1] if prefix[-1] >= 20 else 20), source, rows=200, generate=True)
    tokens = source.block(0, 0, rows=200, length=source.shortest_row, split="test").tokens[:, 6:]
    assert found["accuracy_generated"] == pytest.approx(float((tokens == 20).mean()))
    assert found["accuracy"] > found["accuracy_generated"]


def test_length_generalisation_and_gaps() -> None:
    by_digits = evals.length_generalisation(Stub(adder()), Addition(max_items=2), [1, 4], rows=5)
    assert [(r["items"], r["accuracy"]) for r in by_digits] == [(1, 1.0), (4, 1.0)]
    table = uprior.build("gpt2:32x1x2", context=10)
    task = Addition(max_items=2)
    short, long = (task.replace(min_items=n, max_items=n, packed=False).shortest_row for n in (1, 4))
    assert short <= 11 < long and len(evals.length_generalisation(table, task, [1], rows=2)) == 1
    with pytest.raises(
        SpecError, match=f"have {long} tokens, the model's table of positions 10; build it with context={long - 1}"
    ):
        evals.length_generalisation(table, task, [4], rows=2)
    assert evals.length_generalisation(uprior.build("32x1", context=10), task, [4], rows=2)
    model = uprior.build("llama-1m-matching", context=256)
    near, far = evals.recall_by_gap(model, (0, 100), rows=20)
    assert (near["gap"], far["gap"], far["length"] - near["length"]) == (0, 100, 100)
    assert near["accuracy"] > 0.2  # of 64 values, untrained


def test_a_model_that_matches_contexts_retrieves_verbatim_and_others_do_not() -> None:
    model = uprior.build("llama-1m-matching", context=256)
    model.train()
    (found,) = evals.retrieval(model, words=(5,), rows=20)
    (other,) = evals.retrieval(uprior.build("llama-tiny", context=256), words=(5,), rows=20)
    assert model.training and found["retrieved"] > 0.5 > abs(other["retrieved"]) + 0.4
    assert found == evals.retrieval(model, words=(5,), rows=20)[0]


def test_what_is_no_task_is_told() -> None:
    with pytest.raises(SpecError, match="scores no answers"):
        evals.probe(Stub(adder()), Uniform())
    with pytest.raises(SpecError, match="build it with vocab=188"):
        evals.probe(Stub(adder(), vocab=100), Haystack())


@pytest.mark.parametrize(("length", "published"), [(13, 1.0), (14, 4 / 5), (16, 4 / 5)])
def test_the_published_metric_sees_what_follows_the_end(length: int, published: float) -> None:
    """Of 13 tokens the row ends with the answer: four predictions after its digits. In longer rows a fifth, the blank's."""

    def answer(prefix: list[int]) -> int:
        return 0 if prefix[-1] == 30 else adder()(prefix)

    found = evals.probe(Stub(answer), Addition(min_items=3, max_items=3, packed=False), rows=20, length=length)
    assert found["accuracy_published"] == pytest.approx(published) and found["accuracy"] == found["exact"] == 1.0


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("end_token", [False, True])
def test_haystack_is_published_as_the_token_after_the_query(packed: bool, end_token: bool) -> None:
    """However many episodes are in a row, and whether or not an end follows: who knows values and no end gets all of it."""
    source = Haystack(max_items=4, packed=packed, end_token=end_token)

    def recall(prefix: list[int]) -> int:
        if prefix[-1] < 158:
            return 1
        same = len(prefix) - 1 - prefix[::-1].index(prefix[-1] - 30)
        return prefix[same + 1]

    found = evals.probe(Stub(recall), source, rows=30)
    assert found["accuracy_published"] == 1.0 and (found["accuracy"] == 1.0) == (not end_token)
    nothing = evals.probe(Stub(lambda _: 500), source, rows=30)
    assert nothing["accuracy_published"] == nothing["accuracy"] == 0.0


@pytest.mark.parametrize("wrong", [1, 2])
def test_what_is_generated_is_exact_as_often_as_what_is_forced(wrong: int) -> None:
    """A greedy model goes its own way only after a mistake. This one makes mistakes in some rows: where a + b is even."""

    def answer(prefix: list[int]) -> int:
        digits = [token for token in prefix if token < 10]
        start = 11 in prefix and len(prefix) - prefix.index(11) == wrong
        return 20 if start and (digits[1] + digits[-1]) % 2 == 0 else adder()(prefix)

    source = Addition(min_items=2, max_items=2, packed=False)
    found = evals.probe(Stub(answer), source, rows=60, generate=True)
    assert found["exact_generated"] == found["exact"] and 0.3 < found["exact"] < 1


@pytest.mark.parametrize("source", [Addition(), Haystack(), Multiplication(), ReversedAddition()], ids=lambda s: s.name)
def test_answers_give_a_gradient(source: Source) -> None:
    block = source.block(0, 0, rows=4, length=64)
    table = torch.zeros(source.alphabet_size, requires_grad=True)
    targets = torch.from_numpy(block.tokens[:, 1:].astype(np.int64)).flatten()
    nats = torch.nn.functional.cross_entropy(table.expand(len(targets), -1), targets, reduction="none")
    assert block.scored is not None
    (nats * torch.from_numpy(block.scored[:, 1:]).flatten()).sum().backward()
    assert table.grad is not None and float(table.grad.abs().max()) > 0
