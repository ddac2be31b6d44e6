"""The soak scripts in short forms; docs/reliability.md has the figures of the long ones."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FUZZER = pytest.mark.skipif(not importlib.util.find_spec("atheris"), reason="atheris is not installed")

pytestmark = pytest.mark.slow


def soak(name: str, *arguments: str, output: Path) -> dict:
    command = [sys.executable, "-m", f"tests.soak.{name}", *arguments, f"--output={output}"]
    # The test process's own settings of XLA and JAX are not those of a user.
    environment = {key: value for key, value in os.environ.items() if key not in ("XLA_FLAGS", "XDG_CACHE_HOME")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(output.read_text())


@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_kills(kind: str, tmp_path: Path) -> None:
    arguments = ["--kills=3", "--chain=3", "--epochs=60", "--trials=6", f"--folder={tmp_path / 'kills'}"]
    found = soak("kills", kind, *arguments, output=tmp_path / "found.json")
    assert found["kills"] >= 3
    assert found["not_equal"] == []


@pytest.mark.parametrize(("what", "count"), [("flips", 30), ("losses", 0), ("restored", 60)])
def test_workdirs(what: str, count: int, tmp_path: Path) -> None:
    found = soak("workdirs", what, f"--count={count}", output=tmp_path / "found.json")
    assert found["bad"] == []
    assert found["peak_rss_mb"] < 1024


@FUZZER
@pytest.mark.parametrize("target", ["idx", "overrides", "dialect", "flags"])
def test_fuzz(target: str, tmp_path: Path) -> None:
    arguments = [target, "--runs=1000", f"--folder={tmp_path / 'fuzz'}"]
    found = soak("fuzz", *arguments, output=tmp_path / "found.json")
    assert found["inputs"] >= 1000
    assert found["peak_rss_mb"] < 1024


def test_signals(tmp_path: Path) -> None:
    assert soak("stops", "signals", "--count=2", output=tmp_path / "found.json")["bad"] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_a_read_only_one_and_a_second_process(tmp_path: Path) -> None:
    assert soak("stops", "disk", output=tmp_path / "found.json")["bad"] == []
