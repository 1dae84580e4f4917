"""The program that ``ppmd`` runs: what prefixes of windows compress to. It imports nothing of uprior, to start at once.

Standard input: a line of JSON {context, edges, orders, memory}, then the windows' bytes. Standard output: JSON, the lengths that
prefixes compress to, [orders][windows][edges].
"""

from __future__ import annotations

import json
import sys

import pyppmd


def main() -> None:
    job = json.loads(sys.stdin.buffer.readline())
    text, context = sys.stdin.buffer.read(), job["context"]
    windows = [text[start : start + context] for start in range(0, len(text), context)]

    def length(part: bytes, order: int) -> int:
        return len(pyppmd.compress(part, max_order=order, mem_size=job["memory"], variant="H"))

    found = [[[length(window[:end], order) for end in job["edges"]] for window in windows] for order in job["orders"]]
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
