"""What only a fresh process shows: start-up, peak memory, and a sweep against its trials one after another."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

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

ONE_AFTER_ANOTHER = """
import json, sys, time; sys.path.insert(0, {root!r})
from benchmarks.reference_trials import train
for line in open(sys.argv[1]):
    train(json.loads(line), int(sys.argv[2]))
"""


def start_up(repeats: int) -> dict[str, float]:
    """Seconds from before the first import to the end of the first epoch of digits: cold cache, then warm."""
    cold, warm = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            for times in (cold, warm):
                times.append(float(_python(cache, "-c", START.format(root=str(ROOT)))))
    return {"cold": median(cold), "warm": median(warm)}


def peak_memory() -> float:
    """MB resident at most of a whole run: 60,000 random images, one epoch, with its checkpoint, pictures and report."""
    with tempfile.TemporaryDirectory() as folder:
        _write_images(Path(folder) / "data", 60_000)
        return _peak(folder, "--config=configs/adam.py", "--config.num_epochs=1")


def sweep(trials: int, examples: int) -> dict[str, Any]:
    """Cold wall seconds of a random sweep over the suggested grid and of the frozen step on the same trials in turn."""
    with tempfile.TemporaryDirectory() as folder:
        _write_images(Path(folder) / "data", examples)
        start = time.perf_counter()
        caps = (f"--config.sweep.run_cap={trials}", "--config.val_fraction=0.1")
        memory = _peak(folder, "--config=configs/sweep_random.py", *caps)
        ours = time.perf_counter() - start
        lines = (Path(folder) / "run/trials.jsonl").read_text().splitlines()
        chosen = Path(folder) / "chosen.jsonl"
        chosen.write_text("".join(json.dumps(json.loads(line)["parameters"]) + "\n" for line in lines))
        start = time.perf_counter()
        training = examples - round(0.1 * examples)
        _python(folder + "/other", "-c", ONE_AFTER_ANOTHER.format(root=str(ROOT)), str(chosen), str(training))
        theirs = time.perf_counter() - start
    row = {"trials": len(lines), "examples": training, "seconds": ours, "one_after_another": theirs}
    return {**row, "ratio": theirs / ours, "peak_mb": memory}


def _peak(folder: str, *flags: str) -> float:
    """MB of main.py on the data in `folder`, which becomes cache and workdir too."""
    command = [sys.executable, "main.py", f"--config.dataset={folder}/data", f"--workdir={folder}/run", *flags]
    return int(_python(f"{folder}/cache", "-c", MEMORY, *command)) / 1024


def _python(cache: str, *arguments: str) -> str:
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
