"""A stream in a torch DataLoader: steps from worker processes, single rows, and resuming in the middle.

python examples/dataloader.py
"""

import numpy as np
from torch.utils.data import DataLoader

import uprior
from uprior.sources import KeyedRecall

STEPS, STOPPED_AFTER = 12, 5


# %% The order of steps does not depend on the number of workers.
def whole_steps(stream):
    for workers in (0, 2):
        loader = DataLoader(stream.torch_dataset(0, STEPS), batch_size=None, num_workers=workers)
        found = [item["input_ids"].numpy() for item in loader]
        assert len(found) == STEPS
        assert all(np.array_equal(tokens, stream.batch(step).tokens) for step, tokens in enumerate(found))
        print(f"{workers} workers: {STEPS} steps of {found[0].shape}, in order, each once")


# %% Resuming: a dataset starts at any step at no cost. The trainer's own step is the whole state. What workers had already
# fetched ahead of the trainer does not matter, because nobody asks them.
def resume(stream):
    before = iter(DataLoader(stream.torch_dataset(0, STEPS), batch_size=None, num_workers=2))
    seen = [next(before)["input_ids"] for _ in range(STOPPED_AFTER)]
    del before  # the run is killed here
    after = DataLoader(stream.torch_dataset(STOPPED_AFTER, STEPS), batch_size=None, num_workers=1)
    seen += [item["input_ids"] for item in after]
    assert len(seen) == STEPS
    assert all(np.array_equal(tokens, stream.batch(step).tokens) for step, tokens in enumerate(seen))
    print(f"stopped after step {STOPPED_AFTER} with 2 workers, went on with 1: nothing lost, nothing twice")


# %% Single rows, map-style, for a loader that makes its own batches. To read from a step on, its sampler is
# a range. Rows are independent draws: shuffling them gains nothing.
def single_rows(stream):
    rows = stream.torch_rows(steps=STEPS)
    size = stream.batch_size
    loader = DataLoader(rows, batch_size=size, sampler=range(STOPPED_AFTER * size, len(rows)))
    for step, item in enumerate(loader, start=STOPPED_AFTER):
        assert np.array_equal(item["input_ids"].numpy(), stream.batch(step).tokens)
    assert step == STEPS - 1
    print(f"{len(rows)} rows by number, read from row {STOPPED_AFTER * size} on")


if __name__ == "__main__":  # worker processes may import this file again
    recall = uprior.Stream(KeyedRecall(), seed=0, batch_size=8, length=64)
    whole_steps(recall)
    resume(recall)
    single_rows(recall)
