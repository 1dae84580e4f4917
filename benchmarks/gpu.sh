#!/usr/bin/env bash
# Training on a GPU beside other people's loops: tokens per second, model FLOPs utilisation, memory, data wait.
#
#   benchmarks/gpu.sh PART [options of uprior bench train]     one part per call, each within ten minutes
#   benchmarks/gpu.sh table                                    what all parts so far came to
#
#   PART: 30m 125m 350m 1.3b   all four contestants, by turns (uprior, Trainer, Trainer compiled in bfloat16, a plain loop)
#         125m-pair 350m-pair 1.3b-pair   uprior and the compiled Trainer alone, with the larger batches that this leaves room for
#
# Records go to $OUT/PART.jsonl (OUT: benchmarks/results). The python3 found is used if it has what is needed; if not, a virtual
# environment is made here (.venv-gpu) and filled by pip, torch with its CUDA libraries included: some 6 GB, once.
# UPRIOR_BENCH_ANY=1 goes on without a GPU, to try the script.
set -euo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-benchmarks/results}
part=${1:-}
case $part in
    30m | 125m | 350m) options=() ;;
    1.3b) options=(--rounds 5) ;;
    125m-pair) options=(--only uprior,trainer-bf16-compiled --batch-size 64) ;;
    350m-pair) options=(--only uprior,trainer-bf16-compiled --batch-size 32) ;;
    1.3b-pair) options=(--only uprior,trainer-bf16-compiled --batch-size 16) ;;
    table) ;;
    *)
        sed -n '2,/^set/{s/^# \{0,1\}//p}' "$0" >&2
        exit 2
        ;;
esac

export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}"
needed='import accelerate, jinja2, matplotlib, numba, rich, safetensors, scipy, tokenizers, torch, transformers'
python=${PYTHON:-python3}
if ! "$python" -c "$needed" 2>/dev/null; then
    if ! .venv-gpu/bin/python -c "$needed" 2>/dev/null; then
        "$python" -m venv .venv-gpu
        .venv-gpu/bin/python -m pip install --quiet --disable-pip-version-check -e '.[accelerate]'
    fi
    python=$PWD/.venv-gpu/bin/python
fi

mkdir -p "$OUT"
if [ "$part" = table ]; then
    exec "$python" benchmarks/table.py "$OUT"/*.jsonl
fi
if [ -z "${UPRIOR_BENCH_ANY:-}" ] && ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "$("$python" -c 'import torch; print("torch", torch.__version__)') sees no GPU here" >&2
    exit 2
fi
if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=name,memory.total,driver_version,clocks.sm,power.limit --format=csv >"$OUT/card.csv"
fi

# A part that hangs is ended.
shift
status=0
timeout --kill-after=10 570 "$python" -m uprior.cli bench train --model "llama-${part%-pair}" "${options[@]}" --json "$@" \
    >"$OUT/.$part.tmp" || status=$?
if [ "$status" = 124 ]; then
    echo "$part took longer than 570 s; give fewer --rounds, or --only some of the contestants" >&2
fi
if [ -s "$OUT/.$part.tmp" ]; then
    mv "$OUT/.$part.tmp" "$OUT/$part.jsonl"
    "$python" benchmarks/table.py "$OUT/$part.jsonl"
else
    rm "$OUT/.$part.tmp"  # what an earlier call measured stays
fi
exit "$status"
