"""A submission's own process: a copy of it in a temporary folder, limits, and nothing left behind."""

import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import mlp_jax
from mlp_jax.check.confine import FILE
from mlp_jax.errors import UserError
from mlp_jax.files.workdir import loads, read_bytes, reason

SECONDS, PROCESSOR_SECONDS = 60.0, 30  # of a process: by the clock on the wall, and of computing
PRINTED, WRITTEN, FILES = 4 * 2**20, 256 * 2**20, 10_000  # bytes, bytes, files of a submission that are looked at
LEFT_OUT = {"__pycache__", "venv", "env", "wandb", "node_modules", "site-packages"}  # folders; and those with a dot


class Outcome(NamedTuple):
    """What came of a process."""

    records: list[dict[str, Any]]  # what it told, in its order
    printed: str  # the end of what the submission printed
    failure: str  # why it did not come to its end, in one line; empty where it did
    walls: str  # what the platform gave


_running: set[subprocess.Popen[bytes]] = set()
_stopped = threading.Event()


def files(submission: Path) -> list[Path]:
    """The files of a submission, sorted: no links, no environments, nothing with a dot, nothing above 64 MiB.

    Raises UserError for more than 10,000 of them: that is no submission.
    """
    if submission.is_file():
        return [submission]
    found: list[Path] = []
    for folder, folders, names in os.walk(submission):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT and not name.startswith("."))
        paths = (Path(folder, name) for name in names if not name.startswith("."))
        found += [path for path in paths if not path.is_symlink() and path.is_file() and path.stat().st_size <= FILE]
        if len(found) > FILES:
            raise UserError(f"--inputs: {str(submission)!r} holds more than {FILES} files; name one submission")
    return sorted(found)


def digest(submission: Path) -> str:
    """A SHA-256 of the files' names and contents."""
    total = hashlib.sha256()
    for path in files(submission):
        name = path.relative_to(submission if submission.is_dir() else submission.parent).as_posix()
        content = read_bytes(path)
        total.update(f"{len(name)} {len(content)} {name}".encode(errors="surrogateescape") + content)
    return total.hexdigest()


def run(job: str, submission: Path, arguments: Mapping[str, Any]) -> Outcome:
    """Runs a job of `inside.JOBS` with these arguments on a copy of the submission, in a process confined to it.

    However that ends, its processes and its folder are gone afterwards.
    """
    with _folder() as folder:
        copy, home, told = folder / "submission", folder / "home", folder / "told"
        home.mkdir()
        target = copy / submission.name if submission.is_file() else copy
        try:
            for path in files(submission):
                to = target if submission.is_file() else copy / path.relative_to(submission)
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, to)
        except OSError as error:
            return Outcome([], "", f"cannot be read: {reason(error)}", "")
        copy.mkdir(exist_ok=True)
        task = {"job": job, "folder": str(folder), "copy": str(target), "seconds": PROCESSOR_SECONDS}
        command = [sys.executable, "-P", "-m", "mlp_jax.check.inside", json.dumps({**task, "arguments": arguments})]
        word = secrets.token_hex(16)
        printed, failure = _watched(command, folder, copy, home, word)
        records, whole = _records(told, word)
        walls = next((record["walls"] for record in records if "walls" in record), "")
        rest = [record for record in records if not {"walls", "end"} & set(record)]
        return Outcome(rest, printed, "" if whole else failure, walls)


def stop() -> None:
    """Kills whatever runs: for the end of this program."""
    _stopped.set()
    for process in list(_running):
        _kill(process)


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="mlp-jax-check-")).resolve()
    try:
        yield folder
    finally:
        with suppress(RecursionError):
            shutil.rmtree(folder, ignore_errors=True)
        if folder.exists() and os.name == "posix":  # folders without rights, or nested too deeply for Python
            for command in (["chmod", "-R", "u+rwx"], ["rm", "-rf"]):
                subprocess.run([*command, str(folder)], stderr=subprocess.DEVNULL, check=False)


