"""Sources that end badly at a chosen moment, for tests of what survives."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from uprior.sources import Uniform


@dataclass(frozen=True)
class Fatal(Uniform):
    """Uniform noise that kills its own process, once: whoever finds the file named in FATAL_MARKER lives on."""

    name: ClassVar[str] = "fatal"

    def _generate(self, draw, rows, length):
        marker = Path(os.environ["FATAL_MARKER"])
        if draw("fate").random() < 0.2 and not marker.exists():
            marker.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._generate(draw, rows, length)


@dataclass(frozen=True)
class Raising(Uniform):
    """Uniform noise that raises in one block of three."""

    name: ClassVar[str] = "raising"

    def _generate(self, draw, rows, length):
        if draw("fate").random() < 1 / 3:
            raise ZeroDivisionError("the sky fell")
        return super()._generate(draw, rows, length)
