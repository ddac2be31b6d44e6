"""A run of several seeds: one population, each finished seed kept, mean ± sd in the summary."""

from pathlib import Path
from statistics import mean, stdev
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from mlp_jax.files import checkpoint
from mlp_jax.runs.config import fingerprint
from mlp_jax.data.datasets import Dataset
from mlp_jax.errors import Diverged, UserError
from mlp_jax.lanes.evaluation import Tested, ensemble_accuracy
from mlp_jax.lanes.fit import Record, make_task
from mlp_jax.lanes.population import Member, Population
from mlp_jax.files.progress import progress
from mlp_jax.training import init_lane

LOSSES = ("train/loss", "val/loss", "val/accuracy")  # None without validation, or where not finite


def train_seeds(config: ConfigDict, folder: Path, dataset: Dataset) -> tuple[list[Member], Population]:
    """Every seed's network after its last epoch, in the order of the seeds.

    A seed that has finished is kept in `seeds/SEED/`, so that a resume trains only the others. One that diverges is
    left out of the means; if all do, `Diverged` is raised.
    """
    population = Population(dataset, config.mesh)
    configs = []
    for seed in range(config.seed, config.seed + config.seeds):
        configs.append(config.copy_and_resolve_references())
        configs[-1].update({"seed": seed, "seeds": 1})
    members = [restore(folder / "seeds" / str(c.seed), c, dataset, population) for c in configs]
    waiting = [i for i, member in enumerate(members) if member.lane is None]
    with progress(len(members), "seeds") as show:
        for done, (index, member) in enumerate(population.train([members[i] for i in waiting]), start=1):
            members[waiting[index]] = member
            if not member.diverged:
                keep(folder / "seeds" / str(member.config.seed), member, dataset)
            show(len(members) - len(waiting) + done, _best_so_far(members))
    if all(member.diverged for member in members):
        raise Diverged(f"the loss of every seed became not finite; learning_rate={config.learning_rate:g} is too large")
    return members, population


def _prints(config: ConfigDict, dataset: Dataset) -> dict[str, str]:
    return {"config": fingerprint(config), "data": dataset.fingerprint}


def keep(folder: Path, member: Member, dataset: Dataset) -> None:
    """Saves a network that has come to its end, with its records."""
    assert member.lane is not None
    extra = {"records": list(member.records), "num_epochs": member.config.num_epochs}
    step = int(member.lane.state.step)
    checkpoint.save(folder / "checkpoints", step, member.lane, extra, _prints(member.config, dataset))


def restore(folder: Path, config: ConfigDict, dataset: Dataset, population: Population) -> Member:
    """What `keep` saved of this config in `folder`; where there is nothing, a network before its first step."""
    task = make_task(config, dataset, *population.first_place)
    template = jax.eval_shape(lambda: init_lane(task.static, task.hparams, task.keys))
    prints = _prints(config, dataset)
    compared = {"data": prints["data"]} if config.resume == "changed" else prints
    saved = checkpoint.restore(folder / "checkpoints", template, compared)
    if saved is None:
        return Member(config)
    return Member(config, saved.state, tuple(records_of(saved, folder)))


def seconds_of(saved: checkpoint.Restored, folder: Path) -> float:
    """How long the epoch under way has taken; UserError where a checkpoint does not say it as a run writes it."""
    seconds = saved.extra.get("seconds", 0.0)
    if type(seconds) in (int, float) and 0 <= seconds < 1e9:
        return float(seconds)
    raise UserError(f"{_extra(saved, folder)}: holds no seconds as a run writes them: {seconds!r:.80}")


def records_of(saved: checkpoint.Restored, folder: Path) -> list[Record]:
    """The epochs that a checkpoint tells of; UserError where they are not such as a run writes."""
    records = saved.extra.get("records")
    if isinstance(records, list) and len(records) >= int(saved.state.best.epoch):
        right = (_is_record(record, epoch) for epoch, record in enumerate(records, start=1))
        if all(right):
            return records
    raise UserError(
        f"{_extra(saved, folder)}: holds no figures of epochs as a run writes them; --config.resume=never starts over"
    )


def _extra(saved: checkpoint.Restored, folder: Path) -> Path:
    return folder / "checkpoints" / str(saved.step) / "extra.json"


def _is_record(record: Any, epoch: int) -> bool:
    if not isinstance(record, dict) or record.get("epoch") != epoch:
        return False
    known = all(isinstance(record.get(name), int | float) for name in ("step", "train/accuracy", "seconds"))
    return known and all(isinstance(record.get(name, ""), int | float | None) for name in LOSSES)


def _best_so_far(members: list[Member]) -> str:
    accuracies = [best_accuracy(member) for member in members if member.lane is not None]
    known = [accuracy for accuracy in accuracies if accuracy is not None]
    return f"val {mean(known):.2%}" if known else ""


def best_accuracy(member: Member) -> float | None:
    """Validation accuracy of the parameters that validation chose; None without validation."""
    assert member.lane is not None
    return member.records[int(member.lane.best.epoch) - 1]["val/accuracy"]


def mean_records(members: list[Member]) -> list[Record]:
    """metrics.jsonl of several seeds: per epoch the mean of each number over the seeds that got there, and its sd."""
    lanes = [member.records for member in members if not member.diverged]
    records = []
    for epoch in range(max(map(len, lanes))):
        rows = [lane[epoch] for lane in lanes if len(lane) > epoch]
        record: Record = {"epoch": epoch + 1, "step": rows[0]["step"]}
        for name in ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "seconds"):
            record[name], record[f"{name}/sd"] = mean_and_sd([row[name] for row in rows])
        records.append(record)
    return records


def mean_and_sd(values: list[Any]) -> tuple[float | None, float | None]:
    """Mean, and standard deviation with n − 1 (0 for one value); None for values that are None."""
    if any(value is None for value in values):
        return None, None
    return mean(values), stdev(values) if len(values) > 1 else 0.0


def summarize(members: list[Member], tests: list[Tested], labels: np.ndarray) -> dict[str, Any]:
    """The figures of a run of several seeds: means, their sd, every seed's own, and those of the seeds together."""
    finished = [member for member in members if not member.diverged]
    rows = [
        {
            "seed": member.config.seed,
            "best_epoch": int(member.lane.best.epoch),
            "val/accuracy": best_accuracy(member),
            "test/loss": test.loss,
            "test/accuracy": test.accuracy,
            "seconds": sum(record["seconds"] for record in member.records),
        }
        for member, test in zip(finished, tests, strict=True)
        if member.lane is not None
    ]
    figures: dict[str, Any] = {"best_epoch": rows[0]["best_epoch"]}
    for name in ("val/accuracy", "test/loss", "test/accuracy", "seconds"):
        figures[name], figures[f"{name}/sd"] = mean_and_sd([row[name] for row in rows])
    figures["test/ensemble_accuracy"] = ensemble_accuracy(tests, labels)
    return {**figures, "seeds": rows, "diverged_seeds": len(members) - len(finished)}
