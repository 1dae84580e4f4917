"""Identity: the reference and a checker of its rows."""

from references._set_tasks import specs, string_reference, string_validate
from uprior.sources import Identity

GOLDEN = (1, "52654c492d7ff282")
SPECS = specs(Identity, Identity(variety=0.0, max_items=300, symbols=65534))

reference = string_reference(lambda x, _: list(x))
validate = string_validate(lambda x, _: x)
