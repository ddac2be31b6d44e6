"""What every question needs: named runs over seeds, trained as one population, each kept so that none is done twice."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from mlp_jax.data.datasets import Dataset, load, load_test
from mlp_jax.files import workdir
from mlp_jax.files.progress import progress
from mlp_jax.files.tracking import open_tracker
from mlp_jax.hparams import split_config
from mlp_jax.lanes.evaluation import evaluate_on
from mlp_jax.lanes.fit import Record
from mlp_jax.lanes.placement import Placement
from mlp_jax.lanes.population import Member, Population
from mlp_jax.questions import BUDGETS
from mlp_jax.reports.html import spoken
from mlp_jax.runs import config as configs
from mlp_jax.runs import run as experiment
from mlp_jax.runs.seeds import keep, restore
from mlp_jax.runs.signals import interrupted, signals
from mlp_jax.training import Data

KEPT = "lanes"  # the folder of finished networks, a sub-folder each


class Answer(NamedTuple):
    """What a question leaves: sentences on what is seen, PNG files, and a table whose rows share their keys."""

    sentences: Sequence[str]
    pictures: Sequence[Path]
    table: Sequence[Mapping[str, Any]]


class Lab:
    """The config, budget, data and workdir of a set of experiments; trains what it has not trained yet.

    Questions whose runs are the same share them: a network is found again by config, seed, epochs and data.
    """

    def __init__(self, config: ConfigDict, folder: Path) -> None:
        self.config, self.folder = config, folder
        self.budget = BUDGETS[config.budget]
        fields = {name: value for name, value in config.to_dict().items() if name not in configs.EXTRAS}
        self.base = ConfigDict({**fields, "num_epochs": self.budget.epochs, "resume": "strict"})  # of every run
        self.dataset = experiment.load_for(config, folder)
        self._populations: dict[str, Population] = {}
        self._tests: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def other_dataset(self) -> Dataset:
        """MNIST, or Fashion-MNIST where the set itself is about MNIST."""
        name = "fashion_mnist" if self.dataset.name == "mnist" else "mnist"
        return load(name, self.base.data_dir, self.base.fallback_dataset)

    def pictures(self, name: str) -> Path:
        """The folder for a question's pictures."""
        return self.folder / "experiments" / name

    @property
    def first_place(self) -> tuple[Data, Placement]:
        """Where a single network would train."""
        return self._population(self.dataset).first_place

    def name_of(self, config: ConfigDict, dataset: Dataset) -> str:
        """The same for runs that are the same, another for all others."""
        text = f"{configs.fingerprint(config)} {config.num_epochs} {dataset.fingerprint}"
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    def train(
        self, runs: Mapping[str, Mapping[str, Any]], dataset: Dataset | None = None, seeds: int = 0
    ) -> dict[str, list[Member]]:
        """Name -> the trained networks of the run of that name, one a seed; `runs` maps it to its config's fields.

        They train in any order on all cores; one whose loss is not finite comes back with `diverged` set.
        """
        dataset = dataset or self.dataset
        population = self._population(dataset)
        first = self.base.seed
        wanted = {
            name: [
                ConfigDict({**self.base.to_dict(), **fields, "dataset": dataset.name, "seed": seed, "seeds": 1})
                for seed in range(first, first + (seeds or self.budget.seeds))
            ]
            for name, fields in runs.items()
        }
        members: dict[str, Member] = {}
        for config in (config for own in wanted.values() for config in own):
            name = self.name_of(config, dataset)
            if name not in members:
                members[name] = self._restore(self.folder / KEPT / name, config, dataset, population)
        waiting = [name for name, member in members.items() if not (member.records or member.diverged)]
        with progress(len(waiting), "networks") as show, signals() as stopped:
            for done, (index, member) in enumerate(population.train([members[name] for name in waiting]), start=1):
                members[waiting[index]] = member
                self._keep(self.folder / KEPT / waiting[index], member, dataset)
                show(done, f"val {accuracy(member):.2%}")
                if stopped:
                    raise interrupted(stopped[0], self.folder)
        return {name: [members[self.name_of(config, dataset)] for config in own] for name, own in wanted.items()}

    def test(self, member: Member, dataset: Dataset) -> float:
        """Test accuracy of a network's best parameters by validation; the test set is read once for each network."""
        path = self.folder / KEPT / self.name_of(member.config, dataset) / "test.json"
        if not path.exists():
            if dataset.fingerprint not in self._tests:
                self._tests[dataset.fingerprint] = load_test(dataset)
            images, labels = self._tests[dataset.fingerprint]
            sizes = dataset.train_images.shape[1], len(dataset.class_names), len(dataset.train_labels)
            static, _ = split_config(member.config, *sizes)
            assert member.lane is not None
            tested = evaluate_on(static, member.lane.best.params, images, labels, dataset.scale)
            workdir.write_json(path, {"accuracy": tested.accuracy, "loss": tested.loss})
        return workdir.read_json(path)["accuracy"]

    def _population(self, dataset: Dataset) -> Population:
        if dataset.fingerprint not in self._populations:
            self._populations[dataset.fingerprint] = Population(dataset, self.base.mesh)
        return self._populations[dataset.fingerprint]

    def _restore(self, folder: Path, config: ConfigDict, dataset: Dataset, population: Population) -> Member:
        if (folder / "diverged.json").exists():
            return Member(config, None, tuple(workdir.read_json(folder / "diverged.json")), True)
        return restore(folder, config, dataset, population) if folder.exists() else Member(config)

    def _keep(self, folder: Path, member: Member, dataset: Dataset) -> None:
        workdir.create(folder)
        if member.diverged:
            workdir.write_json(folder / "diverged.json", member.records)
        else:
            keep(folder, member, dataset)
        if self.base.tracker != "none":
            fields = json.loads(configs.to_json(member.config))
            tracker = open_tracker(self.base.tracker, fields, self.folder, folder.name, group=self.folder.name)
            for record in member.records:
                tracker.log(record, record["epoch"])
            tracker.finish({})


