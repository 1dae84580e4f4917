"""The same blocks in a fresh Python with another PYTHONHASHSEED."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any, Self, cast

import numpy as np

from uprior.spec import Spec, from_dict
from uprior.types import Block

_TIMEOUT_SECONDS = 300
_ANSWER = "uprior answers: "  # a source under test may print lines of its own
_CHILD = f"""
import json, sys
from uprior.sources._check_process import answer
for line in sys.stdin:
    print("\\n{_ANSWER}" + json.dumps(answer(json.loads(line))), flush=True)
"""


class Broken(Exception):
    """A clause of the contract does not hold; the text says what was found."""


def block_digest(block: Block) -> str:
    """SHA-256 of every array of a block, with names, types and shapes: equal digests mean equal blocks."""
    sha = hashlib.sha256()
    arrays = {"tokens": block.tokens, "scored": block.scored, "floor_nats": block.floor_nats, "machine": block.machine}
    for name, array in [*arrays.items(), *sorted(block.info.items())]:
        if array is not None:
            sha.update(f"{name} {array.dtype.str} {array.shape} ".encode())
            sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def classes_of(spec: Spec) -> dict[str, type[Spec]]:
    """name -> class of a spec and of every spec inside it."""
    return {part.name: type(part) for part in _parts(spec)}


def _parts(value: Any) -> Iterator[Spec]:
    if isinstance(value, Spec):
        yield value
        for field in dataclasses.fields(cast(Any, value)):
            yield from _parts(getattr(value, field.name))
    elif isinstance(value, tuple):
        for item in value:
            yield from _parts(item)


def not_importable(spec: Spec) -> str:
    """Why a fresh process cannot import the classes of a spec, or ""."""
    for cls in classes_of(spec).values():
        if cls.__module__ == "__main__" or "<locals>" in cls.__qualname__:
            return (
                f"{cls.__module__}.{cls.__qualname__} cannot be imported elsewhere; put it at the top of a module file"
            )
    return ""


class FreshProcess:
    """A child process with another PYTHONHASHSEED that writes blocks on demand; one serves the checks of many sources.

    It is started by the first question, and again by the next one if a source brought it down.
    """

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, spec: Spec, requests: list[dict[str, Any]]) -> dict[str, Any]:
        """{"fingerprint": ..., "digests": [...]} of these blocks, or {"error": why there is none}."""
        if reason := not_importable(spec):
            return {"error": reason}
        places = {name: [cls.__module__, cls.__qualname__] for name, cls in classes_of(spec).items()}
        question = {"path": sys.path, "classes": places, "spec": spec.to_dict(), "blocks": requests}
        child = self.process = self.process or self._start()
        assert child.stdin is not None and child.stdout is not None
        timer = threading.Timer(_TIMEOUT_SECONDS, child.kill)
        timer.start()
        try:
            child.stdin.write(json.dumps(question) + "\n")
            child.stdin.flush()
            for line in child.stdout:
                if line.startswith(_ANSWER):
                    return cast(dict[str, Any], json.loads(line.removeprefix(_ANSWER)))
        except BrokenPipeError:
            pass  # it is gone; what it said last is told below
        finally:
            timer.cancel()
        return {"error": self._last_words(child)}

    def _start(self) -> subprocess.Popen[str]:
        other_seed = "4321" if os.environ.get("PYTHONHASHSEED") != "4321" else "1234"
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [sys.executable, "-c", _CHILD],
            env=os.environ | {"PYTHONHASHSEED": other_seed},
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
            encoding="utf-8",
        )

    def _last_words(self, child: subprocess.Popen[str]) -> str:
        assert child.stderr is not None
        last_line = (child.stderr.read().strip() or "no message").splitlines()[-1]
        status = child.wait()
        self.close()
        if status == -signal.SIGKILL:
            return f"no answer from the fresh process in {_TIMEOUT_SECONDS} s"
        return f"the fresh process ended with status {status}: {last_line}"

    def close(self) -> None:
        """End the process if it runs."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """The child's side: revive the spec, write the blocks, digest them. Errors become text."""
    sys.path[:] = question["path"]
    classes: dict[str, type[Spec]] = {}
    for name, (module, qualname) in question["classes"].items():
        try:
            found: Any = importlib.import_module(module)
            for attribute in qualname.split("."):
                found = getattr(found, attribute)
        except (ImportError, AttributeError) as error:
            return {"error": f"a fresh process cannot import {module}:{qualname}: {error}"}
        classes[name] = found
    try:
        source: Any = from_dict(question["spec"], classes.__getitem__)
        digests = [block_digest(source.block(**block)) for block in question["blocks"]]
    except Exception as error:  # whatever a user's source raises is the finding
        return {"error": f"raised {type(error).__name__}: {error}"}
    return {"fingerprint": source.fingerprint, "digests": digests}
