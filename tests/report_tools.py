"""Run directories as reports find them. They are made up; no number in them was measured."""

import json
import math

from uprior.sources import get

VERSIONS = {"uprior": "0.1.0", "torch": "2.13.0"}
SOURCE = "mixture:sources=(pointwise,constant,uniform),shares=(4,1,1)"


def write_jsonl(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def evaluation(file, predictor, bits, **more):
    positions = [1, 2, 4, 8, 16, 32, 64, 128]
    curve = [bits + 1.6 / (1 + p) for p in positions]
    return {
        "file": file, "predictor": predictor, "context": 256, "positions": 128, "bits_last": bits - 0.2, "se_last": 0.08,
        "bits_mean": bits, "se_mean": 0.03, "curve_positions": positions, "curve_bits": curve,
        "curve_low": [b - 0.1 for b in curve], "curve_high": [b + 0.1 for b in curve],
    } | more  # fmt: skip


def make_pretrain(folder, *, files=("stdlib",), start=8.05, end=5.8, **config):
    folder.mkdir(parents=True)
    recorded = {
        "kind": "pretrain", "name": folder.name, "source": get(SOURCE).to_dict(), "tokens": 3_300_000, "steps": 800,
        "model": {"preset": "llama-1m", "parameters": 812_000}, "batch_size": 16, "length": 256, "learning_rate": 3e-3,
        "schedule": "constant", "seed": 0, "versions": VERSIONS, "commit": "abcdef123456",
        "command": "uprior pretrain --out demo",
    } | config  # fmt: skip
    (folder / "config.json").write_text(json.dumps(recorded))
    log = []
    for step in range(0, 801):
        loss = 2.2 + 3.4 * math.exp(-step / 120) + 0.05 * math.sin(step)
        log.append(
            {"event": "train", "step": step, "tokens": step * 4096, "loss_nats": loss, "above_floor_nats": loss - 2}
        )
        log[-1] |= {"learning_rate": 3e-3, "gradient_norm": 1.0, "tokens_per_second": 21_000 + step, "seconds": 0.2}
        if step % 100 == 0:
            bits = start + (end - start) * (step / 800) ** 0.5
            log += [
                {"event": "eval", "step": step, "tokens": step * 4096} | evaluation(f, "model", bits) for f in files
            ]
    write_jsonl(folder / "log.jsonl", log)
    levels = {"uniform": 8.0, "markov": 5.2, "deflate": 6.4, "bz2": 7.1, "lzma": 9.3, "ppmd": 4.9}
    write_jsonl(folder / "baselines.jsonl", [evaluation(f, name, b) for f in files for name, b in levels.items()])
    return folder


def make_compare(folder, *, lead=0.3, saving=(0.31, 0.2, 0.4), data="genome.txt", **config):
    folder.mkdir(parents=True)
    names = {"scratch": 0, "warmed": 1, "noise": 1, "matched": 0}
    arms = [{"name": n, "description": f"what {n} is", "warmup_tokens": w * 3_300_000} for n, w in names.items()]
    recorded = {
        "kind": "compare", "data": data, "model": {"preset": "llama-1m", "parameters": 812_000}, "seeds": 2, "arms": arms,
        "steps": 200, "batch_size": 16, "length": 256, "learning_rates": [1e-3, 3e-3], "versions": VERSIONS,
        "commit": "abcdef123456", "command": "uprior compare demo --data genome.txt",
    } | config  # fmt: skip
    (folder / "config.json").write_text(json.dumps(recorded))
    lines, ahead = [], {"scratch": 0.0, "warmed": lead, "noise": 0.05, "matched": 0.0}
    for arm, warmup in names.items():
        for seed in range(2):
            for step in range(0, 401 if arm == "matched" else 201, 20):
                bits = 2.4 + 5.6 * math.exp(-step / 60) - ahead[arm] * math.exp(-step / 150) + 0.05 * seed
                flops = (warmup * 3_300_000 + step * 4096) * 4.8e6
                lines.append({"arm": arm, "seed": seed, "step": step, "tokens": step * 4096, "total_flops": flops})
                lines[-1] |= {"bits_mean": bits, "se_mean": 0.02, "bits_last": bits - 0.1, "learning_rate": 1e-3}
    value, low, high = saving
    pair = {"arm": "warmed", "baseline": "scratch", "difference_bits": -lead / 4, "low": -lead / 4 - 0.02}
    pair |= {"high": -lead / 4 + 0.02, "per_seed": [-lead / 4 - 0.01, -lead / 4 + 0.01]}
    crossings = {"warmed against scratch, over real tokens": [], "warmed against matched, over total compute": [
        {"at": 2.1e13, "then_ahead": "baseline"}]}  # fmt: skip
    summary = {"summary": True, "data_saving": value, "low": low, "high": high, "seeds": 2, "pairs": [pair]}
    write_jsonl(folder / "compare.jsonl", [*lines, summary | {"crossings": crossings}])
    return folder
