"""Questions and answers: packed rows of bytes in which answers alone count. How a model answers: ``evals.score_answers``."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.corpora.file import read_bytes
from uprior.corpora.jsonl import records_of
from uprior.data.stream import BatchStream
from uprior.errors import CorpusError, unknown_name
from uprior.rng import digest, generator
from uprior.types import SPLITS, Batch

# ASCII control characters: record separator before an answer, end of transmission after it.
SEPARATOR, END = 0x1E, 0x04
TENTHS = {"train": range(8), "validation": range(8, 9), "test": range(9, 10)}


@dataclass(frozen=True)
class Answers:
    """Items of a JSON-lines file (.gz too) with a question and an answer each, as bytes: ``question SEPARATOR answer END``.

    Which split an item belongs to is a hash of its question: eight tenths train, one validates, one tests, and a question that
    stands in the file twice is in one split only. Raises CorpusError for lines without these fields, and empty splits.
    """

    path: str
    question: str = "question"
    answer: str = "answer"

    @property
    def label(self) -> str:
        return Path(self.path).name

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 (hex) of the file's bytes, of what is in it where it is a .gz: says whether two runs read the same items."""
        return hashlib.sha256(read_bytes(self.path).data).hexdigest()

    @functools.cached_property
    def _split_of(self) -> dict[str, list[tuple[bytes, bytes]]]:
        found: dict[str, list[tuple[bytes, bytes]]] = {split: [] for split in SPLITS}
        for record in records_of(
            self.path, (self.question, self.answer), "name the fields: Answers(path, question=..., answer=...)"
        ):
            question, answer = (record[name].encode("utf-8", "surrogatepass") for name in (self.question, self.answer))
            tenth = digest("answers", question.hex())[0] % 10
            found[next(split for split, tenths in TENTHS.items() if tenth in tenths)].append((question, answer))
        return found

    def items(self, split: str) -> list[tuple[bytes, bytes]]:
        """(question, answer) of a split, in the file's order. UnknownNameError: no such split. CorpusError: none in it."""
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        if not self._split_of[split]:
            raise CorpusError(
                f"{self.label} has no items in its {split} split; give a file with some hundred questions"
            )
        return self._split_of[split]

    def row(self, item: tuple[bytes, bytes]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The ids of an item, and which belong to its answer (END included)."""
        question, answer = item
        ids = np.frombuffer(question + bytes([SEPARATOR]) + answer + bytes([END]), dtype=np.uint8).astype(np.int64)
        return ids, np.arange(len(ids)) > len(question)


class AnswerStream(BatchStream):
    """Rows packed with items drawn at random, cut where the row ends; the loss counts answers (END included) alone.

    The published loss on DeepMind's mathematics leaves out each answer's last character and has no END (code of arXiv
    2601.21725); here both count. A pure function of (answers, seed, split, step).
    """

    def __init__(
        self, answers: Answers, *, seed: int = 0, batch_size: int = 64, length: int = 256, split: str = "train"
    ) -> None:
        super().__init__(seed=seed, batch_size=batch_size, length=length, split=split)
        self.answers = answers
        self._rows = [answers.row(item) for item in answers.items(split)]
        shortest = min(len(ids) for ids, _ in self._rows)
        if shortest > length:
            raise CorpusError(
                f"{answers.label}: its shortest item has {shortest} bytes; give a --context of {shortest} or more"
            )

    def describe(self) -> dict[str, Any]:
        return {
            "answers": self.answers.path,
            "sha256": self.answers.sha256,
            "fields": [self.answers.question, self.answers.answer],
            "seed": self.seed,
            "split": self.split,
            "batch_size": self.batch_size,
            "length": self.length,
        }

    def batch(self, step: int) -> Batch:
        rng = generator("answer stream", self.seed, self.split, step)
        tokens = np.zeros((self.batch_size, self.length), dtype=np.int64)
        scored = np.zeros(tokens.shape, dtype=np.bool_)
        for row in range(self.batch_size):
            at = 0
            while at < self.length:
                ids, counts = self._rows[int(rng.integers(len(self._rows)))]
                if at == 0 and not counts[: self.length].any():
                    continue  # the first item of a row has some of its answer in it
                size = min(len(ids), self.length - at)
                tokens[row, at : at + size], scored[row, at : at + size] = ids[:size], counts[:size]
                at += size
        return Batch(tokens, scored)
