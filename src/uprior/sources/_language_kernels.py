"""How a random language writes: compiled helpers of ``random_language``, which says what they are for.

All compiled functions live in this one file: numba's cache does not notice changes in functions imported from another.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from uprior.sources import _language_layout as at
from uprior.sources._exact import internal, kernel

Rng: TypeAlias = np.random.Generator
Machine: TypeAlias = Any  # a record of MACHINE
Row: TypeAlias = Any  # a record of ROW
Tokens: TypeAlias = NDArray[Any]  # [T]
# [words, WORD_LETTERS + 2] length of each spelling (0: not drawn yet), its letters; in the last column the words in the order
# in which they were drawn, the rows of them counted in ``drawn`` of the machine.
Words: TypeAlias = NDArray[Any]

# numba compiles a function again for every literal and every width of integer that it is given.
_FIRST_FORM: Any = np.int64(0)
_whole: Any = np.int64


# ------------------------------------------------------------------ drawing a machine


@internal
def _below(rng: Rng, n: int) -> int:
    return int(rng.random() * n)


@internal
def _draw_letter(rng: Rng, me: Machine) -> int:
    u, i = rng.random(), 0
    while i < me.letters - 1 and u >= me.letter_end[i]:
        i += 1
    return i


@internal
def _draw_chain(rng: Rng, me: Machine, length: int, into: Any) -> None:
    """into[0] = length, into[1..] = that many letters of the letter chain."""
    into[0] = length
    letter = _draw_letter(rng, me)
    for i in range(length):
        into[1 + i] = letter
        letter = me.letter_next[letter, int(me.successors * rng.random() ** 2)]  # the first successors are likelier


@internal
def _draw_code(rng: Rng, me: Machine, shuffled: NDArray[np.int64]) -> None:
    """A fresh random injection of the machine's symbols into the alphabet; ``shuffled`` is any order of all tokens."""
    code, used = me.code, 0
    for i in range(len(code)):
        code[i] = -1
    blocks = (
        (0, me.letters), (at.SECOND, me.letters * me.second_forms), (at.DIGIT, me.base), (at.LINE, 1),
        (at.SEPARATOR, max(me.separators, 1)), (at.MARK, me.marks), (at.END, me.ends),
        (at.OPEN, me.pairs), (at.CLOSE, me.pairs), (at.LEAD, me.leads),
    )  # fmt: skip
    for first, count in blocks:
        for i in range(count):
            other = used + _below(rng, len(shuffled) - used)
            shuffled[used], shuffled[other] = shuffled[other], shuffled[used]
            code[first + i] = shuffled[used]
            used += 1
    for i in range(min(me.pairs, me.mirrored)):  # one symbol opens and closes
        code[at.CLOSE + i] = code[at.OPEN + i]


@internal
def _draw_letters(rng: Rng, me: Machine) -> None:
    """Zipf law of letters, sparse letter chain, syllables."""
    total = 0.0
    for i in range(me.letters):
        total += (i + 1.0) ** -me.letter_exponent
        me.letter_end[i] = total
    for i in range(me.letters):
        me.letter_end[i] /= total
    for i in range(me.letters):
        for j in range(me.successors):
            me.letter_next[i, j] = _draw_letter(rng, me)
    for i in range(me.syllables):
        _draw_chain(rng, me, 1 + _below(rng, at.SYLLABLE_LETTERS - 1), me.syllable[i])


@internal
def _draw_classes(rng: Rng, me: Machine, words: Words) -> None:
    """Class sizes over e^5 in ratio (closed and open classes), the sparse class chain, endings; no word is drawn yet."""
    total = 0.0
    for c in range(me.classes):
        me.zipf_top[c] = np.exp(5.0 * rng.random())
        total += me.zipf_top[c]
    me.class_first[0] = 0
    power = 1.0 - me.word_exponent
    for c in range(me.classes):
        size = max(1, int(me.lexicon * me.zipf_top[c] / total))
        me.class_first[c + 1] = me.class_first[c] + size
        me.zipf_top[c] = (1.0 + me.word_shift + size) ** power
        me.agrees[c] = rng.random() < 0.5
        for j in range(me.class_successors):
            me.class_next[c, j] = _below(rng, me.classes)
        for j in range(me.suffixes):
            _draw_chain(rng, me, 1 + _below(rng, at.SUFFIX_LETTERS - 1), me.suffix[c, j])
    for word in range(me.class_first[me.classes]):
        words[word, 0] = 0
    me.drawn = 0


