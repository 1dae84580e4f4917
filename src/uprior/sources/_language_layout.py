"""The shape of a random language: which symbols, knobs and tables a machine of ``random_language`` has.

Symbols are local to a machine: 0..63 letters, then the blocks below. ``code[local]`` is the token of a local symbol, or
-1 where the machine has no such symbol. Numba's cache of ``_language_kernels`` notices a changed table here, but not a changed
constant: touch that file too.
"""

from __future__ import annotations

import numpy as np

MAX_LETTERS = 64
SECOND = 64  # second form of letter i is SECOND + i
DIGIT, MAX_BASE = 128, 16
SEPARATOR, MAX_SEPARATORS = 144, 3
MARK, MAX_MARKS = 147, 3
END, MAX_ENDS = 150, 2
LINE = 152
OPEN, CLOSE, MAX_PAIRS = 153, 156, 3
LEAD, MAX_LEADS = 159, 2
SYMBOLS = 161

MAX_CLASSES, MAX_SUFFIXES, SUFFIX_LETTERS = 8, 4, 4
MAX_SYLLABLES, SYLLABLE_LETTERS, WORD_LETTERS = 128, 4, 24
MAX_SUCCESSORS = 16  # of a letter: chains are sparse
REMEMBERED = 32  # words of a class that can return
MAX_STARTS = 1024  # word starts that can be copied from
MAX_DEPTH = 6
MAX_TEMPLATES, MAX_FIELDS = 4, 8
# What a field of a record holds.
CONSTANT, WORD, CHOICE, NUMBER, COUNTER, WALK, FIELD_KINDS = range(7)

_WHOLE = (
    "letters successors class_successors second_forms separators marks ends pairs mirrored base leads first_wide lexicon "
    "classes syllables suffixes templates labels wrap indent marked_class drawn"
)
_REAL = (
    "letter_exponent word_exponent word_shift growth kinship reuse suffix_rate sentence_words mark_rate other_separator_rate "
    "line_rate number_rate number_growth nest_rate close_rate copy_rate copy_tail copy_error"
)
KNOBS = [(name, np.int64) for name in _WHOLE.split()] + [(name, np.float64) for name in _REAL.split()]


def _whole(*shape: int) -> tuple[type, tuple[int, ...]]:
    return np.int32, shape


# One machine: its knobs, drawn by NumPy, and its tables, filled in here. Records of fixed shape, because numba passes a record
# as one pointer, but a tuple of arrays as some hundred values with their reference counts, ten times slower.
MACHINE = np.dtype(
    [
        *KNOBS,
        ("code", *_whole(SYMBOLS)),  # tokens of the symbols, -1 for none
        ("letter_end", np.float64, (MAX_LETTERS,)),  # cumulative Zipf law of letters
        ("letter_next", *_whole(MAX_LETTERS, MAX_SUCCESSORS)),
        ("syllable", *_whole(MAX_SYLLABLES, 1 + SYLLABLE_LETTERS)),  # length, then letters
        ("class_next", *_whole(MAX_CLASSES, MAX_CLASSES)),
        ("class_first", *_whole(MAX_CLASSES + 1)),  # first word of each class
        ("zipf_top", np.float64, (MAX_CLASSES,)),  # upper end of the integral of each class's rank law
        ("suffix", *_whole(MAX_CLASSES, MAX_SUFFIXES, 1 + SUFFIX_LETTERS)),  # length, then letters
        ("agrees", *_whole(MAX_CLASSES)),  # 1: the class takes the ending of the sentence, 0: any
        ("field", *_whole(MAX_TEMPLATES, MAX_FIELDS, 6)),  # kind, class, word, width, delimiter, label word
        ("fields", *_whole(MAX_TEMPLATES)),
    ]
)
# What the writer of one row remembers.
ROW = np.dtype(
    [
        ("written", np.int64),  # tokens so far
        ("column", np.int64),  # tokens since the line began
        ("depth", np.int64),  # open brackets
        ("stack", *_whole(MAX_DEPTH)),  # their kinds
        ("noted", np.int64),  # word starts so far
        ("start", *_whole(MAX_STARTS)),  # the last of them, in a ring
        ("memory", *_whole(MAX_CLASSES, REMEMBERED)),  # words of each class used last, in a ring
        ("used", *_whole(MAX_CLASSES)),  # words of each class used so far
        ("value", np.int64, (MAX_TEMPLATES, MAX_FIELDS)),  # counters and walks
    ]
)
