"""The default mixture: what to pre-train on when nothing is known about the data to come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from uprior.sources._base import Source
from uprior.sources.iterated import Iterated
from uprior.sources.lempel_ziv import LempelZiv
from uprior.sources.mixture import Mixture
from uprior.sources.pcfg import PCFG
from uprior.sources.pitman_yor import PitmanYor
from uprior.sources.probabilistic_automaton import ProbabilisticAutomaton
from uprior.sources.random_language import RandomLanguage
from uprior.sources.random_lstm import RandomLSTM
from uprior.spec import parameter


@dataclass(frozen=True)
class Universal(Mixture):
    """The default mixture: what is frequent after what, copying, random languages, and a little of random networks and machines.

    Machine: one of a component's. Floor: NaN in rows of components that do not know theirs. Cost: mostly the networks'. The
    larger shares follow what is slow to learn: counting what follows what on all scales (``pitman_yor``, ten rows in 23), the
    layers of units on units of systems that communicate (``random_language``, five), and nested structure (``pcfg``, three).
    Copying, from anywhere (``lempel_ziv`` with few literals) and from a fixed distance (with none), is learnt soon or there from
    the start, and gets three. Hidden states and chains of random networks, which none of these hold, get one each.

    Version 1 had random languages, chains of LSTMs and of transformers, context trees, and single symbols; version 2 these parts
    in shares of 5, 4, 4, 4, 1, 1, 1. docs/LOG.md has all three on development sets.
    """

    name: ClassVar[str] = "universal"
    version: ClassVar[int] = 3
    sources: tuple[Source, ...] = parameter(
        (
            PitmanYor(),
            RandomLanguage(),
            LempelZiv(max_literal=0.2),
            LempelZiv(max_literal=0.0, max_error=0.01, lag_share=1.0),
            Iterated(source=RandomLSTM()),
            ProbabilisticAutomaton(),
            PCFG(),
        ),
        "the sources",
    )
    shares: tuple[int, ...] = parameter((10, 5, 2, 1, 1, 1, 3), "rows of each source per cycle", low=1, high=10_000)
