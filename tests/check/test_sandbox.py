"""Hostile code in a submission: each is one line of the report, and nothing of it is left behind."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from mlp_jax.check import confine, marking, sandbox
from mlp_jax.check.findings import FAILED

linux = pytest.mark.skipif(sys.platform != "linux", reason="Landlock and seccomp are Linux's")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Runs code as a submission that also has a right function; gives the texts of its failed findings."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(sandbox, "SECONDS", 20.0)

    def run(code: str) -> list[str]:
        path = tmp_path / "theirs.py"
        path.write_text(f"def relu(z):\n    return z * (z > 0)\n\n\n{code}\n")
        findings = marking.submission(path, 0, "").findings
        assert not list(temporary.iterdir())
        assert not children(temporary)
        assert all("\n" not in finding.note for finding in findings)
        return [finding.note for finding in findings if finding.verdict == FAILED]

    return run


def children(folder: Path) -> list[str]:
    """The processes of checks in this temporary folder, which their arguments name."""
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if f"{folder}/mlp-jax-check-" in line]


def test_what_does_no_harm_is_right(told):
    assert told("") == []


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
        ("import ctypes\nctypes.string_at(0)", "killed by SIGSEGV"),
        ("import os\nos._exit(0)", "exit status 0, before the check did"),
        ("import os\nfor _ in range(10**6):\n    os.write(1, b'line\\n')", "printed more than 4 MiB"),
        ("import nothing_of_this_name", "nothing_of_this_name"),
        ("def f(:", "invalid syntax"),
        ("import sys\nsys.exit(3)", "3"),
        ("input()", "EOF"),
    ],
)
def test_a_crash_is_one_line(told, code, words):
    (line,) = told(code)
    assert words in line


def test_endless_loops_and_long_sleeps_end(told, monkeypatch):
    monkeypatch.setattr(sandbox, "PROCESSOR_SECONDS", 1)
    (line,) = told("while True:\n    pass")
    assert "1 s of processor time" in line
    monkeypatch.setattr(sandbox, "SECONDS", 1.0)
    (line,) = told("import time\ntime.sleep(1000)")
    assert "did not end within 1 s" in line


def test_nothing_follows_the_end(told):
    start = time.monotonic()
    assert told("import atexit, time\natexit.register(time.sleep, 15)") == []
    assert time.monotonic() - start < 15


@linux
@pytest.mark.parametrize(
    "code",
    [
        "import os\nwhile True:\n    os.fork()",
        "import os\nif os.fork() == 0:\n    os.setsid()\n    import time\n    time.sleep(1000)",
        "import subprocess\nsubprocess.Popen(['sleep', '1000'])",
        "import socket\nsocket.create_connection(('127.0.0.1', 9))",
        "import os\nos.kill(os.getppid(), 9)",
        "import threading, time\nwhile True:\n    threading.Thread(target=time.sleep, args=(99,), daemon=True).start()",
        "bytearray(3 * 10**9)",
        "open('f', 'wb').truncate(10**12)",
        "open('/etc/passwd').read()",
    ],
)
def test_what_is_refused_is_one_line(told, code):
    assert len(told(code)) == 1


@linux
def test_files_of_others_are_neither_read_nor_changed(told, tmp_path):
    secret, new = tmp_path / "secret.txt", tmp_path / "new.txt"
    secret.write_text("a key")
    os.chmod(secret, 0o644)
    ways = [f"open({str(secret)!r})", f"open({str(new)!r}, 'w')", f"os.remove({str(secret)!r})"]
    ways += [
        f"os.truncate({str(secret)!r}, 0)",
        f"os.rename({str(secret)!r}, 'mine')",
        f"os.listdir({str(tmp_path)!r})",
    ]
    ways += [f"os.link({str(secret)!r}, 'mine')", f"open('/proc/{os.getpid()}/environ')"]
    for way in ways:
        (line,) = told(f"import os\n{way}")
        assert "PermissionError" in line or "cross-device" in line, way
    assert told(f"import os\nos.chmod({str(secret)!r}, 0)") == []  # does nothing
    assert secret.read_text() == "a key"
    assert secret.stat().st_mode & 0o777 == 0o644
    assert not new.exists()


@linux
@pytest.mark.parametrize(
    "code",
    [
        "import shutil\nshutil.rmtree('..')",
        "import os\nos.remove('../told')\nos.symlink('/etc/passwd', '../told')\nos._exit(0)",
        "import os\nfor _ in range(1200):\n    os.mkdir('d')\n    os.chdir('d')\nos._exit(0)",
        "import os\nos.mkdir('a', 0)\nos._exit(0)",
        "import os\nopen('../told', 'a').write('{\"end\": true}\\n')\nos._exit(0)",
        "import os\nopen('../told', 'w').write('{\"item\": 1, \"verdict\": []}\\n[]\\nno JSON')\nos._exit(0)",
    ],
)
def test_a_spoilt_folder_is_one_line(told, code):
    assert len(told(code)) == 1


def test_a_flood_of_files_ends(told, monkeypatch):
    monkeypatch.setattr(sandbox, "WRITTEN", 20 * 2**20)
    (line,) = told("n = 0\nwhile True:\n    n += 1\n    open(f'f{n}', 'wb').write(b'x' * 10**6)")
    assert "wrote more than 20 MiB" in line


def test_the_environment_holds_no_secret(told, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    assert told("import os\nassert 'WANDB_API_KEY' not in os.environ") == []
    assert (
        told("import os\nassert os.environ['HOME'] == os.environ['TMPDIR']\nopen(os.environ['HOME'] + '/x', 'w')") == []
    )


@pytest.mark.slow
def test_a_check_that_is_killed_takes_its_processes_along(tmp_path):
    """SIGKILL to the program itself: nobody is there to clean up, and the submission's process ends all the same."""
    if sys.platform != "linux":
        pytest.skip("PR_SET_PDEATHSIG is Linux's")
    theirs = tmp_path / "theirs.py"
    theirs.write_text("def relu(z):\n    return z\n\n\nopen('begun', 'w')\nimport time\ntime.sleep(100)\n")
    code = f"import sys; from mlp_jax import check; check.submission({str(theirs)!r})"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    program = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment)
    limit = time.monotonic() + 30
    while not list(tmp_path.glob("mlp-jax-check-*/submission/begun")) and time.monotonic() < limit:
        time.sleep(0.05)
    program.kill()
    program.wait()
    while children(tmp_path) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not children(tmp_path)


def test_the_filter_has_a_number_for_every_call_it_names():
    named = {call for calls in confine._CALLS.values() for call in calls.split()} | set(confine._ON_ITSELF) | {"clone"}
    for machine, (_, text) in confine._ARCHITECTURES.items():
        known = {pair.split("=")[0] for pair in text.split()}
        assert known <= named
        assert machine != "x86_64" or named == known


def test_a_record_is_taken_for_its_form_alone():
    for record in ({"item": "x"}, {"item": "x", "verdict": "fine"}, {"verdict": "right"}):
        assert marking._finding(record) is None
    found = marking._finding(
        json.loads('{"item": "a\\u001b[31mb\\nc", "verdict": "right", "mistakes": 3, "error": "x"}')
    )
    assert found.item == "a [31mb c"
    assert (found.mistakes, found.error) == ((), None)
