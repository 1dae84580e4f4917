"""Real stages: byte pairs, answers, series, and replay. Nothing of one split gets into another."""

from __future__ import annotations

import gzip
import json
import math
import pickle
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
from uprior.data.answers import END, SEPARATOR
from uprior.data.export import vocab_of
from uprior.data.stream import BatchStream
from uprior.errors import CorpusError, SpecError, UnknownNameError
from uprior.evals import score_answers
from uprior.files import file_sha256
from uprior.sources import Uniform
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
    assert pairs.bits_per_byte(nats, ids) == pytest.approx(1.0)


def test_bits_per_byte_are_of_all_windows_together(pairs: BytePairs) -> None:
    """A window of 2 bytes at 6 bits each and one of many at 0: the mean of the ratios would be 3."""
    longest = int(pairs.bytes_of.argmax())
    size = int(pairs.bytes_of[longest])
    letter = pairs.tokenizer.token_to_id("a")
    ids = np.array([[letter, letter, letter], [letter, longest, longest]])
    nats = np.array([[6.0, 6.0], [0.0, 0.0]]) * np.log(2)
    found = pairs.bits_per_byte(nats, ids)
    assert size > 1 and isinstance(found, float) and found == pytest.approx(12 / (2 + 2 * size))
    with pytest.raises(SpecError, match=r"\[2, 3\] of ids \[2, 3\]"):
        pairs.bits_per_byte(np.zeros((2, 3)), ids)


def test_a_run_on_little_data_has_a_tokenizer_of_that_data(tmp_path: Path, pairs: BytePairs) -> None:
    train = pairs.corpus.data("train")[:1001].tobytes()
    (tmp_path / "little.txt").write_bytes(train)
    whole = corpora.get(f"file:path={tmp_path / 'little.txt'},train_fraction=1,validation_fraction=0")
    little, alone = BytePairs(pairs.corpus, 300, limit_bytes=1001), BytePairs(whole, 300)
    assert little.tokenizer.to_str() == alone.tokenizer.to_str() != pairs.tokenizer.to_str()
    assert np.array_equal(little.ids("train"), alone.ids("train"))
    test = little.tokenizer.decode(little.ids("test").tolist(), skip_special_tokens=False)
    assert test == pairs.corpus.data("test").tobytes().decode("utf-8", "ignore")
    limits = [TokenStream(p, length=8, batch_size=2).describe()["limit_bytes"] for p in (little, pairs)]
    assert limits == [1001, None]
    with pytest.raises(SpecError, match=r"limit_bytes = 0 .* 1 or more"):
        BytePairs(pairs.corpus, 300, limit_bytes=0)


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
    assert found["items"] == 50.0
    assert found["accuracy_published"] == 1.0 and found["exact"] == 0.0 and 0 < found["accuracy"] < 1


