"""Is memory flat: over a long run, whatever the length of the data on disk, and with a large vocabulary?"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from uprior.data.export import export
from uprior.data.shard_stream import read_shards
from uprior.data.stream import Stream
from uprior.errors import SpecError
from uprior.host import peak_resident_bytes
from uprior.sources.uniform import Uniform

# Growth from the second quarter of a run to its last that counts as flat, in MB: what an allocator moves to and fro.
FLAT_MB = 16.0
CONTEXT = 64
# Seconds of a run: four samples in each of four quarters.
SHORTEST = 8.0


def resident_mb() -> float:
    """This process's resident memory now, 10^6 bytes (Linux)."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def bench_run(
    seconds: float, *, model: str = "llama-tiny", every: int = 100, tell: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Trains with the real loop, a checkpoint and an evaluation every ``every`` steps, for ``seconds`` after the first of them.

    Resident memory is sampled twice a second. ``growth_mb`` is the median of the last quarter of the samples less that of the
    second (the first fills caches); ``mb_per_1000_steps`` is the same per step, by all samples from the
    second quarter on.
    """
    if seconds < SHORTEST:
        raise SpecError(
            f"bench memory: --seconds {seconds:g} is not allowed; allowed: 0 for no run, or {SHORTEST:g} and more"
        )
    from uprior import corpora, evals  # here, as a process that reads shards is to hold nothing else
    from uprior.models.sizes import build
    from uprior.sources.universal import Universal
    from uprior.train import Training, fit

    samples: list[tuple[int, float]] = []
    stream = Counting(Universal(), batch_size=8, length=CONTEXT)
    panel = corpora.get("python_stdlib")
    evaluations, over = 0, threading.Event()

    def evaluate(trained: Any, _step: int) -> list[dict[str, Any]]:
        nonlocal evaluations
        evaluations += 1
        found = evals.evaluate(
            [evals.ModelPredictor(trained)], panel, context=CONTEXT, positions=16, seed=0, split="test"
        )
        return list(found)

    def sample() -> None:
        while evaluations < 2 and not over.wait(0.1):
            pass  # what is compiled and opened for the first time is there after the first checkpoint and evaluation
        end, told = time.monotonic() + seconds, 0
        while not over.wait(0.5) and time.monotonic() < end:
            samples.append((stream.asked, resident_mb()))
            if len(samples) >= told + 20:
                told = len(samples)
                tell(f"step {samples[-1][0]:,}  {samples[-1][1]:.1f} MB")
        if not over.is_set():
            signal.raise_signal(signal.SIGINT)  # the loop saves, and ends

    steps = 10**6
    with tempfile.TemporaryDirectory() as folder:
        watch = threading.Thread(target=sample, daemon=True)
        watch.start()
        result = fit(
            build(model, context=CONTEXT),
            stream,
            Training(steps=steps, checkpoint_every=every),
            Path(folder) / "run",
            evaluate=evaluate,
            evaluate_at=frozenset(range(0, steps, every)),
            show=False,
        )
        over.set()
        watch.join()
    quarter = max(1, len(samples) // 4)
    second, last = samples[quarter : 2 * quarter], samples[-quarter:]
    growth = statistics.median(mb for _, mb in last) - statistics.median(mb for _, mb in second)
    slope = statistics.linear_regression(*zip(*samples[quarter:], strict=True)).slope
    return {
        "what": "run",
        "model": model,
        "seconds": round(seconds, 1),
        "steps": result.steps,
        "checkpoints": result.steps // every + 1,
        "evaluations": evaluations,
        "resident_mb": round(samples[-1][1], 1),
        "peak_mb": round(max(mb for _, mb in samples), 1),
        "growth_mb": round(growth, 1),
        "mb_per_1000_steps": round(slope * 1000, 3),
        "flat": growth < FLAT_MB,
    }


class Counting(Stream):
    """Knows how far it was read."""

    asked = 0

    def batch(self, step: int) -> Any:
        self.asked = step
        return super().batch(step)


# What a fresh process runs, so that nothing else counts: every row of a folder, once, in order and then from all over.
_READ = """
import json, sys
from pathlib import Path
from uprior.bench.memory import read_all
print(json.dumps(read_all(Path(sys.argv[1]))))
"""


def bench_corpus(sizes: list[int], folder: Path) -> list[dict[str, Any]]:
    """One record for a shard folder of every size (bytes): the resident memory of a fresh process that reads all of it.

    ``growth_mb`` is how much more that process has than the one of the first, smallest size.
    """
    records: list[dict[str, Any]] = []
    for size in sorted(sizes):
        out = folder / f"shards-{size}"
        export(Stream(Uniform(), batch_size=256, length=1024), out, tokens=size, shard_tokens=1 << 28)
        done = subprocess.run([sys.executable, "-c", _READ, str(out)], capture_output=True, text=True, check=True)
        record = {"what": "corpus", "bytes": size} | json.loads(done.stdout.splitlines()[-1])
        growth = record["peak_mb"] - records[0]["peak_mb"] if records else 0.0
        records.append(record | {"growth_mb": round(growth, 1), "flat": growth < FLAT_MB})
    return records


def read_all(folder: Path) -> dict[str, Any]:
    """Read every row of a shard folder as batches, then as many rows from all over; the most memory that took."""
    stream = read_shards(folder, batch_size=64)
    rng, before = np.random.Generator(np.random.Philox(0)), resident_mb()
    steps, total, peak = len(stream) // stream.batch_size, 0, before
    for batch in stream.batches(0, steps):
        total, peak = total + int(batch.tokens.sum()), max(peak, resident_mb())
    for _ in range(min(steps, 2000)):
        stream.rows(rng.integers(0, len(stream), stream.batch_size))
        peak = max(peak, resident_mb())
    return {"rows": len(stream), "sum": total, "before_mb": round(before, 1), "peak_mb": round(peak, 1)}


# Forward and backward pass of the loss alone, in a fresh process, as its peak cannot be reset.
_LOSS = """
import json, sys
from uprior.bench.memory import loss_peak
print(json.dumps(loss_peak(sys.argv[1], *map(int, sys.argv[2:]))))
"""
# What a loss over a vocabulary of 50,000 may need at most, of what it needs where all logits stand in memory.
LOSS_BAR = 0.25


def bench_loss(vocab: int = 50_257, *, rows: int = 16, length: int = 256, width: int = 256) -> dict[str, Any]:
    """Peak memory and seconds of the loss of ``rows`` x ``length`` tokens: with whole logits, and in parts as the loop does it.

    ``peak_mb`` is what is needed above hidden states and weights, gradients included; ``share`` is that of ``whole_mb``.
    """
    found = {}
    for way in ("whole", "parts"):
        words = [sys.executable, "-c", _LOSS, way, *map(str, (vocab, rows, length, width))]
        found[way] = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    share = found["parts"]["mb"] / found["whole"]["mb"]
    return {
        "what": "loss",
        "vocab": vocab,
        "tokens": rows * length,
        "peak_mb": found["parts"]["mb"],
        "whole_mb": found["whole"]["mb"],
        "share": round(share, 4),
        "seconds": found["parts"]["seconds"],
        "whole_seconds": found["whole"]["seconds"],
        "flat": share < LOSS_BAR,
    }


def loss_peak(way: str, vocab: int, rows: int, length: int, width: int) -> dict[str, float]:
    """{mb, seconds} of one loss and its gradients, from float32 weights and hidden states as training has them on this machine.

    So they are float32 where bfloat16 is emulated, and bfloat16 elsewhere.
    """
    import torch

    from uprior.train.hardware import resolve_precision
    from uprior.train.loss import readout_scored_sum, scored_sum

    dtype = torch.bfloat16 if resolve_precision("auto", torch.device("cpu")) == "bfloat16" else torch.float32
    hidden = torch.randn(rows, length, width).to(dtype).requires_grad_()
    weight = (torch.randn(vocab, width) / width**0.5).requires_grad_()
    tokens, scored = torch.randint(0, vocab, (rows, length)), torch.ones(rows, length, dtype=torch.bool)
    before, started = resident_mb(), time.perf_counter()
    if way == "whole":
        loss, _ = scored_sum(hidden @ weight.to(dtype).t(), tokens, scored)
    else:
        loss, _ = readout_scored_sum(hidden, weight, tokens, scored)
    torch.autograd.backward(loss)
    seconds = time.perf_counter() - started
    return {"mb": round(peak_resident_bytes() / 1e6 - before, 1), "seconds": round(seconds, 2)}


COLUMNS = ("resident MB", "growth MB", "flat")


def cells(record: dict[str, Any]) -> list[str]:
    """A record of this file as the cells of a table, in the order of COLUMNS."""
    if record["what"] == "loss":
        return [f"{record['peak_mb']:.1f}", f"{100 * record['share']:.0f} % of whole logits", _yes(record["flat"])]
    held = record["resident_mb"] if record["what"] == "run" else record["peak_mb"]
    return [f"{held:.1f}", f"{record['growth_mb']:+.1f}", _yes(record["flat"])]


def _yes(flat: bool) -> str:
    return "yes" if flat else "NO"
