"""python -m benchmarks.scaling: a step over 1, 2, 4, 8 host devices and over 1, 2 processes, against the cost model.

    python -m benchmarks.scaling [--batches=128,4096] [--steps=20] [--repeats=5] [--json=FILE]

784-128×3-10, ReLU, Adam, float32, random images. Devices of a CPU share its cores: what this shows is the price of
dividing (collectives, padding, dispatch), never a speed-up beyond the cores. docs/scaling.md reads the figures.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
ROWS = 8192


def measure(meshes: list[str], batches: list[int], steps: int, repeats: int) -> list[dict[str, Any]]:
    """Median seconds of a step for every mesh and batch size; the meshes take turns."""
    import jax

    from mlp_jax.data.arrays import Dataset
    from mlp_jax.lanes.compile import Compiler
    from mlp_jax.lanes.fit import make_task, order_of, place_data
    from mlp_jax.lanes.placement import placements
    from mlp_jax.runs.config import complete

    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (ROWS, 784), np.uint8), rng.integers(0, 10, ROWS)
    dataset = Dataset("random", images, labels, tuple("0123456789"), (28, 28), 255, "", lambda: (images, labels))
    found: list[dict[str, Any]] = []
    for batch in batches:
        config = complete({"dataset": "digits", "batch_size": batch, "val_fraction": 0.0})
        ready = []
        for mesh in meshes:
            place = placements(mesh)[0]
            task = make_task(config, dataset, place_data(images, labels, 255, place), place)
            program, order = Compiler()(task), order_of(task, 1)
            ready.append((mesh, task, program, order, [program.init(task.hparams, task.keys)], []))
        for repeat in range(repeats + 1):
            for _, task, program, order, lane, times in ready:
                count = min(steps, len(order.indices))
                start = time.perf_counter()
                arguments = task.hparams, task.keys, task.data, order, lane.pop(), (np.int32(0), np.int32(count))
                lane.append(program.train_steps(*arguments))
                jax.block_until_ready(lane[0])
                if repeat:  # the first warms up
                    times.append((time.perf_counter() - start) / count)
        found += [
            {"mesh": mesh, "processes": jax.process_count(), "batch": batch, "step_ms": round(1e3 * median(times), 3)}
            for mesh, *_, times in ready
        ]
    return found


def in_processes(count: int, meshes: list[str], arguments: list[str]) -> list[dict[str, Any]]:
    """`measure` in processes that meet on loopback, with devices enough for the largest mesh together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.scaling", *arguments, f"--meshes={';'.join(meshes)}"]
    env = os.environ | {"JAX_PLATFORMS": "cpu"}
    running = [
        subprocess.Popen([*command, f"--join={port},{count},{i}"], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
        for i in range(count)
    ]
    first, *_ = [process.communicate()[0] for process in running]
    return list(json.loads(first))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__.splitlines()[0])
    parser.add_argument("--batches", default="128,4096")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", default="")
    parser.add_argument("--meshes", default="data:1;data:2;data:4;data:8;fsdp:8", help=argparse.SUPPRESS)
    parser.add_argument("--join", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    batches, meshes = [int(batch) for batch in given.batches.split(",")], given.meshes.split(";")
    if given.join:
        import jax

        from mlp_jax.runs.cluster import Joining, join

        port, count, number = map(int, given.join.split(","))
        if count > 1:
            join(Joining(f"127.0.0.1:{port}", count, number))
        largest = max(int(mesh.split(":")[1]) for mesh in meshes)
        jax.config.update("jax_num_cpu_devices", largest // count)
        print(json.dumps(measure(meshes, batches, given.steps, given.repeats)), flush=True)
        if count > 1:
            jax.distributed.shutdown()
        return
    passed = [f"--batches={given.batches}", f"--steps={given.steps}", f"--repeats={given.repeats}"]
    found = in_processes(1, meshes, passed)
    for mesh in ("data:2", "data:8"):
        found += in_processes(2, [mesh], passed)
    print("mesh    processes  batch  ms a step  against one device")
    alone = {row["batch"]: row["step_ms"] for row in found if row["mesh"] == "data:1"}
    for row in found:
        ratio = row["step_ms"] / alone[row["batch"]]
        print(f"{row['mesh']:8}{row['processes']:9}{row['batch']:7}{row['step_ms']:11.3f}{ratio:20.2f}")
    if given.json:
        Path(given.json).write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
