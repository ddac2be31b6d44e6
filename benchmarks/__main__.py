"""python -m benchmarks: start-up, and the epoch against the obvious scan, as medians and ratios of one run.

    python -m benchmarks [--repeats=5] [--json=FILE]

The figures are of 54,000 random images, 784-128×3-10, ReLU, Adam, float32; the work of an epoch does not depend on
what the images show. Program and reference take turns, so that a drift of the machine meets both.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
SIZES = (784, 128, 128, 128, 10)
USEFUL_FLOPS = 2 * (3 * sum(a * b for a, b in itertools.pairwise(SIZES)) - SIZES[0] * SIZES[1])  # an example

START = """
import time; start = time.perf_counter()
import sys; sys.path.insert(0, {root!r})
from mlp_jax import config, runtime
c = config.complete({{"dataset": "digits", "num_epochs": 1}})
runtime.prepare(c)
from mlp_jax.data import load
from mlp_jax.fit import Compiler, fit, make_task, place_data
from mlp_jax.sharding import placements
d = load("digits", "", "")
p = placements("")[0]
t = make_task(c, d, place_data(d.train_images, d.train_labels, d.scale, p), p)
next(fit(t, Compiler()(t)))
print(time.perf_counter() - start)
"""


def start_up(repeats: int) -> dict[str, float]:
    """Seconds from before the first import to the end of the first epoch of digits: cold cache, then warm."""
    cold, warm = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            environment = {**os.environ, "XDG_CACHE_HOME": cache}
            for times in (cold, warm):
                code = START.format(root=str(ROOT))
                done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
                if done.returncode:
                    sys.exit(done.stderr)
                times.append(float(done.stdout))
    return {"cold": median(cold), "warm": median(warm)}


def epochs(batch_size: int, examples: int, repeats: int) -> dict[str, float]:
    """Seconds per epoch of the program and of the reference, their ratio, useful GFLOP/s, seconds to compile."""
    import jax

    from benchmarks import reference
    from mlp_jax import config
    from mlp_jax.data import Dataset
    from mlp_jax.fit import Compiler, make_task, order_of, place_data
    from mlp_jax.sharding import placements

    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (examples, 784), np.uint8)
    labels = generator.integers(0, 10, examples).astype(np.uint8)
    dataset = Dataset("random", images, labels, tuple("0123456789"), (28, 28), 255, "", lambda: (images, labels))
    place = placements("")[0]
    fields = {"batch_size": batch_size, "val_fraction": 0.0}
    task = make_task(config.complete(fields), dataset, place_data(images, labels, 255, place), place)
    compiler = Compiler()
    program, order = compiler(task), order_of(task, 1)
    lane = program.init(task.hparams, task.keys)
    steps = order.indices.shape[0]
    state = reference.start(jax.random.key(0), SIZES)
    rows = jax.device_put(np.asarray(order.indices))
    ours, theirs = [], []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        lane = program.train_steps(task.hparams, task.keys, task.data, order, lane, np.int32(0), np.int32(steps))
        jax.block_until_ready(lane)
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        state, _ = reference.epoch(state, rows, 1e-3, task.data.images, task.data.labels)
        jax.block_until_ready(state)
        theirs.append(time.perf_counter() - start)
    seconds = median(ours[1:])
    return {
        "seconds": seconds,
        "reference": median(theirs[1:]),
        "ratio": median(a / b for a, b in zip(theirs[1:], ours[1:], strict=True)),
        "gflops": USEFUL_FLOPS * examples / seconds / 1e9,
        "compile": compiler.seconds,
    }


def peak() -> float:
    """GFLOP/s of a large float32 product, the best of ten."""
    import jax
    import jax.numpy as jnp

    a = jnp.ones((2048, 2048))
    product = jax.jit(jnp.dot)
    product(a, a).block_until_ready()
    times = []
    for _ in range(10):
        start = time.perf_counter()
        product(a, a).block_until_ready()
        times.append(time.perf_counter() - start)
    return 2 * 2048**3 / min(times) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", default="", help="file for the figures")
    options = parser.parse_args()
    result: dict[str, Any] = {"start-up": start_up(min(options.repeats, 3))}
    print(
        "start-up to the first epoch of digits: cold {cold:.2f} s (≤ 6), warm {warm:.2f} s (≤ 3)".format(
            **result["start-up"]
        )
    )
    result["peak"] = peak()
    print(f"large matrix product: {result['peak']:.0f} GFLOP/s")
    print("batch  s/epoch  obvious scan  times as fast  GFLOP/s  of peak  compile s")
    for batch_size, examples in ((1, 2000), (32, 54_000), (256, 54_000)):
        row = epochs(batch_size, examples, options.repeats)
        result[f"batch {batch_size}"] = row
        share = row["gflops"] / result["peak"]
        print(
            f"{batch_size:5}  {row['seconds'] * 54_000 / examples:7.3f}  {row['reference'] * 54_000 / examples:12.3f}"
            f"  {row['ratio']:13.2f}  {row['gflops']:7.1f}  {share:7.0%}  {row['compile']:9.2f}"
        )
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
