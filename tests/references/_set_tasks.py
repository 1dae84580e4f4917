"""What the seven tasks of ``set_tasks`` must equal, and a checker that reads their rows."""

from __future__ import annotations

import math

import numpy as np

from uprior.types import Block


def first_appearances(x):
    found = []
    for symbol in x:
        if symbol not in found:
            found.append(symbol)
    return found


def specs(cls, *others):
    """The default, the presets, and corners: one symbol of content more than one, single items, rows that are not packed."""
    least = cls().min_items
    tiny = {"symbols": 3, "min_items": least, "max_items": 5}
    return [
        cls(),
        *(cls.preset(name) for name in cls.presets),
        cls(**tiny),
        cls(packed=False, score="all", min_items=least, max_items=20),
        cls(end_token=False, min_items=2, max_items=9, symbols=12),
        *others,
    ]


class Episode:
    """Tokens, which of them are answers, and their floors."""

    def __init__(self):
        self.tokens, self.answer, self.nats = [], [], []

    def add(self, token, nats=0.0, answer=False):
        self.tokens.append(token)
        self.nats.append(nats)
        self.answer.append(answer)

    def add_answer(self, tokens):
        for token in tokens:
            self.add(token, answer=True)


def write_rows(source, draw, rows, length, blank, write_episode, machine=None, info=None):
    """The block whose row n is made of ``write_episode(n, items of row n)``, packed or not, with end tokens or not."""
    items = draw("items").integers(source.min_items, source._most_items(length), rows, endpoint=True)
    tokens = np.full((rows, length), blank, dtype=source.token_dtype)
    answer, floor = np.zeros((rows, length), dtype=bool), np.zeros((rows, length), dtype=np.float32)
    for row in range(rows):
        whole = Episode()
        while len(whole.tokens) < length and (source.packed or not whole.tokens):
            episode = write_episode(row, int(items[row]))
            if source.end_token:
                episode.add_answer([blank])
            whole.tokens += episode.tokens
            whole.answer += episode.answer
            whole.nats += episode.nats
        size = min(length, len(whole.tokens))
        tokens[row, :size], answer[row, :size], floor[row, :size] = (
            whole.tokens[:size],
            whole.answer[:size],
            whole.nats[:size],
        )
    return Block(
        tokens=tokens,
        scored=answer if source.score == "answers" else None,
        floor_nats=floor,
        machine=draw.machine_ids(items if machine is None else machine),
        info={"items": items} | (info or {}),
    )


def draw_symbols(rng, count, pool, lowest, symbols, seen):
    """(tokens, floors): uniform on a pool of which ``seen`` (a list that grows) is what has shown itself."""
    tokens, nats = [], []
    for _ in range(count):
        place = int(rng.random() * pool)
        if pool == symbols:
            token = lowest + place
        elif place < len(seen):
            token = seen[place]
        else:
            token = lowest + int(rng.random() * symbols)
            while token in seen:
                token = lowest + int(rng.random() * symbols)
        p_new = (pool - len(seen)) / pool / (symbols - len(seen)) if token not in seen else 0.0
        nats.append(-math.log(1 / pool if token in seen else p_new))
        if token not in seen:
            seen.append(token)
        tokens.append(token)
    return tokens, nats


def string_reference(answer_of):
    """``reference`` of a task whose answer is ``answer_of(x, query)``."""

    def reference(source, draw, rows, length):
        rng, content, separator = draw("rows"), source.symbols - 1, source.symbols

        def episode(_, items):
            made, x, seen = Episode(), [], []
            pool = content
            if source.variety > 0:
                pool = min(max(int(source.variety * items + 0.5), 1), content)
            for size in [items // 2] * 2 if source.name == "union" else [items]:
                part, nats = draw_symbols(rng, size, pool, 1, content, seen)
                for token, surprise in zip(part, nats, strict=True):
                    made.add(token, surprise)
                made.add(separator)
                x += part
            query = None
            if source.name == "delete" and source.query == "present":
                query = x[int(rng.random() * items)]
                made.add(query, -math.log(x.count(query) / items))
                made.add(separator)
            elif source.name == "delete":
                query = 1 + int(rng.random() * content)
                made.add(query, math.log(content))
                made.add(separator)
            made.add_answer(answer_of(x, query))
            return made

        return write_rows(source, draw, rows, length, separator + 1, episode)

    return reference


def read_rows(source, block, question_size):
    """(row, x, query, answer, scored) of every whole episode, found by separators and sizes alone; checks the blanks."""
    separator, blank = source.symbols, source.symbols + 1
    for n, tokens in enumerate(block.tokens.tolist()):
        items, at, episodes = int(block.info["items"][n]), 0, 0
        size = question_size(items)
        while at + size < len(tokens) and (source.packed or not episodes):
            question = tokens[at : at + size]
            assert question[-1] == separator
            answer = yield n, at, question[:-1]
            stop = at + size + len(answer)
            expected = [*answer, *([blank] if source.end_token else [])]
            got = tokens[at + size : at + size + len(expected)]
            assert got == expected[: len(got)]
            scored = np.ones(len(got), dtype=bool)
            if block.scored is not None:
                assert (block.scored[n, at + size : at + size + len(got)] == scored).all()
                assert not block.scored[n, at : at + size].any()
            assert (block.floor_nats[n, at + size : at + size + len(got)] == 0).all()
            at, episodes = stop + source.end_token, episodes + 1
        assert episodes > 0, "every row holds a whole question"
        if not source.packed:
            assert set(tokens[at:]) <= {blank}
            assert block.scored is None or not block.scored[n, at:].any()
            assert (block.floor_nats[n, at:] == 0).all()


def string_validate(expected):
    """``validate`` of a task whose answer is ``expected(x, query)``, written by other means than the reference's."""

    def validate(source, block):
        extra = {"union": 2, "delete": 3}.get(source.name, 1)

        def size(items):
            return (2 * (items // 2) if source.name == "union" else items) + extra

        assert block.tokens.max() < source.symbols + 2 and block.tokens.min() >= 1
        reader = read_rows(source, block, size)
        try:
            n, at, question = next(reader)
            while True:
                n_items = int(block.info["items"][n])
                query = None
                if source.name == "delete":
                    assert question[n_items] == source.symbols
                    query = question[n_items + 1]
                    question = question[:n_items]
                elif source.name == "union":
                    assert question[n_items // 2] == source.symbols
                    question = question[: n_items // 2] + question[n_items // 2 + 1 :]
                assert all(1 <= token < source.symbols for token in question)
                if source.variety > 0:
                    assert len(set(question)) <= max(1, int(source.variety * n_items + 0.5))
                first = block.floor_nats[n, at]
                np.testing.assert_allclose(first, math.log(source.symbols - 1), rtol=1e-5)
                n, at, question = reader.send(expected(question, query))
        except StopIteration:
            pass

    return validate
