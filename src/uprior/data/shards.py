"""The shards of an export: which rows each holds, how one is made, whether one is whole, and who may write it.

A shard is complete when its sidecar, which is written last, describes files of the right size and checksum. The manifest is a
summary for people and readers; it is derived from the sidecars and can always be derived again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from uprior.data import formats
from uprior.data.stream import BatchStream
from uprior.errors import CorpusError, MissingExtraError, RunDirectoryError, SpecError, UpriorError, unknown_name
from uprior.files import disk_errors, file_sha256, write_json
from uprior.types import SPLITS

State = Literal["complete", "missing", "damaged"]
MOST_SHARDS = 100_000  # file names count in five digits


@dataclass(frozen=True)
class Plan:
    """What an export is: everything that decides its bytes. Shard k holds rows ``k * shard_rows`` onwards of the stream."""

    out: Path
    format: str
    split: str
    dtype: str
    vocab: int
    length: int  # tokens per row
    rows: int
    shard_rows: int
    fingerprint: str  # of the stream
    stream: dict[str, Any]  # its description

    @property
    def shards(self) -> int:
        """How many there are."""
        return -(-self.rows // self.shard_rows)

    @property
    def tokens(self) -> int:
        """Tokens in all shards."""
        return self.rows * self.length

    def stem(self, shard: int) -> Path:
        """Path of a shard's files, without suffix."""
        return self.out / formats.stem_of(self.format, self.split, shard, self.shards)

    def rows_of(self, shard: int) -> tuple[int, int]:
        """First row, and one past the last."""
        return shard * self.shard_rows, min(self.rows, (shard + 1) * self.shard_rows)

    def names(self, shard: int) -> list[str]:
        """Names of the files a shard must have (a mask may come on top)."""
        suffixes = {"megatron": (".bin", ".idx"), "parquet": (".parquet",)}.get(self.format, (".bin",))
        return [formats.path_of(self.stem(shard), suffix).name for suffix in suffixes]

    def sidecar(self, shard: int) -> dict[str, Any]:
        """What a shard's JSON file says, but for its files."""
        first, stop = self.rows_of(shard)
        same = {"format": self.format, "dtype": self.dtype, "vocab": self.vocab, "length": self.length}
        where = {"shard": shard, "first_row": first, "rows": stop - first, "tokens": (stop - first) * self.length}
        return same | where | {"fingerprint": self.fingerprint, "stream": self.stream}

    def to_dict(self) -> dict[str, Any]:
        """JSON values; ``from_dict`` reads them."""
        return {k: v for k, v in asdict(self).items() if k != "out"} | {"tokens": self.tokens}

    @classmethod
    def from_dict(cls, out: Path, data: Mapping[str, Any]) -> Plan:
        """The plan of a manifest; raises CorpusError if it is none."""
        try:
            plan = cls(out, **{name: data[name] for name in cls.__dataclass_fields__ if name != "out"})
            numbers = (plan.vocab, plan.length, plan.rows, plan.shard_rows)
            sound = all(type(n) is int and n > 0 for n in numbers) and plan.split in SPLITS
            if not sound or plan.dtype != formats.token_dtype(plan.format, plan.vocab) or plan.shards > MOST_SHARDS:
                raise ValueError("impossible values")
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, MissingExtraError):
                raise
            raise CorpusError(
                f"the manifest in {out} is not one of shards ({error}); export into a new folder"
            ) from error
        return plan


def make_shard(stream: BatchStream, plan: Plan, shard: int, tick: Callable[[int], None] = lambda tokens: None) -> None:
    """Write one shard, its sidecar last. ``tick`` is told the tokens of every batch, and may raise to stop."""
    stem = plan.stem(shard)
    sidecar = formats.path_of(stem, ".json")
    with disk_errors(stem):
        sidecar.unlink(missing_ok=True)  # of a damaged shard
        new = formats.writer(stem, plan.format, plan.dtype, plan.length)
        try:
            for tokens, scored in rows_of(stream, *plan.rows_of(shard)):
                if tokens.min() < 0 or tokens.max() >= plan.vocab:
                    raise SpecError(
                        f"the stream wrote ids beyond its vocabulary of {plan.vocab:,}; give a larger vocabulary"
                    )
                new.write(tokens, scored)
                tick(tokens.size)
            files = new.publish()
        except BaseException:
            new.discard()
            raise
        write_json(sidecar, plan.sidecar(shard) | {"files": files})


