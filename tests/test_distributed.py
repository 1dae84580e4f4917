"""One machine to many: the same samples, losses, checkpoints and exports on any number of processes; lost processes.

Processes are forked from a server that has imported everything once, and talk over gloo, as those that torchrun starts do.
"""

import hashlib
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from transformers import AutoConfig, AutoModelForCausalLM

import uprior
from uprior.cli.parser import make_parser
from uprior.data import Stream
from uprior.errors import CheckpointError, RunDirectoryError, SpecError, TrainingError, UpriorError
from uprior.files import read_lines
from uprior.models import build, load_model, save_model
from uprior.models.presets import PRESETS, config_of
from uprior.sources import Mixture, Pointwise, Uniform
from uprior.train import Training, checkpoint, fit, loop, sharded
from uprior.train.distributed import ALONE, Group, processes
from uprior.train.optimizer import make_optimizer
from uprior.train.parallel import blocks, resolve, spread_over
from uprior.types import Batch

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "pytest",
        "numba",
        "uprior.sources.mixture",
        "uprior.sources.pointwise",
        "uprior.experiment",
        "uprior.train.sharded",
        "torch.distributed.fsdp",
        "transformers.models.llama.modeling_llama",
        "transformers.models.gpt2.modeling_gpt2",
    ]
)
SETTINGS = {"steps": 9, "learning_rate": 3e-3, "warmup_steps": 2, "checkpoint_every": 4, "precision": "float32"}


