"""Merge, agree and move in plain Python: sentences by recursion; rows are parsed again by recursive descent."""

import itertools
import math
from dataclasses import dataclass, field

import numpy as np

from references.pcfg import draw_of
from references.zipf import shuffle_first
from uprior.sources import MergeLanguage
from uprior.types import Block

GOLDEN = (1, "e970c72c26c9f190")
SPECS = [
    MergeLanguage(),
    MergeLanguage(trace="silent", max_depth=4, max_moves=0.9, min_growth=0.95, max_growth=0.95),
    MergeLanguage(landmarks=False, rows_per_machine=2),
    MergeLanguage(alphabet_size=19, max_categories=2, max_frames=3, max_words=3, max_classes=2, agreement=1.0),
]


@dataclass
class Frame:
    slots: list  # category of specifier and complement, None where there is none
    landmark: int
    weight: float
    chance: float = 0.0
    agrees: int | None = None
    carries: int | None = None


@dataclass
class Category:
    head_last: bool
    frames: list
    words: list  # (token, class, weight)
    markers: list
    escape: Frame | None = None
    distance: float = math.inf


@dataclass
class Lexicon:
    categories: list
    moved: int
    move_token: int
    trace_token: int
    move_chance: float


def normal(weights, total=1.0):
    return [w * total / sum(weights) for w in weights]


def draw_lexicons(source, draw, machines):
    settings, rng = draw("settings"), draw("machines")
    sizes = settings.integers(2, source.max_categories, machines, endpoint=True).tolist()
    classes = settings.integers(2, source.max_classes, machines, endpoint=True).tolist()
    growths = (source.min_growth + (source.max_growth - source.min_growth) * settings.random(machines)).tolist()
    moves = (source.max_moves * settings.random(machines)).tolist()
    shape = (machines, source.max_categories)
    frame_weights = (rng.standard_exponential((*shape, source.max_frames)) + 1e-3).tolist()
    word_weights = (rng.standard_exponential((*shape, source.max_words)) + 1e-3).tolist()
    identities = list(range(1, source.alphabet_size))
    for m in range(machines):
        shuffle_first(rng, identities, len(identities))
        fresh = iter(list(identities))
        move_token, trace_token = next(fresh), next(fresh)
        moved, categories = 1 + int(rng.random() * (sizes[m] - 1)), []
        for c in range(sizes[m]):
            frames, words = (
                2 + int(rng.random() * (source.max_frames - 1)),
                2 + int(rng.random() * (source.max_words - 1)),
            )
            category = Category(int(rng.random() * 2) == 1, [], [], [])
            for k in range(frames):
                which = 1 + int(rng.random() * 3) if k else 0
                slots = [int(rng.random() * sizes[m]) if which & bit else None for bit in (1, 2)]
                if c == 0 and k == 1:
                    slots[0 if which & 1 else 1] = moved
                frame = Frame(slots, next(fresh), frame_weights[m][c][k])
                if k and rng.random() < source.agreement:
                    frame.agrees = int(rng.random() * 2) if which == 3 else which - 1
                category.frames.append(frame)
            inner = category.frames[1:]
            total = sum(f.weight for f in inner)
            mean = sum(f.weight * sum(s is not None for s in f.slots) for f in inner) / total
            branch = min(growths[m] / mean, 0.95)
            for f, chance in zip(inner, normal([f.weight for f in inner], branch), strict=True):
                f.chance = chance
            category.frames[0].chance = 1.0 - branch
            weights = normal(word_weights[m][c][:words])
            category.words = [(next(fresh), int(rng.random() * classes[m]), w) for w in weights]
            category.markers = [next(fresh) for _ in range(classes[m])]
            categories.append(category)
        find_gaps(categories, moved)
        yield Lexicon(categories, moved, move_token, trace_token, moves[m])


def find_gaps(categories, moved):
    """Bellman and Ford: how many phrases down the nearest gap is."""
    for _ in range(len(categories) + 1):
        for category in categories:
            for frame in category.frames:
                far = [math.inf if s is None else 1 if s == moved else categories[s].distance + 1 for s in frame.slots]
                if min(far) < math.inf:
                    frame.carries = far.index(min(far))
                if min(far) < category.distance:
                    category.distance, category.escape = min(far), frame


@dataclass
class Phrase:
    category: int
    kind: int | None = None  # the class of its head, once known
    shown: list = field(default_factory=list)


def pick(rng, options, mass=1.0):
    """(option, probability) from [(option, weight)]."""
    u = rng.random() * mass
    for option, weight in options:
        u -= weight
        if u < 0:
            return option, weight / mass
    return next((o, w / mass) for o, w in reversed(options) if w > 0)


