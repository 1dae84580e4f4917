"""From a finished pretrain run to a folder that can be given away: weights in bfloat16, a card, the recipe, checksums."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uprior import sources
from uprior.errors import CheckpointError, RunDirectoryError, SpecError
from uprior.files import CHECKSUMS, file_sha256, new_folder, read_lines, write_json, write_text
from uprior.models.first_weights import FIRST_WEIGHTS
from uprior.models.folder import find_model, load_model, write_model
from uprior.models.mup import rescale_
from uprior.models.presets import flops_per_token, fresh_like
from uprior.models.shipped import shipped
from uprior.sources._look import describe
from uprior.studies._compute import generation_flops_per_token
from uprior.train.enough import as_it_ended

# What the package has room for: a model of six million parameters.
MOST_BYTES = 12_000_000
MODEL_OPTION = r"(--model[= ])(\S+)"
RECIPE, CARD = "recipe.json", "README.md"


def ship(
    run: str | Path,
    out: str | Path,
    *,
    scores: Sequence[str | Path] = (),
    command: str | None = None,
    machine: str | None = None,
    most_bytes: int = MOST_BYTES,
) -> Path:
    """Write the model of a finished ``pretrain`` run on a source as a folder to give away; returns its path.

    The folder has the weights in bfloat16 (rounded to nearest, ties to even), configuration and byte tokenizer, recipe.json (the
    run's own record, and what it cost), a model card, and checksums. It appears whole or not at all, in the place of an
    earlier one; its name is the model's.

    scores      JSONL files of evaluation records, as ``uprior eval --json`` prints them, or records.jsonl of the study
                zero-shot; they become the card's tables
    command     what makes the run again; None is the command that the run recorded
    machine     what the run was trained on, in words; None is left out
    most_bytes  the whole folder may have so many

    Raises RunDirectoryError (no finished run on a source; ``out`` holds something else), SpecError (too large; scores
    without records).
    """
    run, out = Path(run), Path(out)
    recorded = _recorded(run)
    records = [line for path in scores for line in _records(Path(path))]
    if out.exists() and not ((out / RECIPE).exists() and (out / CHECKSUMS).exists()) and any(out.iterdir()):
        raise RunDirectoryError(f"{out} is not empty and holds no shipped model; choose another --out")
    model, name = load_model(run), out.resolve().name
    seed = _start_seed(run, recorded)
    before = _recipe_before(run, str(recorded.get("command") or ""), out) if seed is None else None
    command = command or _made_portable(str(recorded.get("command") or ""), name)
    if before:
        command = re.sub(MODEL_OPTION, rf"\g<1>{before['name']}", command)
    recipe: dict[str, Any] = {
        "name": name,
        "command": command,
        "trained_on": machine,
        "compute": _compute(model, recorded, run, before),
        "start_seed": seed,
        **({"before": before} if before else {}),
        "sha256": {
            "start/model.safetensors": _sha256(run / "start"),
            "model/model.safetensors": _sha256(find_model(run)),
        },
        "run": {key: value for key, value in recorded.items() if key != "command"}
        | {"evaluate_on": [Path(name).name for name in recorded.get("evaluate_on", ())]},
    }
    with new_folder(out) as folder:
        import torch

        write_model(model.to(torch.bfloat16), folder)
        recipe["sha256"]["model.safetensors"] = _sha256(folder)
        write_json(folder / RECIPE, recipe)
        write_text(folder / CARD, card(recipe, records))
        size = 0
        for file in folder.iterdir():
            file.chmod(0o644)  # libraries make weights private
            size += file.stat().st_size
        if size > most_bytes:
            raise SpecError(f"ship: {run} has {size:,} bytes in bfloat16; allowed: {most_bytes:,}; give --most-bytes")
    return out


def card(recipe: dict[str, Any], scores: Sequence[dict[str, Any]] = ()) -> str:
    """The model card, in Markdown with a front matter that model hubs read; ``scores`` are evaluation records."""
    name, run, compute = recipe["name"], recipe["run"], recipe["compute"]
    stream, training, generation = run["stream"], run["training"], compute["generation_flops"]
    seed = recipe["start_seed"]
    before = recipe.get("before")
    lead = _LEAD_OTHER if seed is None and not before else _LEAD_FRESH
    weights_seed = "" if seed is None else f", {seed} (step-0 weights)"
    start = FIRST_WEIGHTS.get(run["model"]["config"].get("first_weights", ""))
    both = ", of both runs" if before else ""
    facts = {
        "model": f"{run['model']['architecture']}, {run['model']['parameters']:,} parameters; id b is the byte b",
        "began as": _described(before) if before else None,
        "first weights": start.card if start else "",
        "source": f"`{describe(sources.revive(stream['source']))}` (version and every field in {RECIPE})",
        "seed": f"{stream['seed']} (data), {training.get('seed', 0)} (training){weights_seed}",
        "symbols to ids": stream["vocab"]["mapping"],
        "batches": f"{stream['batch_size']} rows of {stream['length']} tokens",
        "tokens": f"{run['tokens']:,} in {training['steps']:,} steps",
        "optimiser": f"{training['optimizer']}, peak rate {training['learning_rate']:g}, schedule {training['schedule']}",
        "training": f"{compute['training_flops']:.3g} FLOPs (6 per parameter that multiplies, and token){both}",
        "writing the data": f"{generation:.3g} FLOPs (estimated from the source){both}" if generation else "not known",
        "time": f"{compute['hours']:.2g} hours{both}" if compute["hours"] else None,
        "trained on": recipe["trained_on"],
        "threads": run.get("threads"),
        "versions": ", ".join(f"{package} {version}" for package, version in (run.get("versions") or {}).items()),
        "commit": str(run.get("commit") or "").replace("+", ", and files changed since"),
    }
    rows = "\n".join(f"| {key} | {value} |" for key, value in facts.items() if value)
    longest = run["model"]["config"].get("max_position_embeddings") or stream["length"]
    made = [*([before] if before else []), recipe]
    commands = "\n".join(
        f"{one['command'] or _NO_COMMAND}\nuprior ship runs/{one['name']} --out {one['name']}" for one in made
    )
    digests = "\n".join(f"| `{file}` | `{digest}` |" for file, digest in recipe["sha256"].items())
    return f"""{_FRONT}
# {name}

{lead}
It predicts unseen files by what it finds in the bytes before, up to {longest:,} of them, and is a start for training on little
data (raise the learning rate over 40 steps or so: at full rate AdamW undoes what was learnt within two). It was taught no
language and no facts, so it is of no use for writing text. Whether it is a better start for your file than random weights or its
own first ones, `uprior compare {name} --data mydata.txt` measures.

```python
import uprior

model = uprior.load("{name}")  # float32; or give this folder's path
scores = uprior.evaluate(model, "mydata.txt")
```

`AutoModelForCausalLM.from_pretrained` opens the folder too; its weights are bfloat16, so convert the model to float32 on a CPU.

## Recipe

| | |
|---|---|
{rows}

## Scores

{_score_tables(scores) if scores else "None recorded."}

## Making it again

```sh
{commands}
```

On the same processor, versions and number of threads the weights come out bit for bit; elsewhere every step sees the same samples
and the weights differ as rounding grows (docs/DETERMINISM.md in uprior's repository). SHA-256 tells:

| file | SHA-256 |
|---|---|
{digests}

## Licence

Apache-2.0. The training data was computed and is nobody's.
"""


def _described(before: dict[str, Any]) -> str:
    """The run before, in a line of the card's table."""
    run, spent = before["run"], before["compute"]
    return (
        f"`{before['name']}`, {spent['tokens']:,} tokens of `{describe(sources.revive(run['stream']['source']))}` in rows of "
        f"{run['stream']['length']}: {before['sha256']['model.safetensors'][:12]} (its own recipe in {RECIPE})"
    )


_NO_COMMAND = "# the run recorded no command; its recipe is in recipe.json"
_LEAD_FRESH = (
    "A causal transformer over bytes that has seen **no real data**: from fresh weights it was trained on what random\n"
    "computation wrote."
)
_LEAD_OTHER = (
    "A causal transformer over bytes, trained on what random computation wrote, from weights that are not those of a fresh\n"
    "model: what they had seen before is not recorded."
)
_FRONT = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags:
- uprior
- byte-level
- synthetic-data
- procedural-pretraining
---
"""


def _recorded(run: Path) -> dict[str, Any]:
    """config.json of a finished pretrain run on a source."""
    wanted = "give the --out of a finished uprior pretrain run on a source"
    try:
        find_model(run)
        recorded: dict[str, Any] = json.loads((run / "config.json").read_text("utf-8"))
    except (CheckpointError, OSError, ValueError) as error:
        raise RunDirectoryError(f"{run} is not a finished run ({error}); {wanted}") from error
    if recorded.get("kind") != "pretrain" or "source" not in recorded.get("stream", {}):
        raise RunDirectoryError(f"{run} holds no run on a source; {wanted}")
    return as_it_ended(recorded, run)


def _made_portable(command: str, name: str) -> str:
    """The recorded command with a run directory of the reader's own."""
    return re.sub(r"(--out[= ])\S+", rf"\g<1>runs/{name}", command)


def _start_seed(run: Path, recorded: dict[str, Any]) -> int | None:
    """The seed that gives a fresh model the run's step-0 weights; None where none of the recorded seeds does."""
    training, start = recorded["training"], load_model(run / "start")
    for seed in dict.fromkeys((recorded["stream"]["seed"], training.get("seed", 0), 0)):
        fresh = fresh_like(start, seed=seed)
        if training.get("base_width"):
            rescale_(fresh, training["base_width"], base_head_size=training.get("base_head_size", 0))
        if _same_weights(fresh, start):
            return int(seed)
    return None


def _same_weights(one: Any, other: Any) -> bool:
    """Are all parameters of two models the same, bit for bit?"""
    import torch

    mine, theirs = list(one.parameters()), list(other.parameters())
    return len(mine) == len(theirs) and all(map(torch.equal, mine, theirs))


def _recipe_before(run: Path, command: str, out: Path) -> dict[str, Any] | None:
    """The recipe of the shipped model that the run began with, found by its command's --model and known by its weights.

    Or the one that ``out`` has of it, from an earlier time: the model may since have taken its start's place. None where there is
    none. It goes by another name than the run's model, since both are needed to make that again.
    """
    name, told = out.resolve().name, out / RECIPE
    known: dict[str, Any] = json.loads(told.read_text("utf-8")) if told.exists() else {}
    if "before" in known and known["sha256"]["start/model.safetensors"] == _sha256(run / "start"):
        return dict(known["before"])
    named = re.search(MODEL_OPTION, command)
    folder = (shipped().get(named[2]) or Path(named[2])) if named else None
    if folder is None or not (folder / RECIPE).exists():
        return None
    if not _same_weights(load_model(folder), load_model(run / "start")):
        return None
    recipe: dict[str, Any] = json.loads((folder / RECIPE).read_text("utf-8"))
    if recipe["name"] == name:
        recipe["name"] = f"{name}-start"
        recipe["command"] = _made_portable(recipe["command"], recipe["name"])
    return recipe


def _compute(model: Any, recorded: dict[str, Any], run: Path, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """Tokens, FLOPs of training and of writing the data, and hours where the run timed its steps; of both runs, if ``before``."""
    stream, tokens = recorded["stream"], int(recorded["tokens"])
    try:
        per_token = generation_flops_per_token(sources.revive(stream["source"]), length=stream["length"])
    except SpecError:  # a neural source of somebody's own
        per_token = None
    seconds = sum(line.get("seconds", 0.0) for line in read_lines(run / "timing.jsonl"))
    spent: dict[str, Any] = {
        "tokens": tokens,
        "training_flops": flops_per_token(model) * tokens,
        "generation_flops": None if per_token is None else round(per_token * tokens),
        "hours": round(seconds / 3600, 3),
    }
    if before is None:
        return spent
    earlier = before["compute"]
    known = {key: value for key, value in spent.items() if value is not None and earlier[key] is not None}
    return dict.fromkeys(spent) | {key: value + earlier[key] for key, value in known.items()}


def _sha256(folder: Path) -> str:
    return file_sha256(folder / "model.safetensors")


def _records(path: Path) -> list[dict[str, Any]]:
    """The evaluation records of a JSONL file."""
    found = [line for line in read_lines(path) if {"file", "predictor", "bits_mean"} <= line.keys()]
    if not found:
        raise SpecError(
            f"ship: {path} has no evaluation records; write it by: uprior eval MODEL FILE --json > {path.name}"
        )
    return found


def _score_tables(records: Sequence[dict[str, Any]]) -> str:
    """Markdown tables of bits per byte, a row per set or file and a column per predictor, the least of each row in bold.

    Of a set measured with several lengths of window, the shortest counts. Markov predictors of one order are left out.
    """
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    for record in sorted(records, key=lambda r: r.get("context", 0), reverse=True):
        cells[record.get("set", record["file"]), record["predictor"]] = record
    rows = list(dict.fromkeys(record.get("set", record["file"]) for record in records))
    names = dict.fromkeys(record["predictor"] for record in records)
    predictors = [name for name in names if not re.fullmatch(r"uniform|markov-\d", name)]
    tables = []
    for field, where in (("tail", "last 32 bytes of the window"), ("mean", "mean over the window")):
        if all(f"bits_{field}" in record for record in cells.values()):
            lines = [_score_row(row, [cells.get((row, p), {}) for p in predictors], field) for row in rows]
            head = f"| {where} | {' | '.join(predictors)} |\n|{'---|' * (1 + len(predictors))}\n"
            tables.append(head + "\n".join(lines))
    contexts = ", ".join(sorted({str(record["context"]) for record in cells.values() if "context" in record}))
    return (
        f"Zero-shot bits per byte ± standard error; chance pays 8. All read the same windows of {contexts} bytes and forget "
        "everything between them.\n\n" + "\n\n".join(tables)
    )


def _score_row(name: str, records: Sequence[dict[str, Any]], field: str) -> str:
    bits = [record.get(f"bits_{field}", math.inf) for record in records]
    texts = []
    for record, value in zip(records, bits, strict=True):
        error = f" ± {record[f'se_{field}']:.2f}" if f"se_{field}" in record else ""
        text = f"{value:.2f}{error}" if record else ""
        texts.append(f"**{text}**" if record and value == min(bits) else text)
    return f"| {name} | {' | '.join(texts)} |"
