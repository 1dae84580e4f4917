"""Laws over types, and drawing from them, shared by the references of the formal languages."""

from uprior.sources._formal import laws_of_machines


class Law:
    """One distribution over types; its alias table is tested on its own in test_formal_languages.py."""

    def __init__(self, laws, m):
        self.chance, self.keep, self.other = laws.chance[m].tolist(), laws.keep[m].tolist(), laws.other[m].tolist()

    def draw(self, rng, forbidden=()):
        """A type that is not forbidden, drawn again until it is not."""
        while True:
            scaled = rng.random() * len(self.keep)
            column = int(scaled)
            kind = column if scaled - column < self.keep[column] else self.other[column]
            if kind not in forbidden:
                return kind


def zipf_laws(source, draw, size, machines):
    """The law of each machine."""
    laws, which = laws_of_machines(draw("machines"), size, source.exponent, source.shuffled, machines)
    made = [Law(laws, m) for m in range(len(laws.chance))]
    return [made[m] for m in which], which
