"""The command line: thin, and quick to answer ``--help`` (nothing heavy is imported before it is needed).

Results go to stdout, progress to stderr. ``--json`` prints one JSON object per line. Exit status: 0 done, 1 a check failed,
2 bad input (one line says what to type), 130 interrupted (and saved).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from uprior.errors import SpecError, UpriorError, unknown_name
from uprior.terminal import print_comparison, print_json, print_records, print_table

Handler = Callable[[argparse.Namespace, dict[str, str]], int]


class _Parser(argparse.ArgumentParser):
    """argparse with one-line errors that end in what to type."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"uprior: error: {message}; type: {self.prog} --help\n")
        raise SystemExit(2)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the ``uprior`` program."""
    # GNU OpenMP's threads spin while they wait for each other; beside any other busy process that made training four times
    # slower (docs/LOG.md). It is read when torch is loaded, which no command has done yet.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    try:
        status = _run(list(sys.argv[1:] if argv is None else argv))
    except UpriorError as error:
        sys.stderr.write(f"uprior: error: {error}\n")
        status = 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was saved is intact: type the same command to go on\n")
        status = 130
    except BrokenPipeError:  # the reader of our output (head, less) left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    raise SystemExit(status)


def _run(argv: list[str]) -> int:
    parser, commands = _make_parser()
    if not argv:
        parser.print_help()
        return 0
    if not argv[0].startswith("-") and argv[0] not in commands:
        raise unknown_name("command", argv[0], commands)
    arguments, rest = parser.parse_known_args(argv)
    options = _read_options(rest, arguments)
    handler: Handler = arguments.handler
    return handler(arguments, options)


def _read_options(rest: list[str], arguments: argparse.Namespace) -> dict[str, str]:
    """``--field value`` pairs of a source, where a command takes a source; elsewhere an unknown option is an error."""
    if rest and not arguments.takes_source_options:
        known = [name for action in arguments.parser._actions for name in action.option_strings]
        if rest[0].startswith("-"):
            raise unknown_name(f"option of {arguments.parser.prog}", rest[0].partition("=")[0], known)
        raise SpecError(f"unexpected argument '{rest[0]}'; type: {arguments.parser.prog} --help")
    options: dict[str, str] = {}
    words = [part for word in rest for part in (word.split("=", 1) if word.startswith("--") else [word])]
    for key, value in zip(words[::2], [*words[1::2], ""], strict=False):
        if not key.startswith("--") or value == "":
            raise SpecError(f"cannot read the source's option '{key}'; write --field value")
        options[key[2:]] = value
    return options


def _make_parser() -> tuple[argparse.ArgumentParser, list[str]]:
    parser = _Parser(prog="uprior", description="Pre-train on random computation and measure what that buys.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(
        name: str, handler: Handler, text: str, *, as_json: bool = False, source_options: bool = False
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(handler=handler, parser=sub, takes_source_options=source_options)
        if as_json:
            sub.add_argument("--json", action="store_true", help="one JSON object per line, for programs")
        return sub

    command("sources", _sources, "what there is, one line each", as_json=True)

    show = command("show", _show, "rows of a source to look at, with its measures", as_json=True, source_options=True)
    show.epilog = "Further options are the source's own fields, as in: uprior show random_lstm --hidden 32"
    show.add_argument("source", help="name, name@preset, name:field=value,..., module:Class, or a .json file")
    show.add_argument("--rows", type=_count, default=12, help="rows to show (12)")
    show.add_argument("--length", type=_count, default=256, help="tokens per row (256)")
    show.add_argument("--seed", type=int, default=0, help="seed (0)")

    check = command("check", _check, "run the contract of sources on one or all", as_json=True)
    check.add_argument("source", nargs="*", help="sources (all); your own as module:Class")

    bench = command("bench", _bench, "tokens per second of sources", as_json=True)
    bench.add_argument("what", nargs="*", help="'sources', or names of sources (all)")
    bench.add_argument("--rows", type=_count, default=256, help="rows per block (256)")
    bench.add_argument("--length", type=_count, default=256, help="tokens per row (256)")

    _add_pretrain(command("pretrain", _pretrain, "train a model on a source, into a run directory; again: go on"))
    _add_eval(command("eval", _eval, "zero-shot bits per byte on real data, beside compressors", as_json=True))
    _add_compare(
        command("compare", _compare, "the warmed model against scratch and controls on real data", as_json=True)
    )

    run = command("run", _study, "a study of this package, by name; without a name: which there are")
    run.add_argument("study", nargs="?", help="name of the study")
    run.add_argument("--out", type=Path, help="run directory (runs/STUDY)")
    run.add_argument("--eval", nargs="+", default=[], metavar="FILE", help="further real data to evaluate on")

    report = command("report", _report, "one HTML page of everything below a run directory")
    report.add_argument("run", type=Path, help="a run directory, or a folder of them")
    report.add_argument("--out", type=Path, help="where to write the page (RUN/report.html)")

    command("doctor", _doctor, "versions, processor, accelerator, what will be used", as_json=True)
    return parser, list(commands.choices)


def _add_pretrain(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--source", default="universal", help="name, name@preset, name:field=value,... (universal)")
    sub.add_argument("--model", default="llama-1m", help="preset (llama-1m), or a checkpoint folder to start from")
    sub.add_argument("--tokens", type=_count, help="budget, as in 20M or 1.5B")
    sub.add_argument("--steps", type=_count, help="budget in steps, instead of --tokens")
    sub.add_argument("--out", type=Path, required=True, help="run directory")
    sub.add_argument("--context", type=_count, default=256, help="tokens per row (256)")
    sub.add_argument("--batch-size", type=_count, default=32, help="rows per step (32)")
    sub.add_argument("--vocab", type=_count, default=256, help="ids in the model's vocabulary (256: bytes)")
    sub.add_argument(
        "--vocab-map", default="identity", help="symbols to ids: identity, fixed, per_row, zipf (identity)"
    )
    sub.add_argument("--seed", type=int, default=0, help="seed of weights and data (0)")
    sub.add_argument("--learning-rate", type=float, default=1e-3, help="peak learning rate (0.001)")
    sub.add_argument("--schedule", default="constant", help="constant, cosine or wsd (constant)")
    sub.add_argument("--warmup-steps", type=_count, default=20, help="steps of linear rise (20)")
    sub.add_argument("--weight-decay", type=float, default=0.1, help="on matrices (0.1)")
    sub.add_argument("--clip", type=float, default=1.0, help="largest gradient norm (1)")
    sub.add_argument("--micro-batch", type=_count, default=0, help="rows per forward pass; 0 means all (0)")
    sub.add_argument("--precision", default="auto", help="auto, bfloat16 or float32 (auto)")
    sub.add_argument("--checkpoint-every", type=_count, default=100, help="steps between checkpoints (100)")
    sub.add_argument("--eval", nargs="+", default=["python_stdlib"], metavar="FILE", help="real data (python_stdlib)")
    sub.add_argument("--evaluations", type=_count, default=8, help="how often; 0 for never (8)")
    sub.add_argument("--positions", type=_count, default=256, help="windows per evaluation (256)")
    _add_common(sub)


def _add_eval(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", help="run directory or checkpoint folder")
    sub.add_argument("data", nargs="+", help="files, folders, or names of corpora")
    sub.add_argument("--context", type=_count, help="bytes per window (the model's own, at most 512)")
    sub.add_argument("--positions", type=_count, default=1000, help="windows (1000)")
    sub.add_argument("--seed", type=int, default=0, help="seed of the windows (0)")
    sub.add_argument("--no-baselines", action="store_true", help="the model alone")
    _add_common(sub)


def _add_compare(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("warm", type=Path, help="the --out of a finished pretrain run")
    sub.add_argument("--data", required=True, help="file, folder, or name of a corpus")
    sub.add_argument("--out", type=Path, help="run directory (WARM-on-DATA)")
    sub.add_argument("--seeds", type=_count, default=2, help="paired seeds, 2 or more (2)")
    sub.add_argument("--steps", type=_count, default=200, help="real steps per arm (200)")
    sub.add_argument("--batch-size", type=_count, default=16, help="rows per step (16)")
    sub.add_argument("--learning-rates", default="0.001,0.003", help="tried in every arm alike (0.001,0.003)")
    sub.add_argument("--trial-steps", type=_count, help="steps per trial (as many as --steps)")
    sub.add_argument("--schedule", default="constant", help="constant, cosine or wsd (constant)")
    sub.add_argument("--evaluations", type=_count, default=10, help="evaluations per arm (10)")
    sub.add_argument("--positions", type=_count, default=256, help="test windows (256)")
    sub.add_argument("--limit-bytes", type=_count, help="train on only so much of the data")
    _add_common(sub)


def _add_common(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--threads", type=_count, help="processor threads (torch's choice)")
    sub.add_argument("--quiet", action="store_true", help="no progress")


def _count(text: str) -> int:
    """A whole number, with k, M or B allowed: 20M is 20 million."""
    factor = {"k": 10**3, "m": 10**6, "b": 10**9}.get(text[-1:].lower(), 1)
    try:
        value = float(text[:-1] if factor > 1 else text) * factor
    except ValueError:
        value = -1.0
    if value < 0 or value != int(value):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number such as 200, 3.3M or 1B")
    return int(value)


def _set_threads(arguments: argparse.Namespace) -> None:
    if arguments.threads:
        import torch

        torch.set_num_threads(arguments.threads)


# ------------------------------------------------------------------ commands


def _sources(arguments: argparse.Namespace, _: dict[str, str]) -> int:
    from uprior import sources

    found = sources.entries().values()
    if arguments.json:
        print_json([{"source": entry.name, "summary": entry.summary} for entry in found])
    else:
        print_table(["source", "what it is"], [[entry.name, entry.summary] for entry in found], right=False)
    return 0


def _show(arguments: argparse.Namespace, options: dict[str, str]) -> int:
    from uprior import sources
    from uprior.sources._look import look, render
    from uprior.spec import split_text

    if options and ":" not in arguments.source and not arguments.source.endswith(".json"):
        name, preset, _ = split_text(arguments.source)
        source = sources.from_options_text(name, options, preset)
    elif options:
        raise SpecError("give the source's fields either as name:field=value or as --field value, not both")
    else:
        source = sources.get(arguments.source)
    if arguments.json:
        print_json([look(source, rows=arguments.rows, length=arguments.length, seed=arguments.seed)])
        return 0
    render(source, rows=arguments.rows, length=arguments.length, seed=arguments.seed)
    return 0


def _check(arguments: argparse.Namespace, _: dict[str, str]) -> int:
    from uprior import sources
    from uprior.sources.check import check

    failed = False
    for name in arguments.source or sources.entries():
        report = check(sources.get(name))
        failed = failed or bool(report.failures)
        if arguments.json:
            print_json([{"source": report.source, "passed": report.passed, "failures": report.failures}])
            continue
        print(f"{'FAILED' if report.failures else 'ok':6}  {name}  ({len(report.passed)} checks passed)", flush=True)
        for failure in report.failures:
            print(f"        {failure}")
    return 1 if failed else 0


def _bench(arguments: argparse.Namespace, _: dict[str, str]) -> int:
    from uprior import sources
    from uprior.bench import bench_source

    wanted = [name for name in arguments.what if name != "sources"] or list(sources.entries())
    rows = []
    for name in wanted:
        record = bench_source(sources.get(name), rows=arguments.rows, length=arguments.length)
        if arguments.json:
            print_json([record])
        rows.append([name, f"{record['tokens_per_second'] / 1e6:.2f}", f"{record['milliseconds_per_block']:.2f}"])
    if not arguments.json:
        print_table(["source", "M tokens/s", "ms/block"], rows)
    return 0


def _pretrain(arguments: argparse.Namespace, _: dict[str, str]) -> int:
    from uprior import sources
    from uprior.spec import split_text

    source = sources.get(arguments.source)  # cheap mistakes are told before torch is imported
    corpora_exist(arguments.eval)
    from uprior.data.stream import Stream
    from uprior.data.vocabulary import Vocabulary
    from uprior.experiment import pretrain
    from uprior.models import PRESETS, build, load_model

    _set_threads(arguments)
    vocabulary = Vocabulary(size=arguments.vocab, mapping=arguments.vocab_map)
    stream = Stream(
        source, seed=arguments.seed, batch_size=arguments.batch_size, length=arguments.context, vocab=vocabulary
    )
    name = split_text(arguments.model)[0]
    if name in PRESETS or not Path(arguments.model).exists():
        model = build(arguments.model, vocab=arguments.vocab, context=arguments.context, seed=arguments.seed)
    else:
        model = load_model(arguments.model)
    fields = ("learning_rate", "schedule", "warmup_steps", "weight_decay", "clip", "micro_batch", "precision")
    result = pretrain(
        model, stream, tokens=arguments.tokens, steps=arguments.steps, out=arguments.out,
        evaluate_on=arguments.eval if arguments.evaluations else (), evaluations=arguments.evaluations,
        positions=arguments.positions, show=not arguments.quiet, checkpoint_every=arguments.checkpoint_every,
        seed=arguments.seed, **{field: getattr(arguments, field) for field in fields},
    )  # fmt: skip
    if not result.finished:
        return 130
    print(f"{arguments.out / 'model'}")
    return 0


def _eval(arguments: argparse.Namespace, _: dict[str, str]) -> int:
    from uprior.models.folder import find_model

    find_model(Path(arguments.model))
    corpora_exist(arguments.data)
    from uprior.experiment import evaluate
    from uprior.models import load_model

    _set_threads(arguments)
    model = load_model(arguments.model)
    rows = []
    for name in arguments.data:
        records = evaluate(
            model, name, context=arguments.context, positions=arguments.positions, seed=arguments.seed,
            baselines=not arguments.no_baselines,
        )  # fmt: skip
        if arguments.json:
            print_json(records)
        for r in records:
            last, mean = (f"{r['bits_' + k]:.3f} ± {r['se_' + k]:.3f}" for k in ("last", "mean"))
            rows.append([r["file"], r["predictor"], last, mean])
    if not arguments.json:
        print_table(["bits per byte", "predictor", "last byte ± s.e.", "mean over window ± s.e."], rows)
    return 0


def _compare(arguments: argparse.Namespace, _: dict[str, str]) -> int:
    corpora_exist([arguments.data])
    try:
        rates = [float(rate) for rate in arguments.learning_rates.split(",")]
    except ValueError as error:
        raise SpecError(
            f"--learning-rates {arguments.learning_rates} is not allowed; allowed: numbers between commas, as in 0.001,0.003"
        ) from error
    from uprior.comparing import compare

    _set_threads(arguments)
    fields = (
        "seeds",
        "steps",
        "batch_size",
        "trial_steps",
        "schedule",
        "evaluations",
        "positions",
        "limit_bytes",
        "out",
    )
    study = compare(
        arguments.warm, arguments.data, learning_rates=rates, show=not arguments.quiet,
        **{field: getattr(arguments, field) for field in fields},
    )  # fmt: skip
    if arguments.json:
        print_json([*study.records, study.summary])
    else:
        print_comparison(study.summary)
        print(f"\nrecords: {study.run / 'compare.jsonl'}\npage:    {study.report()}")
    return 0


def corpora_exist(names: Sequence[str]) -> None:
    """Raise for data that cannot be read, before anything slow is imported."""
    from uprior import corpora

    for name in names:
        corpora.get(name)


def _study(arguments: argparse.Namespace, _: dict[str, str]) -> int:
    from uprior import studies

    if arguments.study is None:
        print_table(["study", "what it is"], [[e.name, e.summary] for e in studies.entries().values()], right=False)
        return 0
    corpora_exist(arguments.eval)
    out = arguments.out or Path("runs") / arguments.study
    studies.find(arguments.study)().run(out, evaluate_on=arguments.eval)
    print_records(out)
    print(f"\npage: {out / 'report.html'}")
    return 0


def _report(arguments: argparse.Namespace, _: dict[str, str]) -> int:
    from uprior.report import write_report

    print(write_report(arguments.run, arguments.out))
    return 0


def _doctor(arguments: argparse.Namespace, _: dict[str, str]) -> int:
    from uprior import environment

    record = {"versions": environment.versions(), "commit": environment.commit(), **environment.hardware()}
    if arguments.json:
        print_json([record])
        return 0
    for key, value in record.items():
        if isinstance(value, dict):
            print("\n".join(f"{name:22} {version}" for name, version in value.items()))
        else:
            print(f"{key.replace('_', ' '):22} {value}")
    return 0


if __name__ == "__main__":
    main()
