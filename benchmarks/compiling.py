"""python -m benchmarks.compiling: the share of a cold random sweep's processor time that compiling takes.

    python -m benchmarks.compiling [--trials=60] [--examples=60000] [--root=CHECKOUT …]

The same sweep of the suggested grid is run twice on random images, with an empty cache of programs and with a full one:
what the second takes less is compiling. Tracing is in both, so the share is a little low. `--root` names other
checkouts to be measured in turn; each is run by this Python.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.jobs import data
from tests.shared.idx_files import STEMS, write_idx_folder


def run(root: str, folder: str, workdir: str, trials: int) -> tuple[float, float]:
    """Processor seconds and wall seconds of one sweep by the checkout `root`."""
    flags = ("--config=configs/sweep_random.py", f"--config.sweep.run_cap={trials}", f"--workdir={folder}/{workdir}")
    command = [sys.executable, "main.py", *flags, f"--config.dataset={folder}/data"]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "XDG_CACHE_HOME": f"{folder}/cache"}
    subprocess.run(command, check=True, cwd=root, env=environment, capture_output=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, wall


def main() -> None:
    """Prints a line a checkout."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compiling", description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--examples", type=int, default=60_000)
    parser.add_argument("--root", nargs="+", default=["."])
    given = parser.parse_args()
    images, labels = data(given.examples)
    images = images.reshape(-1, 28, 28)
    for root in given.root:
        with tempfile.TemporaryDirectory() as folder:
            arrays = zip(STEMS, (images, labels, images[:1000], labels[:1000]), strict=True)
            write_idx_folder(Path(folder) / "data", dict(arrays))
            cold, wall = run(root, folder, "cold", given.trials)
            warm, _ = run(root, folder, "warm", given.trials)
        said = f"{wall:.1f} s of wall time, {cold:.1f} of processor time"
        print(f"{root}: {said}, of which compiling took {1 - warm / cold:.1%}", flush=True)


if __name__ == "__main__":
    main()
