"""Set: the reference and a checker of its rows."""

from references._set_tasks import specs, string_reference, string_validate
from uprior.sources import Set

GOLDEN = (1, "4610a0cd8c6042ec")
SPECS = specs(Set, Set(variety=0.1))


def first_appearances(x):
    found = []
    for symbol in x:
        if symbol not in found:
            found.append(symbol)
    return found


reference = string_reference(lambda x, _: first_appearances(x))
validate = string_validate(lambda x, _: list(dict.fromkeys(x)))
