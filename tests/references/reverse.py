"""Reverse: the reference and a checker of its rows."""

from references._set_tasks import specs, string_reference, string_validate
from uprior.sources import Reverse

GOLDEN = (1, "96b7dea143f62e08")
SPECS = specs(Reverse)

reference = string_reference(lambda x, _: list(reversed(x)))
validate = string_validate(lambda x, _: x[::-1])
