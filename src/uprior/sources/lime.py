"""LIME: deduction, abduction, induction and rewriting with symbols that mean something else every time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources import _lime_kernels as kernels
from uprior.sources._base import Draw
from uprior.sources._tasks import TaskSource
from uprior.spec import parameter
from uprior.types import Block

TASKS = (
    "induct", "deduct", "abduct", "induct_v2", "induct_v3", "induct_hard", "rewrite", "induct_rewrite", "multi_step",
    "multi_step_hard",
)  # fmt: skip
GROUPS = {"all": range(10), "mixed": range(3)}
MARKS = ("<UPPER>", "<LOWER>", "<MATH>", "<space>", ":", "[", "]", ",", "->", "<answer>", "<end>")


@dataclass(frozen=True)
class Lime(TaskSource):
    """LIME: deduce, abduce and induce with patterns, and rewrite strings by rules; symbols mean something else every time.

    Machine: a task and a number of items; ten tasks, a few items each. Every episode draws fresh symbols from the vocabulary:
    ``upper`` variables, ``lower`` and ``math`` symbols, declared at its beginning, so that only structure can be learnt:
    <UPPER> the variables it uses <LOWER> all lower <MATH> all math symbols <space> question <answer> answer <end>.

    *Patterns*, items = m variables: a pattern is 2m slots, each one of m variables, and math symbols, shuffled. A substitution
    replaces each variable by a few lower and math symbols, written A : [ ... ] , B : [ ... ]. The result is the pattern after
    substitution. Questions and answers (s.: substitution; parts are joined by <space>):
    deduct pattern, s. -> result; abduct pattern, result -> s.; induct result, s. -> pattern; induct_v2 result -> s., pattern;
    induct_v3 two results -> pattern; induct_hard result -> pattern.

    *Rewriting*, items = rules: a string of lower and math symbols (2 to 3; in several steps half as long and 3 to 2). A rule is
    left -> right, where the left side is a window of the string with its lower symbols replaced by variables, and the right side
    has these variables once each among math symbols, shuffled. A rule replaces the leftmost instance of its left side (different
    variables stand for different lower symbols). rewrite: rule, string -> new string; induct_rewrite: string, new string -> rule;
    multi_step: rules, string -> all strings; multi_step_hard: -> the last string. Task "mixed": induct, deduct, abduct.

    Alphabet: the vocabulary, then the 11 marks in ``MARKS``; <end> is also the blank after the only episode of a row that is
    not packed. Floor: none, because results hide where substitutions begin and rules hide what made them, so that neither
    questions nor the answers of abduction and induction, which need not be unique, have a closed form; the answers of deduct,
    rewrite and multi_step are certain given their questions. ``info``: items, task (0..9 in ``TASKS``), question_tokens and
    answer_tokens of the first episode, without <answer> and <end>. Cost: about 25 ns per token.

    Wu et al. 2021 (LIME, arXiv 2101.06223), preset ``lime``; there source and target are two strings. Where we depart:
    variables are declared in a fixed order, not in that of a Python set; rules apply to the leftmost instance, not to the
    window that they were made from, which the question does not tell; windows end where the string ends, which short strings
    of several steps overran. Defaults are smaller, so that several episodes fit into 256 tokens; a row too short for all
    variables or rules has fewer.
    """

    name: ClassVar[str] = "lime"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "lime": {
            "task": "mixed", "min_items": 3, "max_items": 5, "max_rules": 5, "vocabulary": 1000, "upper": 24, "lower": 24,
            "math": 20, "min_maths": 5, "max_maths": 19, "min_substitution": 2, "max_substitution": 8, "min_string": 10,
            "max_string": 20, "min_window": 5, "max_window": 20, "min_step": 3, "max_step": 7, "packed": False,
        },
    }  # fmt: skip
    min_items: int = parameter(1, "fewest variables of a pattern", low=1, high=64)
    max_items: int = parameter(3, "most variables of a pattern", low=1, high=64)
    max_rules: int = parameter(3, "most rules in several steps", low=1, high=64)
    task: str = parameter("all", "a task, mixed (induct, deduct, abduct), or all", choices=(*GROUPS, *TASKS))
    vocabulary: int = parameter(245, "number of symbols that can stand for anything", low=3, high=1 << 15)
    upper: int = parameter(8, "variables that an episode can use", low=1, high=1 << 12)
    lower: int = parameter(8, "lower symbols of an episode", low=1, high=1 << 12)
    math: int = parameter(6, "math symbols of an episode", low=1, high=1 << 12)
    min_maths: int = parameter(2, "fewest math symbols in a pattern", low=0, high=1 << 10)
    max_maths: int = parameter(6, "most math symbols in a pattern", low=0, high=1 << 10)
    min_substitution: int = parameter(1, "fewest symbols that replace a variable", low=1, high=1 << 10)
    max_substitution: int = parameter(4, "most symbols that replace a variable", low=1, high=1 << 10)
    min_string: int = parameter(
        4, "least string, lower symbols; there are 1.5 times as many others", low=1, high=1 << 10
    )
    max_string: int = parameter(8, "largest string, lower symbols", low=1, high=1 << 10)
    min_window: int = parameter(2, "least left side; fewest math symbols of a right side", low=1, high=1 << 10)
    max_window: int = parameter(6, "largest left side; most math symbols of a right side", low=1, high=1 << 10)
    min_step: int = parameter(2, "min_window where there are several steps", low=1, high=1 << 10)
    max_step: int = parameter(4, "max_window where there are several steps", low=1, high=1 << 10)

    def validate(self) -> None:
        super().validate()
        for name in ("maths", "substitution", "string", "window", "step"):
            if getattr(self, f"min_{name}") > getattr(self, f"max_{name}"):
                self.reject(f"min_{name}", f"at most max_{name} = {getattr(self, f'max_{name}')}")
        needed = max(self.max_items, min(self.lower, max(self.max_window, self.max_step)))
        if self.upper < needed:
            self.reject("upper", f"at least {needed} with these items, windows and lower symbols")
        if self.vocabulary < self.upper + self.lower + self.math:
            self.reject("vocabulary", f"at least upper + lower + math = {self.upper + self.lower + self.math}")

    @property
    def alphabet_size(self) -> int:  # type: ignore[override]  # derived here, a field elsewhere
        return self.vocabulary + kernels.MARKS

    @property
    def tasks(self) -> tuple[int, ...]:
        """The numbers of the tasks that rows are drawn from."""
        return tuple(GROUPS[self.task]) if self.task in GROUPS else (TASKS.index(self.task),)

    def _longest(self, items: int) -> int:
        return max(self._longest_of(task, 1 if task >= kernels.REWRITE else items) for task in self.tasks)

    def _longest_of(self, task: int, items: int) -> int:
        """Tokens of the longest episode of a task with so many variables or rules."""
        header = 4 + self.lower + self.math + 1 + self.end_token  # with <answer>
        if task < kernels.REWRITE:
            pattern = 2 * items + self.max_maths
            substitution = items * (5 + self.max_substitution) - 1
            result = 2 * items * self.max_substitution + self.max_maths
            body = pattern + result + (0 if task == kernels.INDUCT_HARD else 1 + substitution)
            return header + items + (body if task != kernels.INDUCT_V3 else pattern + 2 * result + 1)
        steps = task >= kernels.MULTI_STEP
        window = self.max_step if steps else self.max_window
        few = max(self.max_string // 2, 1) if steps else self.max_string
        string = few + (3 * few + 1) // 2
        variables = min(window, self.lower)
        rules = items * (2 * window + variables + 2)
        strings = [string + (i + 1) * window for i in range(items)]
        results = sum(strings) + items - 1 if task == kernels.MULTI_STEP else strings[-1]
        return header + (self.upper if steps else variables) + rules + string + results

    def _most_rules(self, task: int, length: int) -> int:
        """The largest number of rules whose episodes fit into a row."""
        most = self.max_rules if task >= kernels.MULTI_STEP else 1
        while most > 1 and self._longest_of(task, most) > length:
            most -= 1
        return most

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        return dataclasses.replace(super()._generate(draw, rows, length), floor_nats=None)

    def _machines(self, info: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        machines: NDArray[np.int64] = info["task"] << 16 | info["items"]
        return machines

    def _episodes(
        self,
        draw: Draw,
        items: NDArray[np.int64],
        tokens: NDArray[np.unsignedinteger[Any]],
        answer: NDArray[np.bool_],
        floor: NDArray[np.float32],
    ) -> dict[str, NDArray[Any]]:
        task = np.array(self.tasks)[draw("tasks").integers(0, len(self.tasks), len(items))]
        most = np.array([self._most_rules(t, tokens.shape[1]) for t in range(len(TASKS))])[task]
        items = np.where(task >= kernels.REWRITE, draw("rules").integers(1, most, endpoint=True), items)
        pairs = ("maths", "substitution", "string", "window", "step")
        sizes = np.array([getattr(self, f"{end}_{name}") for name in pairs for end in ("min", "max")])
        longest = max(self._longest_of(t, int(items[task == t].max())) for t in np.unique(task))
        lengths = np.empty((len(items), 2), dtype=np.int64)
        kernels.write_rows(
            draw("rows"), task, items, self.upper, self.lower, self.math, sizes, longest + 8, self.packed, self.end_token,
            np.arange(self.vocabulary), lengths, tokens, answer,
        )  # fmt: skip
        return {"items": items, "task": task, "question_tokens": lengths[:, 0], "answer_tokens": lengths[:, 1]}
