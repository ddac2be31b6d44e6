"""python -m benchmarks.accelerator: tests, a training and a population on whatever device JAX finds, as one table.

    make check-accelerator

Where JAX finds none, the programs are compiled for accelerators that are not here (`benchmarks.ahead`). Else first the
 tests of the mathematics, in a process of their own; then, on scikit-learn's digits, 8 seeds at each
precision, the bits of a repeated training, all devices against one, and a population against single runs. Nothing is
downloaded. Exit status 1 where a row says FAILED.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
MATHEMATICS = ("model", "losses", "gradients", "gradcheck", "optimizers", "schedules", "metrics", "training")
COMPILERS = ".venv-accelerator"
SEEDS, LANES, EPOCHS = 8, 16, 8


class Row(NamedTuple):
    """A line of the table; `passed` None where there is nothing to pass."""

    name: str
    passed: bool | None
    result: str


def tests() -> Row:
    """The tests of the mathematics on the device; `tests/conftest.py` reads the variable."""
    files = [f"tests/mathematics/test_{name}.py" for name in MATHEMATICS]
    env = os.environ | {"MLP_JAX_TEST_DEVICE": "any"}
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", *files]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines() or [done.stderr.strip()[-200:]]
    for line in lines:
        if line.startswith(("FAILED", "ERROR")):
            print(line)
    return Row("tests of the mathematics", done.returncode == 0, f"{lines[-1]} ({time.perf_counter() - start:.0f} s)")


def config_of(**fields: Any) -> Any:
    """The net of this check; fields override."""
    from mlp_jax.runs.config import complete

    own = {"dataset": "digits", "hidden_sizes": (64, 64), "batch_size": 32, "num_epochs": EPOCHS, "learning_rate": 3e-3}
    return complete({**own, **fields})


def train_alone(config: Any, dataset: Any, mesh: str) -> tuple[Any, list[float], float]:
    """The lane on the host, the seconds of its epochs, and those of compiling."""
    import jax

    from mlp_jax.lanes.compile import Compiler
    from mlp_jax.lanes.fit import fit, make_task, place_data
    from mlp_jax.lanes.placement import placements

    place = placements(mesh)[0]
    task = make_task(
        config, dataset, place_data(dataset.train_images, dataset.train_labels, dataset.scale, place), place
    )
    compiler = Compiler()
    events = list(fit(task, compiler(task)))
    seconds = [event.record["seconds"] for event in events if event.record is not None]
    return jax.device_get(events[-1].lane), seconds, compiler.seconds


def train_many(configs: list[Any], dataset: Any) -> tuple[list[Any], float]:
    """The members of a population at their ends, and the seconds it took with compiling."""
    from mlp_jax.lanes.population import Member, Population

    start = time.perf_counter()
    members = dict(Population(dataset).train([Member(config) for config in configs]))
    return [members[index] for index in range(len(configs))], time.perf_counter() - start


def distance(one: Any, other: Any) -> float:
    """The largest difference of two lanes' parameters, against the largest number of the same leaf."""
    import jax
    import numpy as np

    leaves = zip(jax.tree.leaves(one.state.params), jax.tree.leaves(other.state.params), strict=True)
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in leaves)


def rows() -> Iterator[Row]:
    """Every check but the tests."""
    import jax

    from mlp_jax.data.datasets import load

    dataset = load("digits", "", "")
    accuracy: dict[str, list[float]] = {}
    for precision in ("float32", "tf32", "bfloat16"):
        configs = [config_of(seed=seed, precision=precision) for seed in range(SEEDS)]
        members, seconds = train_many(configs, dataset)
        accuracy[precision] = [max(record["val/accuracy"] for record in member.records) for member in members]
        found, reference = mean(accuracy[precision]), mean(accuracy["float32"])
        noise = stdev(accuracy["float32"])
        text = f"validation {found:.2%} ± {stdev(accuracy[precision]):.2%} over {SEEDS} seeds, {seconds:.1f} s"
        yield Row(f"precision={precision}", found > 0.9 and abs(found - reference) <= 2 * noise, text)

    single, epochs, compiling = train_alone(config_of(), dataset, "data:1")
    fastest, steps = min(epochs), int(single.state.step) / EPOCHS
    text = f"{steps / fastest:.0f} steps/s in the fastest of {EPOCHS} epochs, compiled in {compiling:.1f} s"
    yield Row("one run on one device", True, text)
    again, _, _ = train_alone(config_of(), dataset, "data:1")
    equal = all((a == b).all() for a, b in zip(*map(jax.tree.leaves, (single, again)), strict=True))
    # Not promised on a GPU without the flags that the README names.
    yield Row("the same run again", equal or None, "the same bits" if equal else "other bits: see README, equal bits")
    count = jax.device_count()
    for axis in ("data", "fsdp") if count > 1 else ():
        many, _, _ = train_alone(config_of(), dataset, f"{axis}:{count}")
        far = distance(many, single)
        yield Row(f"mesh={axis}:{count} against one device", far < 1e-3, f"parameters differ by {far:.1e} at most")

    configs = [config_of(learning_rate=3e-3 * 0.9**lane) for lane in range(LANES)]
    members, seconds = train_many(configs, dataset)
    far = distance(members[0].lane, single)
    text = f"{LANES} lanes in {seconds:.1f} s with compiling; the first differs from the single run by {far:.1e}"
    yield Row("a population", far < 1e-3 and not any(member.diverged for member in members), text)


def table(found: list[Row]) -> str:
    """The rows under each other."""
    width = max(len(row.name) for row in found)
    words = {True: "ok", False: "FAILED", None: "note"}
    return "\n".join(f"{row.name:{width}}  {words[row.passed]:6}  {row.result}" for row in found)


def compiler() -> str:
    """The Python of the environment that has the compilers; made where it is missing."""
    subprocess.run(["make", "--no-print-directory", f"{COMPILERS}/compilers"], cwd=ROOT, check=True)
    return f"{COMPILERS}/bin/python"


def here() -> bool:
    """Whether JAX finds an accelerator, asked in a process of its own, as some serve one at a time."""
    command = [sys.executable, "-c", "import jax; print(jax.default_backend())"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() != "cpu"


def main() -> None:
    """Runs the checks; the tests first, since some accelerators serve one process at a time."""
    if not here():
        from mlp_jax.runs.runtime import unused_accelerator

        warning = unused_accelerator()
        print(
            warning or "JAX finds no accelerator here: the programs are compiled for others; nothing runs", flush=True
        )
        failed = subprocess.run([compiler(), "-m", "benchmarks.ahead"], cwd=ROOT).returncode
        sys.exit(bool(failed or warning))
    found = [tests()]
    from mlp_jax.runs import runtime

    runtime.prepare(config_of())
    import jax

    device = runtime.describe_devices()
    versions = f"jax {jax.__version__}, backend {jax.default_backend()}"
    found.insert(0, Row("device", None, f"{device['device_count']} × {device['device']}, {versions}"))
    found.extend(rows())
    print(table(found))
    sys.exit(any(row.passed is False for row in found))


if __name__ == "__main__":
    main()