@internal
def _draw_templates(rng: Rng, me: Machine) -> None:
    """Records: fields of fixed kinds with fixed delimiters, the same on every line."""
    for t in range(me.templates):
        me.fields[t] = 2 + _below(rng, at.MAX_FIELDS - 1)
        usual = at.MARK + _below(rng, me.marks) if rng.random() < 0.5 else at.SEPARATOR
        for f in range(me.fields[t]):
            field = me.field[t, f]
            c = _below(rng, me.classes)
            field[0] = _below(rng, at.FIELD_KINDS)
            field[1] = c
            field[2] = _draw_word(rng, me, c)
            field[3] = _below(rng, 7)
            field[4] = usual if rng.random() < 0.7 else at.MARK + _below(rng, me.marks)
            field[5] = _draw_word(rng, me, c)


@internal
def _draw_word(rng: Rng, me: Machine, c: int) -> int:
    """A word of class c by the Zipf-Mandelbrot law: p(rank) ~ (rank + shift)^-exponent, its integral inverted."""
    power = 1.0 - me.word_exponent
    low = (1.0 + me.word_shift) ** power
    x = (low + rng.random() * (me.zipf_top[c] - low)) ** (1.0 / power)
    size = me.class_first[c + 1] - me.class_first[c]
    return int(me.class_first[c] + max(0, min(int(x - 1.0 - me.word_shift), size - 1)))


@internal
def _spell(rng: Rng, me: Machine, words: Words, word: int, c: int) -> None:
    """Draw the spelling of a word that is used for the first time: the beginning of a relative, then syllables or letters."""
    spelling = words[word]
    length = 0
    if me.drawn > 0 and rng.random() < me.kinship:
        kin = words[words[_below(rng, me.drawn), 1 + at.WORD_LETTERS]]
        length = min(1 + _below(rng, _whole(kin[0])), at.WORD_LETTERS - at.SYLLABLE_LETTERS)
        for i in range(1, 1 + length):
            spelling[i] = kin[i]
    # A code that tells words apart needs the more units the rarer the word is; ``growth`` adds units beyond that.
    branching = max(2.0, 0.5 * (me.syllables if me.syllables > 0 else me.successors))
    needed = np.log(1.0 + word - me.class_first[c]) / np.log(branching)
    units = 0
    letter = spelling[length] if length > 0 else _draw_letter(rng, me)
    while length < at.WORD_LETTERS - at.SYLLABLE_LETTERS:
        if me.syllables > 0:
            syllable = me.syllable[int(me.syllables * rng.random() ** 2)]
            for i in range(syllable[0]):
                spelling[1 + length] = syllable[1 + i]
                length += 1
        else:
            letter = me.letter_next[letter, int(me.successors * rng.random() ** 2)]
            spelling[1 + length] = letter
            length += 1
        units += 1
        if units >= needed and rng.random() >= me.growth:
            break
    spelling[0] = length
    words[me.drawn, 1 + at.WORD_LETTERS] = word
    me.drawn += 1


# ------------------------------------------------------------------ writing tokens


@internal
def _put(row: Row, tokens: Tokens, token: int) -> None:
    if row.written < len(tokens):
        tokens[row.written] = token
        row.written += 1
        row.column += 1


@internal
def _put_letter(row: Row, tokens: Tokens, me: Machine, letter: int, second: int) -> None:
    """A letter as one token, or as a lead and a second token that letters with other leads share."""
    if me.leads > 0 and letter >= me.first_wide:
        beyond = letter - me.first_wide
        _put(row, tokens, me.code[at.LEAD + beyond % me.leads])
        letter = me.first_wide + beyond // me.leads
    _put(row, tokens, me.code[letter + at.SECOND * second])


@internal
def _put_word(rng: Rng, row: Row, tokens: Tokens, me: Machine, words: Words, c: int, word: int, second: int) -> None:
    """Spell a word; ``second``: 1 writes its first letter in the second form."""
    if words[word, 0] == 0:
        _spell(rng, me, words, word, c)
    for i in range(words[word, 0]):
        _put_letter(row, tokens, me, words[word, 1 + i], second)
        second = 0
    row.memory[c, row.used[c] % at.REMEMBERED] = word
    row.used[c] += 1


