"""The whole program on several processes: one run directory, torchrun, the template for SLURM."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from distributed_harness import log_of, stream, tiny, together

import uprior
from uprior.cli.parser import make_parser
from uprior.errors import RunDirectoryError, UpriorError
from uprior.files import read_lines
from uprior.models.presets import PRESETS
from uprior.train import checkpoint


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
    template = Path(__file__).parents[2] / "examples" / "slurm.sbatch"
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