def rows_of(stream: BatchStream, first: int, stop: int) -> Iterator[tuple[formats.Tokens, formats.Mask]]:
    """The stream's rows ``first`` to ``stop``, in order: ([B, T] ids, [B, T] scored) at a time."""
    size = stream.batch_size
    for step in range(first // size, -(-stop // size)):
        batch = stream.batch(step)
        a, b = max(first - step * size, 0), min(stop - step * size, size)
        yield batch.tokens[a:b], batch.scored[a:b]


def examine(plan: Plan, shard: int, *, checksums: bool) -> tuple[State, formats.Files]:
    """Whether a shard is there and whole, by the sizes of its files or also by their contents; and the record of its files."""
    stem = plan.stem(shard)
    sidecar, mask = (formats.path_of(stem, suffix) for suffix in (".json", ".mask"))
    if not sidecar.exists():
        return "missing", {}
    try:
        record = json.loads(sidecar.read_text("utf-8"))
        files = record.pop("files")
        names = {*plan.names(shard), *([mask.name] if mask.exists() else [])}
        whole = record == plan.sidecar(shard) and set(files) == names
        for name in names:
            whole = whole and (plan.out / name).stat().st_size == files[name]["bytes"]
            whole = whole and (not checksums or file_sha256(plan.out / name) == files[name]["sha256"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "damaged", {}
    return ("complete", files) if whole else ("damaged", {})


# ------------------------------------------------------------------ the manifest


def manifest_path(out: Path, split: str) -> Path:
    """``manifest.json``; for another split than the training one its name is part of it."""
    return out / ("manifest.json" if split == "train" else f"manifest-{split}.json")


def read_plan(out: Path, split: str) -> Plan:
    """The plan that a manifest records; raises CorpusError if there is none, or it is damaged."""
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    path = manifest_path(out, split)
    try:
        return Plan.from_dict(out, json.loads(path.read_text("utf-8")))
    except FileNotFoundError as error:
        raise CorpusError(f"{path} does not exist; type: uprior export SOURCE --tokens 1M --out {out}") from error
    except (OSError, ValueError) as error:
        if isinstance(error, UpriorError):
            raise
        raise CorpusError(f"{path} cannot be read ({error}); type the export command again to write it anew") from error


def check_folder(plan: Plan) -> None:
    """Raise RunDirectoryError if the folder holds another export. The splits of one stream may share a folder."""
    for split in SPLITS:
        path = manifest_path(plan.out, split)
        try:
            there = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            continue  # none, or damaged: it is derived again
        mine = json.loads(json.dumps(plan.to_dict()))
        keys = mine.keys() if split == plan.split else ("format", "dtype", "vocab", "length")
        different = [key for key in keys if there.get(key) != mine[key]]
        if {**there.get("stream", {}), "split": None} != {**mine["stream"], "split": None}:
            different = ["fingerprint", *different]
        if different:
            key = different[0]
            held, wanted = (str(record.get(key))[:16] for record in (there, mine))
            raise RunDirectoryError(
                f"{plan.out} holds another export: its {key} is {held}, not {wanted}; choose another --out"
            )


def write_manifest(plan: Plan) -> dict[str, Any]:
    """Look at every shard and write down what is there; returns what was written."""
    shards = []
    for shard in range(plan.shards):
        first, stop = plan.rows_of(shard)
        found, files = examine(plan, shard, checksums=False)
        where = {"first_row": first, "rows": stop - first, "state": found}
        shards.append({"name": plan.stem(shard).name} | where | {"files": files})
    complete = all(shard["state"] == "complete" for shard in shards)
    record = plan.to_dict() | {"complete": complete, "shards": shards}
    write_json(manifest_path(plan.out, plan.split), record)
    return record
