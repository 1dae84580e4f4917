"""Streams: endless, seekable sequences of batches. ``batch(step)`` is a pure function; the state is one integer.

Threads compute blocks ahead of the training step (kernels release the GIL), so training does not wait for data, and no
number of threads, workers or micro-batches changes which samples are in a step.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Generator, Mapping
from concurrent.futures import Future
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from uprior import sources
from uprior.corpora import Corpus
from uprior.data.ahead import Ahead
from uprior.data.batches import gather, take
from uprior.data.batches import share as share
from uprior.data.vocabulary import Vocabulary
from uprior.errors import CorpusError, SourceError, SpecError, UpriorError, place_of
from uprior.rng import generator
from uprior.sources import Source
from uprior.types import SPLITS, Batch


class BatchStream:
    """Base of streams: batch ``step`` for every step >= 0, ahead-of-time computing, and the views trainers expect.

    ``patience`` is how long a batch may be waited for, in seconds without any progress, before the wait ends in a
    SourceError; set it where blocks take longer. It is no part of what the stream is. ``vocabulary``: of the ids in its batches.
    """

    patience: float = 600.0
    vocabulary: Vocabulary = Vocabulary()  # bytes, unless a stream says otherwise

    def __init__(self, *, seed: int, batch_size: int, length: int, split: str) -> None:
        for name, value, low in (("seed", seed, 0), ("batch_size", batch_size, 1), ("length", length, 2)):
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise SpecError(f"stream: {name} = {value!r} is not allowed; allowed: a whole number from {low}")
        if split not in SPLITS:
            raise SpecError(f"stream: split = {split!r} is not allowed; allowed: {', '.join(SPLITS)}")
        self.seed, self.batch_size, self.length, self.split = seed, batch_size, length, split

    def batch(self, step: int) -> Batch:
        """The batch of a step: a pure function of (stream, step)."""
        raise NotImplementedError(f"{type(self).__name__} writes no batches")

    def rows(self, numbers: NDArray[np.integer[Any]]) -> Batch:
        """Rows by number, in any order: row j is row ``j % batch_size`` of batch ``j // batch_size``; j >= 0."""
        return gather(numbers, self.batch_size, lambda step, places: take(self.batch(step), places))

    def describe(self) -> dict[str, Any]:
        """Plain JSON values from which the same stream can be made again."""
        raise NotImplementedError(f"{type(self).__name__} does not describe itself")

    @property
    def tokens_per_step(self) -> int:
        """Tokens in a batch, the given first ones included; in the largest one where batches grow."""
        return self.batch_size * self.length

    def rows_before(self, step: int) -> int:
        """Rows of all batches before ``step``."""
        return step * self.batch_size

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the description: equal fingerprints mean equal batches."""
        return hashlib.sha256(repr(sorted(self.describe().items())).encode()).hexdigest()

    def batches(
        self, start: int = 0, stop: int | None = None, *, threads: int | None = None, ahead: int | None = None
    ) -> Generator[Batch, None, None]:
        """Batches ``start, start + 1, ...`` in order, computed by background threads, which begin at once.

        ``threads``: how many; None is one, and more while batches come late and there are processors. ``ahead``: how many
        batches may be at work; None is enough for every thread to have a block. Neither changes a batch. What goes wrong in a
        thread is raised here, and SourceError when nothing moves for ``patience`` seconds.
        """
        batches = self._batches(start, stop, threads, ahead)
        next(batches)
        return cast(Generator[Batch, None, None], batches)  # the None was the first

    def _batches(
        self, start: int, stop: int | None, threads: int | None, ahead: int | None
    ) -> Generator[Batch | None, None, None]:
        with Ahead(self, start, stop, threads, ahead) as pending:
            yield None  # at work before the first batch is asked for
            yield from pending

    @property
    def steps_per_part(self) -> float:
        """For how many steps a part is enough; 0 for streams without parts, whose batches are made directly."""
        return 0.0

    def parts(self, step: int) -> range:
        """What has to be prepared for a step, by number: pieces of work that can be done at the same time."""
        return range(0)

    def parts_of_rows(self, first: int, stop: int) -> range:
        """The same for rows ``first..stop - 1`` by number, of which there is one at least: what a stream of streams asks for."""
        return range(self.parts(first // self.batch_size).start, self.parts((stop - 1) // self.batch_size).stop)

    def prepare(self, part: int) -> None:
        """Do that work, so that ``batch`` is quick."""

    def hold(self, parts: int) -> None:
        """Keep at least so many prepared parts."""

    def progress(self) -> int:
        """A count that grows while a batch is on its way, and stands still when whatever writes it hangs."""
        return 0

    def at_work(self) -> str:
        """What is being written at this moment, for the message about a hang."""
        return f"{type(self).__name__}, seed {self.seed}, split {self.split}"

    def hashes(self, step: int) -> list[str]:
        """A short hash of every row of a step: what tests compare to show that two runs saw the same samples."""
        return [hashlib.sha256(row.tobytes()).hexdigest()[:16] for row in self.batch(step).tokens]

    def torch_dataset(
        self, start: int = 0, stop: int | None = None, *, rank: int = 0, world_size: int = 1, rows: bool = False
    ) -> Any:
        """A torch ``IterableDataset`` of dicts {input_ids, labels} from step ``start`` on, for any trainer's DataLoader.

        One item is one step, for ``DataLoader(dataset, batch_size=None, num_workers=...)``; or, with ``rows=True``, one row,
        for trainers that collate themselves. ``rank`` of ``world_size`` gets its share of every step. To resume, pass the
        trainer's own step count as ``start``: it costs nothing, and no prefetching worker can be ahead of it.
        """
        from uprior.data.torch_view import RowView, TorchView

        view = TorchView(self, start, stop, rank=rank, world_size=world_size)
        return RowView(view) if rows else view

    def random_access(self, steps: int) -> Any:
        """The rows of the first ``steps`` steps by number, as Grain (and anything with ``len`` and ``[i]``) reads them."""
        from uprior.data.random_access import RowSource

        return RowSource(self, steps)

    def torch_rows(self, steps: int) -> Any:
        """The same rows as a map-style torch dataset. Pass ``sampler=range(row, len(dataset))``: order, and O(1) resume."""
        from uprior.data.torch_view import TorchRows

        return TorchRows(self, steps)


class Stream(BatchStream):
    """Batches written by a source (or a mixture, which is one too).

    Row j of the stream is row ``j % block_rows``, in a random order, of block ``j // block_rows``: a batch holds rows of
    many machines. ``block_rows`` is how many rows are generated at a time (default: 256, or the batch if larger); it is
    part of what the stream is. ``vocab`` is the size of the model's vocabulary (identity map) or a Vocabulary.

    >>> from uprior.sources import Uniform
    >>> stream = Stream(Uniform(), seed=0, batch_size=2, length=4, vocab=256)
    >>> stream.batch(7).tokens.shape
    (2, 4)
    """

    def __init__(
        self,
        source: Source,
        *,
        seed: int = 0,
        batch_size: int = 64,
        length: int = 256,
        vocab: int | Vocabulary = 256,
        split: str = "train",
        block_rows: int | None = None,
    ) -> None:
        super().__init__(seed=seed, batch_size=batch_size, length=length, split=split)
        self.source = source
        self.vocabulary = Vocabulary(size=vocab) if isinstance(vocab, int) else vocab
        self.vocabulary.fit(source.alphabet_size)
        self.block_rows = max(256, batch_size) if block_rows is None else block_rows
        if self.block_rows < 1:
            raise SpecError(f"stream: block_rows = {block_rows!r} is not allowed; allowed: a whole number from 1")
        self._key = f"{source.fingerprint}/{seed}/{split}"
        self._blocks: OrderedDict[int, Future[_MappedBlock]] = OrderedDict()
        self._held = 4
        self._lock = threading.Lock()
        self._writing: set[int] = set()
        self._written = 0

    def describe(self) -> dict[str, Any]:
        return {
            "source": self.source.to_dict(),
            "seed": self.seed,
            "split": self.split,
            "batch_size": self.batch_size,
            "length": self.length,
            "vocab": self.vocabulary.to_dict(),
            "block_rows": self.block_rows,
        }

    @classmethod
    def from_description(cls, data: Mapping[str, Any]) -> Stream:
        """The stream that ``describe`` recorded."""
        vocab = {k: v for k, v in data["vocab"].items() if k not in ("name", "version")}
        options = {key: data[key] for key in ("seed", "split", "batch_size", "length", "block_rows")}
        return cls(sources.revive(data["source"]), vocab=Vocabulary(**vocab), **options)

    def batch(self, step: int) -> Batch:
        if step < 0:
            raise SpecError(f"stream: step = {step} is not allowed; allowed: a whole number from 0")
        return self.rows(np.arange(self.rows_before(step), self.rows_before(step + 1)))

    def rows(self, numbers: NDArray[np.integer[Any]]) -> Batch:
        return gather(numbers, self.block_rows, lambda index, places: self._block(index).rows(places))

    @property
    def steps_per_part(self) -> float:
        return self.block_rows / self.batch_size

    def parts(self, step: int) -> range:
        return self.parts_of_rows(self.rows_before(step), self.rows_before(step + 1))

    def parts_of_rows(self, first: int, stop: int) -> range:
        return range(first // self.block_rows, -(-stop // self.block_rows))

    def prepare(self, part: int) -> None:
        self._block(part)

    def hold(self, parts: int) -> None:
        self._held = max(self._held, parts)

    def _block(self, index: int) -> _MappedBlock:
        """The block, computed once even when several threads want it, and kept while the next few are in use."""
        with self._lock:
            future = self._blocks.get(index)
            mine = future is None
            if future is None:
                future = self._blocks[index] = Future()
                while len(self._blocks) > self._held:
                    self._blocks.popitem(last=False)
        if mine:
            try:
                future.set_result(self._make_block(index))
            except BaseException as error:
                with self._lock:
                    self._blocks.pop(index, None)
                future.set_exception(error)
        return future.result()

    def progress(self) -> int:
        return self._written

    def at_work(self) -> str:
        with self._lock:
            blocks = ", ".join(map(str, sorted(self._writing))) or "none"
        return f"source {self.source.name}, seed {self.seed}, split {self.split}, block {blocks}"

    def _make_block(self, index: int) -> _MappedBlock:
        with self._lock:
            self._writing.add(index)
        try:
            return self._write_block(index)
        except UpriorError:
            raise  # says already what to change
        except (Exception, SystemExit) as error:
            raise SourceError(
                f"source {self.source.name} failed at seed {self.seed}, split {self.split}, block {index} "
                f"({self.block_rows} x {self.length}): {type(error).__name__}: {error} {place_of(error)}"
            ) from error
        finally:
            with self._lock:
                self._writing.discard(index)
                self._written += 1

    def _write_block(self, index: int) -> _MappedBlock:
        block = self.source.block(self.seed, index, rows=self.block_rows, length=self.length, split=self.split)
        tokens = self.vocabulary.map_rows(block.tokens, self.source.alphabet_size, self._key, index)
        order = generator(self._key, "row order", index).permutation(self.block_rows)
        return _MappedBlock(tokens, block.scored, block.floor_nats, order)

    def __getstate__(self) -> dict[str, Any]:
        """A worker process gets the stream without its cache (a lock cannot travel)."""
        return {**self.__dict__, "_blocks": None, "_lock": None, "_writing": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _blocks=OrderedDict(), _lock=threading.Lock(), _writing=set())


class _MappedBlock:
    """A block in the model's vocabulary, its rows in the stream's order."""

    def __init__(
        self,
        tokens: NDArray[np.int64],
        scored: NDArray[np.bool_] | None,
        floor_nats: NDArray[np.float32] | None,
        order: NDArray[np.int64],
    ) -> None:
        self.tokens, self.scored, self.floor_nats, self.order = tokens, scored, floor_nats, order

    def rows(self, positions: NDArray[np.integer[Any]]) -> Batch:
        chosen = self.order[positions]
        tokens = self.tokens[chosen]
        scored = np.ones(tokens.shape, dtype=np.bool_) if self.scored is None else self.scored[chosen]
        return Batch(tokens, scored, None if self.floor_nats is None else self.floor_nats[chosen])


class CorpusStream(BatchStream):
    """Batches of real data: windows of ``length`` bytes at random places of a split of a corpus.

    The places are a pure function of (seed, split, step). ``limit_bytes`` shortens the data to its first bytes, to ask
    how little of it is enough; windows then repeat as often as the budget makes them.
    """

    def __init__(
        self,
        corpus: Corpus,
        *,
        seed: int = 0,
        batch_size: int = 64,
        length: int = 256,
        split: str = "train",
        limit_bytes: int | None = None,
    ) -> None:
        super().__init__(seed=seed, batch_size=batch_size, length=length, split=split)
        self.corpus, self.limit_bytes = corpus, limit_bytes
        data = corpus.data(split)
        self._data = data if limit_bytes is None else data[:limit_bytes]
        if len(self._data) < length:
            raise CorpusError(
                f"{corpus.label}: the {split} split has {len(self._data)} bytes, a window needs {length}; "
                "give a longer file or a smaller --context"
            )

    def describe(self) -> dict[str, Any]:
        return {
            "corpus": self.corpus.to_dict(),
            "seed": self.seed,
            "split": self.split,
            "batch_size": self.batch_size,
            "length": self.length,
            "limit_bytes": self.limit_bytes,
        }

    def batch(self, step: int) -> Batch:
        rng = generator("corpus stream", self.seed, self.split, step)
        starts = rng.integers(0, len(self._data) - self.length + 1, self.batch_size)
        tokens = self._data[starts[:, None] + np.arange(self.length)].astype(np.int64)
        return Batch(tokens, np.ones(tokens.shape, dtype=np.bool_))
