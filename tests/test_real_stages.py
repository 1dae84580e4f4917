"""Real stages: byte pairs, answers, series, replay, and an optimiser that goes on. Nothing of one split gets into another."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

import uprior
from uprior import corpora
from uprior.data import Answers, AnswerStream, BytePairs, CorpusStream, Replay, Stream, TokenStream
from uprior.data.answers import END, SEPARATOR, score_answers
from uprior.data.stream import BatchStream
from uprior.errors import CheckpointError, CorpusError, SpecError
from uprior.sources import Uniform
from uprior.train.loop import fit
from uprior.train.settings import Training
from uprior.types import SPLITS, Batch

WORDS = ("the", "cat", "sat", "on", "mat", "größer", "als")


def text(seed: int, words: int) -> str:
    rng = np.random.Generator(np.random.Philox(seed))
    return " ".join(WORDS[i] for i in rng.integers(0, len(WORDS), words))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> BytePairs:
    path = tmp_path_factory.mktemp("bpe") / "words.txt"
    path.write_text(text(0, 4000), "utf-8")
    return BytePairs(corpora.get(f"file:{path}"), 300)


# ------------------------------------------------------------------ byte pairs


def test_only_the_training_split_has_a_say(tmp_path: Path, pairs: BytePairs) -> None:
    whole = Path(pairs.corpus.path).read_bytes()  # type: ignore[attr-defined]
    train = len(pairs.corpus.data("train"))
    other = tmp_path / "other.txt"
    other.write_bytes(whole[:train] + b"qzx" * ((len(whole) - train) // 3) + b"q" * ((len(whole) - train) % 3))
    again = BytePairs(corpora.get(f"file:{other}"), 300)
    assert again.tokenizer.to_str() == pairs.tokenizer.to_str()
    assert not np.array_equal(again.ids("test"), pairs.ids("test")[: len(again.ids("test"))])


def test_ids_are_the_text_and_its_bytes(pairs: BytePairs) -> None:
    for split in SPLITS:
        ids, data = pairs.ids(split), pairs.corpus.data(split).tobytes()
        said = pairs.tokenizer.decode(ids.tolist(), skip_special_tokens=False)
        assert said == data.decode("utf-8", "ignore")
        assert int(pairs.bytes_of[ids].sum()) == len(said.encode()) and len(ids) < len(data) / 2
    saved = Tokenizer.from_str(pairs.tokenizer.to_str())
    assert saved.encode("größer cat").ids == pairs.tokenizer.encode("größer cat").ids


def test_bits_per_byte_do_not_depend_on_the_vocabulary(pairs: BytePairs) -> None:
    ids = pairs.windows("test", 5, 20, "x")
    assert np.array_equal(ids, pairs.windows("test", 5, 20, "x")) and ids.shape == (5, 20)
    nats = np.log(2.0) * pairs.bytes_of[ids[:, 1:]]  # one bit for every byte
    assert pairs.bits_per_byte(nats, ids) == pytest.approx(np.ones(5))


def test_token_stream_is_pure(pairs: BytePairs) -> None:
    stream = TokenStream(pairs, seed=3, batch_size=4, length=16)
    third = stream.batch(3).tokens
    stream.batch(0)
    assert np.array_equal(TokenStream(pairs, seed=3, batch_size=4, length=16).batch(3).tokens, third)
    joined = " ".join(map(str, pairs.ids("train").tolist()))
    assert all(" ".join(map(str, row)) in joined for row in third.tolist())
    with pytest.raises(CorpusError, match="smaller --context"):
        TokenStream(pairs, length=10_000, split="validation")
    with pytest.raises(SpecError, match="257 or more"):
        BytePairs(pairs.corpus, 256)


# ------------------------------------------------------------------ answers


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    path = tmp_path_factory.mktemp("answers") / "sums.jsonl.gz"
    items = [{"q": f"{a}+{b}=", "a": str(a + b)} for a in range(20) for b in range(20)] * 2
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, items)).encode()))
    return Answers(str(path), "q", "a")


def test_a_question_is_in_one_split(sums: Answers) -> None:
    questions = {split: {question for question, _ in sums.items(split)} for split in SPLITS}
    assert sum(map(len, questions.values())) == 400 and sum(len(sums.items(split)) for split in SPLITS) == 800
    assert all(questions[a].isdisjoint(questions[b]) for a in SPLITS for b in SPLITS if a != b)
    assert 0.7 < len(questions["train"]) / 400 < 0.9


def test_answers_alone_count(sums: Answers) -> None:
    ids, counts = sums.row((b"1+2=", b"3"))
    assert ids.tolist() == [*b"1+2=", SEPARATOR, ord("3"), END] and counts.tolist() == [False] * 5 + [True, True]
    stream = AnswerStream(sums, seed=1, batch_size=8, length=40)
    batch = stream.batch(2)
    assert np.array_equal(AnswerStream(sums, seed=1, batch_size=8, length=40).batch(2).tokens, batch.tokens)
    for row, counted in zip(batch.tokens, batch.scored, strict=True):
        inside = False
        for token, scored in zip(row.tolist(), counted.tolist(), strict=True):
            assert scored == inside
            inside = token == SEPARATOR or (inside and token != END)
    table = torch.zeros(256, requires_grad=True)
    (-table.log_softmax(0)[torch.from_numpy(batch.tokens)] * torch.from_numpy(batch.scored)).sum().backward()
    assert table.grad is not None and float(table.grad.abs().max()) > 0


def test_the_last_character_counts(sums: Answers) -> None:
    """A model that knows every sum but for its last digit."""

    class Stub(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor, use_cache: bool = False) -> Any:
            del use_cache
            logits, (row,) = torch.zeros((1, input_ids.shape[1], 256)), input_ids.tolist()
            place = row.index(SEPARATOR)
            total = str(sum(map(int, bytes(row[: place - 1]).decode().split("+"))))
            for t in range(place, len(row)):
                done = t - place
                wrong = ord("x") if done == len(total) - 1 else None
                logits[0, t, wrong or (ord(total[done]) if done < len(total) else END)] = 9.0
            return type("Out", (), {"logits": logits})

    found = score_answers(Stub(), sums, count=50)
    assert found["accuracy_published"] == 1.0 and found["exact"] == 0.0 and 0 < found["accuracy"] < 1


def test_bad_files_of_answers_are_told(tmp_path: Path) -> None:
    (tmp_path / "few.jsonl").write_text('{"question": "a", "answer": "b"}\n')
    with pytest.raises(CorpusError, match="no items in its"):
        [Answers(str(tmp_path / "few.jsonl")).items(split) for split in SPLITS]
    with pytest.raises(CorpusError, match="line 1"):
        Answers(str(tmp_path / "few.jsonl"), "q").items("train")


# ------------------------------------------------------------------ series


def test_levels_come_from_the_training_part(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    values = [*range(80), 1000, -1000, *range(18)]
    path.write_text("day,price\n" + "\n".join(f"{n},{v}" for n, v in enumerate(values)))
    data = corpora.get(f"series:path={path},levels=4").content
    assert np.bincount(data[:80]).tolist() == [20, 20, 20, 20]
    assert data[80:82].tolist() == [3, 0] and data[0] == 0 and data[79] == 3
    by_name = corpora.get(f"series:path={path},column=day,levels=2").content
    assert by_name.tolist() == [0] * 40 + [1] * 60
    with pytest.raises(CorpusError, match="prize"):
        corpora.get(f"series:path={path},column=prize").data("train")
    path.write_text("day,price\n1,2\n2,high\n")
    with pytest.raises(CorpusError, match=r"line 3.*high"):
        corpora.get(f"series:{path}").data("train")


# ------------------------------------------------------------------ replay


class Counting(BatchStream):
    """Row n holds n, or -n."""

    def __init__(self, sign: int, batch_size: int) -> None:
        super().__init__(seed=0, batch_size=batch_size, length=2, split="train")
        self.sign = sign

    def batch(self, step: int) -> Batch:
        numbers = self.sign * (1 + np.arange(self.rows_before(step), self.rows_before(step + 1)))
        tokens = np.repeat(numbers[:, None], 2, axis=1)
        return Batch(tokens, np.ones(tokens.shape, dtype=np.bool_))

    def describe(self) -> dict[str, Any]:
        return {"sign": self.sign}


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1), st.integers(1, 7), st.integers(1, 5))
def test_replay_reads_both_streams_in_order_and_nothing_twice(share: float, rows: int, other: int) -> None:
    stream = Replay(Counting(1, rows), Counting(-1, other), share=share)
    batches = [stream.batch(step).tokens[:, 0] for step in range(12)]
    assert all(len(batch) == rows for batch in batches)
    seen = np.concatenate(batches)
    real, replayed = seen[seen > 0], -seen[seen < 0]
    assert real.tolist() == list(range(1, len(real) + 1)) and replayed.tolist() == list(range(1, len(replayed) + 1))
    assert abs(len(replayed) - share * len(seen)) < 1 + 1e-6
    assert np.array_equal(stream.batch(5).tokens[:, 0], batches[5])


def test_replay_of_a_source(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("abc" * 500)
    real = CorpusStream(corpora.get(f"file:{path}"), batch_size=4, length=16)
    stream = Replay(real, Stream(Uniform(), batch_size=8, length=16), share=0.25)
    batch = stream.batch(0)
    assert sorted((batch.tokens < 97).any(1).tolist()) == [False, False, False, True]
    assert set(stream.describe()) == {"real", "synthetic", "share"}
    with pytest.raises(SpecError, match="one length"):
        Replay(real, Stream(Uniform(), batch_size=8, length=8), share=0.25)
    with pytest.raises(SpecError, match="0 to 1"):
        Replay(real, real, share=1.5)


# ------------------------------------------------------------------ the optimiser's state


def train(folder: Path, steps: int, *, first: int = 0, start: Any = None, **options: Any) -> Any:
    model = uprior.build("llama-tiny", context=16, seed=0)
    if start is not None:
        model.load_state_dict(start.state_dict())
    stream = Stream(Uniform(), batch_size=4, length=16)
    fit(
        model,
        stream,
        Training(steps=steps, warmup_steps=0, precision="float32"),
        folder,
        show=False,
        first_batch=first,
        **options,
    )
    return model


def test_a_kept_optimiser_goes_on_as_one_stage_would(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", 6)
    half = train(tmp_path / "half", 3)
    kept = train(tmp_path / "kept", 3, first=3, start=half, optimizer_from=tmp_path / "half")
    reset = train(tmp_path / "reset", 3, first=3, start=half)
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, kept.state_dict()[name]), name
    assert not torch.equal(whole.lm_head.weight, reset.lm_head.weight)


def test_a_state_that_does_not_fit_is_told(tmp_path: Path) -> None:
    half = train(tmp_path / "half", 2)
    model = uprior.build("llama-1m", context=16)
    stream = Stream(Uniform(), batch_size=4, length=16)
    with pytest.raises(CheckpointError, match="carry everything"):
        fit(model, stream, Training(steps=1), tmp_path / "other", show=False, optimizer_from=tmp_path / "half")
    with pytest.raises(CheckpointError, match="keep_checkpoints=True"):
        train(tmp_path / "again", 1, start=half, optimizer_from=tmp_path / "nothing")