def accuracy(member: Member) -> float:
    """The highest validation accuracy of a network's epochs."""
    return max(record["val/accuracy"] for record in member.records)


def accuracies(members: Sequence[Member]) -> list[float]:
    """That of every seed."""
    return [accuracy(member) for member in members]


def series(members: Sequence[Member], name: str) -> np.ndarray:
    """A logged number over the epochs, (seeds, epochs, …); NaN after the epoch in which a network diverged."""
    columns = [[_known(record.get(name)) for record in member.records] for member in members]
    longest = max(columns, key=len)
    missing = np.full(np.shape(longest[0]), np.nan)
    return np.array([column + [missing] * (len(longest) - len(column)) for column in columns], float)


def _known(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_known(item) for item in value]
    return np.nan if value is None else value


def epochs(members: Sequence[Member]) -> list[int]:
    """The numbers of the epochs of `series`."""
    return list(range(1, max(len(member.records) for member in members) + 1))


def diverged(runs: Mapping[str, Sequence[Member]]) -> list[str]:
    """A sentence on the networks that diverged, if any did."""
    counts = {name: sum(member.diverged for member in members) for name, members in runs.items()}
    parts = [f"{count} of {len(runs[name])} with {name}" for name, count in counts.items() if count]
    return [f"The loss became not finite in {', '.join(parts)}; what they reached before is counted."] if parts else []


def called(dataset: str) -> str:
    """A dataset's name as prose has it; of a folder its last part."""
    return spoken(Path(dataset).name)


def network(config: ConfigDict, dataset: Dataset) -> str:
    """As in 'a 784-128-128-128-10 ReLU net with He weights, Adam at 0.001, batches of 64'."""
    sizes = (dataset.train_images.shape[1], *config.hidden_sizes, len(dataset.class_names))
    return (
        f"a {'-'.join(map(str, sizes))} {spoken(config.activation)} net with {spoken(config.init)} weights, "
        f"{spoken(config.optimizer)} at {config.learning_rate:g}, batches of {config.batch_size or 'all examples'}"
    )


def row(members: Sequence[Member], **first: Any) -> dict[str, Any]:
    """A line of a table: what is given, then the networks' validation accuracy (mean, sd) and seconds of training."""
    reached = np.array(accuracies(members))
    records: list[Record] = [record for member in members for record in member.records]
    return {
        **first,
        "seeds": len(members),
        "validation accuracy": float(reached.mean()),
        "sd of accuracy": float(reached.std(ddof=1)) if len(reached) > 1 else None,
        "seconds an epoch": sum(record["seconds"] for record in records) / len(records),
    }
