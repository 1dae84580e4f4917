"""Union: the reference and a checker of its rows."""

from references._set_tasks import specs, string_reference, string_validate
from uprior.sources import Union

GOLDEN = (1, "ea9d9f70b4db9cb8")
SPECS = specs(Union, Union(variety=0.2))


def first_appearances(x):
    found = []
    for symbol in x:
        if symbol not in found:
            found.append(symbol)
    return found


reference = string_reference(lambda x, _: first_appearances(x))
validate = string_validate(lambda x, _: list(dict.fromkeys(x)))
