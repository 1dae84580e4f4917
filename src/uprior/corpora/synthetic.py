"""The nine synthetic evaluation sets of universal pre-training, and repeated words, with what an ideal predictor pays."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import numpy as np

from uprior.corpora._base import Bytes, Corpus
from uprior.errors import CorpusError
from uprior.rng import generator
from uprior.spec import parameter

SETS = ("champ", "dyck", "ndfa", "toy", "toy2", "bits", "bitsrep", "bitsflip", "aut", "rep-1", "rep-3", "rep-10")

CHAMP_NUMBERS, CHAMP_STARTS = 256, (1 << 24) - 256
DYCK_OPEN = 7 / 16
NDFA_WORDS, NDFA_STOP = ("abc!", "uvw!", "klm!"), 1 / 4
AUT_STEPS = 512
REPEATED_ROW = 512  # bytes for which one word of a rep set goes on

# A grammar gives each symbol its alternatives: a probability and the parts, which are symbols or literal text. Both of these
# can be read in one way only, so that the information in a sentence is that of its derivation.
Grammar = Mapping[str, tuple[tuple[float, tuple[str, ...]], ...]]


def _evenly(*alternatives: str) -> tuple[tuple[float, tuple[str, ...]], ...]:
    """Alternatives, written as parts between '+' signs, with equal probability."""
    return tuple((1 / len(alternatives), tuple(text.split("+"))) for text in alternatives)


TOY: Grammar = {
    "SENTENCE": _evenly("PHRASE+ +ACTION"),
    "PHRASE": _evenly("DETERMINER+ +NOUN", "DETERMINER+ +ADJECTIVE+ +NOUN"),
    "ACTION": _evenly("slept", "VERB+ +PHRASE", "VERB+ +PHRASE+ +PREPOSITION+ +PHRASE"),
    "DETERMINER": _evenly("a", "the", "some", "every"),
    "NOUN": _evenly(
        "dog", "cat", "robot", "wizard", "river", "piano", "farmer", "engine", "mirror", "island", "uncle", "ghost"
    ),
    "ADJECTIVE": _evenly("old", "green", "quick", "happy", "tiny", "broken", "famous", "loud"),
    "VERB": _evenly("sees", "likes", "finds", "paints", "follows", "forgets", "visits", "warns"),
    "PREPOSITION": _evenly("near", "under", "behind", "without"),
}
TOY2: Grammar = {
    "EXPRESSION": ((0.6, ("VARIABLE",)), (0.4, ("(", "EXPRESSION", "OPERATOR", "EXPRESSION", ")"))),
    "VARIABLE": ((0.5, ("x",)), (0.3, ("y",)), (0.2, ("z",))),
    "OPERATOR": ((0.4, ("+",)), (0.2, ("-",)), (0.2, ("*",)), (0.1, ("/",)), (0.1, ("^",))),
}

# State -> the symbols it may write, each with the state that follows; all equally likely. A symbol never leads to two states,
# so whoever knows the automaton and the start knows the state.
AUTOMATON: tuple[tuple[tuple[str, int], ...], ...] = (
    (("a", 1), ("b", 2)),
    (("b", 3), ("c", 0)),
    (("c", 4),),
    (("a", 4), ("c", 1)),
    (("b", 0), ("a", 2)),
)


@dataclass(frozen=True)
class Synthetic(Corpus):
    """One of twelve synthetic evaluation sets, about 100,000 characters each.

    From Bloem 2025 (arXiv 2506.20057; recipes as in its published repository). Items are joined, the last one is cut:

    champ      256 consecutive numbers in hexadecimal, the first uniform below 2**24 - 256, run together; then "|"
    dyck       a round bracket opened, then more with P(open) = 7/16 until all are closed; then "|"
    ndfa       one of the words abc! uvw! klm!, geometric(1/4) times (from 0 on), between two s; then "|"
    toy        a sentence of an English-like grammar of eight rules, alternatives equally likely; then "|"
    toy2       an arithmetic expression of x y z, + - * / ^ and brackets, with given probabilities; then "|"
    bits       two random words of 5 bits, then their xor, and, or and equality; then "|"
    bitsrep    3 random bits, three times
    bitsflip   6 random bits, then the same backwards
    aut        walks of 512 steps on one automaton of 5 states and 3 symbols, each from the same state
    rep-r      a word of r random bytes repeated for 512 bytes (r = 1, 3, 10); windows begin where a word begins

    Where the sources name a recipe without its tables (the rules of toy and toy2, the edges of aut), the tables are ours, chosen
    so that the ideal is exact: published figures for these three sets do not carry over. Published sets are drawn anew at each
    evaluation; ours are fixed by ``seed``. Since nobody trains on them, half of each is for testing.
    """

    name: ClassVar[str] = "synthetic"
    set: str = parameter(text="which of the sets", choices=SETS)
    characters: int = parameter(100_000, "how much to write", low=1_000, high=1 << 30)
    seed: int = parameter(0, "another seed, another text of the same recipe", low=0)
    _: KW_ONLY
    train_fraction: float = parameter(0.4, "share of the bytes, from the start, for training", low=0, high=1)

    @property
    def label(self) -> str:
        return self.set

    @property
    def align(self) -> int:
        return REPEATED_ROW if self.set.startswith("rep-") else 1

    @property
    def ideal_bits(self) -> float:
        """Bits per character of a predictor that knows the recipe and has read everything before: nothing can do better.

        Exact: the entropy of an item by its mean length. For rep-r it is what is left after the first r bytes of a window, 0.
        """
        return _RECIPES[self.set.partition("-")[0]][1]()

    def _read(self) -> Bytes:
        rng = generator("corpora", self.name, self.version, self.set, self.seed)
        kind, _, number = self.set.partition("-")
        if kind == "rep":
            words = rng.integers(0, 256, (-(-self.characters // REPEATED_ROW), int(number)), dtype=np.uint8)
            repeats = -(-REPEATED_ROW // int(number))
            return np.tile(words, (1, repeats))[:, :REPEATED_ROW].reshape(-1)[: self.characters]
        parts, held = [], 0
        for item in _RECIPES[kind][0](rng):
            parts.append(item)
            held += len(item)
            if held >= self.characters:
                break
        return np.frombuffer("".join(parts)[: self.characters].encode("ascii"), dtype=np.uint8)

    def windows(self, split: str, count: int, context: int, *key: str | int) -> Bytes:
        if context > REPEATED_ROW and self.align > 1:
            raise CorpusError(
                f"{self.set} is made of rows of {REPEATED_ROW} bytes; give --context {REPEATED_ROW} or less"
            )
        return super().windows(split, count, context, *key)


# ------------------------------------------------------------------ writing: endless items


def _champ(rng: np.random.Generator) -> Iterator[str]:
    while True:
        start = int(rng.integers(CHAMP_STARTS))
        yield "".join(f"{number:x}" for number in range(start, start + CHAMP_NUMBERS)) + "|"


def _dyck(rng: np.random.Generator) -> Iterator[str]:
    while True:
        item, depth = ["("], 1
        while depth:
            opens = rng.random() < DYCK_OPEN
            depth += 1 if opens else -1
            item.append("(" if opens else ")")
        yield "".join(item) + "|"


def _ndfa(rng: np.random.Generator) -> Iterator[str]:
    while True:
        yield "s" + NDFA_WORDS[rng.integers(3)] * (int(rng.geometric(NDFA_STOP)) - 1) + "s|"


def _bits(rng: np.random.Generator) -> Iterator[str]:
    while True:
        a, b = (int(word) for word in rng.integers(0, 32, 2))
        yield "".join(f"{word:05b}" for word in (a, b, a ^ b, a & b, a | b, 31 - (a ^ b))) + "|"


def _bitsrep(rng: np.random.Generator) -> Iterator[str]:
    while True:
        yield f"{rng.integers(8):03b}" * 3


def _bitsflip(rng: np.random.Generator) -> Iterator[str]:
    while True:
        word = f"{rng.integers(64):06b}"
        yield word + word[::-1]


def _aut(rng: np.random.Generator) -> Iterator[str]:
    while True:
        state, item = 0, []
        for _ in range(AUT_STEPS):
            symbol, state = AUTOMATON[state][rng.integers(len(AUTOMATON[state]))]
            item.append(symbol)
        yield "".join(item)


def _sentences(rng: np.random.Generator, grammar: Grammar) -> Iterator[str]:
    edges = {symbol: np.cumsum([p for p, _ in alternatives])[:-1] for symbol, alternatives in grammar.items()}
    while True:
        todo, item = [next(iter(grammar))], []
        while todo:
            part = todo.pop()
            if part in grammar:
                todo += reversed(grammar[part][int(np.searchsorted(edges[part], rng.random(), side="right"))][1])
            else:
                item.append(part)
        yield "".join(item) + "|"


# ------------------------------------------------------------------ what the ideal predictor pays, in bits per character


def entropy_bits(*probabilities: float) -> float:
    """Entropy of a distribution in bits."""
    return -sum(p * math.log2(p) for p in probabilities if p > 0)


def _champ_bits() -> float:
    # Every number has one digit, and one more for each power of 16 that it reaches: (start, i) pairs counted exactly.
    powers = [1 << 4 * k for k in range(1, 6)]
    reached = sum(CHAMP_STARTS - max(0, power - i) for power in powers for i in range(CHAMP_NUMBERS))
    mean_length = CHAMP_NUMBERS + reached / CHAMP_STARTS + 1
    return math.log2(CHAMP_STARTS) / mean_length


def _dyck_bits() -> float:
    # A walk from depth 1 that falls by 1 - 2 p a step on average takes 1 / (1 - 2 p) steps to reach 0 (Wald).
    steps = 1 / (1 - 2 * DYCK_OPEN)
    return steps * entropy_bits(DYCK_OPEN, 1 - DYCK_OPEN) / (1 + steps + 1)


def _ndfa_bits() -> float:
    times = 1 / NDFA_STOP - 1
    # One decision to go on or stop per repetition and one to stop; which word it is shows only where there is one.
    bits = (1 - NDFA_STOP) * math.log2(len(NDFA_WORDS)) + (times + 1) * entropy_bits(NDFA_STOP, 1 - NDFA_STOP)
    return bits / (2 + times * len(NDFA_WORDS[0]) + 1)


def _aut_bits() -> float:
    # Every walk starts in state 0, and whoever has read it knows the state: the distribution over states, step by step.
    share, bits = np.eye(len(AUTOMATON))[0], 0.0
    for _ in range(AUT_STEPS):
        following = np.zeros(len(AUTOMATON))
        for p, edges in zip(share, AUTOMATON, strict=True):
            bits += float(p) * math.log2(len(edges))
            for _, state in edges:
                following[state] += p / len(edges)
        share = following
    return bits / AUT_STEPS


def grammar_bits(grammar: Grammar) -> float:
    """Bits per character of a grammar's sentences, each followed by one delimiter: exact for one that reads in one way.

    Mean information and mean length of what a symbol becomes are each linear in those of the symbols in its alternatives.
    """
    symbols = list(grammar)
    uses, own = np.zeros((len(symbols), len(symbols))), np.zeros((len(symbols), 2))
    for row, symbol in enumerate(symbols):
        own[row, 0] = entropy_bits(*(p for p, _ in grammar[symbol]))
        for p, parts in grammar[symbol]:
            for part in parts:
                if part in grammar:
                    uses[row, symbols.index(part)] += p
                else:
                    own[row, 1] += p * len(part)
    bits, length = np.linalg.solve(np.eye(len(symbols)) - uses, own)[0]
    return float(bits / (length + 1))


_Recipe = tuple[Callable[[np.random.Generator], Iterator[str]], Callable[[], float]]
_RECIPES: Mapping[str, _Recipe] = {
    "champ": (_champ, _champ_bits),
    "dyck": (_dyck, _dyck_bits),
    "ndfa": (_ndfa, _ndfa_bits),
    "toy": (functools.partial(_sentences, grammar=TOY), functools.partial(grammar_bits, TOY)),
    "toy2": (functools.partial(_sentences, grammar=TOY2), functools.partial(grammar_bits, TOY2)),
    "bits": (_bits, lambda: 10 / 31),
    "bitsrep": (_bitsrep, lambda: 1 / 3),
    "bitsflip": (_bitsflip, lambda: 1 / 2),
    "aut": (_aut, _aut_bits),
    "rep": (lambda rng: iter(()), lambda: 0.0),
}
