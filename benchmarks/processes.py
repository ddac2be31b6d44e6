"""What only a fresh process shows: start-up and peak memory."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent

START = """
import time; start = time.perf_counter()
import sys; sys.path.insert(0, {root!r})
from mlp_jax.runs import config
from mlp_jax.runs import runtime
c = config.complete({{"dataset": "digits", "num_epochs": 1}})
runtime.prepare(c)
from mlp_jax.data.datasets import load
from mlp_jax.lanes.compile import Compiler
from mlp_jax.lanes.fit import fit, make_task, place_data
from mlp_jax.lanes.placement import placements
d = load("digits", "", "")
p = placements("")[0]
t = make_task(c, d, place_data(d.train_images, d.train_labels, d.scale, p), p)
next(fit(t, Compiler()(t)))
print(time.perf_counter() - start)
"""

MEMORY = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def start_up(repeats: int) -> dict[str, float]:
    """Seconds from before the first import to the end of the first epoch of digits: cold cache, then warm."""
    cold, warm = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            for times in (cold, warm):
                times.append(float(python(cache, "-c", START.format(root=str(ROOT)))))
    return {"cold": median(cold), "warm": median(warm)}


def peak_memory() -> float:
    """MB resident at most of a whole run: 60,000 random images, one epoch, with its checkpoint, pictures and report."""
    with tempfile.TemporaryDirectory() as folder:
        _write_images(Path(folder) / "data", 60_000)
        return peak_of(folder, "--config=configs/adam.py", "--config.num_epochs=1")


def peak_of(folder: str, *flags: str) -> float:
    """MB of main.py on the data in `folder`, which becomes cache and workdir too."""
    command = [sys.executable, "main.py", f"--config.dataset={folder}/data", f"--workdir={folder}/run", *flags]
    return int(python(f"{folder}/cache", "-c", MEMORY, *command)) / 1024


def python(cache: str, *arguments: str) -> str:
    """What Python prints in a fresh process with this folder for its caches."""
    environment = {**os.environ, "XDG_CACHE_HOME": cache}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout.strip()


def _write_images(folder: Path, count: int) -> None:
    from benchmarks.jobs import data
    from tests.shared.idx_files import STEMS, write_idx_folder

    images, labels = data(count)
    images = images.reshape(-1, 28, 28)
    write_idx_folder(folder, dict(zip(STEMS, (images, labels, images[:1000], labels[:1000]), strict=True)))
