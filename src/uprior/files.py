"""Writing so that nothing is ever half-written: temporary name, fsync, rename; and one writer per run directory."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from uprior.errors import CheckpointError, RunDirectoryError

# None on Windows: there, nothing guards a run directory or a shard against a second writer.
fcntl: Any = importlib.import_module("fcntl") if importlib.util.find_spec("fcntl") else None

CHECKSUMS = "checksums.json"


def write_text(path: Path, text: str) -> None:
    """The file appears whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """The file appears whole or not at all."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """A JSON object, indented for people, whole or not at all."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill that takes its name only when it is complete, with a checksum of every file in it.

    An existing folder of that name is replaced.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    with disk_errors(path):
        temporary.mkdir(parents=True)
        try:
            yield temporary
            files = sorted(p for p in temporary.rglob("*") if p.is_file())
            sums = {str(p.relative_to(temporary)): file_sha256(p) for p in files}
            write_json(temporary / CHECKSUMS, sums)
            for file in files:
                _sync_file(file)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        shutil.rmtree(path, ignore_errors=True)
        temporary.rename(path)
        _sync_folder(path.parent)


def verify_folder(path: Path) -> None:
    """Raise CheckpointError naming the first file that is missing, truncated or altered since the folder was written.

    A folder without recorded checksums (written by another program) passes.
    """
    record = path / CHECKSUMS
    if not record.exists():
        return
    try:
        sums = json.loads(record.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{record} is damaged ({error}); restore the folder, or use another checkpoint"
        ) from error
    for name, expected in sums.items():
        file = path / name
        if not file.is_file():
            raise CheckpointError(f"{file} is missing; restore the folder, or use another checkpoint")
        try:
            found = file_sha256(file)
        except OSError as error:
            raise CheckpointError(f"cannot read {file}: {error.strerror}; make it readable: chmod u+r") from error
        if found != expected:
            raise CheckpointError(f"{file} is damaged (its checksum differs); restore it, or use another checkpoint")


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into one line; what was there before stays."""
    try:
        yield
    except Exception as error:
        reason = _disk_reason(error)
        if reason is None:
            raise
        raise RunDirectoryError(
            f"cannot write {path}: {reason}; what was saved before is intact: "
            "free space or choose another --out, then type the same command to go on"
        ) from error


def _disk_reason(error: Exception) -> str | None:
    """What the disk said, if it was the disk: safetensors reports a full one in an exception of its own."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    from safetensors import SafetensorError

    if isinstance(error, SafetensorError) and "(os error " in str(error):
        return str(error).rpartition("I/O error: ")[2].partition(" (os error")[0]
    return None


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run directory for this process; RunDirectoryError if another one holds it. The lock dies with its process."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file: IO[str] = (folder / ".lock").open("a+")
    try:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise RunDirectoryError(
                f"{folder} is in use by another process (number {holder}); wait for it, or choose another --out"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
    finally:
        file.close()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a JSONL file; a last line cut short by a kill is left out. No file: no lines."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text("utf-8", errors="replace").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
