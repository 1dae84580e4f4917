"""nanoGPT's way of reading data, a flat uint16 file through numpy.memmap, on rows of a stream.

python examples/nanogpt_memmap.py
"""

# %%
import tempfile
from pathlib import Path

import numpy as np
import torch

import uprior
from uprior.sources import Dyck

STEPS, ROWS, LENGTH = 20, 8, 64
stream = uprior.Stream(Dyck(), seed=0, batch_size=ROWS, length=LENGTH)


# %% The file: rows of LENGTH tokens, one after the other, nothing between them. More than 65536 ids do not fit uint16, and
# which positions are scored does not fit at all: export sources that score everywhere, as this one does.
def write(path):
    assert stream.vocabulary.size <= 1 << 16
    with path.open("wb") as file:
        for batch in stream.batches(0, STEPS):
            assert batch.scored.all()
            file.write(batch.tokens.astype("<u2").tobytes())


# %% nanoGPT's get_batch with two changes. Windows start where rows start: a random place would put the end of one row and the
# start of another, written by another machine, into one window. And the step says which rows, so that resuming is exact.
def get_batch(path, step):
    data = np.memmap(path, dtype="<u2", mode="r")  # opened anew each time: a mapping kept open grows in memory
    starts = (step * ROWS + np.arange(ROWS)) * LENGTH
    x = torch.from_numpy(np.stack([data[i : i + LENGTH - 1] for i in starts]).astype(np.int64))
    y = torch.from_numpy(np.stack([data[i + 1 : i + LENGTH] for i in starts]).astype(np.int64))
    return x, y


# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "train.bin"
    write(path)
    assert path.stat().st_size == 2 * STEPS * ROWS * LENGTH
    for step in (0, 7, STEPS - 1):  # any order
        x, y = get_batch(path, step)
        tokens = torch.from_numpy(stream.batch(step).tokens)
        assert torch.equal(x, tokens[:, :-1]) and torch.equal(y, tokens[:, 1:])
print(
    f"{STEPS * ROWS} rows in {2 * STEPS * ROWS * LENGTH:,} bytes; inputs and targets of every step as the stream gives them"
)
