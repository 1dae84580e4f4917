"""Writing a stream's rows to disk, in shards that threads, processes, machines or a Ray cluster share between them."""

from __future__ import annotations

import copy
import json
import math
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from uprior.data import formats, shards
from uprior.data.claims import Claims
from uprior.data.shards import Plan
from uprior.data.stream import BatchStream
from uprior.errors import RunDirectoryError, SpecError

SHARD_TOKENS = 64_000_000
MOST_TOKENS = 10**18
MOST_STEP_TOKENS = 1 << 28  # a batch this large needs several gigabytes while it is made


class Progress(Protocol):
    """What is told how far an export is (``uprior.progress.Reporter`` is one)."""

    def update(self, done: int, numbers: str) -> None:
        """``done`` tokens are written; ``numbers`` is what to say beside."""


@dataclass(frozen=True)
class Exported:
    """What a call of ``export`` did: shards made now, found whole, made anew because damaged; and what all shards hold."""

    out: Path
    format: str
    made: int
    kept: int
    damaged: int  # of those made
    shards: int  # of the whole export, whoever makes them
    missing: int  # of those, still to be made by other processes
    rows: int
    tokens: int
    tokens_made: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        rate = self.tokens_made / self.seconds if self.tokens_made else None
        return asdict(self) | {"out": str(self.out), "tokens_per_second": rate, "complete": self.missing == 0}


def export(
    stream: BatchStream,
    out: str | Path,
    *,
    tokens: int,
    format: str = "bin",
    shard_tokens: int | None = None,
    part: tuple[int, int] = (0, 1),
    workers: int = 1,
    ray: bool = False,
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[int], AbstractContextManager[Progress]] | None = None,
) -> Exported:
    """Write the stream's first rows, at least ``tokens`` tokens of them, into ``out`` as shards; again: make what is missing.

    Row r of the export is row ``r % B`` of ``stream.batch(r // B)``. ``format`` is bin, megatron, nanogpt or parquet (extra
    ``parquet``). A shard holds about ``shard_tokens`` tokens (64 million; nanogpt: all in one file), in whole blocks of the
    stream. ``part`` (i, n): only the shards k with ``k % n == i``. ``workers`` threads write a shard each; with ``ray``
    (extra ``ray``) they are tasks on a cluster whose machines all see ``out``. ``say`` is given lines worth reading,
    ``progress`` the number of tokens to write.

    Raises SpecError, UnknownNameError (format), MissingExtraError, RunDirectoryError (another export in the folder, a
    shard in other hands, a full or read-only disk).
    """
    plan = plan_export(stream, Path(out), tokens=tokens, format=format, shard_tokens=shard_tokens)
    index, count = part
    if not 0 <= index < count:
        raise SpecError(f"export: part = {part} is not allowed; allowed: (i, n) with i from 0 to n - 1")
    if workers < 1:
        raise SpecError(f"export: workers = {workers} is not allowed; allowed: a whole number from 1")
    mine = range(index, plan.shards, count)
    started = time.monotonic()
    with Claims(plan) as claims:
        if not ray:  # Ray's tasks claim their shards themselves, where they run
            claims.take(mine)
        with claims.manifest():
            shards.check_folder(plan)
            shards.write_manifest(plan)
        with ThreadPoolExecutor(workers) as pool:
            found = list(pool.map(lambda k: shards.examine(plan, k, checksums=True)[0], mine))
        wanted = [shard for shard, state in zip(mine, found, strict=True) if state != "complete"]
        damaged = [shard for shard, state in zip(mine, found, strict=True) if state == "damaged"]
        for shard in damaged:
            say(f"{plan.stem(shard)} is damaged (its checksum differs): made anew")
        if wanted and len(wanted) < len(mine):
            say(f"{len(mine) - len(wanted)} of {len(mine)} shards are there; {len(wanted)} to make")
        todo = sum(_tokens(plan, shard) for shard in wanted)
        _check_space(plan, todo)
        try:
            with progress(todo) if progress is not None and wanted else nullcontext() as reporter:
                _make(stream, plan, wanted, workers, ray, _Meter(reporter))
        finally:
            with claims.manifest():
                record = shards.write_manifest(plan)
    missing = sum(shard["state"] != "complete" for shard in record["shards"])
    return Exported(
        plan.out, format, len(wanted), len(mine) - len(wanted), len(damaged), plan.shards, missing, plan.rows, plan.tokens,
        todo, time.monotonic() - started,
    )  # fmt: skip


