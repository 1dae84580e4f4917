"""What the server of tests/process_server.py does once, so that none of its processes has to.

Nothing here may leave a thread, without which a forked process would be: no gradient is taken and no parallel kernel runs.
"""

import importlib
import tempfile
from pathlib import Path

import uprior
from uprior import sources
from uprior.data import Stream
from uprior.models import build, save_model

# What would be imported later, as soon as it is needed; pytest by a process that runs a function of a test module.
for name in (
    "pytest",
    "torch.distributed.checkpoint.hf_storage",
    "torch.distributed.fsdp",
    "uprior.cli.runs",
    "uprior.train.fused",
    "uprior.train.sharded",
):
    importlib.import_module(name)

with tempfile.TemporaryDirectory() as folder:
    text = Path(folder) / "text"
    text.write_bytes(bytes(range(256)) * 12)
    for name in ("gpt2-tiny", "llama-tiny"):
        model = build(name, context=32)
        save_model(model, Path(folder) / name)
    uprior.evaluate(model, str(text), positions=4, context=32)
Stream(sources.get("mixture:sources=(pointwise,uniform),shares=(3,1)"), batch_size=4, length=32).batch(0)