def _environment(home: Path) -> dict[str, str]:
    """Nothing of this process's environment but what Python and the system need; no key, no token, no proxy."""
    kept = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT", "SYSTEMDRIVE", "NUMBER_OF_PROCESSORS")
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"), "1")
    own = dict.fromkeys(("HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME", "MPLCONFIGDIR"), str(home))
    fixed = {"JAX_PLATFORMS": "cpu", "MPLBACKEND": "Agg", "WANDB_MODE": "disabled", "PYTHONHASHSEED": "0"}
    python = {
        "PYTHONPATH": str(Path(mlp_jax.__file__).parents[1]),
        "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONWARNINGS": "ignore",
    }
    return {name: os.environ[name] for name in kept if name in os.environ} | one | own | fixed | python


def _watched(command: list[str], folder: Path, copy: Path, home: Path, word: str) -> tuple[str, str]:
    """Runs the command until it ends or breaks a limit: the end of what it printed, and why it was ended."""
    if _stopped.is_set():
        return "", "stopped"
    process = subprocess.Popen(
        command,
        cwd=copy,
        env=_environment(home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    _running.add(process)
    assert process.stdin is not None
    with suppress(OSError), process.stdin as theirs:
        theirs.write(word.encode())
    tail, count = bytearray(), 0

    def drain() -> None:
        nonlocal count
        assert process.stdout is not None
        while chunk := os.read(process.stdout.fileno(), 2**16):
            count += len(chunk)
            tail.extend(chunk)
            del tail[: -(2**16)]

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    start, failure, looked = time.monotonic(), "", time.monotonic()
    try:
        while process.poll() is None and not failure:
            time.sleep(0.02)
            now = time.monotonic()
            if now - start > SECONDS:
                failure = f"did not end within {SECONDS:.0f} s"
            elif count > PRINTED:
                failure = f"printed more than {PRINTED // 2**20} MiB"
            elif now - looked > 1:
                looked = now
                if _written(folder) > WRITTEN:
                    failure = f"wrote more than {WRITTEN // 2**20} MiB"
    finally:
        _kill(process)
        process.wait()
        _running.discard(process)
    reader.join(1)
    if process.stdout and not reader.is_alive():
        process.stdout.close()
    if count > PRINTED:
        failure = f"printed more than {PRINTED // 2**20} MiB"
    text = bytes(tail).decode(errors="replace")
    return text, failure or _ending(process.returncode, text)


def _ending(status: int, printed: str) -> str:
    if status >= 0:
        last = printed.strip().splitlines()[-1:] if status else []
        return f"ended by itself, with exit status {status}, before the check did" + (
            f": {last[0][:200]}" if last else ""
        )
    name = signal.Signals(-status).name if -status in signal.valid_signals() else f"signal {-status}"
    return (
        f"used more than {PROCESSOR_SECONDS} s of processor time" if name == "SIGXCPU" else f"crashed: killed by {name}"
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and those that it started, as far as they stayed in its session."""
    if os.name == "posix":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)


def _written(folder: Path) -> int:
    """Bytes in the folder; every name counts as 4 KiB more, so that a flood of empty files is one as well."""
    total, waiting = 0, [str(folder)]
    while waiting:  # os.walk recurses in Python 3.11
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                total += 4096 + entry.stat(follow_symlinks=False).st_size
                waiting += [entry.path] if entry.is_dir(follow_symlinks=False) else []
    return total


def _records(told: Path, word: str) -> tuple[list[dict[str, Any]], bool]:
    """What the process told, in lines that begin with the word, and whether the last says that it came to its end."""
    try:
        if told.is_symlink():
            return [], False
        ours = [line for line in read_bytes(told).splitlines() if line.startswith(word.encode())]
        lines = [loads(line[len(word) :]) for line in ours]
    except (OSError, ValueError):
        return [], False
    records = [line for line in lines if isinstance(line, dict)]
    return records, bool(records) and "end" in records[-1]
