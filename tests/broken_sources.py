"""Sources that each break one clause of the contract, on purpose; ``CLAUSE`` says which one has to notice.

They are in a module of their own so that a fresh process can import them.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from broken_draws import (
    AddsIndexToSeed,
    AfterAnother,
    FewMachines,
    FewRows,
    GlobalCounter,
    Good,
    IgnoresIndex,
    IgnoresSeed,
    IgnoresSplit,
    KnowsItsThread,
    SharedMemory,
    SharesFewRows,
    TouchesNumpy,
    TouchesRandom,
    UsesHash,
)

from uprior.sources import Source
from uprior.types import Block


class OutOfAlphabet(Good):
    """Writes the token after the last."""

    name = "out_of_alphabet"

    def _tokens(self, draw, rows, length):
        return super()._tokens(draw, rows, length) + np.uint16(1)


class WrongType(Good):
    """int64 tokens."""

    name = "wrong_type"

    def _tokens(self, draw, rows, length):
        return super()._tokens(draw, rows, length).astype(np.int64)


class WrongLength(Good):
    """One token too many."""

    name = "wrong_length"

    def _tokens(self, draw, rows, length):
        return super()._tokens(draw, rows, length + 1)


class _Scored(Good):
    """Scores what ``_mask`` says."""

    name = "scored"

    def _generate(self, draw, rows, length):
        block = super()._generate(draw, rows, length)
        return Block(block.tokens, block.machine, scored=self._mask(rows, length))


class NothingScored(_Scored):
    """Nothing counts."""

    name = "nothing_scored"

    def _mask(self, rows, length):
        return np.zeros((rows, length), dtype=bool)


class OnlyFirstScored(_Scored):
    """Only the first token counts, which no model ever predicts."""

    name = "only_first_scored"

    def _mask(self, rows, length):
        return np.repeat(np.arange(length)[None] == 0, rows, axis=0)


class ScoredAsNumbers(_Scored):
    """0 and 1 instead of False and True."""

    name = "scored_as_numbers"

    def _mask(self, rows, length):
        return np.ones((rows, length), dtype=np.int64)


class MachineAsFloat(Good):
    """Machine ids that are not int64."""

    name = "machine_as_float"

    def _generate(self, draw, rows, length):
        return Block(self._tokens(draw, rows, length), np.arange(rows) / 2)


class InfoPerToken(Good):
    """info that is not one value per row."""

    name = "info_per_token"

    def _generate(self, draw, rows, length):
        block = super()._generate(draw, rows, length)
        return Block(block.tokens, block.machine, info={"depth": np.zeros((rows, length))})


class NegativeFloor(Good):
    """A probability above 1."""

    name = "negative_floor"

    def _floor(self, tokens):
        return np.full(tokens.shape, -0.1, dtype=np.float32)


class InfiniteFloor(Good):
    """Calls a token that it wrote impossible."""

    name = "infinite_floor"

    def _floor(self, tokens):
        return np.where(np.arange(tokens.shape[1]) == 3, np.inf, super()._floor(tokens)).astype(np.float32)


class PatchyFloor(Good):
    """NaN in the middle of rows."""

    name = "patchy_floor"

    def _floor(self, tokens):
        return np.where(np.arange(tokens.shape[1]) == 3, np.nan, super()._floor(tokens)).astype(np.float32)


class DoubleFloor(Good):
    """float64."""

    name = "double_floor"

    def _floor(self, tokens):
        return super()._floor(tokens).astype(np.float64)


class FloorOfAWiderAlphabet(Good):
    """ln 512 for 256 symbols."""

    name = "floor_of_a_wider_alphabet"

    def _floor(self, tokens):
        return super()._floor(tokens) + np.float32(np.log(2))


class FloorOfNoise(Good):
    """Two symbols at random, with the floor of 256 symbols at random."""

    name = "floor_of_noise"

    def _tokens(self, draw, rows, length):
        return draw("rows").integers(0, 2, (rows, length), dtype=np.uint16)


class FloorOfZero(Good):
    """Noise that claims to be determined by its machine."""

    name = "floor_of_zero"

    def _floor(self, tokens):
        return np.zeros(tokens.shape, dtype=np.float32)


class LowFloor(Good):
    """A quarter of the entropy: probabilities that add up to 64."""

    name = "low_floor"

    def _floor(self, tokens):
        return super()._floor(tokens) / 4


class HiddenField(Good):
    """A fingerprint that does not know the alphabet."""

    name = "hidden_field"

    @property
    def fingerprint(self):
        return f"{self.name} {self.version} {self.label}"


class HiddenVersion(Good):
    """A fingerprint that does not know the version."""

    name = "hidden_version"

    @property
    def fingerprint(self):
        return f"{self.name} {self.alphabet_size} {self.label}"


class FreshFingerprint(Good):
    """Equal specs, different fingerprints."""

    name = "fresh_fingerprint"

    @property
    def fingerprint(self):
        return str(id(self))


class ForgetfulDict(Good):
    """A record that leaves a field out."""

    name = "forgetful_dict"

    def to_dict(self):
        return {key: value for key, value in super().to_dict().items() if key != "label"}


class TakenName(Good):
    """Calls itself like one of ours, so that its recorded runs would be revived as ours."""

    name = "uniform"


@dataclass
class Thawed(Source):
    """Not frozen."""

    name: ClassVar[str] = "thawed"
    alphabet_size: int = 256
    _generate = Good._generate
    _tokens = Good._tokens
    _floor = Good._floor
    __hash__ = object.__hash__


class ForgottenDecorator(Good):
    """Adds a field, but not @dataclass, so it is none."""

    name = "forgotten_decorator"
    depth: int = 3


@dataclass(frozen=True)
class Undocumented(Good):
    name: ClassVar[str] = "undocumented"


class Raises(Good):
    """A bug in the user's code."""

    name = "raises"

    def _tokens(self, draw, rows, length):
        return {}["missing key"]