def plan_export(stream: BatchStream, out: Path, *, tokens: int, format: str, shard_tokens: int | None) -> Plan:
    """What an export will be; raises SpecError for sizes that cannot be."""
    vocab = vocab_of(stream)
    dtype = formats.token_dtype(format, vocab)
    for name, value in (("tokens", tokens), ("shard_tokens", shard_tokens)):
        if value is not None and (type(value) is not int or not 1 <= value <= MOST_TOKENS):
            raise SpecError(
                f"export: {name} = {value!r} is not allowed; allowed: 1 to {MOST_TOKENS:,}, as in 64M or 1B"
            )
    # Whole blocks: then no block is computed for two shards.
    unit = math.lcm(stream.batch_size, getattr(stream, "block_rows", 1))
    if unit * stream.length > MOST_STEP_TOKENS:
        raise SpecError(
            f"{unit:,} rows of {stream.length:,} tokens do not fit in memory at a time; "
            f"allowed: at most {MOST_STEP_TOKENS // unit:,} tokens per row; give a smaller --context"
        )
    rows = -(-tokens // stream.length)
    if shard_tokens is None:
        shard_tokens = tokens if format == "nanogpt" else SHARD_TOKENS
    shard_rows = max(1, round(shard_tokens / (unit * stream.length))) * unit
    if format == "nanogpt" and shard_tokens >= tokens:
        shard_rows = rows
    if rows > shard_rows * shards.MOST_SHARDS:
        enough = -(-tokens // shards.MOST_SHARDS)
        raise SpecError(
            f"{tokens:,} tokens in shards of {shard_rows * stream.length:,} are more than {shards.MOST_SHARDS:,} files; "
            f"give --shard-tokens {-(-enough // 10**6) + 1}M or more"
        )
    described = json.loads(json.dumps(stream.describe()))
    return Plan(out, format, stream.split, dtype, vocab, stream.length, rows, shard_rows, stream.fingerprint, described)


def vocab_of(stream: BatchStream) -> int:
    """How many ids the stream's vocabulary has: bytes, unless it says otherwise."""
    return stream.vocabulary.size


def _tokens(plan: Plan, shard: int) -> int:
    first, stop = plan.rows_of(shard)
    return (stop - first) * plan.length


def _check_space(plan: Plan, tokens: int) -> None:
    """Refuse what cannot fit before hours are spent on it. Parquet is compressed: nobody knows beforehand."""
    needed, free = tokens * np.dtype(plan.dtype).itemsize, shutil.disk_usage(plan.out).free
    if plan.format != "parquet" and needed > free:
        raise RunDirectoryError(
            f"{plan.out} has {free / 1e9:,.1f} GB free, the shards to make need {needed / 1e9:,.1f} GB; "
            "give fewer --tokens, or another --out"
        )


class _Stopped(Exception):
    """Another shard failed, or the user interrupted: no use in going on."""


class _Meter:
    """Counts tokens from many threads, tells the rate, and stops the threads when told to."""

    def __init__(self, reporter: Progress | None) -> None:
        self.reporter, self.done, self.stopped = reporter, 0, threading.Event()
        self.lock, self.started = threading.Lock(), time.monotonic()

    def tick(self, tokens: int) -> None:
        if self.stopped.is_set():
            raise _Stopped
        with self.lock:
            self.done += tokens
            if self.reporter is not None:
                rate = self.done / max(1e-9, time.monotonic() - self.started)
                self.reporter.update(self.done, f"{rate / 1e6:.2f}M tokens/s")


def _make(stream: BatchStream, plan: Plan, wanted: Sequence[int], workers: int, ray: bool, meter: _Meter) -> None:
    if ray:
        from uprior.data.ray_export import make_shards

        with redirect_stdout(sys.stderr):  # Ray prints about lost workers; stdout is for results
            for shard in make_shards(stream, plan, wanted, workers):
                meter.tick(_tokens(plan, shard))
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="uprior-export") as pool:
        # Each shard reads a copy of the stream with a cache of blocks of its own.
        futures = [pool.submit(shards.make_shard, copy.copy(stream), plan, shard, meter.tick) for shard in wanted]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            meter.stopped.set()
            pool.shutdown(cancel_futures=True)
            raise
