"""The main job, small: what `make demo` runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from uprior.comparing import compare
from uprior.data.stream import Stream
from uprior.experiment import pretrain
from uprior.models.shipped import shipped
from uprior.models.sizes import build
from uprior.report import write_report
from uprior.sources.universal import Universal
from uprior.spec import parameter
from uprior.studies import Study

MODEL, CONTEXT = "256x2-matching-2", 256


@dataclass(frozen=True)
class Demo(Study):
    """The main job in ten to twenty minutes on two cores: warm up on random computation, predict real data, learn from a little.

    A 0.9 M-parameter Llama that begins by matching contexts sees 0.8 million tokens that random machines wrote, and is evaluated
    as it goes on the running interpreter's library source (and on ``eval``), none of which it is trained on, beside compressors
    and the shipped model, which has seen far more. Then ``compare`` trains the shipped model on 10 kB of that source beside its
    own first weights, random ones, and its weights shuffled: what a better start is worth where data is scarce.
    """

    name: ClassVar[str] = "demo"
    eval: tuple[str, ...] = parameter((), "further real data to evaluate on: files, folders, names of corpora")

    def run(self, out: Path) -> None:
        stream = Stream(Universal(), seed=0, batch_size=8, length=CONTEXT)
        model = build(MODEL, context=CONTEXT)
        result = pretrain(
            model,
            stream,
            out=out / "warm",
            steps=400,
            learning_rate=4e-4,
            schedule="wsd",
            decay_share=0.6,
            evaluate_on=["python_stdlib", *self.eval],
            beside=[str(folder) for folder in shipped().values()],
            evaluations=7,
            positions=200,
        )
        if result.stopped:
            raise KeyboardInterrupt
        compare(
            "universal",
            "python_stdlib",
            out=out / "universal-on-python_stdlib",
            limit_bytes=10_000,
            steps=30,
            learning_rates=(3e-4, 1e-3),
        )
        write_report(out)
