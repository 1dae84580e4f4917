"""Sentences built by merge, agree and move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw, Source, bars, machine_of_row
from uprior.sources._merge_kernels import Lexicons, draw_lexicons, write_sentences
from uprior.spec import parameter
from uprior.types import Block


@dataclass(frozen=True)
class MergeLanguage(Source):
    """Sentences built by merge, agree and move: phrases inside phrases, matching markers at a distance, fronted phrases.

    Machine: a random lexicon. Categories 0, 1, ... (uniform in 2..max_categories; 0 is the clause, where sentences begin) have
    2..max_words heads each, every one with a class (uniform; there are 2..max_classes) and a weight (flat Dirichlet), and
    2..max_frames frames. A frame says what a head merges with: nothing (frame 0), or a specifier, a complement or both, of
    uniform categories. Other frames than 0 together get the probability that makes the mean number of phrases inside a phrase
    equal to the machine's growth (uniform in min_growth..max_growth); at ``max_depth`` only frame 0 is left.

    Merge: a phrase is landmark, specifier, head, complement, or landmark, specifier, complement, head (a coin per category).
    The landmark is a token that names category and frame.
    Agree: in every frame that is not 0, with probability ``agreement``, the head is followed by a marker that shows the class of
    the head of the specifier or complement, however far away that is. Where the marker comes first, it has the probability of
    the class, and the head is drawn from that class. Each category has markers of its own.
    Move: a clause begins with probability p (uniform in 0..max_moves per machine) with the landmark of movement and a phrase of
    the one category that moves; the clause that follows lacks a phrase of that category at one place. The gap is handed down:
    frames that cannot hold it are left out, and of two slots the one nearer to a gap takes it (in frames from there; the
    specifier on a tie), until a slot of the moving category is reached. There stands a trace (token) or, with
    ``trace`` = "silent", nothing. Agreement with a gap is agreement with what moved. A clause with a gap starts no movement.

    Rows are sentences one after the other, each ended by token 0; the rest are random tokens, all different in a machine.
    Machines: a continuum. Floor: exact given the lexicon, as landmarks make the derivation a function of the prefix; without
    ``landmarks`` (neither frames nor movement are announced) None. Cost: about 40 ns per token.
    ``info``: categories, sentences (ended in the row), depth, moves, agreements, distance (tokens, of the farthest agreement).

    In the manner of MP-Struct (Mita et al. 2026, arXiv 2605.16758), which encodes the same three operations and finds
    functional landmarks decisive; lexicon, probabilities and layout here are our own.
    """

    name: ClassVar[str] = "merge_language"
    family: ClassVar[str] = "language"
    alphabet_size: int = parameter(256, "number of tokens; 0 ends a sentence", low=16, high=1 << 16)
    max_categories: int = parameter(6, "most categories of a lexicon", low=2, high=64)
    max_frames: int = parameter(4, "most frames of a category", low=2, high=64)
    max_words: int = parameter(12, "most heads of a category", low=2, high=1024)
    max_classes: int = parameter(4, "most classes of agreement", low=2, high=64)
    agreement: float = parameter(0.6, "chance that a frame agrees with one of its slots", low=0.0, high=1.0)
    max_moves: float = parameter(0.5, "largest chance that a clause fronts a phrase", low=0.0, high=0.9)
    min_growth: float = parameter(0.6, "least mean number of phrases inside a phrase", low=0.0, high=0.95)
    max_growth: float = parameter(0.9, "largest mean number of phrases inside a phrase", low=0.0, high=0.95)
    max_depth: int = parameter(32, "depth at which phrases end", low=2, high=1 << 12)
    landmarks: bool = parameter(True, "announce frames and movement by tokens of their own")
    trace: str = parameter("overt", "what stands where a phrase moved from", choices=("overt", "silent"))
    rows_per_machine: int = parameter(8, "rows that share a lexicon", low=1, high=1 << 20)

    def validate(self) -> None:
        needed = 3 + self.max_categories * (self.max_frames + self.max_words + self.max_classes)
        if needed > self.alphabet_size:
            self.reject(
                "alphabet_size", f"{needed} or more: 3 + max_categories * (max_frames + max_words + max_classes)"
            )
        if self.min_growth > self.max_growth:
            self.reject("min_growth", f"0 to max_growth = {self.max_growth:g}")

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        return self._write(draw, rows, length, np.empty(0, dtype=np.int64))

    def _picture(self, draw: Draw, length: int) -> NDArray[np.integer[Any]] | None:
        """The depth of the phrase that each token belongs to."""
        trace = np.zeros(length, dtype=np.int64)
        self._write(draw, 1, length, trace)
        return bars(trace)

    def _write(self, draw: Draw, rows: int, length: int, trace: NDArray[np.int64]) -> Block:
        machine = machine_of_row(rows, self.rows_per_machine)
        lexicons, categories, moves = self._draw_lexicons(draw, int(machine.max()) + 1)
        tokens = np.empty((rows, length), dtype=self.token_dtype)
        probability = np.empty((rows, length), dtype=np.float32)
        info = np.empty((rows, 5), dtype=np.int64)
        write_sentences(
            draw("rows"), moves, self.max_depth, self.landmarks, self.trace == "overt", *lexicons, tokens, probability, info,
            trace,
        )  # fmt: skip
        names = ("sentences", "depth", "moves", "agreements", "distance")
        return Block(
            tokens=tokens,
            machine=draw.machine_ids(machine),
            floor_nats=np.maximum(-np.log(probability), np.float32(0)) if self.landmarks else None,
            info={"categories": categories[machine]} | {name: info[:, i].copy() for i, name in enumerate(names)},
        )

    def lexicons(self, draw: Draw, rows: int) -> Lexicons:
        """The lexicons of the block that ``_generate(draw, rows, ...)`` writes."""
        return self._draw_lexicons(draw, -(-rows // self.rows_per_machine))[0]

    def _draw_lexicons(self, draw: Draw, machines: int) -> tuple[Lexicons, NDArray[np.int64], NDArray[np.float64]]:
        """Lexicons, numbers of categories [M] and chances of movement [M]."""
        rng = draw("settings")
        categories = rng.integers(2, self.max_categories, machines, endpoint=True)
        classes = rng.integers(2, self.max_classes, machines, endpoint=True)
        growth = self.min_growth + (self.max_growth - self.min_growth) * rng.random(machines)
        moves = self.max_moves * rng.random(machines)
        room = Lexicons.room(machines, self.max_categories, self.max_frames, self.max_words, self.max_classes)
        rng, identities = draw("machines"), np.arange(1, self.alphabet_size)
        room.chance[..., 0] = rng.standard_exponential(room.chance.shape[:3]) + 1e-3
        room.weight[:] = rng.standard_exponential(room.weight.shape) + 1e-3
        draw_lexicons(rng, categories, classes, growth, self.agreement, identities, *room)
        return room, categories, moves
