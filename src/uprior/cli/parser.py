"""Every command with its options: what ``--help`` shows."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from uprior.cli import benching, bits, building, catalogue, exporting, pairs, runs, shipping
from uprior.cli.options import HelpWithFields
from uprior.spec import whole_number

Handler = Callable[[argparse.Namespace, dict[str, Any]], int]


class _Parser(argparse.ArgumentParser):
    """argparse with one-line errors that end in what to type."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"uprior: error: {message}; type: {self.prog} --help\n")
        raise SystemExit(2)


def make_parser() -> tuple[argparse.ArgumentParser, list[str]]:
    parser = _Parser(prog="uprior", description="Pre-train on random computation and measure what that buys.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(
        name: str,
        handler: Handler,
        text: str,
        *,
        as_json: bool = False,
        field_options: str = "",
        under: Any = commands,
    ) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = under.add_parser(name, help=text, description=text, add_help=not field_options)
        if field_options:
            sub.add_argument(
                "-h",
                "--help",
                action=HelpWithFields,
                nargs=0,
                help=f"this help, with that of the {field_options} named before",
            )
        sub.set_defaults(handler=handler, parser=sub, field_options=field_options)
        if as_json:
            sub.add_argument("--json", action="store_true", help="one JSON object per line, for programs")
        return sub

    command("sources", catalogue.sources, "what there is, one line each", as_json=True)

    show = command(
        "show", catalogue.show, "rows of a source to look at, with its measures", as_json=True, field_options="source"
    )
    epilog = "Further options are the {}'s own fields, as in: {}; uprior {} --help tells them"
    show.epilog = epilog.format("source", "uprior show random_lstm --hidden 32", "show SOURCE")
    show.add_argument("source", help="name, name@preset, name:field=value,..., module:Class, or a .json file")
    show.add_argument("--rows", type=_count, default=12, help="rows to show (12)")
    show.add_argument("--length", type=_count, default=256, help="tokens per row (256)")
    show.add_argument("--seed", type=int, default=0, help="seed (0)")
    show.add_argument("--png", type=Path, metavar="FILE", help="write a picture: one machine at work, or the rows")
    show.add_argument("--study", choices=["chaos"], help="chaos: what the weight multiplier of random networks does")

    check = command("check", catalogue.check, "run the contract of sources on one or all", as_json=True)
    check.add_argument("source", nargs="*", help="sources (all); your own as module:Class")

    check.add_argument("--presets", action="store_true", help="every preset of them too")

    text = "how fast sources are, or training beside other people's loops"
    bench = commands.add_parser("bench", help=text, description=text, epilog="uprior bench NAME: bench sources NAME")
    benches = bench.add_subparsers(metavar="WHAT", required=True)
    text = "tokens per second of sources and their presets"
    benching.add_source_arguments(command("sources", benching.sources, text, as_json=True, under=benches), _count)
    text = "our training loop, the Hugging Face Trainer and a plain loop, by turns in one run"
    benching.add_train_arguments(command("train", benching.train, text, as_json=True, under=benches), _count)
    text = "does training wait for its data: every source, trained on for some dozens of steps"
    wait = command("wait", benching.wait, text, as_json=True, under=benches)
    benching.add_wait_arguments(wait, _count)
    _add_threads(wait)
    text = "is memory flat: over a run with checkpoints and evaluations, and whatever the length of the data"
    benching.add_memory_arguments(command("memory", benching.memory, text, as_json=True, under=benches), _count)

    gallery = command(
        "gallery", catalogue.gallery, "a page with pictures and measures of every source, and a map (about a minute)"
    )
    gallery.add_argument("--out", type=Path, default=Path("docs"), help="folder to write to (docs)")

    text = "an untrained model as a folder: random weights, or such as predict before they are trained"
    building.add_arguments(command("build", building.build, text), _count)
    _add_pretrain(command("pretrain", runs.pretrain, "train a model on a source, into a run directory; again: go on"))
    _add_eval(command("eval", runs.evaluate, "zero-shot bits per byte on real data, beside compressors", as_json=True))
    text = "any file seen through a model: beside compressors, over context, and where it was surprised"
    sub = command("bits", bits.bits, text, as_json=True)
    bits.add_arguments(sub, _count)
    _add_common(sub)
    text = "minimal pairs (BLiMP): how often the grammatical one of two sentences is the likelier"
    sub = command("pairs", pairs.pairs, text, as_json=True)
    pairs.add_arguments(sub, _count)
    _add_common(sub)
    _add_compare(
        command("compare", runs.compare, "the warmed model against scratch and controls on real data", as_json=True)
    )

    text = "a study of this package, by name; again: go on; without a name: which there are"
    run = command("run", runs.study, text, field_options="study")
    run.epilog = epilog.format("study", "uprior run demo --eval FILE FILE", "run STUDY")
    run.add_argument("study", nargs="?", help="name of the study, or name@preset")
    run.add_argument("--out", type=Path, help="run directory (runs/STUDY)")
    _add_threads(run)

    export = command(
        "export", exporting.export, "a source's rows as files for other trainers; again: go on", as_json=True
    )
    exporting.add_arguments(export, _count)

    text = "a finished pretrain run as a folder to give away: bfloat16, card, recipe"
    shipping.add_arguments(command("ship", shipping.ship, text), _count)

    report = command("report", runs.report, "one HTML page of everything below a run directory")
    report.add_argument("run", type=Path, help="a run directory, or a folder of them")
    report.add_argument("--out", type=Path, help="where to write the page (RUN/report.html)")

    command("doctor", runs.doctor, "versions, processor, accelerator, what will be used", as_json=True)
    return parser, list(commands.choices)


