"""From a source's symbols to the ids of a model's vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.errors import SpecError
from uprior.rng import generator
from uprior.spec import Spec, parameter

MAPPINGS = ("identity", "fixed", "per_row", "zipf")


@dataclass(frozen=True)
class Vocabulary(Spec):
    """How the symbols of a source become ids 0..size-1.

    identity   symbol k is id k
    fixed      one random injection for the whole stream
    per_row    a fresh uniform injection for every row: structure without identity
    zipf       a fresh injection for every row that prefers low ids, id r with weight 1 / (r + 1): for vocabularies ranked
               by frequency, as byte-pair encodings are, so that frequent ids are trained most

    A floor stays exact for the predictor that knows the machine and the injection.
    """

    name: ClassVar[str] = "vocabulary"
    size: int = parameter(256, "number of ids in the model's vocabulary", low=2, high=1 << 24)
    mapping: str = parameter("identity", "how symbols become ids", choices=MAPPINGS)

    def fit(self, alphabet_size: int) -> None:
        """Raise SpecError if a source with that alphabet cannot be written in this vocabulary."""
        if alphabet_size > self.size:
            raise SpecError(
                f"the source has {alphabet_size} symbols, the vocabulary {self.size} ids; "
                f"allowed: a vocabulary of at least {alphabet_size}"
            )

    def map_rows(
        self, tokens: NDArray[np.unsignedinteger[Any]], alphabet_size: int, stream_key: str, block_index: int
    ) -> NDArray[np.int64]:
        """[N, T] symbols -> [N, T] ids; a pure function of its arguments."""
        if self.mapping == "identity":
            return tokens.astype(np.int64)
        if self.mapping == "fixed":
            injection = generator(stream_key, "vocabulary").permutation(self.size)[:alphabet_size]
            return np.take(injection, tokens)
        rng = generator(stream_key, "vocabulary", block_index)
        mapped = np.empty(tokens.shape, dtype=np.int64)
        log_weight = -np.log1p(np.arange(self.size)) if self.mapping == "zipf" else np.zeros(self.size)
        for row, symbols in enumerate(tokens):
            # Gumbel keys: the k largest are a weighted draw without replacement. Sorting only the symbols in use keeps a
            # 50,000-entry vocabulary cheap.
            used, position = np.unique(symbols, return_inverse=True)
            keys = log_weight + rng.gumbel(size=self.size)
            best = np.argpartition(-keys, len(used) - 1)[: len(used)]
            mapped[row] = rng.permutation(best)[position]
        return mapped
