"""Real ``uprior pretrain`` processes, and ways to hurt them from inside and outside.

What hurts them from inside is an ``Injury``: it is installed before the program starts and waits for a moment that the test
has chosen.
"""

import contextlib
import json
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import process_server

from uprior.files import read_lines

STEPS, CHECKPOINT_EVERY, BATCH = 12, 3, 4
# Generous: only a hang takes so long.
DEADLINE = 120.0


def repeats(by_default):
    """How often a fault is repeated: UPRIOR_FAULT_REPEATS, else a number small enough for every run of the tests."""
    return int(os.environ.get("UPRIOR_FAULT_REPEATS", by_default))


def pretrain(run, data, *more, source="pointwise", steps=STEPS, every=CHECKPOINT_EVERY):
    """The words of a small run with evaluations at steps 0, 3 and 12; ``more`` options may repeat one to change it."""
    options = {
        "--source": source, "--model": "llama-tiny", "--context": 32, "--batch-size": BATCH, "--steps": steps,
        "--checkpoint-every": every, "--evaluations": 3, "--positions": 4, "--eval": data, "--threads": 1, "--out": run,
    }  # fmt: skip
    return ["pretrain", *(str(word) for pair in options.items() for word in pair), *map(str, more)]


# ------------------------------------------------------------------ what happens inside a process

# Audit events of CPython that touch the disk; each is raised just before the operation.
DISK_EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")


@dataclass(frozen=True)
class Injury:
    """Waits for the disk event number ``at`` (0-based) below ``run`` whose path ends in ``path``, then strikes."""

    run: str
    at: int = 0
    event: str = ""
    path: str = ""

    def install(self):
        seen = 0

        def hook(event, words):
            nonlocal seen
            if event not in DISK_EVENTS or not str(words[0]).startswith(self.run):
                return
            self.note(event, str(words[0]))
            if event.startswith(self.event) and str(words[0]).endswith(self.path):
                seen += 1
                if seen == self.at + 1:
                    self.strike()

        sys.addaudithook(hook)

    def note(self, event, path):
        """Every event below the run, before it is known whether it strikes."""

    def strike(self):
        raise NotImplementedError


@dataclass(frozen=True)
class Watch(Injury):
    """No injury: writes down every disk event below the run, from which other injuries choose theirs."""

    record: str = ""

    def note(self, event, path):
        # os.write: an open() here would be an event of its own.
        line = json.dumps([event, path]) + "\n"
        descriptor = os.open(self.record, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, line.encode())
        os.close(descriptor)

    def strike(self):
        pass


@dataclass(frozen=True)
class Kill(Injury):
    """SIGKILL, just before a disk operation."""

    def strike(self):
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class KillAtByte(Injury):
    """From the event on, the kernel ends the process when a file would grow beyond ``size`` bytes: in the middle of a write.

    The signal is SIGXFSZ at its default action; no line of the program runs after it, as with SIGKILL.
    """

    size: int = 0

    def strike(self):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, resource.RLIM_INFINITY))


@dataclass(frozen=True)
class KillAfter(Injury):
    """The kernel ends the process after ``seconds`` of processor time from the event on: anywhere, also in native code.

    The signal is SIGVTALRM at its default action; no line of the program runs after it, as with SIGKILL.
    """

    seconds: float = 0.1

    def strike(self):
        signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_VIRTUAL, self.seconds)


@dataclass(frozen=True)
class Send(Injury):
    """Sends the process a signal after ``seconds`` of processor time from the event on, and writes down when."""

    number: int = signal.SIGTERM
    seconds: float = 1e-6

    def strike(self):
        def send(*_):
            Path(self.run).with_suffix(".sent").write_text(str(time.monotonic()))
            os.kill(os.getpid(), self.number)

        signal.signal(signal.SIGVTALRM, send)
        signal.setitimer(signal.ITIMER_VIRTUAL, self.seconds)