class Reads(torch.nn.Module):
    """Remembers what it was asked, and in which mode; all its logits are alike."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.dropout, self.norm = (
            torch.nn.Parameter(torch.zeros(256)),
            torch.nn.Dropout(),
            torch.nn.Identity(),
        )
        self.questions: list[bytes] = []

    def forward(self, input_ids: torch.Tensor, use_cache: bool = False) -> Any:
        assert not (self.training or self.dropout.training or use_cache) and input_ids.device == self.weight.device
        self.questions.append(bytes(input_ids[0].tolist()).partition(bytes([SEPARATOR]))[0])
        return type("Out", (), {"logits": self.weight.expand(1, input_ids.shape[1], 256)})


def test_scored_are_items_drawn_by_the_seed_none_twice(tmp_path: Path) -> None:
    path = tmp_path / "unique.jsonl"
    path.write_text("\n".join(json.dumps({"question": f"{n}?", "answer": "7"}) for n in range(300)))
    answers = Answers(str(path))
    fitting = [question for question, answer in answers.items("train") if len(question) <= 3]  # 6 bytes with the rest
    drawn = []
    for seed in (0, 0, 1):
        model = Reads()
        found = score_answers(model, answers, split="train", count=20, longest=6, seed=seed)
        assert found["bits_per_byte"] == pytest.approx(8.0) and math.isnan(found["accuracy_published"])
        drawn.append(model.questions)
        assert len(set(drawn[-1])) == 20 == found["items"] and set(drawn[-1]) <= set(fitting)
    assert drawn[0] == drawn[1] and set(drawn[0]) != set(drawn[2]) and set(drawn[0]) != set(fitting[:20])
    everything = Reads()
    score_answers(everything, answers, split="train", count=1000, longest=6)
    assert sorted(everything.questions) == sorted(fitting)
    with pytest.raises(CorpusError, match="larger longest"):
        score_answers(Reads(), answers, longest=3)
    with pytest.raises(SpecError, match="count = 0"):
        score_answers(Reads(), answers, count=0)


@pytest.mark.parametrize("training", [True, False])
def test_scoring_leaves_a_model_in_its_mode(sums: Answers, training: bool) -> None:
    model = Reads().train(training)
    model.norm.eval()  # as somebody may have frozen it
    score_answers(model, sums, count=2)
    assert (model.training, model.dropout.training, model.norm.training) == (training, training, False)


def test_a_stream_of_answers_knows_its_bytes_and_its_splits(tmp_path: Path, sums: Answers) -> None:
    path = tmp_path / "a.jsonl"
    prints = set()
    for answer in ("1", "2"):
        path.write_text("\n".join(json.dumps({"question": f"{n}?", "answer": answer}) for n in range(50)))
        stream = AnswerStream(Answers(str(path)), length=16, batch_size=2)
        prints.add(stream.fingerprint)
        assert stream.describe()["answers"] == str(path) and stream.describe()["sha256"] == file_sha256(path)
    assert len(prints) == 2
    with pytest.raises(UnknownNameError, match="did you mean 'train'"):
        sums.items("trian")


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


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = tmp_path / "marked.csv"
    path.write_bytes(b"\xef\xbb\xbfprice,day\n" + b"".join(b"%d,9\n" % n for n in range(10)))
    assert corpora.get(f"series:path={path},column=price").values().tolist() == list(range(10))  # type: ignore[attr-defined]


def test_a_first_line_of_numbers_is_data(tmp_path: Path) -> None:
    path = tmp_path / "bare.csv"
    path.write_bytes(b"\xef\xbb\xbf1,-2.5e1\r\n\r\n2,7\r\n")
    assert corpora.get(f"series:{path}").values().tolist() == [-25.0, 7.0]  # type: ignore[attr-defined]
    with pytest.raises(
        CorpusError, match=r"has no header .* no column 'price'; leave column=\.\.\. away for the last of 2"
    ):
        corpora.get(f"series:path={path},column=price").data("train")
    for first in ("2020-01-01,0.5", "2020-01-01 10:00:00,0.5", "2020-01-01T10:00Z,0.5"):
        path.write_text(f"{first}\n2020-01-02,0.25\n")
        assert corpora.get(f"series:{path}").values().tolist() == [0.5, 0.25]  # type: ignore[attr-defined]
    path.write_text("1\n\n2\nhigh\n")
    with pytest.raises(CorpusError, match="line 4: column 1 is no number: 'high'"):
        corpora.get(f"series:{path}").data("train")
    path.write_text('note,price\n"two\nlines",1\nx,high\n')  # a quoted cell may hold a line break
    with pytest.raises(CorpusError, match="line 4: price is no number: 'high'"):
        corpora.get(f"series:{path}").data("train")
    path.write_text("price\n" + "1" * 200_000)
    with pytest.raises(CorpusError, match=r"is no CSV file \(field larger"):
        corpora.get(f"series:{path}").data("train")
    path.write_text("\n")
    with pytest.raises(CorpusError, match="is empty; give"):
        corpora.get(f"series:{path}").data("train")


# ------------------------------------------------------------------ replay


class Counting(BatchStream):
    """Row n holds n, or -n."""

    def __init__(self, sign: int, batch_size: int) -> None:
        super().__init__(seed=0, batch_size=batch_size, length=2, split="train")
        self.sign = sign
        self.made: list[int] = []

    def batch(self, step: int) -> Batch:
        self.made.append(step)
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


def test_replay_makes_every_batch_of_its_streams_once() -> None:
    real, synthetic = Counting(1, 8), Counting(-1, 3)
    stream = Replay(real, synthetic, share=0.3)
    rows = [stream.batch(step).tokens for step in range(20)]
    assert real.made == list(range(14)) and synthetic.made == list(range(16))  # 112 and 48 of 160 rows
    again = pickle.loads(pickle.dumps(stream))  # as a worker process gets it
    assert np.array_equal(again.batch(19).tokens, rows[19]) and not again._recent.keys() & {(True, 0)}


def test_streams_say_their_vocabulary(tmp_path: Path, pairs: BytePairs, sums: Answers) -> None:
    tokens = TokenStream(pairs, length=16)
    small, large = (Stream(Uniform(), length=16, vocab=size) for size in (256, 1000))
    streams = (
        tokens,
        AnswerStream(sums, length=16),
        Replay(tokens, small, share=0.5),
        Replay(tokens, large, share=0.5),
    )
    assert [vocab_of(stream) for stream in streams] == [300, 256, 300, 1000]
    with pytest.raises(SpecError, match="the stream needs 300; give --vocab 300"):
        uprior.pretrain(uprior.build("llama-tiny", context=16), streams[2], out=tmp_path / "run", steps=1)


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
