"""A run of several seeds: one population, each finished seed kept, mean ± sd in the summary."""

from pathlib import Path
from statistics import mean, stdev
from threading import Lock
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mlp_jax.data.arrays import Dataset
from mlp_jax.errors import Diverged
from mlp_jax.files.progress import among, progress
from mlp_jax.lanes.evaluation import Tested, ensemble_accuracy
from mlp_jax.lanes.fit import Record, make_task
from mlp_jax.lanes.population import Member, Population
from mlp_jax.metrics import chosen
from mlp_jax.runs import resume


def train_seeds(config: ConfigDict, folder: Path, dataset: Dataset) -> tuple[list[Member], Population]:
    """Every seed's network after its last epoch, in the order of the seeds.

    A seed that has finished is kept in `seeds/SEED/`, so that a resume trains only the others. One that diverges is
    left out of the means; if all do, `Diverged` is raised.
    """
    population = Population(dataset, config.mesh, lanes=config.lanes)
    configs = each_seed(config)
    folders = [folder / "seeds" / str(own.seed) for own in configs]
    members = [restore(path, own, dataset, population) for path, own in zip(folders, configs, strict=True)]
    waiting = [index for index, member in enumerate(members) if member.lane is None]
    done, ended, lock = len(members) - len(waiting), "", Lock()
    epochs, left = config.num_epochs * len(members), config.num_epochs * len(waiting)
    with progress(len(members), "seeds") as show:

        def watch(record: Record) -> None:
            nonlocal left
            with lock:
                left -= 1
                show(done, among(ended, record), left / epochs)

        for index, member in population.train([members[i] for i in waiting], watch=watch):
            members[waiting[index]] = member
            if not member.diverged:
                keep(folders[waiting[index]], member, dataset)
            with lock:
                left -= config.num_epochs - len(member.records)  # those that it has not needed
                done, ended = done + 1, _best_so_far(members)
                show(done, ended, left / epochs)
    if all(member.diverged for member in members):
        raise Diverged(f"the loss of every seed became not finite; learning_rate={config.learning_rate:g} is too large")
    return members, population


def each_seed(config: ConfigDict) -> list[ConfigDict]:
    """The configs of a run of several seeds, one a seed, from `config.seed` upwards."""
    fields = config.to_dict() | {"seeds": 1}
    return [ConfigDict(fields | {"seed": config.seed + number}) for number in range(config.seeds)]


def keep(folder: Path, member: Member, dataset: Dataset) -> None:
    """Saves a network that has come to its end, with its records."""
    assert member.lane is not None
    resume.keep(folder, member.lane, member.records, member.config, dataset)


def restore(folder: Path, config: ConfigDict, dataset: Dataset, population: Population) -> Member:
    """What `keep` saved of this config in `folder`; where there is nothing, a network before its first step."""
    task = make_task(config, dataset, *population.first_place)
    compared = resume.prints(config, dataset.fingerprint)
    saved = resume.restore(folder, (task.static, task.hparams), config.seed, compared)
    return Member(config, saved.lane, tuple(saved.records)) if saved else Member(config)


def _best_so_far(members: list[Member]) -> str:
    accuracies = [chosen(member.records)["val/accuracy"] for member in members if member.lane is not None]
    known = [accuracy for accuracy in accuracies if accuracy is not None]
    spread = f" ± {stdev(known):.2%}" if len(known) > 1 else ""
    return f"val {mean(known):.2%}{spread}" if known else ""


def mean_records(members: list[Member]) -> list[Record]:
    """metrics.jsonl of several seeds: per epoch the mean of each number over the seeds that got there, and its sd."""
    lanes = [member.records for member in members if not member.diverged]
    records = []
    for epoch in range(max(map(len, lanes))):
        rows = [lane[epoch] for lane in lanes if len(lane) > epoch]
        names = ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "seconds")
        records.append({"epoch": epoch + 1, "step": rows[0]["step"], **_means(rows, names)})
    return records


def _means(rows: list[dict[str, Any]], names: tuple[str, ...]) -> dict[str, Any]:
    """NAME and NAME/sd: the mean over the rows and the sd with n − 1 (0 for one row); None where a row has None."""
    figures = {}
    for name in names:
        values = [row[name] for row in rows]
        known = None not in values
        figures[name] = mean(values) if known else None
        figures[f"{name}/sd"] = (stdev(values) if len(values) > 1 else 0.0) if known else None
    return figures


def summarize(members: list[Member], tests: list[Tested], labels: np.ndarray) -> dict[str, Any]:
    """The figures of a run of several seeds: means, their sd, every seed's own, and those of the seeds together.

    `tests` has one entry a finished seed, or none at all: no test figures then.
    """
    finished = [member for member in members if not member.diverged]
    each: list[Tested | None] = [*tests] or [None] * len(finished)
    rows = [
        {
            "seed": member.config.seed,
            "best_epoch": int(member.lane.best.epoch),
            "val/accuracy": chosen(member.records)["val/accuracy"],
            "test/loss": test.loss if test else None,
            "test/accuracy": test.accuracy if test else None,
            "seconds": sum(record["seconds"] for record in member.records),
        }
        for member, test in zip(finished, each, strict=True)
        if member.lane is not None
    ]
    return {
        "best_epoch": rows[0]["best_epoch"],
        **_means(rows, ("val/accuracy", "test/loss", "test/accuracy", "seconds")),
        "test/ensemble_accuracy": ensemble_accuracy(tests, labels) if tests else None,
        "seeds": rows,
        "diverged_seeds": len(members) - len(finished),
    }
