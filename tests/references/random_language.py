"""Random languages in plain Python: words in a dict, rows in a list, the same random numbers in the same order."""

import math
from itertools import accumulate

import numpy as np

from uprior.sources import RandomLanguage
from uprior.sources import _language_layout as at
from uprior.sources.random_language import NOT_LETTERS
from uprior.types import Block

GOLDEN = (1, "04638aeb91b47157")
SPECS = [
    RandomLanguage(),
    RandomLanguage(absence=0.0, records_probability=0.0, max_nest_rate=0.8, wide_probability=1.0, max_copy_rate=0.5),
    RandomLanguage(absence=0.0, records_probability=1.0, alphabet_size=1000),
    RandomLanguage(alphabet_size=48, min_letters=2, max_letters=7, max_lexicon=30, rows_per_machine=1, max_wrap=9),
]


def below(rng, n):
    return int(rng.random() * n)


def early(rng, n):
    """A number below n, the smaller the likelier."""
    u = rng.random()
    return int(n * (u * u))


class Language:
    """A machine: its knobs as attributes, its tables drawn from ``rng``, its words spelled when first used."""

    def __init__(self, knobs, rng, shuffled):
        self.__dict__.update({name: knobs[name].item() for name, _ in at.KNOBS})
        self.rng, self.spellings, self.order = rng, {}, []
        self.draw_code(shuffled)
        ends = list(accumulate((i + 1.0) ** -self.letter_exponent for i in range(self.letters)))
        self.letter_end = [end / ends[-1] for end in ends]
        self.letter_next = [[self.letter() for _ in range(self.successors)] for _ in range(self.letters)]
        self.syllable = [self.chain(1 + below(rng, at.SYLLABLE_LETTERS - 1)) for _ in range(self.syllables)]
        self.draw_classes()
        self.template = [self.draw_template() for _ in range(self.templates)]

    def draw_code(self, shuffled):
        counts = {
            0: self.letters, at.SECOND: self.letters * self.second_forms, at.DIGIT: self.base, at.LINE: 1,
            at.SEPARATOR: max(self.separators, 1), at.MARK: self.marks, at.END: self.ends, at.OPEN: self.pairs,
            at.CLOSE: self.pairs, at.LEAD: self.leads,
        }  # fmt: skip
        self.code = {}
        for used, symbol in enumerate(first + i for first, count in counts.items() for i in range(count)):
            other = used + below(self.rng, len(shuffled) - used)
            shuffled[used], shuffled[other] = shuffled[other], shuffled[used]
            self.code[symbol] = shuffled[used]
        for i in range(min(self.pairs, self.mirrored)):
            self.code[at.CLOSE + i] = self.code[at.OPEN + i]

    def draw_classes(self):
        rng = self.rng
        share = [math.exp(5.0 * rng.random()) for _ in range(self.classes)]
        total = sum(share)
        self.size = [max(1, int(self.lexicon * s / total)) for s in share]
        self.first = [sum(self.size[:c]) for c in range(self.classes)]
        self.agrees, self.class_next, self.suffix = [], [], []
        for _ in range(self.classes):
            self.agrees.append(rng.random() < 0.5)
            self.class_next.append([below(rng, self.classes) for _ in range(self.class_successors)])
            self.suffix.append([self.chain(1 + below(rng, at.SUFFIX_LETTERS - 1)) for _ in range(self.suffixes)])

    def draw_template(self):
        """A list of (kind, class, word, width, delimiter, label)."""
        rng, fields = self.rng, []
        count = 2 + below(rng, at.MAX_FIELDS - 1)
        usual = at.MARK + below(rng, self.marks) if rng.random() < 0.5 else at.SEPARATOR
        for _ in range(count):
            c = below(rng, self.classes)
            kind, word, width = below(rng, at.FIELD_KINDS), self.word(c), below(rng, 7)
            delimiter = usual if rng.random() < 0.7 else at.MARK + below(rng, self.marks)
            fields.append((kind, c, word, width, delimiter, self.word(c)))
        return fields

    def letter(self):
        u = self.rng.random()
        return next((i for i, end in enumerate(self.letter_end) if u < end), self.letters - 1)

    def chain(self, length):
        letters = [self.letter()]
        for _ in range(length):
            letters.append(self.letter_next[letters[-1]][early(self.rng, self.successors)])
        return letters[:length]

    def word(self, c):
        """By the Zipf-Mandelbrot law."""
        power = 1.0 - self.word_exponent
        low, high = (1.0 + self.word_shift) ** power, (1.0 + self.word_shift + self.size[c]) ** power
        x = (low + self.rng.random() * (high - low)) ** (1.0 / power)
        return self.first[c] + max(0, min(int(x - 1.0 - self.word_shift), self.size[c] - 1))

    def spelling(self, word, c):
        if word not in self.spellings:
            self.spellings[word] = self.spell(word, c)
            self.order.append(word)
        return self.spellings[word]

    def spell(self, word, c):
        rng, spelling, most = self.rng, [], at.WORD_LETTERS - at.SYLLABLE_LETTERS
        if self.order and rng.random() < self.kinship:
            kin = self.spellings[self.order[below(rng, len(self.order))]]
            spelling = kin[: min(1 + below(rng, len(kin)), most)]
        branching = max(2.0, 0.5 * (self.syllables or self.successors))
        needed, units = math.log(1.0 + word - self.first[c]) / math.log(branching), 0
        letter = spelling[-1] if spelling else self.letter()
        while len(spelling) < most:
            if self.syllables:
                spelling = spelling + self.syllable[early(rng, self.syllables)]
            else:
                letter = self.letter_next[letter][early(rng, self.successors)]
                spelling = [*spelling, letter]
            units += 1
            if units >= needed and rng.random() >= self.growth:
                break
        return spelling


