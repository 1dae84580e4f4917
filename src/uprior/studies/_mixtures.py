"""Mixtures to try: random ones out of a pool, one without each part, and the same one in other settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from uprior.errors import SpecError
from uprior.rng import generator
from uprior.sources import Source
from uprior.sources.iterated import Iterated
from uprior.sources.mixture import Mixture
from uprior.sources.noisy import Noisy
from uprior.sources.packed import Packed
from uprior.sources.relabelled import Relabelled

Change = Callable[[Source], Source]


def parts_of(source: Source) -> list[tuple[Source, int]]:
    """(source, rows per cycle) of every part of a mixture. SpecError for what is none, or has one part."""
    found, shares = getattr(source, "sources", ()), getattr(source, "shares", ())
    if len(found) < 2:
        raise SpecError(f"{source.name} is not a mixture of two sources or more; give one, as in universal")
    return list(zip(found, shares or (1,) * len(found), strict=True))


def label(source: Source) -> str:
    """A short name, of wrappers with what they wrap, of mixtures with how many parts they have.

    >>> label(Packed(source=Relabelled())), label(Mixture())
    ('packed(relabelled(context_tree))', 'mixture(3)')
    """
    inner = getattr(source, "source", None)
    if isinstance(source, Mixture):
        return f"{source.name}({len(source.sources)})"
    return f"{source.name}({label(inner)})" if isinstance(inner, Source) else source.name


def labels(sources: Sequence[Source]) -> list[str]:
    """Names that tell the sources apart: a number behind those that have the same.

    >>> labels([Packed(), Mixture(), Packed(episode_length=8)])
    ['packed(context_tree)', 'mixture(3)', 'packed(context_tree) 2']
    """
    names = [label(source) for source in sources]
    earlier = [names[:i].count(name) for i, name in enumerate(names)]
    return [f"{name} {count + 1}" if count else name for name, count in zip(names, earlier, strict=True)]


# ------------------------------------------------------------------ random mixtures


def candidates(base: Source, pool: Sequence[Source], count: int, *, seed: int, cycle: int) -> dict[str, Source]:
    """``count`` mixtures by name: ``base``, its parts in equal shares, and random ones, a pure function of the arguments.

    A random one takes each part of ``base`` with probability 3/4 and each source of ``pool`` with 1/4, in shares drawn from a
    flat Dirichlet law and rounded to ``cycle`` rows in all; every second one is changed in one setting too (``SETTINGS``).
    """
    own = [part for part, _ in parts_of(base)]
    others = [source for source in pool if source not in own]
    found: dict[str, Source] = {"base": base, "equal shares": Mixture(sources=tuple(own))}
    for number in range(max(0, count - len(found))):
        rng = generator("search", seed, number)
        mixture = _random_mixture(rng, own, others, cycle)
        name, made = f"random {number}", mixture
        if number % 2:
            setting = list(SETTINGS)[int(rng.integers(len(SETTINGS)))]
            made = SETTINGS[setting](mixture)
            name += f", {setting}" if made != mixture else ""
        found[name] = made
    return dict(list(found.items())[:count])


def _random_mixture(rng: np.random.Generator, own: list[Source], others: list[Source], cycle: int) -> Source:
    everything = [*own, *others]
    likely = np.array([0.75] * len(own) + [0.25] * len(others))
    while True:
        chosen = np.flatnonzero(rng.random(len(everything)) < likely)
        shares = whole_shares(rng.dirichlet(np.ones(len(chosen))), cycle) if len(chosen) else np.zeros(0, np.int64)
        if (shares > 0).sum() >= 2:
            kept = [(everything[i], int(share)) for i, share in zip(chosen, shares, strict=True) if share]
            return Mixture(sources=tuple(source for source, _ in kept), shares=tuple(share for _, share in kept))


def whole_shares(weights: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Whole numbers that sum to ``total``, as near to the weights' proportions as can be (largest remainders).

    >>> whole_shares(np.array([0.6, 0.3, 0.1]), 8).tolist()
    [5, 2, 1]
    """
    exact = weights / weights.sum() * total
    shares: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    shares[np.argsort(shares - exact, kind="stable")[: total - shares.sum()]] += 1
    return shares


# ------------------------------------------------------------------ the same mixture, changed


def rebuilt(source: Source, change: Change) -> Source:
    """The source with ``change`` applied to everything in it, innermost first, and to itself last."""
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(cast(Any, source)):
        value = getattr(source, field.name)
        if isinstance(value, Source):
            changed[field.name] = rebuilt(value, change)
        elif isinstance(value, tuple) and value and all(isinstance(part, Source) for part in value):
            changed[field.name] = tuple(rebuilt(part, change) for part in value)
    return change(source.replace(**changed) if changed else source)


def without_each(base: Source) -> Iterator[tuple[str, Source]]:
    """(name of a part, the mixture of the others in their old proportions) for every part."""
    parts = parts_of(base)
    names = labels([part for part, _ in parts])
    for left_out, name in enumerate(names):
        kept = [part for i, part in enumerate(parts) if i != left_out]
        yield name, Mixture(sources=tuple(source for source, _ in kept), shares=tuple(share for _, share in kept))


def _depth(largest: int) -> Change:
    def change(source: Source) -> Source:
        return source.replace(max_depth=largest) if isinstance(source, Iterated) else source

    return change


def _rows_per_machine(rows: int) -> Change:
    def change(source: Source) -> Source:
        return source.replace(rows_per_machine=rows) if hasattr(source, "rows_per_machine") else source

    return change


def _unwrap(wrapper: type[Any]) -> Change:
    def change(source: Source) -> Source:
        return source.source if isinstance(source, wrapper) else source

    return change


def _everywhere(change: Change) -> Change:
    return lambda source: rebuilt(source, change)


# Depth d: depths 1 to d alike (of chains with the uniform law). What a setting does not change is not a variant.
SETTINGS: Mapping[str, Change] = {
    "no chains": _everywhere(_unwrap(Iterated)),
    "depth 1": _everywhere(_depth(1)),
    "depth 2": _everywhere(_depth(2)),
    "depth 8": _everywhere(_depth(8)),
    "1 row per machine": _everywhere(_rows_per_machine(1)),
    "4 rows per machine": _everywhere(_rows_per_machine(4)),
    "16 rows per machine": _everywhere(_rows_per_machine(16)),
    "relabelled": lambda source: Relabelled(source=source, alphabet_size=source.alphabet_size),
    "nothing relabelled": _everywhere(_unwrap(Relabelled)),
    "packed": lambda source: Packed(source=source, episode_length=128, shortest_episode=32),
    "nothing packed": _everywhere(_unwrap(Packed)),
    "noisy": lambda source: Noisy(source=source, substitution=0.02, deletion=0.0, insertion=0.0),
    "nothing noisy": _everywhere(_unwrap(Noisy)),
}