def _add_pretrain(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--source", default="universal", help="name, name@preset, name:field=value,... (universal)")
    sub.add_argument(
        "--model",
        default="llama-1m",
        help="preset (llama-1m), a size as in 128x4, or a checkpoint to start from: folder or shipped name",
    )
    sub.add_argument("--tokens", type=_count, help="budget, as in 20M or 1.5B")
    sub.add_argument("--steps", type=_count, help="budget in steps, instead of --tokens")
    sub.add_argument(
        "--stop",
        default="end",
        help="end of the budget, or auto: before, when a doubling of the run brings little (end)",
    )
    sub.add_argument("--out", type=Path, required=True, help="run directory")
    sub.add_argument("--context", type=_count, default=256, help="tokens per row (256)")
    sub.add_argument("--batch-size", type=_count, default=32, help="rows per step (32)")
    sub.add_argument("--vocab", type=_count, default=256, help="ids in the model's vocabulary (256: bytes)")
    sub.add_argument(
        "--vocab-map", default="identity", help="symbols to ids: identity, fixed, per_row, zipf (identity)"
    )
    sub.add_argument("--seed", type=int, default=0, help="seed of weights and data (0)")
    sub.add_argument("--learning-rate", type=float, default=1e-3, help="peak learning rate (0.001)")
    sub.add_argument(
        "--base-width",
        type=_count,
        default=0,
        help="width of the model the rate was found on (muP); 0: no transfer (0)",
    )
    sub.add_argument("--base-head-size", type=_count, default=0, help="size of its attention heads; 0: as here (0)")
    sub.add_argument("--schedule", default="constant", help="constant, cosine or wsd (constant)")
    sub.add_argument("--decay-share", type=float, default=0.2, help="share of the steps that decays, wsd (0.2)")
    sub.add_argument("--final-share", type=float, default=0.1, help="last rate over peak rate, cosine and wsd (0.1)")
    sub.add_argument("--warmup-steps", type=_count, default=20, help="steps of linear rise (20)")
    sub.add_argument(
        "--optimizer", default="adamw", help="adamw, or muon on hidden matrices and adamw elsewhere (adamw)"
    )
    sub.add_argument("--weight-decay", type=float, default=0.1, help="on matrices (0.1)")
    sub.add_argument("--clip", type=float, default=1.0, help="largest gradient norm (1)")
    sub.add_argument("--skip-nonfinite", type=_count, default=0, help="steps of NaN that may be skipped (0)")
    sub.add_argument("--micro-batch", type=_count, default=0, help="rows per forward pass; 0 means all (0)")
    sub.add_argument("--precision", default="auto", help="auto, bfloat16 or float32 (auto)")
    sub.add_argument("--compile", default="auto", help="torch.compile: auto (long runs on a GPU), on, off (auto)")
    sub.add_argument("--recompute", default="auto", help="activations: auto (where they do not fit), on, off (auto)")
    sub.add_argument(
        "--parallel", default="auto", help="processes that torchrun started: ddp, fsdp (slices), auto (auto)"
    )
    sub.add_argument("--checkpoint-every", type=_count, default=100, help="steps between checkpoints (100)")
    sub.add_argument("--eval", nargs="+", default=["python_stdlib"], metavar="FILE", help="real data (python_stdlib)")
    sub.add_argument("--evaluations", type=_count, default=8, help="how often; 0 for never (8)")
    sub.add_argument("--positions", type=_count, default=256, help="windows per evaluation (256)")
    _add_common(sub)


def _add_eval(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", help="run directory, checkpoint folder, or shipped model (universal)")
    sub.add_argument("data", nargs="+", help="files, folders, or names of corpora")
    sub.add_argument("--context", type=_count, help="bytes per window (the model's own, at most 512)")
    sub.add_argument("--positions", type=_count, default=1000, help="windows (1000)")
    sub.add_argument("--seed", type=int, default=0, help="seed of the windows (0)")
    sub.add_argument("--no-baselines", action="store_true", help="the model alone")
    _add_common(sub)


def _add_compare(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "warm", type=Path, help="the --out of a finished pretrain run, or a shipped model, as in universal"
    )
    sub.add_argument("--data", required=True, help="file, folder, or name of a corpus")
    sub.add_argument("--out", type=Path, help="run directory (WARM-on-DATA)")
    sub.add_argument("--seeds", type=_count, default=2, help="paired seeds, 2 or more (2)")
    sub.add_argument("--steps", type=_count, help="real steps per arm (200; of a shipped model 60)")
    sub.add_argument("--batch-size", type=_count, help="rows per step (16; of a shipped model 4)")
    sub.add_argument("--context", type=_count, help="bytes per row of a shipped model (256); of a run its own")
    sub.add_argument(
        "--learning-rates", help="tried in every arm alike (0.001,0.003; of a shipped model 0.0001,0.0003 too)"
    )
    sub.add_argument("--trial-steps", type=_count, help="steps per trial (as many as --steps)")
    sub.add_argument("--schedule", help="constant, cosine or wsd (constant; of a shipped model cosine)")
    sub.add_argument("--evaluations", type=_count, help="evaluations per arm (10; of a shipped model 6)")
    sub.add_argument("--positions", type=_count, help="test windows (256; of a shipped model 64)")
    sub.add_argument("--limit-bytes", type=_count, help="train on only so much of the data")
    _add_common(sub)


def _add_common(sub: argparse.ArgumentParser) -> None:
    _add_threads(sub)
    sub.add_argument("--quiet", action="store_true", help="no progress")


def _add_threads(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--threads",
        type=_threads,
        metavar="N",
        help="processor threads, or auto: by a probe (OMP_NUM_THREADS, else auto)",
    )


def _threads(text: str) -> int | str:
    if text == "auto" or (text.isdecimal() and int(text) > 0):
        return text if text == "auto" else int(text)
    raise argparse.ArgumentTypeError(f"'{text}' is neither a number from 1 nor auto")


def _count(text: str) -> int:
    """A whole number, with k, M or B allowed: 20M is 20 million."""
    try:
        value = whole_number(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number such as 200, 3.3M or 1B")
    return value