class Row:
    """One row as it is written."""

    def __init__(self, language, rng, length):
        self.me, self.rng, self.length = language, rng, length
        self.tokens, self.column, self.stack, self.starts = [], 0, [], []
        self.memory = [[] for _ in range(language.classes)]
        if language.templates:
            draws = [int(10.0 ** (4.0 * rng.random())) for _ in range(at.MAX_TEMPLATES * at.MAX_FIELDS)]
            self.value = [draws[i : i + at.MAX_FIELDS] for i in range(0, len(draws), at.MAX_FIELDS)]
        while not self.full():
            self.record() if language.templates else self.sentence()

    def full(self):
        return len(self.tokens) == self.length

    def put(self, token):
        if not self.full():
            self.tokens.append(token)
            self.column += 1

    def put_symbol(self, symbol):
        self.put(self.me.code[symbol])

    def put_letter(self, letter, second=False):
        me = self.me
        if me.leads > 0 and letter >= me.first_wide:
            which, lead = divmod(letter - me.first_wide, me.leads)
            self.put_symbol(at.LEAD + lead)
            letter = me.first_wide + which
        self.put_symbol(letter + at.SECOND * second)

    def put_word(self, c, word, second=False):
        for i, letter in enumerate(self.me.spelling(word, c)):
            self.put_letter(letter, second and i == 0)
        self.memory[c].append(word)

    def put_number(self, value, width):
        digits = []
        while value > 0 or len(digits) < max(width, 1):
            value, digit = divmod(value, self.me.base)
            digits.append(digit)
        for digit in reversed(digits):
            self.put_symbol(at.DIGIT + digit)

    def put_line(self):
        self.put_symbol(at.LINE)
        self.column = 0
        for _ in range(self.me.indent * len(self.stack)):
            self.put_symbol(at.SEPARATOR)

    def choose_word(self, c):
        used = self.memory[c][-at.REMEMBERED :]
        if used and self.rng.random() < self.me.reuse:
            u = self.rng.random()
            return used[-1 - int(len(used) * u * u)]
        return self.me.word(c)

    def note_start(self):
        me, rng, starts = self.me, self.rng, self.starts
        if self.full():
            return
        starts.append(len(self.tokens))
        if len(starts) < 3 or rng.random() >= me.copy_rate:
            return
        first = len(starts) - 2 - below(rng, min(len(starts), at.MAX_STARTS) - 1)
        words = 2.0 * (1.0 - rng.random()) ** (-1.0 / me.copy_tail)
        last = min(first + int(min(words, 1e6)), len(starts) - 1)
        for token in self.tokens[starts[first] : starts[last]]:
            if me.copy_error > 0 and rng.random() < me.copy_error:
                if rng.random() >= 0.5:
                    self.put_symbol(me.letter())
            else:
                self.put(token)

    def open_bracket(self):
        kind = below(self.rng, self.me.pairs)
        if kind < self.me.mirrored and self.stack:
            return
        self.put_symbol(at.OPEN + kind)
        self.stack.append(kind)
        if self.me.indent > 0:
            self.put_line()

    def close_bracket(self):
        kind = self.stack.pop()
        if self.me.indent > 0:
            self.put_line()
        self.put_symbol(at.CLOSE + kind)

    def item(self, c, ending, first):
        me, rng = self.me, self.rng
        if me.pairs > 0 and len(self.stack) < at.MAX_DEPTH and rng.random() < me.nest_rate:
            self.open_bracket()
        if rng.random() < me.number_rate:
            self.put_symbol(at.DIGIT + below(rng, me.base))
            while rng.random() < me.number_growth:
                self.put_symbol(at.DIGIT + below(rng, me.base))
        else:
            self.put_word(c, self.choose_word(c), bool(me.second_forms) and (first or c == me.marked_class))
            if me.suffixes > 0 and rng.random() < me.suffix_rate:
                for letter in me.suffix[c][ending if me.agrees[c] else below(rng, me.suffixes)]:
                    self.put_letter(letter)
        while self.stack and rng.random() < me.close_rate:
            self.close_bracket()

    def separator(self):
        me, rng = self.me, self.rng
        if me.mark_rate > 0 and rng.random() < me.mark_rate:
            self.put_symbol(at.MARK + early(rng, me.marks))
        if me.wrap > 0 and self.column >= me.wrap:
            self.put_line()
        elif me.separators > 1 and rng.random() < me.other_separator_rate:
            self.put_symbol(at.SEPARATOR + 1 + below(rng, me.separators - 1))
        elif me.separators > 0:
            self.put_symbol(at.SEPARATOR)

    def sentence(self):
        me, rng = self.me, self.rng
        c, ending, first = below(rng, me.classes), below(rng, max(me.suffixes, 1)), True
        while not self.full():
            self.note_start()
            self.item(c, ending, first)
            first = False
            if rng.random() * me.sentence_words < 1.0:
                break
            self.separator()
            c = me.class_next[c][early(rng, me.class_successors)]
        while self.stack:
            self.close_bracket()
        if me.ends > 0:
            self.put_symbol(at.END + early(rng, me.ends))
        if rng.random() < me.line_rate:
            self.put_line()
        elif me.separators > 0:
            self.put_symbol(at.SEPARATOR)

    def record(self):
        t = early(self.rng, self.me.templates)
        fields = self.me.template[t]
        for f, field in enumerate(fields):
            self.note_start()
            self.field(t, f, *field)
            if f < len(fields) - 1:
                self.put_symbol(field[4])
        self.put_line()

    def field(self, t, f, kind, c, word, width, _, label):
        me, rng = self.me, self.rng
        if me.labels == 1:
            self.put_word(c, label)
            self.put_symbol(at.MARK)
        if kind == at.CONSTANT:
            self.put_word(c, word)
        elif kind == at.WORD:
            self.put_word(c, self.choose_word(c))
        elif kind == at.CHOICE:
            self.put_word(c, me.first[c] + below(rng, min(me.size[c], 2 + width)))
        elif kind == at.NUMBER:
            for _ in range(1 + width):
                self.put_symbol(at.DIGIT + below(rng, me.base))
        else:
            self.put_number(self.value[t][f], width)
            step = 1 if kind == at.COUNTER else below(rng, 2 * width + 3) - width - 1
            self.value[t][f] = abs(self.value[t][f] + step)


def reference(source, draw, rows, length):
    count = -(-rows // source.rows_per_machine)
    knobs, rng = source._machines(draw("machines"), count), draw("rows")
    shuffled, tokens = list(range(source.alphabet_size)), [None] * rows
    for m in range(count):
        language = Language(knobs[m], rng, shuffled)
        for n in range(m, rows, count):
            tokens[n] = Row(language, rng, length).tokens
    return Block(np.array(tokens), draw.machine_ids(np.arange(rows) % count))


def validate(source, block):
    """A machine uses few symbols and is described alike in all of its rows."""
    for machine in np.unique(block.machine):
        mine = block.machine == machine
        letters = block.info["letters"][mine]
        assert (letters == letters[0]).all() and source.min_letters <= letters[0] <= source.max_letters
        assert len(np.unique(block.tokens[mine])) <= 2 * letters[0] + NOT_LETTERS
        assert source.min_lexicon <= block.info["lexicon"][mine][0] <= source.max_lexicon