@dataclass(frozen=True)
class SmallFiles(Injury):
    """From the event on, no file may grow beyond ``size`` bytes; the program is told (EFBIG), as it is of a full disk."""

    size: int = 0

    def strike(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, resource.RLIM_INFINITY))


@dataclass(frozen=True)
class FillDisk(Injury):
    """From the event on, the file system of the run has only ``left`` bytes."""

    left: int = 0

    def strike(self):
        fill(Path(self.run).parent / "filler", self.left)


def fill(path, left):
    """Take all the room of a (small) file system but ``left`` bytes."""
    room = os.statvfs(path.parent)
    with path.open("wb", buffering=0) as file:
        file.write(bytes(max(0, room.f_bavail * room.f_frsize - left)))


@dataclass(frozen=True)
class Poison(Injury):
    """The loss or the gradients of some training steps (1-based) become NaN or infinite."""

    steps: tuple = ()
    what: str = "loss"
    value: float = float("nan")

    def install(self):
        from uprior.train.scorer import Scorer

        original, trained = Scorer.forward, 0

        def forward(scorer, tokens, scored):
            nonlocal trained
            loss, nats = original(scorer, tokens, scored)
            trained += 1
            if trained in self.steps:
                if self.what == "loss":
                    loss = loss * self.value
                else:
                    loss.register_hook(lambda gradient: gradient * self.value)
            return loss, nats

        # Not a hook of the model: a model with hooks is computed in another way, with other bits.
        Scorer.forward = forward


@dataclass(frozen=True)
class Patience(Injury):
    """No injury: a stream that waits for a batch only so many seconds."""

    seconds: float = 1.0

    def install(self):
        from uprior.data.stream import BatchStream

        BatchStream.patience = self.seconds


def _main(words, folder, injuries):
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    for injury in injuries:
        injury.install()
    from uprior.cli import main

    main(words)


# ------------------------------------------------------------------ the process, seen from outside


@dataclass(frozen=True)
class Ended:
    """How a process ended: exit status (minus the signal's number if one ended it), what it wrote, when."""

    status: int
    out: str
    err: str
    at: float

    @property
    def killed(self):
        return self.status < 0


class Victim:
    """A process of the program ``uprior``."""

    def __init__(self, words, folder, *injuries):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = process_server.start(_main, words, self.folder, injuries)

    def kill_when(self, condition):
        """SIGKILL from outside as soon as the condition holds; False if the process ended before."""
        deadline = time.monotonic() + DEADLINE
        while self.process.is_alive() and time.monotonic() < deadline:
            if condition():
                os.kill(self.process.pid, signal.SIGKILL)
                return True
        return False

    def end(self):
        """Wait for the end. A process that does not end is a fault of its own."""
        self.process.join(DEADLINE)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"the process hangs; it said: {self.said('err')}")
        return Ended(self.process.exitcode, self.said("out"), self.said("err"), time.monotonic())

    def said(self, name):
        with contextlib.suppress(OSError):
            return (self.folder / name).read_text("utf-8")
        return ""


def run(words, folder, *injuries):
    """Run the program to its end."""
    return Victim(words, folder, *injuries).end()


def finish(words, folder):
    """Type the same command again, and see it through."""
    ended = run(words, folder)
    assert ended.status == 0, ended.err
    return ended


def trace(run):
    """All that must be the same, byte for byte, of two runs: the log, and the weights of the start and the end."""
    files = [run / "log.jsonl", *(f for f in (*(run / "start").iterdir(), *(run / "model").iterdir()))]
    return {str(file.relative_to(run)): file.read_bytes() for file in sorted(files)}


def checkpoints(run):
    """Complete checkpoints, oldest first, by step."""
    return [int(p.name.removeprefix("step-")) for p in sorted((run / "checkpoints").glob("step-*"))]


def last_step(run):
    """The last step of the log."""
    return max((line["step"] for line in read_lines(run / "log.jsonl") if line["event"] == "train"), default=0)
