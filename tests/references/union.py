"""Union: the reference and a checker of its rows."""

from references._set_tasks import first_appearances, specs, string_reference, string_validate
from uprior.sources import Union

GOLDEN = (1, "ea9d9f70b4db9cb8")
SPECS = specs(Union, Union(variety=0.2))

reference = string_reference(lambda x, _: first_appearances(x))
validate = string_validate(lambda x, _: list(dict.fromkeys(x)))
