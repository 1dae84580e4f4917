"""The same blocks in a fresh Python with another PYTHONHASHSEED: started early, answered while other checks run."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, cast

import numpy as np

from uprior.spec import Spec, from_dict
from uprior.types import Block

_TIMEOUT_SECONDS = 300
_CHILD = """
import json, sys
request = json.load(sys.stdin)
sys.path[:] = request["path"]
from uprior.sources._check_process import answer
print("\\n" + json.dumps(answer(request)))
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
    """One child process that writes some blocks of a source and reports their digests."""

    def __init__(self, spec: Spec, requests: list[dict[str, Any]]) -> None:
        self.reason = not_importable(spec)
        self.process: subprocess.Popen[str] | None = None
        if self.reason:
            return
        places = {name: [cls.__module__, cls.__qualname__] for name, cls in classes_of(spec).items()}
        question = json.dumps({"path": sys.path, "classes": places, "spec": spec.to_dict(), "blocks": requests})
        other_seed = "4321" if os.environ.get("PYTHONHASHSEED") != "4321" else "1234"
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CHILD],
            env=os.environ | {"PYTHONHASHSEED": other_seed},
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
            encoding="utf-8",
        )
        assert self.process.stdin is not None
        self.process.stdin.write(question)
        self.process.stdin.close()
        self.process.stdin = None  # communicate() would flush it again

    def result(self) -> dict[str, Any]:
        """{"fingerprint": ..., "digests": [...]}, or {"error": why there is none}."""
        if self.process is None:
            return {"error": self.reason}
        try:
            out, err = self.process.communicate(timeout=_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            return {"error": f"no answer from the fresh process in {_TIMEOUT_SECONDS} s"}
        if self.process.returncode != 0:
            last_line = (err.strip() or "no message").splitlines()[-1]
            return {"error": f"the fresh process ended with status {self.process.returncode}: {last_line}"}
        return cast(dict[str, Any], json.loads(out.splitlines()[-1]))

    def close(self) -> None:
        """End the process if it still runs."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            self.process.communicate()


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """The child's side: revive the spec, write the blocks, digest them. Errors become text."""
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
