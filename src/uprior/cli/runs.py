"""The commands about runs: pre-train, evaluate, compare, studies, reports, and what a run will find on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from uprior.errors import SpecError
from uprior.terminal import print_comparison, print_json, print_records, print_table


def pretrain(arguments: argparse.Namespace, _: dict[str, str]) -> int:
    from uprior import sources
    from uprior.spec import split_text

    source = sources.get(arguments.source)  # cheap mistakes are told before torch is imported
    corpora_exist(arguments.eval)
    from uprior.data.stream import Stream
    from uprior.data.vocabulary import Vocabulary
    from uprior.experiment import pretrain
    from uprior.models import PRESETS, build, lengthened, load_model
    from uprior.models.mup import rescale_
    from uprior.models.shipped import shipped
    from uprior.models.sizes import preset_of, unknown_model
    from uprior.train.distributed import is_main_process

    vocabulary = Vocabulary(size=arguments.vocab, mapping=arguments.vocab_map)
    stream = Stream(
        source, seed=arguments.seed, batch_size=arguments.batch_size, length=arguments.context, vocab=vocabulary
    )
    name = split_text(arguments.model)[0]
    known = {**PRESETS, **shipped()}
    size = preset_of(arguments.model) is not None
    if not size and name not in known and not Path(arguments.model).exists():
        raise unknown_model(name, known)
    if size:
        model = build(arguments.model, vocab=arguments.vocab, context=arguments.context, seed=arguments.seed)
        if arguments.base_width:
            rescale_(model, arguments.base_width, base_head_size=arguments.base_head_size)
    else:
        model = lengthened(load_model(arguments.model), arguments.context)
    rows, width = arguments.micro_batch or arguments.batch_size, getattr(model.config, "hidden_size", 256)
    _set_threads(arguments, arguments.out, tokens=rows * arguments.context, width=width)
    fields = (
        "learning_rate",
        "schedule",
        "decay_share",
        "final_share",
        "warmup_steps",
        "optimizer",
        "weight_decay",
        "clip",
        "skip_nonfinite",
        "micro_batch",
        "precision",
        "compile",
        "recompute",
        "base_width",
        "base_head_size",
    )
    result = pretrain(
        model, stream, tokens=arguments.tokens, steps=arguments.steps, out=arguments.out,
        evaluate_on=arguments.eval if arguments.evaluations else (), evaluations=arguments.evaluations,
        positions=arguments.positions, show=not arguments.quiet, checkpoint_every=arguments.checkpoint_every,
        seed=arguments.seed, parallel=arguments.parallel, stop=arguments.stop,
        **{field: getattr(arguments, field) for field in fields},
    )  # fmt: skip
    if not result.finished:
        return 130
    if is_main_process():
        print(f"{arguments.out / 'model'}")
    return 0


def evaluate(arguments: argparse.Namespace, _: dict[str, str]) -> int:
    from uprior.models.folder import find_model

    find_model(arguments.model)
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


def compare(arguments: argparse.Namespace, _: dict[str, str]) -> int:
    corpora_exist([arguments.data])
    try:
        given = arguments.learning_rates
        rates = None if given is None else [float(rate) for rate in given.split(",")]
    except ValueError as error:
        raise SpecError(
            f"--learning-rates {arguments.learning_rates} is not allowed; allowed: numbers between commas, as in 0.001,0.003"
        ) from error
    from uprior.comparing import compare

    _set_threads(arguments, arguments.out)
    fields = (
        "seeds",
        "steps",
        "batch_size",
        "context",
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


def study(arguments: argparse.Namespace, options: dict[str, str | list[str]]) -> int:
    from uprior import studies

    if arguments.study is None:
        print_table(["study", "what it is"], [[e.name, e.summary] for e in studies.entries().values()], right=False)
        print("\nwhat a study does and its options: uprior run STUDY --help")
        return 0
    study = studies.get(arguments.study, options)
    out = arguments.out or Path("runs") / study.name
    _set_threads(arguments)
    study.run(out)
    print_records(out)
    print(f"\npage: {out / 'report.html'}")
    return 0


def report(arguments: argparse.Namespace, _: dict[str, str]) -> int:
    from uprior.report import write_report

    print(write_report(arguments.run, arguments.out))
    return 0


def doctor(arguments: argparse.Namespace, _: dict[str, str]) -> int:
    from uprior import environment
    from uprior.train.threads import settle

    chosen = settle(None)  # before the number of threads is looked at
    record = {"versions": environment.versions(), "commit": environment.commit(), **environment.hardware()}
    record["threads_chosen"] = chosen
    if arguments.json:
        print_json([record])
        return 0
    for key, value in record.items():
        if isinstance(value, dict):
            print("\n".join(f"{name:22} {version}" for name, version in value.items()))
        else:
            print(f"{key.replace('_', ' '):22} {value}")
    return 0


def corpora_exist(names: Sequence[str]) -> None:
    """Raise for data that cannot be read, before anything slow is imported."""
    from uprior import corpora

    for name in names:
        corpora.get(name)


def _set_threads(arguments: argparse.Namespace, run: Path | None = None, **size: int) -> None:
    """As ``--threads`` says; a run that has begun knows its own count. ``size`` is that of a step, for the probe."""
    from uprior.train.threads import recorded_threads, settle

    settle(arguments.threads, recorded=None if run is None else recorded_threads(run), **size)
