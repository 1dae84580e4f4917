"""Text as byte pairs: a tokenizer trained on the training split alone, batches of its ids, and losses back in bits per byte."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uprior.corpora import Corpus
from uprior.data.stream import BatchStream
from uprior.data.vocabulary import Vocabulary
from uprior.errors import CorpusError, SpecError
from uprior.rng import Key, generator
from uprior.types import Batch

# Bytes of text that the tokenizer is given at a time.
CHUNK = 1 << 16


class BytePairs:
    """A byte-level byte-pair encoding of ``vocab`` ids (Sennrich et al. 2016; byte-level as in GPT-2), learnt from a corpus.

    Learnt from the training split and nothing else, so no other split has any say in it; a pure function of that split's bytes
    and of ``vocab`` (257 or more). ``limit_bytes`` (1 or more; None: all) shortens the training split to its first bytes, for
    the tokenizer as for ``ids("train")``: a run on little data must not know the rest through its tokenizer. Other splits
    stay whole. The corpus must be UTF-8; bytes that are not, such as half a character at the end of a split, are left out.
    ``tokenizer`` is a ``tokenizers.Tokenizer``, to be saved with the model. Raises SpecError, CorpusError.
    """

    def __init__(self, corpus: Corpus, vocab: int, *, limit_bytes: int | None = None) -> None:
        if vocab < 257:
            raise SpecError(
                f"byte pairs: vocab = {vocab!r} is not allowed; allowed: 257 or more (256 is bytes: CorpusStream)"
            )
        if limit_bytes is not None and limit_bytes < 1:
            raise SpecError(
                f"byte pairs: limit_bytes = {limit_bytes!r} is not allowed; allowed: 1 or more, or None for all"
            )
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        self.corpus, self.vocab, self.limit_bytes = corpus, vocab, limit_bytes
        self.tokenizer = Tokenizer(models.BPE())
        self.tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self.tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab, show_progress=False, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())
        )
        text = self._text("train")
        self.tokenizer.train_from_iterator((text[i : i + CHUNK] for i in range(0, len(text), CHUNK)), trainer)

    @functools.cache  # noqa: B019  # a handful of splits, as long-lived as the tokenizer
    def ids(self, split: str) -> NDArray[np.int64]:
        """[n] the ids of a split; of "train", those of its first ``limit_bytes`` bytes."""
        return np.array(self.tokenizer.encode(self._text(split)).ids, dtype=np.int64)

    def _text(self, split: str) -> str:
        data = self.corpus.data(split)
        if split == "train":
            data = data[: self.limit_bytes]
        text = data.tobytes().decode("utf-8", "ignore")
        if not text:
            raise CorpusError(f"{self.corpus.label}: the {split} split holds no UTF-8 text; byte pairs are for text")
        return text

    @functools.cached_property
    def bytes_of(self) -> NDArray[np.int64]:
        """[vocab] how many bytes each id stands for: the characters of a byte-level token are bytes."""
        table = np.zeros(self.vocab, dtype=np.int64)
        for token, number in self.tokenizer.get_vocab().items():
            table[number] = len(token)
        return table

    def windows(self, split: str, count: int, context: int, *key: Key) -> NDArray[np.int64]:
        """[W, context] windows of ids of a split at random places, a pure function of the arguments. CorpusError: too short."""
        held = self.ids(split)
        if held.size < context:
            raise CorpusError(
                f"{self.corpus.label}: the {split} split has {held.size:,} tokens, a window needs {context}; "
                "give a longer file or a smaller --context"
            )
        possible = held.size - context + 1
        starts = generator("byte pairs", split, context, *key).choice(possible, count, replace=count > possible)
        found: NDArray[np.int64] = held[starts[:, None] + np.arange(context)]
        return found

    def bits_per_byte(self, nats: NDArray[np.floating[Any]], ids: NDArray[np.int64]) -> float:
        """Bits of all windows over bytes of all windows, from the costs [W, T-1] of tokens 1..T-1 of windows ``ids`` [W, T].

        Comparable between vocabularies. One number for all: windows of equally many tokens hold different numbers of bytes, and
        the mean of their ratios would be another number. Raises SpecError where the shapes do not belong together.
        """
        if ids.ndim != 2 or ids.shape[1] < 2 or nats.shape != (ids.shape[0], ids.shape[1] - 1):
            raise SpecError(
                f"bits_per_byte: nats {list(nats.shape)} of ids {list(ids.shape)} are not allowed; allowed: [W, T-1] of [W, T], "
                "T from 2: the first token of a window is given"
            )
        return float(nats.sum(dtype=np.float64) / np.log(2) / self.bytes_of[ids[:, 1:]].sum())


class TokenStream(BatchStream):
    """Batches of windows of ids at random places of a split, as ``CorpusStream`` has them of bytes.

    To train on less data, shorten what the tokenizer sees too: ``BytePairs(corpus, vocab, limit_bytes=...)``. Raises CorpusError
    where a window does not fit.
    """

    def __init__(
        self, pairs: BytePairs, *, seed: int = 0, batch_size: int = 64, length: int = 256, split: str = "train"
    ) -> None:
        super().__init__(seed=seed, batch_size=batch_size, length=length, split=split)
        self.pairs, self.vocabulary = pairs, Vocabulary(size=pairs.vocab)
        self._ids = pairs.ids(split)
        if self._ids.size < length:
            raise CorpusError(
                f"{pairs.corpus.label}: the {split} split has {self._ids.size:,} tokens, a window needs {length}; "
                "give a longer file or a smaller --context"
            )

    def describe(self) -> dict[str, Any]:
        return {
            "corpus": self.pairs.corpus.to_dict(),
            "byte_pairs": self.pairs.vocab,
            "seed": self.seed,
            "split": self.split,
            "batch_size": self.batch_size,
            "length": self.length,
            "limit_bytes": self.pairs.limit_bytes,
        }

    def batch(self, step: int) -> Batch:
        rng = generator("token stream", self.seed, self.split, step)
        starts = rng.integers(0, self._ids.size - self.length + 1, self.batch_size)
        tokens = self._ids[starts[:, None] + np.arange(self.length)]
        return Batch(tokens, np.ones(tokens.shape, dtype=np.bool_))
