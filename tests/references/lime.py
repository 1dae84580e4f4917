import numpy as np

from uprior.sources.lime import MARKS, TASKS, Lime
from uprior.types import Block

GOLDEN = (1, "b2fe76382d70014b")
SPECS = [
    Lime(),
    Lime.preset("lime"),
    Lime(task="multi_step", max_rules=5, end_token=False, packed=False),
    Lime(task="rewrite", min_string=6, max_string=9, min_window=5, max_window=15, lower=3, score="all"),
    Lime(task="induct_v3", vocabulary=30, upper=12, min_items=4, max_items=12),
    Lime.preset("lime", task="multi_step_hard", packed=True),
]


class Writer:
    """Random numbers in the order of the source, for one episode after another."""

    def __init__(self, source, rng):
        self.source, self.rng = source, rng
        self.vocabulary = list(range(source.vocabulary))

    def whole(self, low, high):
        return low + int(self.rng.random() * (high - low + 1))

    def choose(self, symbols):
        return symbols[self.whole(0, len(symbols) - 1)]

    def shuffle(self, symbols):
        for i in range(len(symbols) - 1):
            j = self.whole(i, len(symbols) - 1)
            symbols[i], symbols[j] = symbols[j], symbols[i]

    def episode(self, name, items):
        """(question, answer) of strings: marks, and tokens as numbers."""
        s, v = self.source, self.vocabulary
        for i in range(s.upper + s.lower + s.math):
            j = self.whole(i, len(v) - 1)
            v[i], v[j] = v[j], v[i]
        self.upper, rest = v[: s.upper], v[s.upper :]
        self.lower, self.math = rest[: s.lower], rest[s.lower : s.lower + s.math]
        return self.rules(name, items) if "rewrite" in name or "step" in name else self.pattern(name, items)

    def header(self, variables):
        return ["<UPPER>", *variables, "<LOWER>", *self.lower, "<MATH>", *self.math, "<space>"]

    def pattern(self, name, items):
        s = self.source
        pattern = [self.choose(self.upper[:items]) for _ in range(2 * items)]
        used = [v for v in self.upper if v in pattern]
        pattern += [self.choose(self.math) for _ in range(self.whole(s.min_maths, s.max_maths))]
        self.shuffle(pattern)
        results, texts = [], []
        for _ in range(2 if name == "induct_v3" else 1):
            table = {}
            for v in self.upper[:items]:
                size = self.whole(s.min_substitution, s.max_substitution)
                table[v] = [self.choose(self.lower + self.math) for _ in range(size)]
            results.append([symbol for p in pattern for symbol in table.get(p, [p])])
            texts.append([x for v in used for x in (v, ":", "[", *table[v], "]", ",")][:-1])
        result, text = results[0], texts[0]
        asked, answer = {
            "induct": (join(result, text), pattern),
            "deduct": (join(pattern, text), result),
            "abduct": (join(pattern, result), text),
            "induct_v2": (result, join(text, pattern)),
            "induct_v3": (join(result, results[-1]), pattern),
            "induct_hard": (result, pattern),
        }[name]
        return self.header(used) + asked, answer

    def rules(self, name, count):
        s, steps = self.source, "step" in name
        if steps:
            few = self.whole(max(s.min_string // 2, 1), max(s.max_string // 2, 1))
            letters, maths = round(1.5 * few), few
        else:
            few = self.whole(s.min_string, s.max_string)
            letters, maths = few, round(1.5 * few)
        string = [self.choose(self.lower) for _ in range(letters)] + [self.choose(self.math) for _ in range(maths)]
        self.shuffle(string)
        strings, rules, used = [string], [], self.upper if steps else []
        for _ in range(count):
            left, right = self.rule(strings[-1], *((s.min_step, s.max_step) if steps else (s.min_window, s.max_window)))
            rules.append([*left, "->", *right])
            strings.append(self.apply(left, right, strings[-1]))
            used = used or [v for v in self.upper if v in left]
        asked, answer = {
            "rewrite": (join(rules[0], string), strings[1]),
            "induct_rewrite": (join(string, strings[1]), rules[0]),
            "multi_step": (join(*rules, string), join(*strings[1:])),
            "multi_step_hard": (join(*rules, string), strings[-1]),
        }[name]
        return self.header(used) + asked, answer

    def rule(self, string, low, high):
        size = min(self.whole(low, high), len(string))
        first = self.whole(0, len(string) - size)
        window = string[first : first + size]
        letters = list(dict.fromkeys(symbol for symbol in window if symbol in self.lower))
        variable = dict(zip(letters, self.upper, strict=False))
        right = list(variable.values())
        right += [self.choose(self.math) for _ in range(self.whole(low, high))]
        self.shuffle(right)
        return [variable.get(symbol, symbol) for symbol in window], right

    def apply(self, left, right, string):
        for first in range(len(string) - len(left) + 1):
            found = instance(left, string[first : first + len(left)], self.upper, self.lower)
            if found is not None:
                return string[:first] + [found.get(x, x) for x in right] + string[first + len(left) :]
        raise AssertionError("no instance")


def join(*parts):
    return [symbol for part in parts for symbol in ("<space>", *part)][1:]


def instance(left, window, variables, lower):
    """What the variables stand for if the window is an instance of the left side, else None."""
    bound = {}
    for symbol, found in zip(left, window, strict=True):
        if symbol not in variables:
            if symbol != found:
                return None
        elif found not in lower or bound.setdefault(symbol, found) != found:
            return None
    return bound if len(set(bound.values())) == len(bound) else None


def reference(source, draw, rows, length):
    drawn = draw("items").integers(source.min_items, source._most_items(length), rows, endpoint=True)
    task = [source.tasks[i] for i in draw("tasks").integers(0, len(source.tasks), rows)]
    rules = draw("rules").integers(1, [source._most_rules(t, length) for t in task], endpoint=True)
    writer = Writer(source, draw("rows"))
    ids = {mark: source.vocabulary + i for i, mark in enumerate(MARKS)}
    tokens, scored, items = [], [], []
    for n in range(rows):
        name = TASKS[task[n]]
        items.append(int(rules[n] if task[n] >= 6 else drawn[n]))
        row, mask = [], []
        while len(row) < length:
            question, answer = writer.episode(name, items[-1])
            answer = answer + ["<end>"] * source.end_token
            row += [ids.get(x, x) for x in (*question, "<answer>", *answer)]
            mask += [False] * (len(question) + 1) + [True] * len(answer)
            if not source.packed:
                break
        blank = max(0, length - len(row))
        tokens.append((row + [ids["<end>"]] * blank)[:length])
        scored.append((mask + [False] * blank)[:length])
    return Block(
        tokens=np.array(tokens, dtype=source.token_dtype),
        scored=np.array(scored) if source.score == "answers" else None,
        machine=draw.machine_ids(np.array(task) * 65536 + np.array(items)),
    )


def validate(source, block):
    complete = 0
    for n, row in enumerate(block.tokens.tolist()):
        text = [MARKS[t - source.vocabulary] if t >= source.vocabulary else t for t in row]
        starts = [i for i, symbol in enumerate(text) if symbol == "<UPPER>"]
        for first, last in zip(starts, [*starts[1:], len(text)], strict=True):
            if last == len(text) and (source.packed or not source.end_token) and "<end>" not in text[first:last]:
                continue  # may be cut
            part = text[first:last]
            if not source.packed:
                stop = first + 1 + block.info["question_tokens"][n] + block.info["answer_tokens"][n]
                assert set(text[stop:]) <= {"<end>"}
                part = text[:stop]
            check(source, TASKS[block.info["task"][n]], int(block.info["items"][n]), part)
            complete += 1
    assert complete >= len(block.tokens) or (source.packed and not source.end_token)


def split(symbols, mark):
    parts = [[]]
    for symbol in symbols:
        if symbol == mark:
            parts.append([])
        else:
            parts[-1].append(symbol)
    return parts


def check(source, name, items, text):
    while text[-1] == "<end>":
        text = text[:-1]
    question, answer = split(text, "<answer>")
    header, *asked = split(question, "<space>")
    upper, rest = split(header[1:], "<LOWER>")
    lower, maths = split(rest, "<MATH>")
    assert (len(lower), len(maths)) == (source.lower, source.math)
    assert len({*upper, *lower, *maths}) == len(upper) + len(lower) + len(maths)
    if "rewrite" in name or "step" in name:
        return check_rewriting(source, name, items, upper, lower, maths, asked, split(answer, "<space>"))
    got = split(answer, "<space>")
    if name == "deduct":
        pattern, substitution, results = asked[0], asked[1], got
    elif name == "abduct":
        pattern, substitution, results = asked[0], got[0], asked[1:]
    else:
        pattern, results, substitution = got[-1], asked[:1], {"induct": asked[-1], "induct_v2": got[0]}.get(name)
        results = asked if name == "induct_v3" else results
    assert sum(symbol in upper for symbol in pattern) == 2 * items
    assert source.min_maths <= len(pattern) - 2 * items <= source.max_maths
    assert set(pattern) <= {*upper, *maths}
    assert set(upper) <= set(pattern)
    if substitution is not None:
        table = {entry[0]: entry[3:-1] for entry in split(substitution, ",")}
        assert list(table) == upper
        results_expected = [x for p in pattern for x in table.get(p, [p])]
        assert results == [results_expected]
        assert all(source.min_substitution <= len(x) <= source.max_substitution for x in table.values())
    for result in results:
        assert set(result) <= {*lower, *maths}
        assert len(result) >= len(pattern) - 2 * items * (1 - source.min_substitution)


def check_rewriting(source, name, items, upper, lower, maths, asked, got):
    rules, strings = asked[:-1], [asked[-1], *got]
    if name == "induct_rewrite":
        rules, strings = got, asked
    assert len(rules) == items
    assert len(strings) == (2 if name == "multi_step_hard" else items + 1)
    current = strings[0]
    assert set(current) <= {*lower, *maths}
    for step, rule in enumerate(rules):
        left, right = split(rule, "->")
        variables = [symbol for symbol in left if symbol in upper]
        assert sorted(set(variables)) == sorted(symbol for symbol in right if symbol in upper)
        assert not set(right) & set(lower)
        found = []
        for first in range(len(current) - len(left) + 1):
            bound = instance(left, current[first : first + len(left)], upper, lower)
            if bound is not None:
                found.append(current[:first] + [bound.get(x, x) for x in right] + current[first + len(left) :])
        assert found
        current = found[0]
        if name != "multi_step_hard":
            assert current == strings[step + 1]
    assert current == strings[-1]
