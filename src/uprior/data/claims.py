"""One writer per shard, also between processes and machines."""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from uprior.data.shards import MOST_SHARDS, Plan
from uprior.errors import RunDirectoryError
from uprior.files import disk_errors, fcntl
from uprior.types import SPLITS

MANIFEST_LOCK = 1 << 40  # a byte of the lock file beyond all shards
_HELD: set[Path] = set()  # lock files of this process: the system's locks tell processes apart, not threads
_GUARD = threading.Lock()


class Claims:
    """This process's locks on an export: one byte of the folder's lock file per shard. They die with the process.

    Locks of this kind also hold between machines that share a folder by NFS.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.path = plan, (plan.out / ".lock").resolve()
        self._file: IO[bytes]

    def __enter__(self) -> Claims:
        with _GUARD:
            if self.path in _HELD:
                raise RunDirectoryError(
                    f"{self.plan.out} is being written by this process already; use workers=n instead"
                )
            _HELD.add(self.path)
        try:
            with disk_errors(self.plan.out):
                self.plan.out.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("ab")
        except BaseException:
            _HELD.discard(self.path)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        _HELD.discard(self.path)

    def take(self, shards: Iterable[int]) -> None:
        """Claim these shards, or raise RunDirectoryError if another process has one of them."""
        first = SPLITS.index(self.plan.split) * MOST_SHARDS
        for shard in shards:
            if not self._lock(first + shard, wait=False):
                raise RunDirectoryError(
                    f"{self.plan.stem(shard)} is being written by another process; wait for it, "
                    "or share the work out: --shard 0/2 here and --shard 1/2 there"
                )

    @contextlib.contextmanager
    def manifest(self) -> Iterator[None]:
        """Processes that share an export write its manifest one after the other."""
        self._lock(MANIFEST_LOCK, wait=True)
        try:
            yield
        finally:
            if fcntl is not None:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, MANIFEST_LOCK)

    def _lock(self, byte: int, *, wait: bool) -> bool:
        if fcntl is None:
            return True  # nothing to lock with
        with disk_errors(self.path):
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, byte)
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    return False
                raise
        return True
