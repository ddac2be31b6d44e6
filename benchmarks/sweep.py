"""The same trials of the suggested grid, cold, by this project's sweep and by its peers with a process a core."""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from benchmarks.processes import ROOT, peak_of, python

CONFIG = "configs/sweep_random.py"
OURS = "this project"
# who -> the words for it, the packages whose versions count
CONTESTANTS = {
    "ours": (OURS, ("jax",)),
    "keras": ("Optuna with Keras 3 on JAX", ("keras", "jax", "optuna")),
    "torch": ("Optuna with PyTorch", ("torch", "optuna")),
    "sklearn": ("Optuna with scikit-learn", ("scikit-learn", "optuna")),
}


def trials(count: int) -> tuple[dict[str, list[Any]], list[dict[str, Any]]]:
    """The space's values, and the trials that the seed of the config draws from it, in their order."""
    from mlp_jax.runs.config import load
    from mlp_jax.sweeps.dialect import parse
    from mlp_jax.sweeps.samplers import sequence

    config = load(ROOT / CONFIG)
    nth = sequence(parse(config.sweep.to_dict(), config), config.seed)
    space = {field: list(known["values"]) for field, known in config.sweep.parameters.to_dict().items()}
    return space, [params for params in map(nth, range(count)) if params is not None]


def measure(who: str, count: int, examples: int) -> dict[str, Any]:
    """Wall seconds of one contestant from its start to its end, and the accuracies that it found."""
    name, packages = CONTESTANTS[who]
    try:
        versions = {package: metadata.version(package) for package in packages}
    except metadata.PackageNotFoundError as error:
        return {"absent": f"{error.name} is not installed"}
    row: dict[str, Any] = {"trials": count, "examples": examples, "versions": versions}
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), examples)
        found = _ours(Path(folder), count) if who == "ours" else _peer(who, Path(folder), count)
        if who != "ours":
            found["updates"] = json.loads(python(f"{folder}/cache", "-m", "benchmarks.sweep_peers", who))
    row |= found
    finite = [value for value in row["accuracies"] if math.isfinite(value)]
    row |= {"models_per_hour": 3600 * count / row["seconds"], "best": max(finite), "mean": mean(finite)}
    print(f"{name}: {row['seconds']:.1f} s, {row['models_per_hour']:.0f} models an hour, best {row['best']:.4f}")
    return row


def beside_ours(rows: dict[str, Any]) -> dict[str, Any]:
    """The rows in their order, those of other trials or data than ours left out, each with its multiple of our time."""
    rows = {name: rows[name] for name, _ in CONTESTANTS.values() if name in rows}
    ours = rows.get(OURS)
    if ours is None:
        return rows
    same = ("trials", "examples")
    rows = {k: row for k, row in rows.items() if "absent" in row or [row[f] for f in same] == [ours[f] for f in same]}
    return {
        name: row | ({"times_ours": row["seconds"] / ours["seconds"]} if "seconds" in row else {})
        for name, row in rows.items()
    }


def enqueue(folder: Path, count: int) -> Any:
    """Optuna's study in `folder`, with the trials to come, and what its workers read of them."""
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    space, chosen = trials(count)
    (folder / "trials.json").write_text(json.dumps({"space": space, "trials": count}))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(folder / "study.log")))
    study = optuna.create_study(study_name="sweep", storage=storage, direction="maximize")
    for params in chosen:
        study.enqueue_trial(params)
    return study


def _write(folder: Path, examples: int) -> None:
    """The data as an IDX folder for us, and split as we do it for the peers."""
    from mlp_jax.data.datasets import load, load_test
    from mlp_jax.runs.config import load as load_config
    from mlp_jax.runs.run import rows_of
    from tests.shared.idx_files import STEMS, write_idx_folder

    config = load_config(ROOT / CONFIG)
    dataset = load(config.dataset, config.data_dir, "")
    images, labels = np.asarray(dataset.train_images)[:examples], np.asarray(dataset.train_labels)[:examples]
    test_images, test_labels = load_test(dataset)
    side = (-1, *dataset.image_shape)
    arrays = (images.reshape(side), labels, test_images.reshape(side), test_labels)
    write_idx_folder(folder / "data", dict(zip(STEMS, arrays, strict=True)))
    fewer = dataset._replace(train_images=images, train_labels=labels)
    np.savez(
        folder / "data.npz", *(array for part in ("train", "validation") for array in rows_of(part, config, fewer))
    )


def _ours(folder: Path, count: int) -> dict[str, Any]:
    start = time.perf_counter()
    megabytes = peak_of(str(folder), f"--config={CONFIG}", f"--config.sweep.run_cap={count}")
    seconds = time.perf_counter() - start
    lines = [json.loads(line) for line in (folder / "run/trials.jsonl").read_text().splitlines()]
    assert [line["parameters"] for line in lines] == trials(count)[1], "the sweep has drawn other trials than the list"
    return {"seconds": seconds, "peak_mb": megabytes, "accuracies": [line["metric"] for line in lines]}


def _peer(who: str, folder: Path, count: int) -> dict[str, Any]:
    """One process a core, each with one thread and pinned, all on one study whose trials are there beforehand."""
    study = enqueue(folder, count)
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    environment = {"XDG_CACHE_HOME": f"{folder}/cache", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.sweep_peers", who, str(folder)]
    start = time.perf_counter()
    with open(folder / "log", "w+") as log:
        workers = [
            subprocess.Popen([*command, str(core)], env=os.environ | environment, stdout=log, stderr=log, cwd=ROOT)
            for core in cores
        ]
        failed = [worker.wait() for worker in workers]
        seconds = time.perf_counter() - start
        if any(failed):
            sys.exit((folder / "log").read_text())
    done = {trial.number: trial for trial in study.trials if trial.value is not None}
    assert [done[number].params for number in range(count)] == trials(count)[1], "Optuna has run other trials"
    return {"seconds": seconds, "accuracies": [done[number].value for number in range(count)]}
