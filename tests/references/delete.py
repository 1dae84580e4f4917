"""Delete: the reference and a checker of its rows."""

import numpy as np

from references._set_tasks import specs, string_reference, string_validate
from uprior.sources import Delete

GOLDEN = (1, "90499631c0b8480e")
SPECS = specs(Delete, Delete(query="independent", symbols=8))


def without(x, query):
    y = list(x)
    if query in y:
        y.remove(query)
    return y


reference = string_reference(without)
validate = string_validate(lambda x, d: np.delete(x, [*np.flatnonzero(np.equal(x, d))[:1]]).tolist())
