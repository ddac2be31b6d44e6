"""A signal, a full disk, a read-only folder and a second process, each against main.py as users start it.

python -m tests.soak.stops signals --count=20    SIGTERM and SIGINT at drawn moments: seconds until the end
python -m tests.soak.stops disk                  needs the right to mount a tmpfs
"""

import argparse
import random
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.soak import runs

RUN = [f"--config={runs.ROOT}/configs/adam.py", "--config.dataset=digits", "--config.schedule=constant"]


def signals(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Each start of a long run gets a signal once it trains; it has to end with 130 and say how to go on."""
    rng = random.Random(seed)
    waits, wrong = [], []
    for number in range(count):
        work, log = folder / str(number), folder / f"{number}.log"
        process = runs.start([*RUN, "--config.num_epochs=100000", f"--workdir={work}"], log, folder / "cache")
        while not (work / "metrics.jsonl").exists() or not (work / "metrics.jsonl").stat().st_size:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 2))
        begun = time.monotonic()
        process.send_signal((signal.SIGTERM, signal.SIGINT)[number % 2])
        status = process.wait()
        waits.append(round(time.monotonic() - begun, 2))
        last = log.read_text().splitlines()[-1]
        if status != 130 or "--workdir=" not in last or not list((work / "checkpoints").glob("[0-9]*.npz")):
            wrong.append([number, status, last])
        shutil.rmtree(work)
    return {"signals": count, "slowest_seconds": max(waits), "median_seconds": sorted(waits)[count // 2], "bad": wrong}


def disk(folder: Path) -> dict[str, Any]:
    """A run on a disk of 4 MiB that fills up; a read-only disk; a second process."""
    bad = []
    whole = folder / "whole"
    arguments = [*RUN, "--config.num_epochs=40", "--config.checkpoint_seconds=0"]

    def end(work: Path, *more: str) -> tuple[int, str]:
        log = folder / "log"
        log.write_text("")
        status = runs.start([*arguments, *more, f"--workdir={work}"], log, folder / "cache").wait()
        return status, (log.read_text().splitlines() or [""])[-1]

    if end(whole)[0]:
        bad.append("the undisturbed run failed")
    small = folder / "disk"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", small], check=True)
    try:
        work = small / "run"
        status, line = end(work, "--config.num_epochs=10")
        (small / "filler").write_bytes(bytes(max(shutil.disk_usage(small).free - 150_000, 0)))
        kept = runs.newest_arrays(work / "checkpoints")
        status, line = end(work)
        if status != 2 or "no space left on device" not in line.lower():
            bad.append(f"full disk: {status} {line}")
        if runs.newest_arrays(work / "checkpoints") != kept:
            bad.append("full disk: the earlier checkpoint is not what it was")
        (small / "filler").unlink()
        status, line = end(work)
        if status or runs.figures_of_run(work) != runs.figures_of_run(whole):
            bad.append(f"after space returned: {status} {line}")
        subprocess.run(["mount", "-o", "remount,ro", small], check=True)
        status, line = end(work, "--config.num_epochs=50")
        if status != 2 or "cannot be written" not in line:
            bad.append(f"read-only disk: {status} {line}")
    finally:
        subprocess.run(["umount", small], check=True)
    first = runs.start([*RUN, "--config.num_epochs=100000", f"--workdir={folder / 'two'}"], folder / "a.log", None)
    while not (folder / "two" / "metrics.jsonl").exists():
        time.sleep(0.05)
    log = folder / "b.log"
    status = runs.start([*RUN, "--config.num_epochs=100000", f"--workdir={folder / 'two'}"], log, None).wait()
    if status != 2 or "in use by another process" not in log.read_text():
        bad.append(f"a second process: {status} {log.read_text()[-300:]}")
    first.send_signal(signal.SIGTERM)
    first.wait()
    return {"checks": 5, "bad": bad}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("signals", "disk"))
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = signals(options.count, options.seed, folder) if options.what == "signals" else disk(folder)
    result = {"what": options.what, **found, **runs.machine()}
    runs.report(result, options.output)
    return 1 if result["bad"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
