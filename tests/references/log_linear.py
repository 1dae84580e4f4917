"""Sentences about hidden topics, with lists; the floor as Bayes' rule over the topics."""

import math

import numpy as np

from references._laws import Law
from uprior.sources._base import machine_of_row
from uprior.sources._exact import normal_quantiles, random_words
from uprior.sources._formal import laws_of
from uprior.sources.log_linear import LogLinear
from uprior.types import Block

GOLDEN = (1, "a8c5b57a2192b184")
SPECS = [
    LogLinear(),
    LogLinear(words=600, topics=3, sentences_per_topic=64, rows_per_machine=64),
    LogLinear(words=3, topics=2, dimensions=1, min_sentence=1, max_sentence=3, sentences_per_topic=2),
    LogLinear(words=40, topics=1, dimensions=30, min_sentence=5, max_sentence=5, rows_per_machine=1),
]


def reference(source, draw, rows, length):
    machine = machine_of_row(rows, source.rows_per_machine)
    machines = int(machine.max()) + 1
    laws = all_laws(source, draw("machines"), machines)
    rng = draw("rows")
    written = [write_row(source, rng, laws[m], length) for m in machine]
    return Block(
        tokens=np.array([tokens for tokens, _ in written], dtype=source.token_dtype),
        machine=draw.machine_ids(machine),
        floor_nats=np.array([floor for _, floor in written], dtype=np.float32),
    )


def all_laws(source, rng, machines):
    """The law of each topic of each machine. Sums go over dimensions in order, in float32, as the bits of tokens need."""
    shapes = [(machines, source.dimensions, source.words), (machines, source.topics, source.dimensions)]
    numbers = normal_quantiles()[random_words(rng, sum(map(math.prod, shapes)))]
    vectors = numbers[: math.prod(shapes[0])].reshape(shapes[0])
    topics = numbers[math.prod(shapes[0]) :].reshape(shapes[1])
    found = []
    for m in range(machines):
        found.append([])
        for k in range(source.topics):
            logits = np.zeros(source.words, dtype=np.float32)
            for d in range(source.dimensions):
                logits += topics[m, k, d] * vectors[m, d]
            found[-1].append(Law(laws_of(np.exp(logits.astype(float))[None]), 0))
    return found


def write_row(source, rng, topics, length):
    tokens, floor, sentences = [], [], 0
    while len(tokens) < length:
        if sentences % source.sentences_per_topic == 0:
            topic = topics[int(rng.random() * len(topics))]
            belief = [1 / len(topics)] * len(topics)
        size = source.min_sentence + int(rng.random() * (source.max_sentence - source.min_sentence + 1))
        for i in range(size + 1):
            if len(tokens) == length:
                break
            end = 0 if i < source.min_sentence else 1 / (source.max_sentence - i + 1)
            if i == size:
                tokens.append(source.words)
                floor.append(-math.log(end))
            else:
                tokens.append(topic.draw(rng))
                belief = [b * law.chance[tokens[-1]] for b, law in zip(belief, topics, strict=True)]
                floor.append(-math.log((1 - end) * sum(belief)))
                belief = [b / sum(belief) for b in belief]
        sentences += 1
    return tokens, floor


def validate(source, block):
    for row, topics in zip(block.tokens.tolist(), block.info["topics"], strict=True):
        ends = [-1, *(t for t, token in enumerate(row) if token == source.words)]
        assert all(source.min_sentence < gap <= source.max_sentence + 1 for gap in np.diff(ends))
        assert len(row) - 1 - ends[-1] <= source.max_sentence
        begun = len(ends) - (row[-1] == source.words)
        assert topics == -(-begun // source.sentences_per_topic)
