"""Small runs on several processes, which talk over gloo as those that torchrun starts do, and what to compare of them."""

import hashlib
import itertools
import json
import os
import signal

import numpy as np
import torch
from process_server import CONTEXT, free_port, ranked, start
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from uprior.data import Stream
from uprior.errors import UpriorError
from uprior.files import read_lines
from uprior.models import build
from uprior.models.presets import PRESETS, config_of
from uprior.sources import Mixture, Pointwise, Uniform
from uprior.train import Training, fit, loop
from uprior.train.distributed import ALONE, processes
from uprior.train.journal import Journal
from uprior.types import Batch

SETTINGS = {"steps": 9, "learning_rate": 3e-3, "warmup_steps": 2, "checkpoint_every": 4, "precision": "float32"}


class Uneven(Stream):
    """A stream whose rows score unequally many tokens, and some whose floor is unknown: a mean of means would differ."""

    def batch(self, step):
        batch = super().batch(step)
        scored, floor = batch.scored.copy(), batch.floor_nats.copy()
        scored[: len(scored) // 3, 5:] = False
        floor[-1] = np.nan
        return Batch(batch.tokens, scored, floor)


def stream(**options):
    source = Mixture(sources=(Pointwise(max_symbols=4), Uniform()), shares=(3, 1))
    return Uneven(source, **({"seed": 0, "batch_size": 8, "length": 16, "block_rows": 64} | options))


def tiny(dropout=0.0):
    if not dropout:
        return build("llama-tiny", context=16)
    config = config_of(PRESETS["gpt2-tiny"], 256, 16)
    config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = dropout
    torch.manual_seed(1)
    return AutoModelForCausalLM.from_config(config)


def evaluator(model, step):
    with torch.inference_mode():
        return [{"file": "x", "bits_mean": float(model(input_ids=torch.arange(8)[None]).logits.square().mean())}]


def train(path, group=ALONE, *, parallel="auto", at=None, rank=0, how="SIGTERM", dropout=0.0, rows=8, **changes):
    """One run of the loop, in this process; ``at`` a step this process ``rank`` sends itself a signal. Notes what it saw."""
    taken, share = Journal.taken, loop.share

    def deadly(journal, step, *rest, **more):
        taken(journal, step, *rest, **more)
        if step == at and group.rank == rank:
            os.kill(os.getpid(), getattr(signal, how))

    def noted(batch, rank, size):
        own = share(batch, rank, size)
        hashes = [hashlib.sha256(row.tobytes()).hexdigest()[:16] for row in own.tokens]
        with (path / f"samples-{rank}.jsonl").open("a") as file:
            file.write(json.dumps(hashes) + "\n")
        return own

    Journal.taken, loop.share = deadly, noted
    path.mkdir(parents=True, exist_ok=True)
    try:
        return fit(
            tiny(dropout), stream(batch_size=rows), Training(**(SETTINGS | changes)), path, evaluate=evaluator,
            evaluate_at=frozenset({0, 4, 9}), show=False, group=group, parallel=parallel,
        )  # fmt: skip
    finally:
        Journal.taken, loop.share = taken, share


def samples(path, size):
    """The hashes of the rows that all processes saw together, step by step."""
    each = [[json.loads(line) for line in (path / f"samples-{r}.jsonl").read_text().splitlines()] for r in range(size)]
    assert len({len(steps) for steps in each}) == 1
    return [list(itertools.chain(*rows)) for rows in zip(*each, strict=True)]


# ------------------------------------------------------------------ processes


def _child(work, rank, size, port, told, arguments, options):
    os.environ |= ranked(rank, size, port)
    torch.set_num_threads(1)
    try:
        with processes() as group:
            told.put((rank, work(*arguments, group=group, **options)))
    except UpriorError as error:
        told.put((rank, error))
        told.close()
        told.join_thread()
        os._exit(2)


def together(size, work, *arguments, **options):
    """What ``work(*arguments, group=...)`` gave in each of ``size`` processes: a result, a UpriorError, or an exit status."""
    port = free_port()
    told = CONTEXT.Queue()
    children = [start(_child, work, rank, size, port, told, arguments, options) for rank in range(size)]
    for child in children:
        child.join(60)
        assert child.exitcode is not None, "a process hangs"
    answers = {}
    while not told.empty():
        rank, answer = told.get()
        answers[rank] = answer
    return [answers.get(rank, child.exitcode) for rank, child in enumerate(children)]


def conclude(path, size, **options):
    results = together(size, train, path, **options)
    assert all(isinstance(result, loop.Result) for result in results), results
    assert len(set(results)) == 1
    return results[0]


def several_runs(root, group):
    for way in ("ddp", "fsdp"):
        train(root / f"{way}-{group.size}", group, parallel=way)
    if group.size == 3:
        train(root / "micro", group, parallel="ddp", micro_batch=2)  # shares of 2, 3 and 3 rows, in two passes each


# ------------------------------------------------------------------ what came of them


def log_of(path, event="train"):
    return [line for line in read_lines(path / "log.jsonl") if line["event"] == event]


def largest_difference(path, other, event, field):
    pairs = list(zip(log_of(path, event), log_of(other, event), strict=True))
    assert len(pairs) == (9 if event == "train" else 3)
    return max(abs(a[field] - b[field]) for a, b in pairs)


def weights(path):
    return {name: tensor for file in (path / "model").glob("*.safetensors") for name, tensor in load_file(file).items()}
