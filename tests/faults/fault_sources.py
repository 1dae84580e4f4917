"""Sources that work for two blocks and then fail."""

import sys
import threading
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from uprior.sources import Source
from uprior.spec import parameter
from uprior.types import Block

for_ever = threading.Event()  # never set in a process that is to hang; a test sets it to let its threads go


@dataclass(frozen=True)
class Raises(Source):
    """Divides by zero in block ``at``."""

    name: ClassVar[str] = "raises"
    alphabet_size: int = parameter(256, low=2, high=256)
    at: int = parameter(2, "block that fails", low=0, high=1 << 20)

    def fail(self):
        return 1 // 0

    def _generate(self, draw, rows, length):
        if draw.index == self.at:
            self.fail()
        tokens = draw("rows").integers(0, self.alphabet_size, (rows, length), dtype=np.uint16)
        return Block(tokens, draw.machine_ids(np.arange(rows)))


@dataclass(frozen=True)
class Exits(Raises):
    """Asks the interpreter to end, which a thread can only ask for itself."""

    name: ClassVar[str] = "exits"

    def fail(self):
        sys.exit(0)


@dataclass(frozen=True)
class Hangs(Raises):
    """Never comes back from block ``at``."""

    name: ClassVar[str] = "hangs"

    def fail(self):
        for_ever.wait()


@dataclass(frozen=True)
class TimesOut(Raises):
    """Raises the very exception by which a wait for a thread would end."""

    name: ClassVar[str] = "times_out"

    def fail(self):
        raise TimeoutError("no answer")