@internal
def _put_number(row: Row, tokens: Tokens, me: Machine, value: int, width: int) -> None:
    """Digits of ``value``, most significant first, at least ``width`` of them."""
    place, digits = 1, 1
    while value // place >= me.base or digits < width:
        place *= me.base
        digits += 1
    while place > 0:
        _put(row, tokens, me.code[at.DIGIT + value // place % me.base])
        place //= me.base


@internal
def _put_line(row: Row, tokens: Tokens, me: Machine) -> None:
    """End the line; the next one is indented by the number of open brackets, where the machine does that."""
    _put(row, tokens, me.code[at.LINE])
    row.column = 0
    for _ in range(me.indent * row.depth):
        _put(row, tokens, me.code[at.SEPARATOR])


@internal
def _choose_word(rng: Rng, row: Row, me: Machine, c: int) -> int:
    """A word of the class: one used lately (the later the likelier), or a fresh draw from the Zipf law."""
    if row.used[c] > 0 and rng.random() < me.reuse:
        u = rng.random()
        back = 1 + int(min(row.used[c], at.REMEMBERED) * u * u)
        return int(row.memory[c, (row.used[c] - back) % at.REMEMBERED])
    return _draw_word(rng, me, c)


@internal
def _note_start(rng: Rng, row: Row, tokens: Tokens, me: Machine) -> None:
    """Note that a word starts here, and now and then repeat an earlier span first.

    The span goes from one word's start to another's; its length has a Pareto law, its tokens may be miscopied.
    """
    if row.written == len(tokens):
        return
    row.start[row.noted % at.MAX_STARTS] = row.written
    row.noted += 1
    if row.noted < 3 or rng.random() >= me.copy_rate:
        return
    first = row.noted - 2 - _below(rng, min(row.noted, at.MAX_STARTS) - 1)
    words = 2.0 * (1.0 - rng.random()) ** (-1.0 / me.copy_tail)
    last = min(first + int(min(words, 1e6)), row.noted - 1)
    for i in range(row.start[first % at.MAX_STARTS], row.start[last % at.MAX_STARTS]):
        if me.copy_error == 0 or rng.random() >= me.copy_error:
            _put(row, tokens, tokens[i])
        elif rng.random() >= 0.5:  # else it is lost
            _put(row, tokens, me.code[_draw_letter(rng, me)])


@internal
def _open_bracket(rng: Rng, row: Row, tokens: Tokens, me: Machine) -> None:
    kind = _below(rng, me.pairs)
    if kind < me.mirrored and row.depth > 0:
        return  # a mirrored pair inside another pair could not be told from its end
    _put(row, tokens, me.code[at.OPEN + kind])
    row.stack[row.depth] = kind
    row.depth += 1
    if me.indent > 0:
        _put_line(row, tokens, me)


@internal
def _close_bracket(row: Row, tokens: Tokens, me: Machine) -> None:
    row.depth -= 1
    if me.indent > 0:
        _put_line(row, tokens, me)
    _put(row, tokens, me.code[at.CLOSE + row.stack[row.depth]])


@internal
def _put_item(rng: Rng, row: Row, tokens: Tokens, me: Machine, words: Words, c: int, ending: int, first: bool) -> None:
    """A number, or a word of class c with an ending, with brackets around that may open before and close after it."""
    if me.pairs > 0 and row.depth < at.MAX_DEPTH and rng.random() < me.nest_rate:
        _open_bracket(rng, row, tokens, me)
    if rng.random() < me.number_rate:
        _put(row, tokens, me.code[at.DIGIT + _below(rng, me.base)])
        while rng.random() < me.number_growth:
            _put(row, tokens, me.code[at.DIGIT + _below(rng, me.base)])
    else:
        marked = me.second_forms == 1 and (first or c == me.marked_class)
        word = _choose_word(rng, row, me, c)
        _put_word(rng, row, tokens, me, words, c, word, 1 if marked else 0)
        if me.suffixes > 0 and rng.random() < me.suffix_rate:
            suffix = me.suffix[c, ending if me.agrees[c] == 1 else _below(rng, me.suffixes)]
            for i in range(suffix[0]):
                _put_letter(row, tokens, me, suffix[1 + i], _FIRST_FORM)
    while row.depth > 0 and rng.random() < me.close_rate:
        _close_bracket(row, tokens, me)


@internal
def _put_separator(rng: Rng, row: Row, tokens: Tokens, me: Machine) -> None:
    """What stands between two words: perhaps a mark, then a separator, or a line end where lines have a width."""
    if me.mark_rate > 0 and rng.random() < me.mark_rate:
        _put(row, tokens, me.code[at.MARK + int(me.marks * rng.random() ** 2)])
    if me.wrap > 0 and row.column >= me.wrap:
        _put_line(row, tokens, me)
    elif me.separators > 1 and rng.random() < me.other_separator_rate:
        _put(row, tokens, me.code[at.SEPARATOR + 1 + _below(rng, me.separators - 1)])
    elif me.separators > 0:
        _put(row, tokens, me.code[at.SEPARATOR])


@internal
def _write_sentence(rng: Rng, row: Row, tokens: Tokens, me: Machine, words: Words) -> None:
    """Words in the order of the class chain; all brackets are closed before the end symbol."""
    c, ending, first = _below(rng, me.classes), _below(rng, max(me.suffixes, 1)), True
    while row.written < len(tokens):
        _note_start(rng, row, tokens, me)
        _put_item(rng, row, tokens, me, words, c, ending, first)
        first = False
        if rng.random() * me.sentence_words < 1.0:
            break
        _put_separator(rng, row, tokens, me)
        c = me.class_next[c, int(me.class_successors * rng.random() ** 2)]
    while row.depth > 0:
        _close_bracket(row, tokens, me)
    if me.ends > 0:
        _put(row, tokens, me.code[at.END + int(me.ends * rng.random() ** 2)])
    if rng.random() < me.line_rate:
        _put_line(row, tokens, me)
    elif me.separators > 0:
        _put(row, tokens, me.code[at.SEPARATOR])


@internal
def _put_field(rng: Rng, row: Row, tokens: Tokens, me: Machine, words: Words, t: int, f: int) -> None:
    """One field of a record: its kinds are listed in ``_language_layout``."""
    field = me.field[t, f]
    kind, c, width = _whole(field[0]), _whole(field[1]), _whole(field[3])
    if me.labels == 1:
        _put_word(rng, row, tokens, me, words, c, _whole(field[5]), _FIRST_FORM)
        _put(row, tokens, me.code[at.MARK])
    if kind <= at.CHOICE:
        word = _whole(field[2])
        if kind == at.WORD:
            word = _choose_word(rng, row, me, c)
        elif kind == at.CHOICE:
            size = _whole(me.class_first[c + 1] - me.class_first[c])
            word = me.class_first[c] + _below(rng, min(size, 2 + width))
        _put_word(rng, row, tokens, me, words, c, word, _FIRST_FORM)
    elif kind == at.NUMBER:
        for _ in range(1 + width):
            _put(row, tokens, me.code[at.DIGIT + _below(rng, me.base)])
    else:
        _put_number(row, tokens, me, row.value[t, f], width)
        step = 1 if kind == at.COUNTER else _below(rng, 2 * width + 3) - width - 1
        row.value[t, f] = abs(row.value[t, f] + step)


@internal
def _write_record(rng: Rng, row: Row, tokens: Tokens, me: Machine, words: Words) -> None:
    """A line of one of the machine's templates."""
    t = int(me.templates * rng.random() ** 2)
    for f in range(me.fields[t]):
        _note_start(rng, row, tokens, me)
        _put_field(rng, row, tokens, me, words, t, f)
        if f < me.fields[t] - 1:
            _put(row, tokens, me.code[me.field[t, f, 4]])
    _put_line(row, tokens, me)


@kernel
def write_block(rng: Rng, machines: Any, rows: Any, words: Words, alphabet_size: int, tokens_NT: Tokens) -> None:
    """Write all rows, machine after machine; row n belongs to machine n modulo the number of machines.

    ``machines`` [M] MACHINE come with their knobs and get their tables; ``rows`` [1] ROW and ``words`` are room to work in.
    """
    shuffled = np.arange(alphabet_size)
    row = rows[0]
    for m in range(len(machines)):
        me = machines[m]
        _draw_code(rng, me, shuffled)
        _draw_letters(rng, me)
        _draw_classes(rng, me, words)
        _draw_templates(rng, me)
        for n in range(m, len(tokens_NT), len(machines)):
            tokens = tokens_NT[n]
            row.written, row.column, row.depth, row.noted = 0, 0, 0, 0
            for c in range(at.MAX_CLASSES):
                row.used[c] = 0
            for i in range(at.MAX_TEMPLATES * at.MAX_FIELDS * (me.templates > 0)):
                row.value[i // at.MAX_FIELDS, i % at.MAX_FIELDS] = int(10.0 ** (4.0 * rng.random()))
            while row.written < len(tokens):
                if me.templates > 0:
                    _write_record(rng, row, tokens, me, words)
                else:
                    _write_sentence(rng, row, tokens, me, words)
