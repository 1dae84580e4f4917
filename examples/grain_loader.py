"""A stream as a Grain data source: prefetched by threads, split over processes, resumed from Grain's own state.

pip install 'uprior[grain]'; python examples/grain_loader.py
"""

# %%
import grain
import numpy as np

import uprior
from uprior.sources import KeyedRecall

stream = uprior.Stream(KeyedRecall(), seed=0, batch_size=8, length=64)
source = stream.random_access(steps=1_000_000)  # nothing is computed before it is read
rows = grain.MapDataset.source(source)

# %% Row j is row j % 8 of step j // 8, so batches of 8 rows are the stream's steps.
batches = rows.batch(stream.batch_size)
assert np.array_equal(batches[777_777]["input_ids"], stream.batch(777_777).tokens)
print(f"{len(rows):,} rows; batch 777,777 of {len(batches):,} is step 777,777 of the stream")

# %% An iterator with read-ahead, stopped after 5 steps and gone on with from its state.
options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=32)
before = iter(batches.to_iter_dataset(options))
seen = [next(before)["input_ids"] for _ in range(5)]
state = before.get_state()

after = iter(batches.to_iter_dataset(options))
after.set_state(state)
seen += [next(after)["input_ids"] for _ in range(5)]
assert all(np.array_equal(tokens, stream.batch(step).tokens) for step, tokens in enumerate(seen))
print("stopped after 5 steps, went on from", state)

# %% Two processes: each takes every second row, together they hold the rows of the step.
halves = [rows[rank::2].batch(stream.batch_size // 2)[3]["input_ids"] for rank in range(2)]
assert np.array_equal(np.stack(halves, axis=1).reshape(8, -1), stream.batch(3).tokens)
print("2 processes: 4 + 4 rows, together the rows of the step")
