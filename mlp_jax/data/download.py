"""Published archives through tensorflow-datasets' download manager, in a process of its own that can be given up.

The manager retries for minutes, waits without end for a silent host, and its threads keep a program from ending. Here a
short look finds out whether the host answers at all; then the manager runs in a child that is ended when nothing more
arrives.
"""

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from pathlib import Path
from time import monotonic

_ANSWER_SECONDS = 4.0  # for each answer of the host in the first look
_START_SECONDS = 8.0  # for the first look, the names it asks for, and the manager's start
_STALL_SECONDS = 5.0  # between 8 KiB and the next, afterwards
_REASON = "reason"  # the child's last words


class Unreachable(Exception):
    """The archives cannot be downloaded; the message says why."""


def fetch(name: str, url: str, files: list[str], num_bytes: int, folder: Path) -> None:
    """Downloads `url` + each of `files` (together about `num_bytes`) into `folder`, their registered sums checked.

    All of them are put there at the end, or none. Raises Unreachable within 10 seconds of the start or of the last
    bytes that came; a slow host that goes on sending is waited for.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder, ignore_cleanup_errors=True) as temporary:
            print(f"downloading {name} ({num_bytes / 1e6:.0f} MB) from {url}", file=sys.stderr)
            _run({"name": name, "urls": {file: url + file for file in files}, "folder": temporary}, num_bytes)
            for file in files:
                os.replace(Path(temporary, file), folder / file)
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        raise Unreachable(f"nothing can be written there: {error}") from error
    finally:
        with contextlib.suppress(OSError, ValueError):
            folder.rmdir()  # only where it is empty


def _run(job: dict, num_bytes: int) -> None:
    """Has a child do the job, and ends it when nothing arrives any more or more than there is."""
    with subprocess.Popen(
        [sys.executable, "-P", __file__, json.dumps(job)],  # without -P, `import datasets` would find our module
        stdin=subprocess.PIPE,  # its end tells the child that we are gone
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as child:
        try:
            _watch(child, Path(job["folder"]), num_bytes)
        finally:
            child.kill()
    if child.returncode:
        with contextlib.suppress(OSError):
            raise Unreachable(Path(job["folder"], _REASON).read_text(encoding="utf-8"))
        raise Unreachable(f"the download ended with status {child.returncode}")


def _watch(child: subprocess.Popen, folder: Path, num_bytes: int) -> None:
    """Returns when the child has ended; raises Unreachable when it should be ended."""
    arrived, deadline = 0, monotonic() + _START_SECONDS
    while child.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.1)
        size = _size(folder)
        if size > arrived:
            arrived, deadline = size, monotonic() + _STALL_SECONDS
            if sys.stderr.isatty():
                print(f"\r{arrived / 1e6:6.1f} of {num_bytes / 1e6:.1f} MB", end="\r", file=sys.stderr, flush=True)
        if size > 2 * num_bytes:
            raise Unreachable(f"the host sends more than the {num_bytes / 1e6:.0f} MB of the archives")
        if monotonic() > deadline:
            raise Unreachable(f"{arrived / 1e6:.1f} of {num_bytes / 1e6:.1f} MB arrived, then nothing more")


def _size(folder: Path) -> int:
    with contextlib.suppress(OSError):  # the manager renames its files meanwhile
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return 0


def work(job: dict) -> None:
    """The child's part: a look whether the host answers, then the manager; the archives end up in job['folder']."""
    look_at(next(iter(job["urls"].values())))
    from tensorflow_datasets.core.download.download_manager import DownloadManager, NonMatchingChecksumError
    from tensorflow_datasets.core.utils.tqdm_utils import disable_progress_bar

    disable_progress_bar()
    folder = Path(job["folder"])
    (folder / "started").write_bytes(b"1")  # a byte arrived, as far as the parent sees: the import was no stall
    manager = DownloadManager(download_dir=folder, dataset_name=job["name"], force_checksums_validation=True)
    try:
        paths = manager.download(job["urls"])
    except NonMatchingChecksumError as error:
        raise Unreachable("the host sends other files than the published ones: a checksum is wrong") from error
    for file, path in paths.items():
        os.replace(path, folder / file)


def look_at(url: str) -> None:
    """Raises Unreachable unless the host answers with the beginning of a gzip archive."""
    try:
        with urllib.request.urlopen(url, timeout=_ANSWER_SECONDS) as answer:
            if answer.read(2) != b"\x1f\x8b":
                raise Unreachable(f"{url} answers with something that is no archive")
    except urllib.error.HTTPError as error:
        raise Unreachable(f"{url} answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"{url} cannot be reached: {getattr(error, 'reason', error)}") from error


def _end_with_parent(folder: str) -> None:
    sys.stdin.read()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def _main() -> None:
    job = json.loads(sys.argv[1])
    threading.Thread(target=_end_with_parent, args=[job["folder"]], daemon=True).start()
    try:
        work(job)
    except Exception as error:
        text = "".join(c if c.isprintable() else " " for c in str(error))  # a host may send what moves the cursor
        Path(job["folder"], _REASON).write_text(" ".join(text.split())[:300] or type(error).__name__, encoding="utf-8")
        os._exit(1)
    os._exit(0)  # the manager's threads may still wait for the host


if __name__ == "__main__":
    _main()
