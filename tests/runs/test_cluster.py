"""Several processes on loopback are one run: the same parameters, one writer, and they end together."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from mlp_jax import cli
from mlp_jax.errors import UserError
from mlp_jax.files.workdir import read_lines
from mlp_jax.runs import cluster, saved
from mlp_jax.runs.cluster import GONE, Joining
from tests.shared.idx_files import make_arrays, write_idx_folder
from tests.shared.runs import checkpoints
from tests.shared.training import leaves

ROOT = Path(__file__).parents[2]
# 90 training rows in batches of 14: eight devices do not divide them.
FIELDS = {"hidden_sizes": "8,6", "batch_size": "14", "num_epochs": "4", "dropout_rate": "0.2"}
FIELDS |= {"checkpoint_seconds": "0", "fallback_dataset": ""}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_idx_folder(folder, make_arrays(num_train=100, num_test=40))
    return folder


def command(data: Path, workdir: Path, **fields: str) -> list[str]:
    given = FIELDS | {"dataset": str(data)} | fields
    return [sys.executable, "main.py", f"--workdir={workdir}", *(f"--config.{k}={v}" for k, v in given.items())]


def start(count: int, arguments: list[str]) -> list[subprocess.Popen]:
    """`count` processes that meet at a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = [f"--coordinator=127.0.0.1:{port}", f"--num_processes={count}"]
    env = {name: value for name, value in os.environ.items() if name != "JAX_NUM_CPU_DEVICES"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    commands = [[*arguments, *flags, f"--process_id={number}"] for number in range(count)]
    return [subprocess.Popen(words, cwd=ROOT, env=env, **pipes) for words in commands]


def end(running: list[subprocess.Popen], timeout: float = 300) -> list[tuple[int, str, str]]:
    """(status, stdout, stderr) of each."""
    try:
        return [(process.returncode, *texts) for process in running for texts in [process.communicate(timeout=timeout)]]
    finally:
        for process in running:
            process.kill()


def assert_close(workdir: Path, other: Path, tolerance: float = 1e-5) -> None:
    """The networks of two runs, each number up to a share of its layer's largest."""
    for ours, theirs in zip(*(leaves(saved.read(folder).params) for folder in (workdir, other)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


def wait_for_a_checkpoint(workdir: Path, running: list[subprocess.Popen]) -> None:
    deadline = time.monotonic() + 200
    while not checkpoints(workdir):
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in running), end(running)
        time.sleep(0.1)


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("alone")
    env = os.environ | {"XLA_FLAGS": os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=8"}
    fields = command(data, workdir, mesh="data:8")
    subprocess.run(fields, cwd=ROOT, env=env, check=True, capture_output=True)
    assert json.loads((workdir / "summary.json").read_text())["device_count"] == 8
    return workdir


@pytest.mark.slow
@pytest.mark.parametrize(("count", "mesh"), [(2, ""), (4, "data:8"), (2, "fsdp:4")])
def test_processes_together_are_one(count, mesh, data, alone, tmp_path):
    results = end(start(count, command(data, tmp_path / "run", mesh=mesh)))
    for number, (status, out, err) in enumerate(results):
        assert (status, err) == (0, "")
        assert bool(out) == (number == 0)
    assert_close(tmp_path / "run", alone)
    ours, theirs = (read_lines(folder / "metrics.jsonl") for folder in (tmp_path / "run", alone))
    assert [row["epoch"] for row in ours] == [1, 2, 3, 4]
    for a, b in zip(ours, theirs, strict=True):
        assert a["val/loss"] == pytest.approx(b["val/loss"], rel=1e-4)
        assert a["train/accuracy"] == b["train/accuracy"]
    assert json.loads((tmp_path / "run/summary.json").read_text())["process_count"] == count
    # The same again finds the run finished, in every process and in one alone.
    again = end(start(count, command(data, tmp_path / "run", mesh=mesh)))
    assert [status for status, _, _ in again] == [0] * count
    assert "is finished" in again[0][1]
    alone_again = subprocess.run(command(data, tmp_path / "run"), cwd=ROOT, capture_output=True, text=True)
    assert "is finished" in alone_again.stdout


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
def test_one_dies_all_end_and_all_go_on_as_if_nothing_had_been(victim, blow, data, alone, tmp_path):
    workdir = tmp_path / "run"
    running = start(2, command(data, workdir, num_epochs="100000", resume="changed"))
    wait_for_a_checkpoint(workdir, running)
    struck = time.monotonic()
    running[victim].send_signal(blow)
    (status, _, err), *_ = end([running[1 - victim]], 60)
    assert time.monotonic() - struck < 60
    assert status not in (0, None)
    assert err == f"main.py: {GONE}\n"
    end([running[victim]], 60) if blow == signal.SIGKILL else running[victim].kill()
    running[victim].wait()
    # From the newest checkpoint that is left, on another number of processes and devices.
    epochs = max(checkpoints(workdir)) // 7 + 2
    last = command(data, workdir, num_epochs=str(epochs), resume="changed", mesh="data:4")
    results = end(start(2, last))
    assert [(status, err) for status, _, err in results] == [(0, ""), (0, "")]
    undisturbed = command(data, tmp_path / "whole", num_epochs=str(epochs))
    subprocess.run(undisturbed, cwd=ROOT, check=True, capture_output=True)
    assert_close(workdir, tmp_path / "whole", 1e-4)


@pytest.mark.slow
def test_a_signal_to_one_stops_all_after_a_checkpoint(data, tmp_path):
    running = start(2, command(data, tmp_path / "run", num_epochs="100000"))
    wait_for_a_checkpoint(tmp_path / "run", running)
    running[1].send_signal(signal.SIGTERM)
    results = end(running, 60)
    assert [status for status, _, _ in results] == [130, 130]
    assert "stopped by another process" in results[0][2]
    assert "stopped by SIGTERM" in results[1][2]


@pytest.mark.slow
def test_a_checkpoint_of_eight_devices_goes_on_on_one_two_and_four(data, tmp_path):
    """With 8 devices to epoch 2, with others to the end, against the run that stayed on one."""

    def train(workdir: Path, devices: int, epochs: int) -> None:
        fields = command(data, workdir, mesh=f"fsdp:{devices}", num_epochs=str(epochs), resume="changed")
        done = subprocess.run(fields, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert json.loads((workdir / "summary.json").read_text())["device_count"] == devices

    train(tmp_path / "8", 8, 2)
    train(tmp_path / "stayed", 1, 4)
    for devices in (1, 2, 4):
        shutil.copytree(tmp_path / "8", tmp_path / str(devices))
        train(tmp_path / str(devices), devices, 4)
        assert_close(tmp_path / str(devices), tmp_path / "stayed")


def test_of_the_runtimes_last_words_one_line_is_left():
    """What C++ and Python say when a peer is gone, in either order."""
    noise = "[Gloo] Rank 0 is connected\nE1122 19:33:15.2 971 agent.cc:289] Polled an error:\n1\nThe tasks crashed\n"
    fatal = "F1122 19:33:15.2 971 client.h:80] Terminating process\n*** Check failure\n    @ 0x7f94 absl\n"
    ours = f"main.py: {GONE}\n"
    said = "warning: w\n"
    for text in (said + noise + fatal, said + noise + ours + fatal, said + ours + noise, said + noise + fatal + ours):
        assert b"".join(cluster.relayed(text.encode().splitlines(keepends=True), "main.py")).decode() == said + ours


HAND = ["--coordinator=h:1", "--num_processes=2"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--num_processes=2"], "--num_processes: 2 needs --coordinator"),
        (["--process_id=0"], "--process_id: 0 needs --coordinator"),
        (["--coordinator=auto", "--process_id=0"], "--process_id: 0 needs no --coordinator=auto"),
        (["--coordinator=here"], "--coordinator: 'here' is not HOST:PORT"),
        (["--coordinator=h:99999"], "--coordinator: 'h:99999' is not HOST:PORT"),
        (["--coordinator=h:1"], "--num_processes: is missing"),
        (HAND, "--process_id: is missing"),
        (["--coordinator=h:1", "--num_processes=0", "--process_id=0"], "--num_processes: 0"),
        ([*HAND, "--process_id=2"], "--process_id: 2 is not from 0 to 1"),
        ([*HAND, "--process_id=-1"], "--process_id: -1 is not from 0 to 1"),
        ([*HAND, "--process_id=one"], "process_id"),
        ([*HAND, "--process_id=0"], "--workdir: several processes need one"),
        (["--coordinator=auto", "--config.seeds=2", "--workdir=w"], "--coordinator: it divides one run"),
        (["--coordinator=auto", "--workdir=w", "--mode=report"], "--coordinator: --mode=report does not read it"),
    ],
)
def test_wrong_flags_are_one_line(flags, words, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["main.py", *flags]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("main.py: ")
    assert words in err


def test_what_processes_ask_each_other_is_free_for_one_alone():
    cluster.together("here")
    cluster.agree("their data", "a")
    assert cluster.of_all([1, 0]).tolist() == [[1, 0]]
    assert not cluster.joined()
    assert not cluster.is_loss_of_peer(RuntimeError("[Gloo] connection closed by peer"))
    assert cluster.join(cluster.ALONE) == 1
    cluster.leave(3, agreed=True)  # a process alone ends by itself


def test_processes_that_see_something_else_are_told_so(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    said = []
    monkeypatch.setattr(cluster, "of_all", lambda row: said.append(row) or np.array([row, row]))
    cluster.agree("their data", "a")
    cluster.agree("their data", "b")
    assert said[0] != said[1]  # what is compared follows from the text
    monkeypatch.setattr(cluster, "of_all", lambda row: np.array([row, [row[0] + 1]]))
    with pytest.raises(UserError, match="the processes differ in their data"):
        cluster.agree("their data", "a")


def test_a_loss_of_a_peer_is_known_by_what_the_runtime_says(monkeypatch):
    monkeypatch.setattr(cluster, "joined", lambda: True)
    for text in ("Gloo all-reduce failed", "UNAVAILABLE: socket closed", "Barrier timed out", "DEADLINE_EXCEEDED"):
        assert cluster.is_loss_of_peer(RuntimeError(text))
    assert not cluster.is_loss_of_peer(RuntimeError("out of memory"))


@pytest.mark.parametrize("joining", [Joining("localhost:4711", 3, 1), Joining("auto")])
def test_joining_asks_for_the_peers_that_the_flags_name(joining, monkeypatch):
    asked, by_hand = [], joining.coordinator != "auto"
    monkeypatch.setattr(jax.distributed, "initialize", lambda **given: asked.append(given))
    monkeypatch.setattr(jax.config, "update", lambda name, value: asked.append((name, value)))
    monkeypatch.setattr(cluster, "_filter_stderr", lambda: None)
    monkeypatch.setattr(cluster, "_keep_stdout", lambda for_us: asked.append(f"prints: {for_us}"))
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    if not by_hand:
        monkeypatch.setattr(cluster, "_place", lambda joining: (1, 3))  # as JAX finds out by itself
    assert cluster.join(joining) == 3
    collectives, given, prints = asked
    assert collectives == ("jax_cpu_collectives_implementation", "gloo")
    assert prints == "prints: False"  # process 0 alone does
    assert given["coordinator_address"] == (joining.coordinator if by_hand else None)
    assert (given["num_processes"], given["process_id"]) == joining[1:]
    assert given["cluster_detection_method"] == ("deactivate" if by_hand else None)

    def fail(**given):
        raise RuntimeError("DEADLINE_EXCEEDED: nobody came\nat server.cc:17")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    with pytest.raises(UserError, match=r": the processes do not meet: DEADLINE_EXCEEDED: nobody came$"):
        cluster.join(joining)


@pytest.mark.slow
def test_a_cluster_that_is_none_is_one_line(tmp_path):
    flags = ["--coordinator=auto", "--workdir=w", "--config.mesh=data:2"]
    done = subprocess.run([sys.executable, ROOT / "main.py", *flags], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--coordinator: auto: the processes do not meet" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("agreed", [True, False])
def test_a_process_of_several_leaves_with_its_status_and_waits_only_for_an_end_that_all_came_to(agreed, monkeypatch):
    done = []
    monkeypatch.setattr(cluster, "joined", lambda: True)
    monkeypatch.setattr(jax.distributed, "shutdown", lambda: done.append("waited"))
    monkeypatch.setattr(os, "_exit", done.append)
    cluster.leave(7, agreed)
    assert done == (["waited", 7] if agreed else [7])
