"""The whole contract of a source as named checks, for any source, a user's own included.

    report = check(RandomLSTM(hidden=32))
    report.failures      # [] or ["same_twice: ...", ...]: the clause, and what was found

What no check can see: whether rows hold the structure a docstring promises, and whether a floor is exact (``_check_floor``
says what data can and cannot tell about it).
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.random import mtrand
from numpy.typing import NDArray

from uprior.sources import _check_floor as floors
from uprior.sources import _check_spec as specs
from uprior.sources._base import Source
from uprior.sources._check_process import Broken, FreshProcess, block_digest, classes_of
from uprior.sources._complexity import lempel_ziv_phrases
from uprior.sources._look import describe
from uprior.sources._machines import MachineSource
from uprior.types import SPLITS, Block

LARGE, SMALL = (32, 256), (5, 48)  # rows, length
# A row that differs from itself, shifted by 1 to 4, in fewer places, or has no more phrases, holds almost no information.
_FEW_CHANGES, _FEW_PHRASES = 4, 12
_TOKEN_TYPES = (np.dtype(np.uint16), np.dtype(np.uint32))


@dataclass(frozen=True)
class Report:
    """What was checked: ``passed`` and ``failures`` hold one line per clause, "clause: what was found"."""

    source: str
    passed: list[str]
    failures: list[str]


@dataclass
class Probe:
    """The source under test and the blocks drawn so far."""

    source: Source
    seed: int
    fresh_process: FreshProcess
    drawn: dict[tuple[Any, ...], Block] = field(default_factory=dict)

    def block(self, *, seed: int = 0, index: int = 0, split: str = "train", shape: tuple[int, int] = LARGE) -> Block:
        """A block, drawn once; ``seed`` counts from the seed of the check."""
        return self.block_of(seed, index, split, shape)

    def block_of(self, *place: Any) -> Block:
        """The block at (seed, index, split, shape), drawn once."""
        if place not in self.drawn:
            self.drawn[place] = self.draw(self.source, *place)
        return self.drawn[place]

    def draw(self, source: Source, seed: int, index: int, split: str, shape: tuple[int, int]) -> Block:
        """A block, drawn now."""
        rows, length = fitted(shape, source)
        return source.block(self.seed + seed, index, rows=rows, length=length, split=split)

    def blocks(self) -> list[Block]:
        """Blocks of both shapes, three splits and several indices."""
        small = [self.block(split=split, shape=SMALL) for split in SPLITS]
        return [self.block(), self.block(index=1), self.block(split="validation"), *small]


def fitted(shape: tuple[int, int], source: Source) -> tuple[int, int]:
    """(rows, length), longer where the source needs longer rows."""
    return shape[0], max(shape[1], source.shortest_row)


# What is asked of the fresh process: (seed, index, split, shape).
_ASKED = ((0, 0, "train", LARGE), (0, 1, "train", LARGE), (0, 0, "validation", SMALL), (0, 0, "test", SMALL))


def check(source: Source, *, seed: int = 0, fresh_process: FreshProcess | None = None) -> Report:
    """Run every clause of the contract on a source. An exception in the source is a failure, never a crash.

    Who checks many sources gives all of them one ``fresh_process``, whose start costs seconds.
    """
    report = Report(describe(source), [], [])
    with contextlib.ExitStack() as stack:
        child = fresh_process or stack.enter_context(FreshProcess())
        probe = Probe(source, seed, child)
        for clause in CLAUSES:
            passed = _run(clause, probe, report)
            if clause is writes_blocks and not passed:
                break  # every clause after this one needs blocks
    return report


def _run(clause: Callable[[Probe], str], probe: Probe, report: Report) -> bool:
    name = clause.__name__
    try:
        report.passed.append(f"{name}: {clause(probe)}")
        return True
    except Broken as found:
        report.failures.append(f"{name}: {found}")
    except Exception as error:  # whatever a user's source raises is the finding
        report.failures.append(f"{name}: {_text(error)}")
    return False


def _text(error: Exception) -> str:
    return " ".join(f"raised {type(error).__name__}: {error}".split())


# ------------------------------------------------------------------ the spec


def spec_is_frozen(probe: Probe) -> str:
    return specs.frozen(probe.source)


def spec_is_documented(probe: Probe) -> str:
    return specs.documented(probe.source)


def spec_round_trip(probe: Probe) -> str:
    return specs.round_trip(probe.source)


def fingerprint_covers_every_field(probe: Probe) -> str:
    return specs.fingerprint_covers(probe.source)


# ------------------------------------------------------------------ what a block is


def writes_blocks(probe: Probe) -> str:
    for block in (blocks := probe.blocks()):
        if not isinstance(block, Block):
            raise Broken(f"block returned {type(block).__name__}, not uprior.types.Block")
    return f"{len(blocks)} blocks of {LARGE[0]} x {LARGE[1]} and {SMALL[0]} x {SMALL[1]} tokens"


def tokens_have_shape_and_type(probe: Probe) -> str:
    for rows_length, block in _shaped(probe):
        tokens: Any = block.tokens
        if tokens.shape != rows_length:
            raise Broken(f"tokens have shape {tokens.shape}, asked for {rows_length}")
        if tokens.dtype not in _TOKEN_TYPES:
            raise Broken(f"tokens are {tokens.dtype}; allowed: uint16, uint32")
    return f"{probe.block().tokens.dtype}, as many rows and tokens as asked for"


def tokens_are_in_the_alphabet(probe: Probe) -> str:
    highest = max(int(block.tokens.max()) for block in probe.blocks())
    if highest >= probe.source.alphabet_size:
        raise Broken(
            f"token {highest} in an alphabet of {probe.source.alphabet_size} (0..{probe.source.alphabet_size - 1})"
        )
    return f"0..{highest} in an alphabet of {probe.source.alphabet_size}"


def scored_counts_something(probe: Probe) -> str:
    share = 1.0
    for rows_length, block in _shaped(probe):
        scored: Any = block.scored
        if scored is None:
            continue
        if scored.dtype != np.bool_ or scored.shape != rows_length:
            raise Broken(f"scored is {scored.dtype} {scored.shape}; allowed: bool {rows_length}, or None for all")
        # The first token is given, never predicted, so it cannot be all that counts.
        if not scored[:, 1:].any(axis=1).all():
            raise Broken("a row has no scored token after its first: nothing in it counts")
        share = min(share, float(scored.mean()))
    return f"at least {share:.0%} of the tokens of a block count"


def machine_and_info_are_per_row(probe: Probe) -> str:
    for (rows, _), block in _shaped(probe):
        machine: Any = block.machine
        if machine.dtype != np.int64 or machine.shape != (rows,):
            raise Broken(f"machine is {machine.dtype} {machine.shape}; allowed: int64 ({rows},)")
        for name, values in block.info.items():
            if not isinstance(values, np.ndarray) or values.shape[:1] != (rows,) or values.ndim != 1:
                raise Broken(f"info[{name!r}] has shape {np.shape(values)}; allowed: ({rows},)")
    return f"{len(np.unique(probe.block().machine))} machines in {LARGE[0]} rows; info: {', '.join(probe.block().info) or 'none'}"


def _shaped(probe: Probe) -> list[tuple[tuple[int, int], Block]]:
    large, small = fitted(LARGE, probe.source), fitted(SMALL, probe.source)
    smaller = [(small, probe.block(split=split, shape=SMALL)) for split in SPLITS]
    return [(large, probe.block()), (large, probe.block(split="validation")), *smaller]


# ------------------------------------------------------------------ the floor


def floor_is_a_code_length(probe: Probe) -> str:
    return floors.is_a_code_length(_shaped(probe))


def floor_is_not_beaten(probe: Probe) -> str:
    return floors.is_not_beaten(probe.block(), probe.source.alphabet_size)


def floor_fits_the_alphabet(probe: Probe) -> str:
    return floors.fits_the_alphabet(probe.block(), probe.source.alphabet_size)


def floor_is_a_distribution(probe: Probe) -> str:
    if any(issubclass(cls, MachineSource) for cls in classes_of(probe.source).values()):
        return "not asked: this floor also knows the parents of each row, so rows of one machine need not agree"
    return floors.is_a_distribution(probe.block())


# ------------------------------------------------------------------ purity


def global_random_state_is_untouched(probe: Probe) -> str:
    before = _global_states()
    for split, shape in (("train", LARGE), ("test", SMALL)):
        probe.draw(probe.source, 0, 0, split, shape)
    after = _global_states()
    touched = [name for name, state in before.items() if after[name] != state]
    if touched:
        raise Broken(f"writing a block changed the state of {', '.join(touched)}")
    return ", ".join(before)


def _global_states() -> dict[str, Any]:
    legacy = mtrand.get_state(legacy=True)
    states: dict[str, Any] = {
        "random": random.getstate(),
        "numpy.random": [np.asarray(part).tolist() for part in legacy],
    }
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "random"):
        states["torch"] = torch.random.get_rng_state().numpy().tobytes()
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            states["torch.cuda"] = [state.numpy().tobytes() for state in torch.cuda.get_rng_state_all()]
    return states


def same_twice(probe: Probe) -> str:
    first = block_digest(probe.block())
    second = probe.draw(probe.source, 0, 0, "train", LARGE)
    if block_digest(second) != first:
        raise Broken("the same block drawn twice is not the same")
    tokens = second.tokens
    if tokens.flags.writeable:
        kept = tokens.copy()
        tokens[:] = 0  # as a careless consumer would
        again = block_digest(probe.draw(probe.source, 0, 0, "train", LARGE))
        tokens[:] = kept  # other checks may look at the same memory
        if again != first:
            raise Broken("writing into a block changed the next one: blocks share memory")
    return "the same block three times, written over in between"


def any_order(probe: Probe) -> str:
    jobs = [(0, index, "train", SMALL) for index in range(3)] + [(0, 0, "validation", SMALL)]
    forward = [block_digest(probe.draw(probe.source, *job)) for job in jobs]
    backward = [block_digest(probe.draw(probe.source, *job)) for job in reversed(jobs)]
    differing = [job for job, one, other in zip(jobs, forward, backward[::-1], strict=True) if one != other]
    if differing:
        raise Broken(f"{len(differing)} of {len(jobs)} blocks depend on which block was drawn before")
    return f"{len(jobs)} blocks forwards and backwards"


def threads_give_the_same(probe: Probe) -> str:
    jobs = [(0, 0, "train", LARGE), (0, 1, "train", LARGE), (0, 0, "validation", LARGE), (0, 0, "test", SMALL)]
    alone = [block_digest(probe.block_of(*job)) for job in jobs]
    newborn = probe.source.replace()  # nothing cached yet, so first use happens in several threads at once
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # threads interleave often, so a race shows
    try:
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda job: block_digest(probe.draw(newborn, *job)), jobs))
    finally:
        sys.setswitchinterval(interval)
    wrong = sum(one != other for one, other in zip(alone, together, strict=True))
    if wrong:
        raise Broken(f"{wrong} of {len(together)} blocks drawn by 4 threads at once differ from those drawn alone")
    return f"{len(together)} blocks by 4 threads at once"


def fresh_process_gives_the_same(probe: Probe) -> str:
    names = ("seed", "index", "split", "rows", "length")
    places = [(probe.seed + s, index, split, *fitted(shape, probe.source)) for s, index, split, shape in _ASKED]
    result = probe.fresh_process.ask(probe.source, [dict(zip(names, place, strict=True)) for place in places])
    if "error" in result:
        raise Broken(str(result["error"]))
    if result["fingerprint"] != probe.source.fingerprint:
        raise Broken("another process, with another PYTHONHASHSEED, computes another fingerprint")
    here = [block_digest(probe.block_of(*asked)) for asked in _ASKED]
    wrong = sum(one != other for one, other in zip(here, result["digests"], strict=True))
    if wrong:
        raise Broken(f"{wrong} of {len(here)} blocks differ in a fresh process with another PYTHONHASHSEED")
    return f"{len(here)} blocks in a fresh process with another PYTHONHASHSEED"


# ------------------------------------------------------------------ disjointness


def splits_share_no_rows(probe: Probe) -> str:
    return _disjoint(probe, {split: [probe.block(split=split)] for split in SPLITS}, all_rows=_has_few_rows(probe))


def splits_share_no_machines(probe: Probe) -> str:
    machines = {split: set(probe.block(split=split).machine.tolist()) for split in SPLITS}
    for one, other in combinations(SPLITS, 2):
        if not machines[one].isdisjoint(machines[other]):
            raise Broken(f"{one} and {other} share {len(machines[one] & machines[other])} machines")
    return f"{sum(map(len, machines.values()))} machines in {len(SPLITS)} splits"


def seeds_share_no_rows(probe: Probe) -> str:
    if _has_few_rows(probe):
        return f"not asked of a source that can write only {probe.source.row_space} rows"
    # Two indices each, so that a seed that is added to an index shows.
    by_seed = {f"seed {probe.seed + s}": [probe.block(seed=s, index=i) for i in range(2)] for s in range(2)}
    return _disjoint(probe, by_seed)


def indices_share_no_rows(probe: Probe) -> str:
    if _has_few_rows(probe):
        return f"not asked of a source that can write only {probe.source.row_space} rows"
    return _disjoint(probe, {f"block {i}": [probe.block(index=i)] for i in range(3)})


def _has_few_rows(probe: Probe) -> bool:
    return probe.source.row_space is not None


def _disjoint(probe: Probe, groups: dict[str, list[Block]], *, all_rows: bool = False) -> str:
    """Whether groups of blocks share no row. Rows of almost no information may repeat honestly, like the same coin flip:
    they are left out, unless there are no others."""
    tokens = {name: np.concatenate([block.tokens for block in blocks]) for name, blocks in groups.items()}
    telling = {name: ~tells_little(rows) for name, rows in tokens.items()}
    nothing_else = not any(kept.any() for kept in telling.values())
    if all_rows or nothing_else:
        telling = {name: np.ones(len(rows), dtype=np.bool_) for name, rows in tokens.items()}
    hashes = {name: {row.tobytes() for row in rows[telling[name]]} for name, rows in tokens.items()}
    for one, other in combinations(groups, 2):
        if not hashes[one].isdisjoint(hashes[other]):
            shared = len(hashes[one] & hashes[other])
            advice = (
                "; every row holds almost no information: set row_space, and give machines to splits with "
                "draw.own_machines"
            )
            found = f"{one} and {other} share {shared} of {len(hashes[one])} different rows"
            raise Broken(f"{found}{advice}" if nothing_else else found)
    left_out = sum(int((~kept).sum()) for kept in telling.values())
    note = f"; {left_out} rows of almost no information left out" if left_out else ""
    return f"{sum(map(len, tokens.values())) - left_out} rows of {len(groups)} groups compared{note}"


def tells_little(tokens: NDArray[np.unsignedinteger[Any]]) -> NDArray[np.bool_]:
    """[N] True for rows that hold almost no information.

    They differ from themselves, shifted by some 1 to 4 positions, in fewer than 4 places, or copying from what came before,
    with at most 12 new tokens, makes them (Lempel-Ziv).
    """
    shifts = [(tokens[:, p:] != tokens[:, :-p]).sum(axis=1) < _FEW_CHANGES for p in range(1, 5)]
    copied = np.array([lempel_ziv_phrases(row) <= _FEW_PHRASES for row in tokens])
    little: NDArray[np.bool_] = np.any(shifts, axis=0) | copied
    return little


CLAUSES: tuple[Callable[[Probe], str], ...] = (
    spec_is_frozen,
    spec_is_documented,
    spec_round_trip,
    fingerprint_covers_every_field,
    writes_blocks,
    tokens_have_shape_and_type,
    tokens_are_in_the_alphabet,
    scored_counts_something,
    machine_and_info_are_per_row,
    floor_is_a_code_length,
    floor_is_not_beaten,
    floor_fits_the_alphabet,
    floor_is_a_distribution,
    global_random_state_is_untouched,
    same_twice,
    any_order,
    threads_give_the_same,
    splits_share_no_rows,
    splits_share_no_machines,
    seeds_share_no_rows,
    indices_share_no_rows,
    fresh_process_gives_the_same,
)
