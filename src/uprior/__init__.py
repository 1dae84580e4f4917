"""Pre-train transformers on random computation, before any real data is seen, and measure what that buys.

    stream = uprior.Stream(Iterated(RandomLSTM(hidden=64)), seed=0, batch_size=64, length=512, vocab=256)
    model = uprior.build("llama-5m", vocab=256, context=512)
    uprior.pretrain(model, stream, tokens=20_000_000, out="runs/warm")
    scores = uprior.evaluate(model, "mydata.txt")
    study = uprior.compare("runs/warm", data="mydata.txt", seeds=3)
    study.report("report.html")

Names are imported when first used, so that listing sources or asking for help does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uprior.comparing import Comparison as Comparison
    from uprior.comparing import compare as compare
    from uprior.data.export import export as export
    from uprior.data.shard_stream import read_shards as read_shards
    from uprior.data.stream import CorpusStream as CorpusStream
    from uprior.data.stream import Stream as Stream
    from uprior.data.vocabulary import Vocabulary as Vocabulary
    from uprior.errors import UpriorError as UpriorError
    from uprior.experiment import evaluate as evaluate
    from uprior.experiment import pretrain as pretrain
    from uprior.models.folder import load_model as load
    from uprior.models.sizes import build as build
    from uprior.transfer.carrying import carry as carry

_HOME = {
    "Comparison": "uprior.comparing",
    "CorpusStream": "uprior.data.stream",
    "Stream": "uprior.data.stream",
    "UpriorError": "uprior.errors",
    "Vocabulary": "uprior.data.vocabulary",
    "build": "uprior.models.sizes",
    "carry": "uprior.transfer.carrying",
    "compare": "uprior.comparing",
    "evaluate": "uprior.experiment",
    "export": "uprior.data.export",
    "load": "uprior.models.folder:load_model",
    "pretrain": "uprior.experiment",
    "read_shards": "uprior.data.shard_stream",
}

__all__ = [
    "Comparison",
    "CorpusStream",
    "Stream",
    "UpriorError",
    "Vocabulary",
    "build",
    "carry",
    "compare",
    "evaluate",
    "export",
    "load",
    "pretrain",
    "read_shards",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'uprior' has no attribute {name!r}")
    module, _, attribute = _HOME[name].partition(":")
    return getattr(importlib.import_module(module), attribute or name)
