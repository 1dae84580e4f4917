"""``uprior bench``: the speed of sources, and of training beside other people's loops."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path
from typing import Any

from uprior.terminal import print_json, print_table

# The words after ``uprior bench``; anything else is the name of a source.
WORDS = ("sources", "train", "wait", "memory")


def name_the_bench(argv: list[str]) -> list[str]:
    """``uprior bench NAME`` means ``uprior bench sources NAME``."""
    if argv[:1] == ["bench"] and argv[1:2] not in [[word] for word in (*WORDS, "-h", "--help")]:
        return ["bench", "sources", *argv[1:]]
    return argv


def add_source_arguments(sub: argparse.ArgumentParser, count: Any) -> None:
    """The options of ``uprior bench sources``; ``count`` reads numbers such as 64M."""
    sub.add_argument("what", nargs="*", metavar="NAME", help="sources (all)")
    sub.add_argument("--rows", type=count, default=256, help="rows per block (256)")
    sub.add_argument("--length", type=count, default=256, help="tokens per row (256)")
    sub.add_argument("--threads", type=count, default=1, help="threads that write blocks at once (1)")
    sub.add_argument("--seconds", type=float, default=1.0, help="time for each (1)")
    sub.add_argument("--first-calls", action="store_true", help="time compiling and cached start in fresh processes")
    sub.add_argument(
        "--references", type=Path, help="folder of plain Python references (tests/references, where there is one)"
    )


def add_train_arguments(sub: argparse.ArgumentParser, count: Any) -> None:
    """The options of ``uprior bench train``."""
    sub.add_argument(
        "--model", nargs="+", help="presets (llama-1m llama-5m llama-30m; on a GPU llama-30m, -125m, -350m and -1.3b)"
    )
    sub.add_argument("--source", default="universal", help="what to train on (universal)")
    sub.add_argument("--batch-size", type=count, help="rows per step (32; on a GPU by size of model and card)")
    sub.add_argument("--length", type=count, help="tokens per row (256; on a GPU 1024)")
    sub.add_argument(
        "--only", metavar="NAME,NAME", help="contestants: uprior, trainer, trainer-bf16-compiled, plain (all)"
    )
    sub.add_argument("--rounds", type=count, default=7, help="turns of each contestant (7)")
    sub.add_argument("--steps", type=count, help="steps per turn (what the slowest does in 2 seconds)")
    sub.add_argument("--threads", type=count, help="processor threads of each contestant (their own choice)")
    sub.add_argument("--quiet", action="store_true", help="no progress")


def add_wait_arguments(sub: argparse.ArgumentParser, count: Any) -> None:
    """The options of ``uprior bench wait``."""
    sub.add_argument("what", nargs="*", metavar="NAME", help="sources (all, at their defaults)")
    sub.add_argument("--model", default="llama-1m", help="preset (llama-1m)")
    sub.add_argument("--batch-size", type=count, default=8, help="rows per step (8)")
    sub.add_argument("--length", type=count, default=256, help="tokens per row (256)")
    sub.add_argument("--steps", type=count, default=64, help="steps of training (64)")
    sub.add_argument("--precision", default="auto", help="auto, bfloat16 or float32 (auto)")


def sources(arguments: argparse.Namespace, _: dict[str, str]) -> int:
    from uprior import bench as benchmark
    from uprior import environment, sources
    from uprior.errors import unknown_name

    names = [name for name in arguments.what if name != "sources"]
    for name in names:
        if name not in sources.entries() and difflib.get_close_matches(name, WORDS, cutoff=0.7):
            raise unknown_name("bench", name, WORDS)
        sources.get(name)
    hardware, versions = environment.hardware(), environment.versions()
    if arguments.json:
        print_json([{"machine": hardware | {"versions": versions}}])
    options = {name: getattr(arguments, name) for name in ("rows", "length", "threads", "seconds")}
    rows = []
    for text in benchmark.texts_of(names):
        if not arguments.json:
            _say(text)
        name, _at, preset = text.partition("@")
        record = {"name": name, "preset": preset or None} | benchmark.bench_source(
            sources.get(text), references=arguments.references or benchmark.REFERENCES, **options
        )
        if arguments.first_calls:
            record |= benchmark.first_calls(text)
        if arguments.json:
            print_json([record])
        rows.append([text, *benchmark.cells(record)])
    if not arguments.json:
        print(f"{hardware['processor']}, {hardware['cores']} cores, {arguments.threads} threads")
        started = benchmark.FIRST_CALL_COLUMNS if arguments.first_calls else ()
        print_table(["source", *benchmark.COLUMNS, *started], rows)
    return 0


def train(arguments: argparse.Namespace, _: dict[str, str]) -> int:
    """Exit status 1 where no contestant of some model came to its end."""
    from uprior.bench import train as benchmark
    from uprior.errors import unknown_name
    from uprior.models import PRESETS

    only = None if arguments.only is None else arguments.only.split(",")
    options = {name: getattr(arguments, name) for name in ("source", "rounds", "steps", "threads")}
    models, status = arguments.model or benchmark.default_models(), 0
    for model in models:
        if model not in PRESETS:
            raise unknown_name("model", model, PRESETS)
    for model in models:
        batch_size, length = benchmark.default_shape(model)
        records = benchmark.bench_training(
            model, batch_size=arguments.batch_size or batch_size, length=arguments.length or length, only=only,
            tell=_silence if arguments.quiet else _say, **options,
        )  # fmt: skip
        done = [record for record in records if record["error"] is None]
        status = status if done else 1
        if arguments.json:
            print_json(records)
            continue
        print("\n".join(benchmark.headline(records)))
        if done:
            print_table(["", *benchmark.COLUMNS], [[record["contestant"], *benchmark.cells(record)] for record in done])
        for record in records:
            if record["error"] is not None:
                print(f"{record['contestant']}: {record['error']}")
        print(flush=True)
    return status


def wait(arguments: argparse.Namespace, _: dict[str, str]) -> int:
    """Exit status 1 where training on some source waits longer than the bar allows."""
    from uprior import sources
    from uprior.bench import wait as benchmark
    from uprior.train.threads import settle

    settle(arguments.threads)
    options = {name: getattr(arguments, name) for name in ("model", "batch_size", "length", "steps", "precision")}
    rows, missed = [], []
    for name in arguments.what or list(sources.entries()):
        record = benchmark.bench_wait(sources.get(name), **options)
        if arguments.json:
            print_json([{"name": name} | record])
        rows.append([name, *benchmark.cells(record)])
        missed += [name] if record["data_wait_share"] >= benchmark.BAR else []
    if not arguments.json:
        print_table(["source", *benchmark.COLUMNS], rows)
        print(f"waits of {100 * benchmark.BAR:g} % or more: {', '.join(missed) or 'none'}")
    return 1 if missed else 0


def memory(arguments: argparse.Namespace, _: dict[str, str]) -> int:
    """Exit status 1 where memory grows with time, with the length of what lies on the disk, or too much with the vocabulary."""
    import tempfile

    from uprior.bench import memory as benchmark

    records = []
    if arguments.seconds:
        records.append(benchmark.bench_run(arguments.seconds, model=arguments.model, tell=_say))
    with tempfile.TemporaryDirectory() as folder:
        records += benchmark.bench_corpus(arguments.bytes, Path(folder))
    if arguments.vocab:
        records.append(benchmark.bench_loss(arguments.vocab))
    if arguments.json:
        print_json(records)
    else:
        texts = {"run": "{steps:,} steps", "corpus": "shards of {bytes:,} bytes", "loss": "loss over {vocab:,} ids"}
        names = [texts[record["what"]].format(**record) for record in records]
        print_table(["", *benchmark.COLUMNS], [[n, *benchmark.cells(r)] for n, r in zip(names, records, strict=True)])
    return 0 if all(record["flat"] for record in records) else 1


def add_memory_arguments(sub: argparse.ArgumentParser, count: Any) -> None:
    """The options of ``uprior bench memory``."""
    sub.add_argument("--seconds", type=float, default=600.0, help="length of the run; 0 for none (600)")
    sub.add_argument("--model", default="llama-tiny", help="preset (llama-tiny)")
    sub.add_argument(
        "--bytes", type=count, nargs="*", default=[10**7, 10**9], help="sizes of shard folders to read (10M 1B)"
    )
    sub.add_argument("--vocab", type=count, default=50_257, help="ids of the loss; 0 for none (50,257)")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _silence(_: str) -> None:
    pass
