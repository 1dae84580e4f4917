"""Random small languages: words, sentences and records that belong to nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources import _language_layout as layout
from uprior.sources._base import Draw, Source, machine_of_row
from uprior.sources._language_kernels import write_block
from uprior.spec import parameter
from uprior.types import Block

# Symbols of a machine that are not letters: digits, separators, marks, ends, line end, pairs, leads.
NOT_LETTERS = layout.SYMBOLS - layout.DIGIT


@dataclass(frozen=True)
class RandomLanguage(Source):
    """Random small languages: a lexicon, a word order, separators, numbers, brackets, repeats, all drawn afresh per machine.

    Nothing here is taken from any real language: no frequencies, no words, no character codes. Which tokens stand for letters,
    separators or digits is a fresh random injection per machine. What is fixed is how systems that communicate or
    compute write in general, and every strength of it is drawn per machine:

    - few symbols, used unequally (Zipf exponent 0..max), in sparse chains: a letter has 2..16 successors;
    - reusable units: words from random syllables or from the letter chain; related words share beginnings; rarer words are
      longer, as any economical code that tells words apart makes them; optional endings, which agree throughout a sentence;
    - Zipf-Mandelbrot word frequencies, hence ever new words (Heaps), and burstiness: a used word is likely to return;
    - roles: each word has a class, classes differ in size by up to e^5, and follow each other in a sparse chain;
    - delimiters: word separators (one, several or none), inner marks, sentence ends after which the first letter takes its
      second form, lines of a fixed width or of one sentence each;
    - positional numbers in a random base of 2..16; brackets that match, nested, with indented lines in some machines;
    - long-range repeats, copied from an earlier word start, with Pareto lengths, some with copying errors;
    - variable-length codes: in some machines rarer letters are two tokens, a common lead and a second one;
    - records (a quarter of machines): lines of 1..4 templates, whose fields are constants, words, choices, random numbers,
      counters and random walks between fixed delimiters, as in tables and logs.

    A machine lacks an optional trait with probability ``absence``; otherwise its rate is max * U^2: mostly weak, at times
    strong. Sizes are log-uniform, because nothing says which order of magnitude is right. Rows of one machine share everything
    but the history; words are spelled when first used.

    Machines: a continuum. Alphabet: alphabet_size; a machine uses at most 2 * max_letters + 33 of it. Floor: none, because
    the segmentation is hidden: one span can come about as a copy, as a used word, as a new draw or as words of other
    spelling, and the sum over all of these has no closed form. Cost: about 45 ns per token
    with four rows of 512 per machine.
    ``info``: lexicon, letters, records (0 or 1), separators, wide (0 or 1), reuse, copy_rate.
    """

    name: ClassVar[str] = "random_language"
    family: ClassVar[str] = "language"
    alphabet_size: int = parameter(256, "number of symbols", low=48, high=1 << 16)
    min_letters: int = parameter(6, "fewest letters", low=2, high=layout.MAX_LETTERS)
    max_letters: int = parameter(64, "most letters", low=2, high=layout.MAX_LETTERS)
    max_letter_exponent: float = parameter(1.2, "largest Zipf exponent of letters", low=0.0, high=4.0)
    min_lexicon: int = parameter(20, "fewest words", low=8, high=1 << 16)
    max_lexicon: int = parameter(5000, "most words", low=8, high=1 << 16)
    min_word_exponent: float = parameter(0.6, "smallest Zipf exponent of words", low=0.0, high=4.0)
    max_word_exponent: float = parameter(1.6, "largest Zipf exponent of words", low=0.0, high=4.0)
    max_word_shift: float = parameter(5.0, "largest Mandelbrot shift of ranks", low=0.0, high=100.0)
    max_growth: float = parameter(
        0.7, "largest chance that a word goes on after each unit beyond need", low=0.0, high=0.99
    )
    max_kinship: float = parameter(0.6, "largest chance that a new word begins like another", low=0.0, high=1.0)
    max_reuse: float = parameter(0.7, "largest chance that a used word returns", low=0.0, high=1.0)
    max_classes: int = parameter(8, "most word classes", low=1, high=layout.MAX_CLASSES)
    max_suffixes: int = parameter(4, "most endings per class", low=0, high=layout.MAX_SUFFIXES)
    max_sentence_words: float = parameter(30.0, "largest mean number of words of a sentence", low=2.0, high=1e6)
    max_mark_rate: float = parameter(0.3, "largest rate of marks between words", low=0.0, high=1.0)
    max_number_rate: float = parameter(0.3, "largest rate of numbers among words", low=0.0, high=1.0)
    max_nest_rate: float = parameter(0.2, "largest rate of opening brackets before words", low=0.0, high=1.0)
    max_copy_rate: float = parameter(0.15, "largest rate of repeats at word starts", low=0.0, high=1.0)
    max_copy_error: float = parameter(0.1, "largest share of miscopied tokens", low=0.0, high=1.0)
    max_wrap: int = parameter(120, "widest lines, tokens; 0 for no fixed width", low=0, high=1 << 20)
    second_form_probability: float = parameter(0.5, "chance of a second form of letters", low=0.0, high=1.0)
    no_separator_probability: float = parameter(0.15, "chance of no separator between words", low=0.0, high=1.0)
    wide_probability: float = parameter(0.25, "chance that some letters are two tokens", low=0.0, high=1.0)
    records_probability: float = parameter(0.25, "chance that a machine writes records", low=0.0, high=1.0)
    absence: float = parameter(0.4, "chance that a machine lacks an optional trait", low=0.0, high=1.0)
    rows_per_machine: int = parameter(4, "rows that share a machine", low=1, high=1 << 20)

    def validate(self) -> None:
        if 2 * self.max_letters + NOT_LETTERS > self.alphabet_size:
            self.reject("max_letters", f"at most {(self.alphabet_size - NOT_LETTERS) // 2} with this alphabet_size")
        for low, high in (("min_letters", "max_letters"), ("min_lexicon", "max_lexicon")):
            if getattr(self, low) > getattr(self, high):
                self.reject(low, f"at most {high} = {getattr(self, high)}")
        if self.min_word_exponent > self.max_word_exponent:
            self.reject("min_word_exponent", f"at most max_word_exponent = {self.max_word_exponent:g}")

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        return self.as_block(draw, *self.write(draw, rows, length))

    def as_block(
        self, draw: Draw, tokens: NDArray[np.unsignedinteger[Any]], machine: NDArray[np.int64], knobs: NDArray[Any]
    ) -> Block:
        """What ``write`` gave, as a block."""
        return Block(
            tokens=tokens,
            machine=draw.machine_ids(machine),
            info={
                "lexicon": knobs["lexicon"][machine],
                "letters": knobs["letters"][machine],
                "records": (knobs["templates"] > 0)[machine].astype(np.int64),
                "separators": knobs["separators"][machine],
                "wide": (knobs["leads"] > 0)[machine].astype(np.int64),
                "reuse": knobs["reuse"][machine],
                "copy_rate": knobs["copy_rate"][machine],
            },
        )

    def write(
        self, draw: Draw, rows: int, length: int
    ) -> tuple[NDArray[np.unsignedinteger[Any]], NDArray[np.int64], NDArray[Any]]:
        """tokens [N, T], machine of each row [N], and the machines [M] themselves (``layout.MACHINE``)."""
        machine = machine_of_row(rows, self.rows_per_machine)
        machines = self._machines(draw("machines"), int(machine.max()) + 1)
        tokens = np.empty((rows, length), dtype=self.token_dtype)
        words = np.empty((self.max_lexicon + layout.MAX_CLASSES, layout.WORD_LETTERS + 2), dtype=np.int32)
        room = np.zeros(1, dtype=layout.ROW)
        write_block(draw("rows"), machines, room, words, self.alphabet_size, tokens)
        return tokens, machine, machines

    def _machines(self, rng: np.random.Generator, count: int) -> NDArray[Any]:
        """[M] machines with their knobs drawn and their tables still empty."""
        machines, dice = np.zeros(count, dtype=layout.MACHINE), _Dice(rng, count, self.absence)
        self._draw_spelling(dice, machines)
        self._draw_words(dice, machines)
        self._draw_layout(dice, machines)
        return machines

    def _draw_spelling(self, dice: _Dice, knobs: NDArray[Any]) -> None:
        knobs["letters"] = dice.log_uniform(self.min_letters, self.max_letters)
        knobs["letter_exponent"] = self.max_letter_exponent * dice.uniform()
        knobs["successors"] = dice.log_uniform(2, layout.MAX_SUCCESSORS)
        knobs["second_forms"] = dice.happens(self.second_form_probability)
        knobs["base"] = dice.whole(2, layout.MAX_BASE)
        knobs["leads"] = dice.happens(self.wide_probability) * dice.whole(1, layout.MAX_LEADS)
        # From nowhere (every letter is two tokens) to all but the rarest.
        knobs["first_wide"] = (knobs["letters"] * dice.uniform() * dice.happens(0.7)).astype(np.int64)
        knobs["syllables"] = dice.happens(0.6) * dice.log_uniform(8, layout.MAX_SYLLABLES)

    def _draw_words(self, dice: _Dice, knobs: NDArray[Any]) -> None:
        knobs["lexicon"] = dice.log_uniform(self.min_lexicon, self.max_lexicon)
        knobs["classes"] = dice.whole(1, self.max_classes)
        knobs["class_successors"] = dice.whole(1, layout.MAX_CLASSES)
        exponent = self.min_word_exponent + (self.max_word_exponent - self.min_word_exponent) * dice.uniform()
        # The integral of the rank law is a power but at exponent 1; so near it the difference cannot be seen.
        knobs["word_exponent"] = np.where(abs(exponent - 1) < 1e-6, 1 + 1e-6, exponent)
        knobs["word_shift"] = self.max_word_shift * dice.uniform() ** 2
        knobs["growth"] = self.max_growth * dice.uniform()
        knobs["kinship"] = self.max_kinship * dice.uniform()
        knobs["reuse"] = self.max_reuse * dice.uniform() * dice.present()
        knobs["suffixes"] = dice.present() * dice.whole(0, self.max_suffixes)
        knobs["suffix_rate"] = dice.uniform()
        knobs["marked_class"] = np.where(dice.present(), dice.whole(0, self.max_classes - 1), -1)
        knobs["sentence_words"] = 2 * (self.max_sentence_words / 2) ** dice.uniform()

    def _draw_layout(self, dice: _Dice, knobs: NDArray[Any]) -> None:
        knobs["separators"] = (1 - dice.happens(self.no_separator_probability)) * dice.whole(1, layout.MAX_SEPARATORS)
        knobs["other_separator_rate"] = dice.rate(0.3)
        knobs["marks"] = dice.whole(1, layout.MAX_MARKS)
        knobs["mark_rate"] = dice.rate(self.max_mark_rate)
        knobs["ends"] = dice.whole(0, layout.MAX_ENDS)
        knobs["line_rate"] = dice.uniform() ** 2
        # Lines hold several words: from an eighth of the widest.
        knobs["wrap"] = (
            dice.present() * dice.log_uniform(self.max_wrap // 8 + 1, self.max_wrap + 1) * (self.max_wrap > 0)
        )
        knobs["number_rate"] = dice.rate(self.max_number_rate)
        knobs["number_growth"] = 0.9 * dice.uniform()
        knobs["pairs"] = dice.whole(1, layout.MAX_PAIRS)
        knobs["mirrored"] = dice.happens(0.5) * dice.whole(0, layout.MAX_PAIRS)
        knobs["nest_rate"] = dice.rate(self.max_nest_rate)
        knobs["close_rate"] = 0.1 + 0.8 * dice.uniform()
        knobs["indent"] = dice.happens(0.3) * dice.whole(1, 4)
        knobs["copy_rate"] = dice.rate(self.max_copy_rate)
        knobs["copy_tail"] = 0.5 + 1.5 * dice.uniform()  # tail exponent: from infinite mean to nearly finite variance
        knobs["copy_error"] = dice.rate(self.max_copy_error)
        knobs["templates"] = dice.happens(self.records_probability) * dice.whole(1, layout.MAX_TEMPLATES)
        knobs["labels"] = dice.happens(0.3)


@dataclass(frozen=True)
class _Dice:
    """Draws of [M] numbers, one per machine."""

    rng: np.random.Generator
    count: int
    absence: float

    def uniform(self) -> NDArray[np.float64]:
        return self.rng.random(self.count)

    def whole(self, low: int, high: int) -> NDArray[np.int64]:
        """Whole numbers low..high, all equally likely."""
        return self.rng.integers(low, high + 1, self.count)

    def log_uniform(self, low: int, high: int) -> NDArray[np.int64]:
        """Whole numbers low..high, all orders of magnitude equally likely."""
        return np.minimum(low * ((high + 1) / low) ** self.uniform(), high).astype(np.int64)

    def happens(self, probability: float) -> NDArray[np.int64]:
        """1 with this probability, else 0."""
        return (self.uniform() < probability).astype(np.int64)

    def present(self) -> NDArray[np.int64]:
        """1 where the machine has an optional trait."""
        return self.happens(1 - self.absence)

    def rate(self, most: float) -> NDArray[np.float64]:
        """The rate of an optional trait: often none, mostly small, at times near ``most``."""
        return most * self.uniform() ** 2 * self.present()
