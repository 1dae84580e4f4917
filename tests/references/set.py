"""Set: the reference and a checker of its rows."""

from references._set_tasks import first_appearances, specs, string_reference, string_validate
from uprior.sources import Set

GOLDEN = (1, "4610a0cd8c6042ec")
SPECS = specs(Set, Set(variety=0.1))

reference = string_reference(lambda x, _: first_appearances(x))
validate = string_validate(lambda x, _: list(dict.fromkeys(x)))
