"""The number of threads: a probe chooses it, a user's wish goes first, and a run keeps the one it began with."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch

import uprior
from uprior import experiment, host
from uprior.sources import Uniform
from uprior.train import threads
from uprior.train.threads import candidates, choose, cores, probe, recorded_threads, settle, threads_of_run


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """No wish, one process; the number of threads of the tests afterwards."""
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(threads, "cores", lambda: (2, 2))


def test_counts_to_try_are_few_and_include_all_processors():
    assert candidates(1, 1) == [1] and candidates(1, 2) == [1, 2] and candidates(2, 2) == [1, 2]
    assert candidates(6, 12) == [1, 2, 4, 6, 12]
    assert candidates(64, 128) == [1, 8, 16, 32, 64, 128]
    assert max(len(candidates(n, 2 * n)) for n in range(1, 300)) <= 7


@pytest.mark.parametrize(
    "times, chosen",
    [
        ({1: [1.0, 1.1, 9.0], 2: [0.6, 0.6, 0.6]}, 2),
        ({1: [1.0, 1.0, 1.0], 2: [0.97, 0.97, 0.1]}, 1),  # 3 % faster is not worth a thread, nor one lucky pass
        ({1: [1.0], 2: [0.5], 4: [0.49]}, 2),
        ({1: [1.0, 1.0, 1.0], 2: [5.0, 5.0, 0.5]}, 1),  # a busy neighbour
    ],
)
def test_the_fewest_threads_that_are_about_as_fast_as_any(times, chosen):
    found = choose(times)
    assert found.threads == chosen
    assert list(found.milliseconds) == list(times) and found.milliseconds[1] in (1000.0, 1100.0)


def test_the_probe_tries_every_count_by_turns_and_leaves_no_trace(monkeypatch, two_cores):
    torch.set_num_threads(1)
    torch.manual_seed(5)
    state, seen = torch.get_rng_state(), []
    real = threads._work(64, 32)
    monkeypatch.setattr(threads, "_work", lambda tokens, width: lambda: (seen.append(torch.get_num_threads()), real()))
    found = probe(seconds=0.02)
    assert seen[:8] == [1, 1, 2, 2, 1, 1, 2, 2] and seen[-1] == 2  # each count warmed up, then timed
    assert found.threads in (1, 2) and all(took > 0 for took in found.milliseconds.values())
    assert torch.get_num_threads() == 1 and torch.equal(torch.get_rng_state(), state)


def test_one_processor_is_not_probed(monkeypatch):
    monkeypatch.setattr(threads, "cores", lambda: (1, 1))
    monkeypatch.setattr(threads, "_times", None)  # would fail
    assert probe() == threads.Probe(1, {})


def test_the_work_is_bounded_for_wide_models():
    for tokens, width in ((2048, 256), (1 << 20, 4096)):
        product = threads._work(tokens, width)()
        assert product.shape[1] == 4 * width and product.shape[0] * 8 * width**2 <= 2.2e9 * max(1, width / 2048) ** 2
        assert product.isfinite().all()


def test_processors_are_those_of_this_process_and_its_share(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    for cpu in range(8):  # 0 and 4 are one core, as are 1 and 5, ...
        (tmp_path / f"cpu{cpu}" / "topology").mkdir(parents=True)
        (tmp_path / f"cpu{cpu}" / "topology" / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    monkeypatch.setattr(host, "_TOPOLOGY", tmp_path)
    monkeypatch.setattr(host, "_QUOTAS", ())
    assert cores() == (4, 8)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert cores() == (1, 2)
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    for text, expected in (("max 100000", (4, 8)), ("250000 100000", (3, 3)), ("600000 100000", (4, 6))):
        (tmp_path / "cpu.max").write_text(text)
        monkeypatch.setattr(host, "_QUOTAS", (str(tmp_path / "absent"), str(tmp_path / "cpu.max")))
        assert cores() == expected, text
    (tmp_path / "cpu.cfs_quota_us").write_text("200000\n")
    (tmp_path / "cpu.cfs_period_us").write_text("100000\n")
    monkeypatch.setattr(host, "_QUOTAS", (str(tmp_path / "cpu.cfs_quota_us"),))
    assert cores() == (2, 2)
    (tmp_path / "cpu.cfs_quota_us").write_text("-1\n")
    assert cores() == (4, 8)


def test_a_users_wish_goes_before_the_probe(monkeypatch, two_cores):
    monkeypatch.setattr(threads, "probe", lambda **_: pytest.fail("probed"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    assert settle(None) == "1, by OMP_NUM_THREADS" and torch.get_num_threads() == 1
    assert settle(2) == "2, as asked" and torch.get_num_threads() == 2 and os.environ["OMP_NUM_THREADS"] == "2"


def test_the_probe_decides_when_nobody_asked_or_auto_was_typed(monkeypatch, two_cores):
    sizes = []
    monkeypatch.setattr(threads, "probe", lambda **size: sizes.append(size) or threads.Probe(2, {1: 3.0, 2: 2.0}))
    torch.set_num_threads(1)
    assert settle(None, tokens=64, width=32) == "2, by a probe (1: 3.00 ms, 2: 2.00 ms)"
    assert torch.get_num_threads() == 2 and sizes == [{"tokens": 64, "width": 32}]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as torchrun sets it
    torch.set_num_threads(1)
    assert settle("auto").startswith("2, by a probe") and "OMP_NUM_THREADS" not in os.environ


def test_no_probe_for_a_run_that_began_nor_on_gpus_nor_among_processes(monkeypatch):
    monkeypatch.setattr(threads, "probe", lambda **_: pytest.fail("probed"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    monkeypatch.setattr(host, "_TOPOLOGY", host.Path("/nonexistent"))
    monkeypatch.setattr(host, "_QUOTAS", ())
    torch.set_num_threads(1)
    assert settle(None, recorded=2).startswith("2, as the run began") and torch.get_num_threads() == 1
    with monkeypatch.context() as patch:
        patch.setattr(threads, "device", lambda: torch.device("cuda"))
        assert settle(None).startswith("1, torch's choice") and threads.threads_here() is None
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert settle(None).startswith("2, this process's share") and torch.get_num_threads() == 2


# ------------------------------------------------------------------ the count of a run


def test_within_a_run_its_own_count_holds(capsys, two_cores):
    torch.set_num_threads(1)
    with threads_of_run(2):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 1 and capsys.readouterr().err == ""
    with threads_of_run(None):
        assert torch.get_num_threads() == 1


def test_a_machine_with_fewer_processors_says_so(capsys, two_cores):
    with threads_of_run(16):
        assert torch.get_num_threads() == 2
    said = capsys.readouterr().err
    assert "began with 16 threads and goes on with 2, as there are 2 processors" in said and "not bit for bit" in said


def test_a_wish_is_obeyed_in_a_run_too_and_the_price_is_said(capsys, monkeypatch, two_cores):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    with threads_of_run(2):
        assert torch.get_num_threads() == 1
    assert "goes on with 1, as OMP_NUM_THREADS or --threads say so" in capsys.readouterr().err


def test_numbas_threads_leave_torch_its_number():
    """In a process of its own, in which nothing has started them: they set torch's number to all processors."""
    program = (
        "import os\n"
        "import torch\n"
        "from uprior.train.threads import threads_of_run\n"
        "torch.set_num_threads(1)\n"
        "with threads_of_run(None):\n"
        "    import numba\n"
        "    numba.set_num_threads(1)\n"
        "    print(torch.get_num_threads())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"threads": "2"}', '{"threads": 0}', "{}"])
def test_a_config_without_a_count_has_none(tmp_path, text):
    assert recorded_threads(tmp_path / "absent") is None
    (tmp_path / "config.json").write_text(text)
    assert recorded_threads(tmp_path) is None


class Interrupting(uprior.Stream):
    """Asks its run to stop when the batch of ``last`` is made."""

    last = -1

    def batch(self, step):
        if step == self.last:
            signal.raise_signal(signal.SIGINT)
        return super().batch(step)


def train(out, *, last=-1):
    stream = Interrupting(Uniform(), batch_size=16, length=64)
    stream.last = last
    model = uprior.build("llama-tiny", context=64, seed=1)
    return uprior.pretrain(model, stream, out=out, steps=16, checkpoint_every=5, show=False, precision="float32")


def test_a_run_goes_on_with_the_threads_it_began_with_bit_for_bit(tmp_path, monkeypatch, two_cores):
    seen, real = [], experiment.fit
    monkeypatch.setattr(
        experiment, "fit", lambda *words, **options: (seen.append(torch.get_num_threads()), real(*words, **options))[1]
    )
    torch.set_num_threads(2)
    assert train(tmp_path / "whole").finished
    assert not train(tmp_path / "parted", last=8).finished
    torch.set_num_threads(1)
    assert train(tmp_path / "parted").finished  # another machine's count makes no other run of it
    assert seen == [2, 2, 2] and torch.get_num_threads() == 1
    assert json.loads((tmp_path / "parted" / "config.json").read_text())["threads"] == 2
    for name in ("log.jsonl", "model/model.safetensors"):
        assert (tmp_path / "parted" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
