"""The public verbs that join the rooms: pretrain and evaluate. (``compare`` stands in its own file.)"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uprior import corpora, environment, evals
from uprior.data.stream import BatchStream
from uprior.data.vocabulary import Vocabulary
from uprior.errors import RunDirectoryError, SpecError, unknown_name
from uprior.files import disk_errors, locked, write_json, write_text
from uprior.models.folder import load_model, save_model
from uprior.models.presets import context_of, describe
from uprior.train.distributed import processes
from uprior.train.loop import Result, fit, remove_checkpoints
from uprior.train.parallel import check_way
from uprior.train.settings import Training
from uprior.train.threads import on_threads, recorded_threads, threads_here, threads_of_run

TEST_WINDOWS_SEED = 0


def pretrain(
    model: Any,
    stream: BatchStream,
    *,
    out: str | Path,
    tokens: int | None = None,
    steps: int | None = None,
    evaluate_on: Sequence[str] = (),
    beside: Sequence[str] = (),
    evaluations: int = 8,
    positions: int = 256,
    show: bool = True,
    keep_checkpoints: bool = False,
    parallel: str = "auto",
    stop: str = "end",
    **training: Any,
) -> Result:
    """Train ``model`` in place on ``stream`` into the run directory ``out``; called again, it goes on where it stopped.

    model           any causal model of ``transformers``: ids [B, T] -> logits [B, T, V]
    tokens, steps   the budget; give one. Tokens count the rows' given first token too
    evaluate_on     real corpora (names or paths), evaluated ``evaluations`` times on ``positions`` windows as long as the
                    stream's rows, beside baselines that see the same windows; they are never trained on
    beside          other models (shipped names, checkpoint folders), evaluated once with the baselines
    parallel        how several processes, started by ``torchrun``, share the model: "ddp" (whole in each), "fsdp" (in slices),
                    "auto". Their number may change when a run goes on. After "fsdp", take the model from ``out``
    stop            "end" of the budget, or "auto": before, when the last doubling of the run has brought a tenth or less of all
                    that was learnt (``uprior.train.enough``); for constant rates
    training        fields of ``uprior.train.Training``: learning_rate, schedule, ...

    Raises SpecError (budget, context), CorpusError, RunDirectoryError (in use, or holding another run), TrainingError.
    """
    run = Path(out)
    settings = _settings(stream, tokens, steps, training)
    if stop not in ("end", "auto"):
        raise unknown_name("stop", stop, ("end", "auto"))
    if stop == "auto" and settings.schedule != "constant":
        raise SpecError(
            f"stop auto is for a constant rate: a rate that decays makes the loss fall when it does; given: {settings.schedule}; "
            "leave --schedule or --stop away"
        )
    _check_fit(model, stream)
    check_way(parallel)
    # Everything a user can get wrong is looked at before anything is written.
    panel = [corpora.get(name) for name in evaluate_on]
    evaluator = Evaluator(panel, context=stream.length, positions=positions, beside=beside)
    config = {
        "kind": "pretrain",
        "stream": stream.describe(),
        "model": describe(model),
        "training": settings.to_dict(),
        "evaluate_on": list(evaluate_on),
        "tokens": settings.steps * stream.tokens_per_step,
    } | ({"stop": stop} if stop == "auto" else {})
    with processes() as group, contextlib.ExitStack() as held:

        def prepare() -> int | None:
            held.enter_context(locked(run))
            open_run(run, config)
            if not (run / "start").exists():
                save_model(model, run / "start")
            if show and not (run / "checkpoints").exists() and not (run / "model").exists():
                sys.stderr.write(
                    f"{run.name}: starting{on_threads()}; on a new machine kernels are compiled once, about half a minute\n"
                )
            evaluator.write_baselines(run / "baselines.jsonl")
            return recorded_threads(run)

        threads = group.first(prepare)
        group.sees(run / "config.json")
        held.enter_context(threads_of_run(threads, speak=show and group.is_first))
        result = fit(
            model,
            stream,
            settings,
            run,
            evaluate=evaluator if panel else None,
            evaluate_at=evaluation_steps(settings.steps, evaluations),
            title=run.name,
            show=show,
            group=group,
            parallel=parallel,
            stop_when_enough=stop == "auto",
        )
        if result.finished and not keep_checkpoints:
            group.first(lambda: remove_checkpoints(run))
    return result


def evaluate(
    model: Any,
    data: str | Sequence[str],
    *,
    context: int | None = None,
    positions: int = 1000,
    seed: int = TEST_WINDOWS_SEED,
    baselines: bool = True,
    split: str = "test",
) -> list[dict[str, Any]]:
    """Zero-shot bits per byte of a model (or of a checkpoint's path) on real data, beside compressors.

    One record per file and predictor: {file, predictor, context, positions, bits_last, se_last, bits_mean, se_mean, ...}. All
    predictors see the same ``positions`` windows of ``context`` bytes (default: the model's own, at most 512) from the
    last tenth of the data, and forget everything between windows. Raises CheckpointError, CorpusError, SpecError.
    """
    if isinstance(model, str | Path):
        model = load_model(model)
    context = context or min(512, context_of(model) or 512)
    records = []
    for name in [data] if isinstance(data, str) else data:
        corpus = corpora.get(name)
        predictors: list[Any] = [evals.ModelPredictor(model)]
        if baselines:
            predictors += evals.baselines(corpus, context=context)
        records += evals.evaluate(predictors, corpus, context=context, positions=positions, seed=seed, split=split)
    return records


class Evaluator:
    """The evaluation of a run: the model on fixed windows of a panel of corpora; baselines and other models once, on the same."""

    def __init__(self, panel: Sequence[Any], *, context: int, positions: int, beside: Sequence[str] = ()) -> None:
        self.panel, self.context, self.positions, self.beside = panel, context, positions, beside
        for corpus in panel:  # too short a file is told now, not after the first hour
            corpus.windows("test", 1, context, "probe")

    def __call__(self, model: Any, step: int) -> list[dict[str, Any]]:
        records = []
        for corpus in self.panel:
            records += self._evaluate(corpus, [evals.ModelPredictor(model)])
        return records

    def _evaluate(self, corpus: Any, predictors: Sequence[Any]) -> list[dict[str, Any]]:
        return list(
            evals.evaluate(
                predictors, corpus, context=self.context, positions=self.positions, seed=TEST_WINDOWS_SEED, split="test"
            )
        )

    def write_baselines(self, path: Path) -> None:
        """The records of baselines and other models, computed unless they are there already."""
        if path.exists() or not self.panel:
            return
        models = [evals.ModelPredictor(load_model(name), name=f"{Path(name).name} (a model)") for name in self.beside]
        lines = []
        for corpus in self.panel:
            lines += self._evaluate(corpus, [*evals.baselines(corpus, context=self.context), *models])
        write_text(path, "".join(json.dumps(line) + "\n" for line in lines))


def evaluation_steps(steps: int, evaluations: int) -> frozenset[int]:
    """Start, end, and points between them that lie closer together early, where curves bend.

    >>> sorted(evaluation_steps(100, 5))
    [0, 6, 25, 56, 100]
    """
    if evaluations < 2:
        return frozenset({steps} if evaluations == 1 else ())
    return frozenset(round(steps * (k / (evaluations - 1)) ** 2) for k in range(evaluations))


def open_run(run: Path, config: dict[str, Any], **notes: str) -> None:
    """Record what a run is, or check that the directory already holds this very run; ``notes`` are recorded, not checked."""
    path = run / "config.json"
    config = json.loads(json.dumps(config))
    if not path.exists():
        others = [p for p in run.iterdir() if not p.name.startswith(".")]
        if others:
            raise RunDirectoryError(f"{run} is not empty and holds no run ({others[0].name}); choose another --out")
        where = environment.record() | {"threads": threads_here()}
        write_json(path, config | notes | where)
        return
    with disk_errors(path):
        try:
            recorded = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise RunDirectoryError(f"{path} is damaged ({error}); choose another --out") from error
    different = first_difference(config, recorded)
    if different is not None:
        where_, given, there = different
        raise RunDirectoryError(
            f"{run} holds another run: {where_} is {there!r} there, {given!r} here; "
            "choose another --out, or delete the folder"
        )


def first_difference(given: Any, recorded: Any, path: str = "") -> tuple[str, Any, Any] | None:
    """The first place where what is given differs from what was recorded; recorded keys not given do not count."""
    if isinstance(given, dict) and isinstance(recorded, dict):
        for key, value in given.items():
            found = first_difference(value, recorded.get(key), f"{path}.{key}" if path else key)
            if found is not None:
                return found
        return None
    return None if given == recorded else (path, given, recorded)


def _settings(stream: BatchStream, tokens: int | None, steps: int | None, training: dict[str, Any]) -> Training:
    if (tokens is None) == (steps is None):
        raise SpecError(f"pretrain: tokens = {tokens}, steps = {steps} is not allowed; give exactly one of them")
    if steps is None:
        assert tokens is not None
        steps = -(-tokens // stream.tokens_per_step)
    unknown = [key for key in training if key not in Training.__dataclass_fields__]
    if unknown:
        raise unknown_name("training option", unknown[0], Training.__dataclass_fields__)
    settings: Training = Training(steps=max(1, steps), **training)
    return settings


def _check_fit(model: Any, stream: BatchStream) -> None:
    longest = context_of(model)
    if longest is not None and stream.length > longest:
        raise SpecError(
            f"rows of {stream.length} tokens do not fit the model's context of {longest}; build it with "
            f"context={stream.length}, give a stream of shorter rows, or lengthen it (uprior.models.lengthened)"
        )
    vocabulary = getattr(stream, "vocabulary", None)
    needed = vocabulary.size if isinstance(vocabulary, Vocabulary) else 256
    if model.config.vocab_size < needed:
        raise SpecError(
            f"the model has {model.config.vocab_size} ids, the stream needs {needed}; give --vocab {needed}"
        )
