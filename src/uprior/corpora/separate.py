"""Training and test data that come apart, as published splits do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from uprior.corpora._base import Bytes, Corpus


@dataclass(frozen=True)
class Separate(Corpus):
    """Two corpora as one: what comes before, and what is tested on, whole.

    Write ``separate:train=(file:A),test=(file:B)``. All of ``test`` is the test split. All of ``train`` is divided into training
    and validation as 8 to 1, or as ``train_fraction`` to ``validation_fraction``.
    """

    name: ClassVar[str] = "separate"
    train: Corpus = field(metadata={"text": "the corpus to train and to tune on"})
    test: Corpus = field(metadata={"text": "the corpus to test on"})

    @property
    def label(self) -> str:
        return self.test.label

    @property
    def align(self) -> int:
        return self.test.align

    @property
    def tested_bytes(self) -> int:
        return self.test.content.size

    def _read(self) -> Bytes:
        return np.concatenate([self.train.content, self.test.content])
