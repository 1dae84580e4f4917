"""Tables of what ``uprior bench train --json`` wrote: python benchmarks/table.py FILE..."""

import json
import sys
from itertools import groupby
from pathlib import Path

from uprior.bench.train import COLUMNS, cells, headline
from uprior.terminal import print_table

for name in sys.argv[1:]:
    records = [json.loads(line) for line in Path(name).read_text("utf-8").splitlines()]
    for _, group in groupby(records, key=lambda record: (record["model"], record["batch_size"])):
        match = list(group)
        print(f"{Path(name).stem}: " + "\n".join(headline(match)))
        done = [record for record in match if record["error"] is None]
        if done:
            # PaLM's convention counts attention over all positions, ours those that are seen (uprior.bench.arithmetic).
            rows = []
            for record in done:
                whole, nominal = record["matmul_share_whole_attention"], record["nominal_share"]
                per_token = record["flops_per_token"]
                extra = [
                    f"{whole:.1%}",
                    "" if nominal is None else f"{nominal * per_token['whole'] / per_token['causal']:.1%}",
                ]
                rows.append([record["contestant"], *cells(record), *extra])
            print_table(["", *COLUMNS, "matmul (PaLM)", "nominal (PaLM)"], rows)
        for record in match:
            if record["error"] is not None:
                print(f"{record['contestant']}: {record['error']}")
        print()
