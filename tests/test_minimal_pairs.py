"""Minimal pairs: who wins, by hand, whatever the batches."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import uprior
from uprior import evals
from uprior.errors import CheckpointError, CorpusError, SpecError
from uprior.evals import blimp


def write(path: Path, pairs: list[tuple[str, str, str]]) -> Path:
    lines = [json.dumps({"sentence_good": g, "sentence_bad": b, "UID": u, "field": u[0]}) for g, b, u in pairs]
    path.write_bytes(gzip.compress("\n".join(lines).encode()) if path.suffix == ".gz" else "\n".join(lines).encode())
    return path


@pytest.fixture(scope="module")
def likes_a() -> Any:
    """A model that finds the byte of "a" likelier than any other, everywhere."""
    model = uprior.build("gpt2-tiny", context=64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.transformer.ln_f.bias.fill_(1.0)
        model.transformer.wte.weight[ord("a")] = 1.0
    return model


PAIRS = [("xaa", "xbb", "p1"), ("xbb", "xaa", "p1"), ("yab", "yba", "p2"), ("aab", "bab", "p2"), ("xaab", "xabb", "q1")]


def test_pairs_by_hand(tmp_path: Path, likes_a: Any) -> None:
    records = evals.minimal_pairs(likes_a, write(tmp_path / "pairs.jsonl", PAIRS))
    found = {(r["level"], r["name"]): (r["accuracy"], r["pairs"]) for r in records}
    # p2: the same bytes in another order are a tie, and so are sentences that differ in the given first byte alone.
    assert found == {
        ("paradigm", "p1"): (0.5, 2), ("paradigm", "p2"): (0.5, 2), ("paradigm", "q1"): (1.0, 1),
        ("field", "p"): (0.5, 4), ("field", "q"): (1.0, 1), ("all", "all"): (0.6, 5),
    }  # fmt: skip


def test_neither_batches_nor_compression_change_anything(tmp_path: Path, monkeypatch: Any) -> None:
    model = uprior.build("llama-tiny", context=64)
    pairs = [
        (f"the cat {w} here " * n, f"the cats {w} here " * n, "u") for n in (1, 2, 3) for w in ("sits", "is", "sat")
    ]
    whole = evals.minimal_pairs(model, write(tmp_path / "a.jsonl", pairs))
    ids = [list(text.encode()) for pair in pairs for text in pair[:2]]
    scores = blimp._scores(model, ids)
    monkeypatch.setattr(blimp, "tokens_at_once", lambda _: 1)
    assert evals.minimal_pairs(model, write(tmp_path / "a.jsonl.gz", pairs)) == whole
    assert blimp._scores(model, ids) == pytest.approx(scores, abs=1e-3)


def test_the_first_pairs_of_each_paradigm(tmp_path: Path, likes_a: Any) -> None:
    path = write(tmp_path / "pairs.jsonl", PAIRS)
    assert [r["pairs"] for r in evals.minimal_pairs(likes_a, path, limit=1)] == [1, 1, 1, 2, 1, 3]
    doubled = evals.minimal_pairs(likes_a, path, encode=lambda text: [0, *text.encode()])
    assert {r["name"]: r["accuracy"] for r in doubled}["p2"] == 0.75  # the first byte counts now


def test_a_score_is_the_summed_log_probability_after_the_first_token() -> None:
    model = uprior.build("llama-tiny", context=64)
    ids = [list(b"a sentence"), list(b"ab")]
    with torch.no_grad():
        by_hand = []
        for one in ids:
            log_p = model(input_ids=torch.tensor([one])).logits[0].log_softmax(-1)
            by_hand.append(sum(float(log_p[place - 1, one[place]]) for place in range(1, len(one))))
    assert blimp._scores(model, ids) == pytest.approx(by_hand, abs=1e-4)


def test_what_stands_right_of_a_sentence_changes_nothing() -> None:
    model = uprior.build("llama-tiny", context=64)
    short, long = [list(b"it is"), list(b"is it")], list(b"a sentence of many more words than that")
    assert blimp._scores(model, [*short, long])[:2] == pytest.approx(blimp._scores(model, short), abs=1e-4)


def test_levels_and_standard_errors(tmp_path: Path, likes_a: Any) -> None:
    lines = [
        {"sentence_good": good, "sentence_bad": "xbb", "UID": "u", "field": "syntax", "linguistics_term": "binding"}
        for good in ("xaa", "xab", "xcc", "xcd")  # two better, two as likely
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    records = evals.minimal_pairs(likes_a, path)
    assert [(r["level"], r["name"]) for r in records] == [
        ("paradigm", "u"), ("phenomenon", "binding"), ("field", "syntax"), ("all", "all"),
    ]  # fmt: skip
    # Scores 1, 1, 1/2, 1/2: standard deviation 1/4, over the root of 4.
    assert {(r["accuracy"], r["se_accuracy"], r["pairs"]) for r in records} == {(0.75, 0.125, 4)}


def test_what_a_model_cannot_read_is_told(tmp_path: Path, likes_a: Any) -> None:
    path = write(tmp_path / "pairs.jsonl", PAIRS)
    with pytest.raises(SpecError, match="at most 64 tokens; the longest sentence has 65"):
        evals.minimal_pairs(likes_a, write(tmp_path / "long.jsonl", [("x" * 65, "xy", "u")]))
    with pytest.raises(SpecError, match="vocabulary of 256; a sentence has the id 300"):
        evals.minimal_pairs(likes_a, path, encode=lambda text: [300, *text.encode()])
    with pytest.raises(CorpusError, match="'a' has no second token"):
        evals.minimal_pairs(likes_a, write(tmp_path / "short.jsonl", [("xy", "a", "u")]))
    broken = uprior.build("llama-tiny", context=64)
    with torch.no_grad():
        next(broken.parameters()).fill_(math.nan)
    with pytest.raises(CheckpointError, match="NaN or infinity for 10 of 10"):
        evals.minimal_pairs(broken, path)


def test_modes_are_as_before(tmp_path: Path) -> None:
    model = uprior.build("llama-tiny", context=64).train()
    model.lm_head.eval()
    evals.minimal_pairs(model, write(tmp_path / "pairs.jsonl", PAIRS))
    assert model.training and not model.lm_head.training


def test_bad_files_are_told(tmp_path: Path, likes_a: Any) -> None:
    with pytest.raises(CorpusError, match=r"line 2.*sentence_bad"):
        (tmp_path / "x.jsonl").write_text(
            '{"sentence_good": "a", "sentence_bad": "b", "UID": "u"}\n{"sentence_good": "a", "UID": "u"}'
        )
        evals.minimal_pairs(likes_a, tmp_path / "x.jsonl")
    with pytest.raises(CorpusError, match=r"line 1: field 'UID' is not text; give JSON lines with sentence_good"):
        (tmp_path / "x.jsonl").write_text('{"sentence_good": "a", "sentence_bad": "b", "UID": 4}')
        evals.minimal_pairs(likes_a, tmp_path / "x.jsonl")
    with pytest.raises(CorpusError, match="holds no pairs"):
        (tmp_path / "y.jsonl").write_text("\n")
        evals.minimal_pairs(likes_a, tmp_path / "y.jsonl")
    with pytest.raises(CorpusError):
        evals.minimal_pairs(likes_a, tmp_path / "none.jsonl")
