"""Shared set-up: one thread, no network, and the library's caches in place."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "0")  # two threads that spin beside a busy neighbour take minutes
os.environ["HF_HUB_OFFLINE"] = "1"