class Writer:
    """Yields (token, probability); a token that is not written yields None and keeps its probability for the next."""

    def __init__(self, source, lexicon, rng):
        self.source, self.lexicon, self.rng = source, lexicon, rng

    def phrase(self, phrase, gap, depth):
        c, source, lexicon = phrase.category, self.source, self.lexicon
        stay = 1.0
        if c == 0 and gap is None and depth < source.max_depth:
            if self.rng.random() < lexicon.move_chance:
                yield lexicon.move_token if source.landmarks else None, lexicon.move_chance
                filler = Phrase(lexicon.moved)
                yield from self.phrase(filler, None, depth + 1)
                yield from self.phrase(phrase, filler, depth)
                return
            stay = 1.0 - lexicon.move_chance
        category = lexicon.categories[c]
        if depth >= source.max_depth:
            frame, p = (category.frames[0] if gap is None else category.escape), 1.0
        else:
            chances = [(f, f.chance) for f in category.frames]
            if gap is not None:
                weights = [0.0 if f.carries is None else f.weight for f in category.frames]
                chances = list(zip(category.frames, normal(weights), strict=True))
            frame, p = pick(self.rng, chances)
        yield frame.landmark if source.landmarks else None, p * stay
        inner = [None if s is None else Phrase(s) for s in frame.slots]
        here = frame.carries if gap is not None else None
        if here is not None and frame.slots[here] == lexicon.moved:
            inner[here] = gap
        parts = [self.slot(inner, i, gap if here == i else None, depth) for i in range(2)]
        parts.insert(2 if category.head_last else 1, self.head(phrase, frame, inner))
        yield from itertools.chain(*parts)

    def slot(self, inner, i, gap, depth):
        if inner[i] is None:
            return
        if inner[i] is gap:
            if self.source.trace == "overt":
                yield self.lexicon.trace_token, 1.0
            return
        yield from self.phrase(inner[i], gap, depth + 1)

    def head(self, phrase, frame, inner):
        category = self.lexicon.categories[phrase.category]
        words = [((token, kind), w) for token, kind, w in category.words if phrase.kind in (None, kind)]
        mass = 1.0 if phrase.kind is None else self.share(phrase.category, phrase.kind)
        (token, phrase.kind), p = pick(self.rng, words, mass)
        yield token, p
        if frame.agrees is None:
            return
        other, p = inner[frame.agrees], 1.0
        if other.kind is None:
            kinds = range(self.source.max_classes)
            other.kind, p = pick(self.rng, [(kind, self.share(other.category, kind)) for kind in kinds])
        yield category.markers[other.kind], p

    def share(self, c, kind):
        total = 0.0
        for _, k, weight in self.lexicon.categories[c].words:
            total += weight if k == kind else 0.0
        return total

    def sentences(self):
        while True:
            yield from self.phrase(Phrase(0), None, 1)
            yield 0, 1.0


def reference(source, draw, rows, length):
    machines = -(-rows // source.rows_per_machine)
    lexicons, rng = list(draw_lexicons(source, draw, machines)), draw("rows")
    tokens, floor = [], []
    for n in range(rows):
        row, nats, owed = [], [], 1.0
        for token, p in Writer(source, lexicons[n % machines], rng).sentences():
            owed *= p
            if token is not None:
                row.append(token)
                nats.append(-math.log(owed))
                owed = 1.0
            if len(row) == length:
                break
        tokens.append(row)
        floor.append(nats)
    return Block(
        tokens=np.array(tokens),
        machine=draw.machine_ids(np.arange(rows) % machines),
        floor_nats=np.array(floor) if source.landmarks else None,
    )


# ------------------------------------------------------------------ parsing rows again


class RowEnds(Exception):
    """The row was cut inside a sentence."""


class Parser:
    """Reads sentences from the arrays of a lexicon, and what agrees with what."""

    def __init__(self, lexicons, m, row, overt):
        self.category, self.frame, _, self.word, _, _, self.marker, self.special = (array[m] for array in lexicons)
        self.tokens, self.overt = iter(row), overt
        self.agreements, self.moves = [], 0

    def next(self):
        for token in self.tokens:
            return token
        raise RowEnds

    def phrase(self, c, gap=None):
        """The class of the head, in a list that is filled when the head is read."""
        token, kind = self.next(), []
        if c == 0 and gap is None and token == self.special[0]:
            self.moves += 1
            return self.phrase(0, self.phrase(self.special[2]))
        (k,) = np.flatnonzero(self.frame[c, : self.category[c, 0], 4] == token)
        inner = [None, None]
        for i in (0, 1, 2) if not self.category[c, 2] else (0, 2, 1):
            if i == 1:
                (w,) = np.flatnonzero(self.word[c, : self.category[c, 1], 0] == self.next())
                kind.append(self.word[c, w, 1])
                if self.frame[c, k, 2]:
                    (g,) = np.flatnonzero(self.marker[c] == self.next())
                    self.agreements.append((inner, self.frame[c, k, 2] - 1, g))
            elif (slot := self.frame[c, k, i // 2]) >= 0:
                holds = gap if gap is not None and self.frame[c, k, 3] == i // 2 + 1 else None
                if holds is not None and slot == self.special[2]:
                    assert not self.overt or self.next() == self.special[1]
                    inner[i // 2] = holds
                else:
                    inner[i // 2] = self.phrase(slot, holds)
        return kind


def validate(source, block):
    """Every row parses; markers show the class of what they agree with; the counts are right."""
    lexicons = source.lexicons(draw_of(source, block), len(block.tokens))
    for n, row in enumerate(block.tokens.tolist()):
        m = n % len(lexicons.special)
        legal = {0, *lexicons.special[m, :2], *lexicons.frame[m, :, :, 4].flat, *lexicons.word[m, :, :, 0].flat}
        assert set(row) <= legal | set(lexicons.marker[m].flat)
        assert row.count(0) == block.info["sentences"][n]
        if not source.landmarks:
            continue
        parser = Parser(lexicons, m, row, source.trace == "overt")
        try:
            while True:
                parser.phrase(0)
                for inner, slot, g in parser.agreements:
                    assert inner[slot] == [g]
                parser.agreements.clear()
                assert parser.next() == 0
        except RowEnds:
            assert parser.moves == block.info["moves"][n]
