"""The contract of a corpus: a frozen spec with bytes behind it, split by position, never decoded."""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.errors import CorpusError, SpecError, unknown_name
from uprior.rng import Key, generator
from uprior.spec import Spec, parameter
from uprior.types import SPLITS

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Corpus(Spec):
    """Real data as one long string of bytes.

    A subclass is a frozen dataclass that sets ``name`` and ``version`` and writes ``_read``. The splits are the first
    ``train_fraction`` of the bytes, the next ``validation_fraction``, and the rest: fixed by position, never by chance, so
    that nobody's test data was somebody else's training data. ``fingerprint`` covers the spec's fields; ``sha256`` the bytes.
    """

    takes_path: ClassVar[bool] = False  # True: what follows NAME: is a path, whatever characters it holds
    train_fraction: float = parameter(0.8, "share of the bytes, from the start, for training", low=0, high=1)
    validation_fraction: float = parameter(
        0.1, "share of the bytes after those; the rest is for testing", low=0, high=1
    )

    def validate(self) -> None:
        if self.train_fraction + self.validation_fraction > 1 + 1e-9:
            self.reject("validation_fraction", f"0 to {1 - self.train_fraction:g} beside the training share")

    @property
    def label(self) -> str:
        """Short name for tables."""
        return self.name

    @property
    def align(self) -> int:
        """Windows start at multiples of this many bytes: 1, unless the data is made of equal rows."""
        return 1

    @property
    def tested_bytes(self) -> int:
        """How many bytes at the end are the test split, where that is fixed; 0: the fractions say it."""
        return 0

    def _read(self) -> Bytes:
        """All the bytes. May raise CorpusError; must not decode, and must give the same bytes every time."""
        raise NotImplementedError(f"{type(self).__name__} does not write _read")

    @functools.cached_property
    def content(self) -> Bytes:
        """[n] uint8, read-only: all the bytes. Raises CorpusError when there are none, or they cannot be read."""
        content = self._read()
        if content.size == 0:
            raise CorpusError(f"{self.label} is empty (0 bytes); give a file with at least a few thousand bytes")
        content.flags.writeable = False
        return content

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 (hex) of the bytes: says whether two runs read the same data."""
        digest, step = hashlib.sha256(), 1 << 24
        for start in range(0, self.content.size, step):
            digest.update(np.ascontiguousarray(self.content[start : start + step]).data)
        return digest.hexdigest()

    def data(self, split: str) -> Bytes:
        """[n] uint8, read-only: the bytes of one split; may be empty. Raises UnknownNameError for another split's name."""
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        start, end = self._bounds(self.content.size)[split]
        return self.content[start:end]

    def _bounds(self, size: int) -> dict[str, tuple[int, int]]:
        before = size - self.tested_bytes
        if self.tested_bytes:  # the two fractions divide what is before it
            share = self.train_fraction / ((self.train_fraction + self.validation_fraction) or 1.0)
            first, second = self._cut(before, share), before
        else:
            first = self._cut(size, self.train_fraction)
            second = max(first, self._cut(size, self.train_fraction + self.validation_fraction))
        return {"train": (0, first), "validation": (first, second), "test": (second, size)}

    def _cut(self, size: int, fraction: float) -> int:
        """The position at this fraction, moved to the start of a row where the data is made of rows."""
        return min(size, round(size * fraction) // self.align * self.align)

    def windows(self, split: str, count: int, context: int, *key: Key) -> Bytes:
        """[W, context] uint8: windows of a split at random starts, a pure function of (bytes, split, count, context, key).

        Raises CorpusError when the split is shorter than one window, and says what would fit.
        """
        data = self.data(split)
        if context >= 2 and data.size < context:
            raise CorpusError(self._too_short(split, data.size, context))
        return windows(data, count, context, ("windows", split, *key), align=self.align)

    def _too_short(self, split: str, held: int, context: int) -> str:
        """What was given, what is needed, what to type."""
        shares = {"train": self.train_fraction, "validation": self.validation_fraction}
        share = round(shares.get(split, 1 - self.train_fraction - self.validation_fraction), 9)
        given = f"{self.label} has {self.content.size:,} bytes, {held:,} of them in its {split} split"
        if self.tested_bytes:
            return f"{given}; a window of {context} is longer; {way_out(held)}"
        if share == 0:
            return f"{given}; give other fractions, as in train_fraction=0.5"
        needed = math.ceil((context + self.align) / share)  # a row more than one window: both cuts may round against us
        return f"{given}; a window of {context} needs at least {needed:,} bytes; {way_out(held)}"


def windows(data: Bytes, count: int, context: int, key: Key | tuple[Key, ...], *, align: int = 1) -> Bytes:
    """[W, context] uint8: ``count`` windows of ``data`` at random starts, keyed by ``key``.

    Starts are multiples of ``align``. No window comes twice before every possible one has come once. Windows may overlap.
    Raises SpecError for count < 1 or context < 2, CorpusError when the data is shorter than one window.
    """
    for name, value, low in (("count", count, 1), ("context", context, 2), ("align", align, 1)):
        if value < low:
            raise SpecError(f"windows: {name} = {value} is not allowed; allowed: a whole number from {low}")
    possible = possible_windows(data.size, context, align)
    if possible < 1:
        raise CorpusError(f"{data.size:,} bytes are shorter than one window of {context}; {way_out(data.size)}")
    parts: tuple[Key, ...] = key if isinstance(key, tuple) else (key,)
    rng = generator("corpora", "windows", *parts)
    rounds = [rng.permutation(possible) for _ in range(count // possible)]
    rest = rng.choice(possible, count % possible, replace=False)
    starts = np.concatenate([*rounds, rest]).astype(np.int64) * align
    out: Bytes = data[starts[:, None] + np.arange(context)]
    return out


def way_out(held: int) -> str:
    """What to type when ``held`` bytes are too few: the largest power of two as context that still fits.

    >>> way_out(90)
    'give --context 64 or a longer file'
    """
    fits = 1 << max(0, held.bit_length() - 1)
    return f"give --context {fits} or a longer file" if fits >= 4 else "give a longer file"


def possible_windows(size: int, context: int, align: int = 1) -> int:
    """How many different windows of ``context`` bytes start at multiples of ``align``.

    >>> possible_windows(10, 4), possible_windows(10, 4, align=3)
    (7, 3)
    """
    return max(0, (size - context) // align + 1) if size >= context else 0
