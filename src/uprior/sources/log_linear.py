"""Sentences about hidden topics: words near the topic, in a random geometry, are frequent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw, Source, machine_of_row
from uprior.sources._exact import Floats, exp, kernel, normal_quantiles, random_words
from uprior.sources._formal import choose, laws_of, sum_of
from uprior.spec import parameter
from uprior.types import Block


@dataclass(frozen=True)
class LogLinear(Source):
    """Log-linear language: sentences whose words are drawn near a hidden topic, in a random geometry.

    Machine: a vector per word and ``topics`` topic vectors, all standard normal in ``dimensions`` dimensions; a continuum of
    them. Under a topic c, a word with vector v has probability proportional to exp(v.c), which is near-sparse: a few words
    near the topic take most of it. The topic is drawn uniformly for every ``sentences_per_topic`` sentences; words are
    independent given it. Sentences have a uniform length in min_sentence..max_sentence, are closed by the separator, token
    ``words``, and cut at the end of the row; tokens below are words.

    Floor: exact given the vectors of words and topics, but not which topic a sentence has: the Bayes mixture over topics, so
    that the first words of a sentence cost more. Cost: about 35 ns per token, tables of a machine included. ``info``: topics
    met.

    Ri and Tsuruoka (ACL 2022), "log-linear": 10 dimensions, temperature 1, word vectors fixed for the corpus. Preset ``ri``:
    16,000 words, and a topic for every 64 sentences, as their code has it, which draws it once per generation batch;
    ``ri-described``: one for every sentence, as the paper has it. They draw every topic afresh; here it is one of 4 per
    machine, which is what makes the topic something that can be inferred in closed form. Sentences there have the lengths of
    10,000 sentences of Wikipedia (6..60, mean 22.7); nothing here is taken from text, so ours are uniform in 6..39, mean
    22.5, an arbitrary choice.
    """

    name: ClassVar[str] = "log_linear"
    family: ClassVar[str] = "formal"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "ri": {"words": 16000, "topics": 4, "sentences_per_topic": 64, "rows_per_machine": 1 << 20},
        "ri-described": {"words": 16000, "topics": 4, "sentences_per_topic": 1, "rows_per_machine": 1 << 20},
    }
    words: int = parameter(255, "number of words; the separator is one more token", low=2, high=1 << 15)
    dimensions: int = parameter(10, "dimensions of the vectors", low=1, high=64)
    topics: int = parameter(8, "topics of a machine", low=1, high=64)
    sentences_per_topic: int = parameter(1, "sentences until the topic is drawn again", low=1, high=1 << 20)
    min_sentence: int = parameter(6, "shortest sentence, words", low=1, high=1 << 20)
    max_sentence: int = parameter(39, "longest sentence, words", low=1, high=1 << 20)
    rows_per_machine: int = parameter(16, "rows that share a machine", low=1, high=1 << 20)

    @property
    def alphabet_size(self) -> int:  # type: ignore[override]  # derived here, a field elsewhere
        return self.words + 1

    def validate(self) -> None:
        if self.min_sentence > self.max_sentence:
            self.reject("min_sentence", f"1 to max_sentence = {self.max_sentence}")

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        machine = machine_of_row(rows, self.rows_per_machine)
        machines = int(machine.max()) + 1
        laws = laws_of(log_linear_weights(draw("machines"), machines, self.topics, self.words, self.dimensions))
        shape = (machines, self.topics, self.words)
        chance = np.ascontiguousarray(laws.chance.reshape(shape).transpose(0, 2, 1))
        tokens = np.empty((rows, length), dtype=np.uint16)
        floor = np.empty((rows, length), dtype=np.float32)
        sizes = np.arange(self.max_sentence + 1)
        ends = np.log(self.max_sentence - sizes + 1.0)
        goes_on = np.where(sizes < self.min_sentence, 0.0, ends - np.log(np.maximum(self.max_sentence - sizes, 1)))
        met = _write(
            draw("rows"), machine, laws.keep.reshape(shape), laws.other.reshape(shape), chance,
            self.sentences_per_topic, self.min_sentence, self.max_sentence, ends, goes_on, tokens, floor,
        )  # fmt: skip
        return Block(tokens=tokens, machine=draw.machine_ids(machine), floor_nats=floor, info={"topics": met})


def log_linear_weights(
    rng: np.random.Generator, machines: int, topics: int, words: int, dimensions: int
) -> NDArray[np.float64]:
    """[machines * topics, words] exp(v.c) of every word under every topic of its machine."""
    drawn = normal_quantiles()[random_words(rng, machines * (words + topics) * dimensions)]
    cut = machines * words * dimensions
    return _exponentials(
        drawn[:cut].reshape(machines, dimensions, words), drawn[cut:].reshape(machines, topics, dimensions)
    )


@kernel
def _exponentials(vectors: Floats, topics: Floats) -> NDArray[np.float64]:
    """vectors [M, D, V], topics [M, K, D]; every sum in the order of D."""
    machines, dimensions, words = vectors.shape
    out = np.empty((machines * topics.shape[1], words))
    logit = np.empty(words, dtype=np.float32)
    for m in range(machines):
        for k in range(topics.shape[1]):
            for i in range(words):
                logit[i] = 0.0
            for d in range(dimensions):
                factor = topics[m, k, d]
                for i in range(words):
                    logit[i] = logit[i] + factor * vectors[m, d, i]
            for i in range(words):
                out[m * topics.shape[1] + k, i] = exp(logit[i])
    return out


@kernel
def _write(
    rng: np.random.Generator,
    machine: NDArray[np.int64],
    keep: NDArray[np.float64],
    other: NDArray[np.int32],
    chance: NDArray[np.float64],
    sentences_per_topic: int,
    shortest: int,
    longest: int,
    ends: NDArray[np.float64],
    goes_on: NDArray[np.float64],
    tokens: NDArray[np.uint16],
    floor: NDArray[np.float32],
) -> NDArray[np.int64]:
    """Fill tokens and floor [N, T]; return how many topics each row met [N], counting draws. chance is [M, V, K].

    ends and goes_on [longest + 1] are the nats of the end, and of one more word, after so many words.
    """
    rows, length = tokens.shape
    words, topics = chance.shape[1], chance.shape[2]
    met = np.zeros(rows, dtype=np.int64)
    likely = np.empty(topics)  # probability of each topic, times ``scale``
    for row in range(rows):
        m, sentences, size, end, topic, scale = machine[row], 0, 0, 0, 0, 1.0
        for t in range(length):
            if size == 0:
                if sentences % sentences_per_topic == 0:
                    topic = int(rng.random() * topics)
                    scale = 1.0
                    for k in range(topics):
                        likely[k] = 1.0 / topics
                    met[row] += 1
                end = shortest + int(rng.random() * (longest - shortest + 1))
            if size == end:
                tokens[row, t] = words
                floor[row, t] = ends[size]
                size = 0
                sentences += 1
            else:
                word = choose(rng.random(), keep[m, topic], other[m, topic])
                each = chance[m, word]
                for k in range(topics):
                    likely[k] *= each[k]
                now = sum_of(likely)
                tokens[row, t] = word
                floor[row, t] = max(goes_on[size] + np.log(scale / now), 0.0)
                scale = now
                if scale < 1e-200:
                    for k in range(topics):
                        likely[k] /= scale
                    scale = 1.0
                size += 1
    return met
