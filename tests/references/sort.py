"""Sort: the reference and a checker of its rows."""

import numpy as np

from references._set_tasks import specs, string_reference, string_validate
from uprior.sources import Sort

GOLDEN = (1, "c355ff572fd50b00")
SPECS = specs(Sort)

reference = string_reference(lambda x, _: sorted(x))
validate = string_validate(lambda x, _: np.sort(x).tolist())