class Uneven(Stream):
    """A stream whose rows score unequally many tokens, and some whose floor is unknown: a mean of means would differ."""

    def batch(self, step):
        batch = super().batch(step)
        scored, floor = batch.scored.copy(), batch.floor_nats.copy()
        scored[: len(scored) // 3, 5:] = False
        floor[-1] = np.nan
        return Batch(batch.tokens, scored, floor)


def stream(**options):
    source = Mixture(sources=(Pointwise(max_symbols=4), Uniform()), shares=(3, 1))
    return Uneven(source, **({"seed": 0, "batch_size": 8, "length": 16, "block_rows": 64} | options))


def tiny(dropout=0.0):
    if not dropout:
        return build("llama-tiny", context=16)
    config = config_of(PRESETS["gpt2-tiny"], 256, 16)
    config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = dropout
    torch.manual_seed(1)
    return AutoModelForCausalLM.from_config(config)


def evaluator(model, step):
    with torch.inference_mode():
        return [{"file": "x", "bits_mean": float(model(input_ids=torch.arange(8)[None]).logits.square().mean())}]


def train(path, group=ALONE, *, parallel="auto", at=None, rank=0, how="SIGTERM", dropout=0.0, rows=8, **changes):
    """One run of the loop, in this process; ``at`` a step this process ``rank`` sends itself a signal. Notes what it saw."""
    record, share = loop._record, loop.share

    def deadly(log, reporter, step, *rest):
        record(log, reporter, step, *rest)
        if step == at and group.rank == rank:
            os.kill(os.getpid(), getattr(signal, how))

    def noted(batch, rank, size):
        own = share(batch, rank, size)
        hashes = [hashlib.sha256(row.tobytes()).hexdigest()[:16] for row in own.tokens]
        with (path / f"samples-{rank}.jsonl").open("a") as file:
            file.write(json.dumps(hashes) + "\n")
        return own

    loop._record, loop.share = deadly, noted
    path.mkdir(parents=True, exist_ok=True)
    try:
        return fit(
            tiny(dropout), stream(batch_size=rows), Training(**(SETTINGS | changes)), path, evaluate=evaluator,
            evaluate_at=frozenset({0, 4, 9}), show=False, group=group, parallel=parallel,
        )  # fmt: skip
    finally:
        loop._record, loop.share = record, share


def samples(path, size):
    """The hashes of the rows that all processes saw together, step by step."""
    each = [[json.loads(line) for line in (path / f"samples-{r}.jsonl").read_text().splitlines()] for r in range(size)]
    assert len({len(steps) for steps in each}) == 1
    return [list(itertools.chain(*rows)) for rows in zip(*each, strict=True)]


# ------------------------------------------------------------------ processes


def _child(work, rank, size, port, told, arguments, options):
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    torch.set_num_threads(1)
    try:
        with processes() as group:
            told.put((rank, work(*arguments, group=group, **options)))
    except UpriorError as error:
        told.put((rank, error))
        told.close()
        told.join_thread()
        os._exit(2)


def together(size, work, *arguments, **options):
    """What ``work(*arguments, group=...)`` gave in each of ``size`` processes: a result, a UpriorError, or an exit status."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    told = SERVER.Queue()
    children = [
        SERVER.Process(target=_child, args=(work, rank, size, port, told, arguments, options)) for rank in range(size)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode is not None, "a process hangs"
    answers = {}
    while not told.empty():
        rank, answer = told.get()
        answers[rank] = answer
    return [answers.get(rank, child.exitcode) for rank, child in enumerate(children)]


def conclude(path, size, **options):
    results = together(size, train, path, **options)
    assert all(isinstance(result, loop.Result) for result in results), results
    assert len(set(results)) == 1
    return results[0]


def _runs(root, group):
    for way in ("ddp", "fsdp"):
        train(root / f"{way}-{group.size}", group, parallel=way)
    if group.size == 3:
        train(root / "micro", group, parallel="ddp", micro_batch=2)  # shares of 2, 3 and 3 rows, in two passes each


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of finished runs: alone, ddp-2, fsdp-2, ddp-3, fsdp-3, micro."""
    root = tmp_path_factory.mktemp("runs")
    assert train(root / "alone").finished
    for size in (2, 3):
        assert together(size, _runs, root) == [None] * size
    return root


def log_of(path, event="train"):
    return [line for line in read_lines(path / "log.jsonl") if line["event"] == event]


def largest_difference(path, other, event, field):
    pairs = list(zip(log_of(path, event), log_of(other, event), strict=True))
    assert len(pairs) == (9 if event == "train" else 3)
    return max(abs(a[field] - b[field]) for a, b in pairs)


def weights(path):
    return {name: tensor for file in (path / "model").glob("*.safetensors") for name, tensor in load_file(file).items()}


@pytest.mark.parametrize(("name", "size"), [("ddp-2", 2), ("ddp-3", 3), ("fsdp-2", 2), ("fsdp-3", 3), ("micro", 3)])
def test_samples_losses_and_evaluations_do_not_depend_on_processes_or_micro_batches(runs, name, size):
    alone, many = runs / "alone", runs / name
    expected = [stream().hashes(step) for step in range(9)]
    assert samples(alone, 1) == expected and samples(many, size) == expected
    for field in ("loss_nats", "above_floor_nats", "gradient_norm"):
        assert largest_difference(alone, many, "train", field) < 1e-5, field
    assert largest_difference(alone, many, "eval", "bits_mean") < 1e-4
    assert [line["step"] for line in read_lines(many / "timing.jsonl")] == list(range(1, 10))  # one process writes


def test_a_process_without_a_row_changes_no_sample_and_no_mean(tmp_path):
    few, fewer = tmp_path / "few", tmp_path / "fewer"
    train(few, rows=3)
    conclude(fewer, 4, parallel="fsdp", rows=3, micro_batch=1)
    assert samples(few, 1) == samples(fewer, 4) == [stream(batch_size=3).hashes(step) for step in range(9)]
    assert {len(json.loads(line)) for line in (fewer / "samples-0.jsonl").read_text().splitlines()} == {0}
    assert largest_difference(few, fewer, "train", "loss_nats") < 1e-5
    assert largest_difference(few, fewer, "train", "gradient_norm") < 1e-4


def test_gradients_travel_once_per_step():
    """Reductions with four passes per step are those with one."""
    for counts in together(2, _count_reductions):
        assert counts["ddp"][0] == counts["ddp"][1] == 2  # one bucket, and the loss
        assert counts["fsdp"][0] == counts["fsdp"][1] > 2


def _count_reductions(group):
    cpu, counts = torch.device("cpu"), {}
    for way in ("ddp", "fsdp"):
        model, counts[way] = tiny(), []
        spread = spread_over(model, group, way, cpu)
        loop._step(model, make_optimizer(model, Training()), stream().batch(0), Training(), "float32", 0.0, cpu, spread)
        for micro in (1, 0):
            training = Training(micro_batch=micro)
            optimizer = make_optimizer(model, training)
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
                loop._step(model, optimizer, stream().batch(0), training, "float32", 1e-3, cpu, spread)
            names = [event.name for event in profile.events()]
            counts[way].append(names.count("gloo:all_reduce") + names.count("c10d::_reduce_scatter_base_"))
    return counts


# ------------------------------------------------------------------ stopping and going on


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run on two processes that was stopped after step 3 by a signal to one of them."""
    path = tmp_path_factory.mktemp("stopped") / "run"
    result = conclude(path, 2, parallel="fsdp", at=3, rank=1)
    assert not result.finished and result.steps == 3 and not (path / "model").exists()
    return path


def test_two_processes_then_one_then_three(runs, stopped, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(stopped, path)
    second = train(path, at=6)
    assert not second.finished and second.steps == 6
    assert conclude(path, 3, parallel="ddp").finished
    # What each process saw, over the legs it took part in: 2 x 3 steps, then 1 x 3, then 3 x 3.
    legs = [[json.loads(line) for line in (path / f"samples-{r}.jsonl").read_text().splitlines()] for r in range(3)]
    assert [len(leg) for leg in legs] == [9, 6, 3]
    seen = [legs[0][s] + legs[1][s] for s in range(3)] + legs[0][3:6]
    seen += [legs[0][6 + s] + legs[1][3 + s] + legs[2][s] for s in range(3)]
    alone = runs / "alone"
    assert seen == samples(alone, 1)
    assert largest_difference(alone, path, "train", "loss_nats") < 1e-5
    assert largest_difference(alone, path, "eval", "bits_mean") < 1e-4
    own, other = weights(alone), weights(path)
    assert own.keys() == other.keys() and all(torch.allclose(own[n], other[n], atol=1e-5) for n in own)


def _whole_and_stopped(path, group, **options):
    for name, at in (("whole", None), ("stopped", 5)):
        train(path / name, group, at=at, rank=group.size - 1, **options)


@pytest.mark.parametrize(("way", "size"), [("ddp", 3), ("fsdp", 2)])
def test_the_same_number_of_processes_goes_on_bit_for_bit_with_dropout(tmp_path, way, size):
    together(size, _whole_and_stopped, tmp_path, parallel=way, dropout=0.2)
    whole, path = tmp_path / "whole", tmp_path / "stopped"
    assert log_of(path)[-1]["step"] == 5 and not (path / "model").exists()
    assert conclude(path, size, parallel=way, dropout=0.2).finished
    assert (path / "log.jsonl").read_bytes() == (whole / "log.jsonl").read_bytes()
    for file in sorted((whole / "model").iterdir()):
        assert (path / "model" / file.name).read_bytes() == file.read_bytes(), file.name


def test_processes_drop_different_activations():
    seeds = {Group(rank, size).seed(0, step) for size in (2, 3) for rank in range(size) for step in (0, 5)}
    assert len(seeds) == 10 and ALONE.seed(7, 0) == 7


@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_a_killed_process_ends_the_others_with_a_clear_line_and_fewer_go_on(runs, tmp_path, way):
    first, killed, third = together(3, train, tmp_path, parallel=way, at=6, rank=1, how="SIGKILL")
    assert killed == -signal.SIGKILL
    for rank, error in ((0, first), (2, third)):
        assert isinstance(error, TrainingError)
        assert f"process {rank} of 3 lost another process" in str(error) and "type the same command" in str(error)
        assert "\n" not in str(error)
    assert checkpoint.folders(tmp_path)[-1].name == "step-00000004"
    fewer = conclude(tmp_path, 2, parallel="fsdp") if way == "ddp" else train(tmp_path)
    assert fewer.finished
    assert largest_difference(runs / "alone", tmp_path, "train", "loss_nats") < 1e-5


# ------------------------------------------------------------------ folders written together


def _with_a_full_disk(path, group):
    """Twice: full for process 1 while it writes slices after step 4, then while it writes its share of the finished model."""
    write_data, save_file = HuggingFaceStorageWriter.write_data, sharded.save_file
    errors = []

    def full(writer, plan, planner):
        if group.rank == 1 and "step-00000004" in str(writer.path):
            raise OSError(28, "No space left on device")
        return write_data(writer, plan, planner)

    def full_too(tensors, file, metadata):
        if group.rank == 1:
            raise SafetensorError("while serializing: I/O error: No space left on device (os error 28)")
        save_file(tensors, file, metadata)

    for name, broken in (("write_data", full), ("save_file", full_too)):
        setattr(HuggingFaceStorageWriter if name == "write_data" else sharded, name, broken)
        try:
            train(path, group, parallel="fsdp")
        except UpriorError as error:
            errors.append(str(error))
        finally:
            HuggingFaceStorageWriter.write_data, sharded.save_file = write_data, save_file
        group.any(False)
        names = [folder.name for folder in checkpoint.folders(path)]
        errors.append([names[-1], (path / "model").exists(), len(list(path.rglob(".*.tmp")))])
    return errors


def test_a_disk_that_is_full_for_one_process_is_told_by_all_and_harms_nothing(runs, tmp_path):
    for told in together(2, _with_a_full_disk, tmp_path):
        first, after_first, second, after_second = told
        for error in (first, second):
            assert "No space left on device; what was saved before is intact" in error and "\n" not in error
        assert after_first == ["step-00000000", False, 0] and after_second == ["step-00000009", False, 0]
    conclude(tmp_path, 2, parallel="fsdp")
    assert (tmp_path / "log.jsonl").read_bytes() == (runs / "fsdp-2" / "log.jsonl").read_bytes()
    whole = weights(runs / "fsdp-2")
    assert all(torch.equal(tensor, whole[name]) for name, tensor in weights(tmp_path).items())


def test_a_checkpoint_with_a_damaged_slice_is_passed_over_by_all(runs, stopped, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(stopped, path)
    newest = checkpoint.folders(path)[-1]
    kinds = {p.suffix for p in newest.rglob("*") if p.is_file()}
    assert kinds == {".safetensors", ".json"}  # nothing that would have to be unpickled
    slices = sorted((newest / checkpoint.SLICES).iterdir())
    assert len(slices) == 2
    slices[1].write_bytes(slices[1].read_bytes()[:-8])
    conclude(path, 3, parallel="fsdp")
    assert len((path / "samples-0.jsonl").read_text().splitlines()) == 3 + 9  # from step 0 again
    assert largest_difference(runs / "alone", path, "train", "loss_nats") < 1e-5


def test_missing_slices_and_other_architectures_are_refused_by_name(stopped, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(stopped, path)
    with pytest.raises(CheckpointError, match=r"no good checkpoint left .*another architecture"):
        train(path, dropout=0.1)
    for folder in checkpoint.folders(path):
        (folder / "checksums.json").unlink()
        sorted((folder / checkpoint.SLICES).iterdir())[0].unlink()
    with pytest.raises(CheckpointError, match=r"no good checkpoint left .*slices of .* are missing"):
        train(path)


def _export(path, group):
    for name in FAMILIES:
        model = build(name, context=16)
        if group.is_first:
            save_model(model, path / name / "whole")
        spread_over(model, group, "fsdp", torch.device("cpu"))
        sharded.save_sharded_model(model, path / name / "sharded", group)


FAMILIES = sorted({name for name in PRESETS if name.endswith("-tiny")} | {"llama-1m"})


def test_a_sliced_model_is_exported_as_transformers_would(tmp_path):
    assert together(2, _export, tmp_path) == [None, None]
    for name in FAMILIES:
        whole, sharded = tmp_path / name / "whole", tmp_path / name / "sharded"
        index = json.loads((sharded / "model.safetensors.index.json").read_text())["weight_map"]
        files = {file: load_file(sharded / file) for file in set(index.values())}
        expected = load_file(whole / "model.safetensors")
        assert index.keys() == expected.keys() and len(files) == 2
        assert all(torch.equal(files[index[tensor]][tensor], value) for tensor, value in expected.items())
        sizes = [sum(t.numel() for t in tensors.values()) for tensors in files.values()]
        assert max(sizes) <= min(sizes) + max(
            t.numel() for t in expected.values()
        )  # nobody held much more than a share
        for file in ("config.json", "generation_config.json", "tokenizer.json"):
            assert (whole / file).read_bytes() == (sharded / file).read_bytes(), file
        again = load_model(sharded)
        assert all(torch.equal(a, b) for a, b in zip(again.parameters(), load_model(whole).parameters(), strict=True))


# ------------------------------------------------------------------ how a model is divided

SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 64}


@pytest.mark.parametrize(
    ("kind", "changes", "block"),
    [
        ("llama", {}, "LlamaDecoderLayer"),
        ("gpt2", {"n_embd": 32, "n_layer": 3, "n_head": 2}, "GPT2Block"),
        ("gpt_neox", {}, "GPTNeoXLayer"),
        ("roberta", {"is_decoder": True}, "RobertaLayer"),
        ("mixtral", {"num_local_experts": 8, "num_key_value_heads": 2}, "MixtralDecoderLayer"),
    ],
)
def test_blocks_are_found_by_structure_in_every_family(kind, changes, block):
    with torch.device("meta"):
        config = AutoConfig.for_model(kind, **(SMALL if kind != "gpt2" else {"vocab_size": 64}), **changes)
        found = blocks(AutoModelForCausalLM.from_config(config))
    assert [type(module).__name__ for module in found] == [block] * 3


def test_experts_inside_a_layer_are_no_blocks():
    layers = [nn.ModuleDict({"experts": nn.ModuleList([nn.Linear(2, 2) for _ in range(5)])}) for _ in range(3)]
    model = nn.ModuleDict({"odd": nn.ModuleList([nn.Linear(2, 2), nn.ReLU()] * 4), "layers": nn.ModuleList(layers)})
    assert blocks(model) == layers
    assert blocks(nn.Linear(2, 2)) == []


def test_ways_are_chosen_and_refused():
    model, cpu = tiny(), torch.device("cpu")
    assert resolve("fsdp", model, ALONE, cpu) == "none"
    assert resolve("auto", model, Group(0, 2), cpu) == "ddp" and resolve("fsdp", model, Group(0, 2), cpu) == "fsdp"
    with pytest.raises(SpecError, match="parallel = 'both' is not allowed; allowed: auto, ddp, fsdp"):
        uprior.pretrain(model, stream(), out="never", steps=1, parallel="both")


# ------------------------------------------------------------------ the whole program


def _pretrain_twice(path, group):
    """A finished run, and what a second one into the same directory is told."""
    options = {"out": path, "steps": 2, "show": False}
    assert uprior.pretrain(tiny(), stream(), **options).finished
    with pytest.raises(UpriorError) as refused:
        uprior.pretrain(tiny(), stream(), seed=3, **options)
    return str(refused.value)


def test_a_directory_that_holds_another_run_is_refused_by_every_process(tmp_path):
    for told in together(2, _pretrain_twice, tmp_path / "run"):
        assert "holds another run: training.seed is 0 there, 3 here" in told
    assert not (tmp_path / "run" / "checkpoints").exists() and (tmp_path / "run" / "start").exists()


def _sees(path, group):
    (path / f"only-{group.rank}").write_text("")
    group.sees(path / "only-0" if group.rank == 0 else path / "nowhere")


def test_machines_without_a_shared_folder_are_told(tmp_path):
    for error in together(2, _sees, tmp_path):
        assert isinstance(error, RunDirectoryError) and "choose an --out in a folder that all machines share" in str(
            error
        )


def torchrun(path, *options):
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "uprior.cli", "pretrain",
        "--source", "dyck", "--model", "llama-tiny", "--context", "16", "--batch-size", "5", "--evaluations", "0",
        "--out", str(path), *options,
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_torchrun_is_asked_to_stop_saves_and_goes_on(tmp_path):
    options = ("--steps", "4000", "--parallel", "fsdp")
    process = torchrun(tmp_path / "run", *options)
    while process.poll() is None and not read_lines(tmp_path / "run" / "log.jsonl"):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)  # as a scheduler does; torchrun hands it on to its processes
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0 and "saved; type the same command to go on" in said
    newest = checkpoint.folders(tmp_path / "run")[-1]
    step = int(newest.name.removeprefix("step-"))
    assert step == log_of(tmp_path / "run")[-1]["step"] < 4000
    assert json.loads((newest / "state.json").read_text())["processes"] == 2


# What stands in for the scheduler: srun runs its command, the step lasts until it is told to stop, calls are written down.
STUBS = {
    "srun": 'shift; echo "$@" >> calls; exec "$@"',
    "torchrun": 'if [ -n "$DONE" ]; then mkdir -p "$OUT/model"; exit 0; fi; trap "exit 1" TERM; '
    "echo $$ > .started; mv .started started; while :; do sleep 0.05; done",
    "scancel": 'echo scancel "$@" >> calls; kill -TERM "$(cat started)"',
    "scontrol": 'echo scontrol "$@" >> calls; echo machine-a; echo machine-b',
}


@pytest.mark.parametrize("done", ["", "yes"])
def test_the_slurm_template_queues_itself_again_only_when_it_was_stopped(tmp_path, done):
    for name, body in STUBS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "machine-[a-b]", "OUT": "run"}
    template = Path(__file__).parent.parent / "examples" / "slurm.sbatch"
    process = subprocess.Popen(
        ["bash", str(template)], cwd=tmp_path, env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "DONE": done} | job
    )
    while not done and not (tmp_path / "started").exists():
        assert process.poll() is None
        time.sleep(0.02)
    if not done:
        process.send_signal(signal.SIGUSR1)
    assert process.wait(30) == (0 if done else 1)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0] == "scontrol show hostnames machine-[a-b]" and "--rdzv-endpoint machine-a:29500" in calls[1]
    assert calls[2:] == ([] if done else ["scancel --signal=TERM 7", "scontrol requeue 7"])
    parser, _ = make_parser()
    arguments = parser.parse_args(calls[1].partition("uprior.cli ")[2].split())
    assert arguments.parallel == "auto" and str(arguments.out) == "run" and arguments.model in PRESETS