@dataclass(frozen=True)
class Unwritable(Good):
    """A field that JSON cannot hold."""

    name: ClassVar[str] = "unwritable"
    thing: object = field(default_factory=object)


CLAUSE = {
    GlobalCounter: "same_twice",
    SharedMemory: "same_twice",
    AfterAnother: "any_order",
    UsesHash: "fresh_process_gives_the_same",
    KnowsItsThread: "threads_give_the_same",
    TouchesNumpy: "global_random_state_is_untouched",
    TouchesRandom: "global_random_state_is_untouched",
    IgnoresSplit: "splits_share_no_rows",
    FewMachines: "splits_share_no_machines",
    FewRows: "seeds_share_no_rows",
    SharesFewRows: "splits_share_no_rows",
    AddsIndexToSeed: "seeds_share_no_rows",
    IgnoresSeed: "seeds_share_no_rows",
    IgnoresIndex: "indices_share_no_rows",
    OutOfAlphabet: "tokens_are_in_the_alphabet",
    WrongType: "tokens_have_shape_and_type",
    WrongLength: "tokens_have_shape_and_type",
    NothingScored: "scored_counts_something",
    OnlyFirstScored: "scored_counts_something",
    ScoredAsNumbers: "scored_counts_something",
    MachineAsFloat: "machine_and_info_are_per_row",
    InfoPerToken: "machine_and_info_are_per_row",
    NegativeFloor: "floor_is_a_code_length",
    InfiniteFloor: "floor_is_a_code_length",
    PatchyFloor: "floor_is_a_code_length",
    DoubleFloor: "floor_is_a_code_length",
    FloorOfAWiderAlphabet: "floor_fits_the_alphabet",
    FloorOfNoise: "floor_is_not_beaten",
    FloorOfZero: "floor_is_a_distribution",
    LowFloor: "floor_is_a_distribution",
    HiddenField: "fingerprint_covers_every_field",
    HiddenVersion: "fingerprint_covers_every_field",
    FreshFingerprint: "fingerprint_covers_every_field",
    ForgetfulDict: "spec_round_trip",
    TakenName: "spec_round_trip",
    Thawed: "spec_is_frozen",
    ForgottenDecorator: "spec_is_frozen",
    Undocumented: "spec_is_documented",
    Raises: "writes_blocks",
    Unwritable: "spec_round_trip",
}
