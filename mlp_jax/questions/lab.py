"""What every question needs: named runs over seeds, trained as one population, each kept so that none is done twice."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from mlp_jax.data.arrays import Dataset
from mlp_jax.data.datasets import load, load_test
from mlp_jax.files import workdir
from mlp_jax.files.progress import progress
from mlp_jax.files.tracking import log_run
from mlp_jax.hparams import Static
from mlp_jax.lanes.compile import Compiler
from mlp_jax.lanes.evaluation import evaluate_on, predict_probabilities
from mlp_jax.lanes.placement import Placement
from mlp_jax.lanes.population import Member, Population
from mlp_jax.metrics import chosen
from mlp_jax.questions import BUDGETS
from mlp_jax.reports import plots
from mlp_jax.reports.html import spoken
from mlp_jax.runs.config import fingerprint
from mlp_jax.runs.run import load_for
from mlp_jax.runs.seeds import keep, restore
from mlp_jax.runs.signals import interrupted, signals
from mlp_jax.sweeps.sweep import trial_config
from mlp_jax.training import Data

KEPT = "lanes"  # the folder of finished networks, a sub-folder each
DIVERGED = "diverged.json"  # in it the records of one that diverged


class Answer(NamedTuple):
    """What a question leaves: sentences on what is seen, PNG files, a table whose rows share their keys, and pages."""

    sentences: Sequence[str]
    pictures: Sequence[Path]
    table: Sequence[Mapping[str, Any]]
    links: Sequence[tuple[str, Path]] = ()  # a text, and the page that it leads to


class Lab:
    """The config, budget, data and workdir of a set of experiments; trains what it has not trained yet.

    Questions whose runs are the same share them: a network is found again by config, seed, epochs and data.
    """

    def __init__(self, config: ConfigDict, folder: Path, dataset: Dataset | None = None) -> None:
        self.config, self.folder = config, folder
        self.budget = BUDGETS[config.budget]
        self.base = trial_config(config, {"num_epochs": self.budget.epochs, "resume": "strict"})  # of every run
        self.dataset = dataset or load_for(config, folder)
        self._populations: dict[str, Population] = {}
        self._compiler = Compiler()  # data sets of one shape share their programs

    def other_dataset(self) -> Dataset:
        """MNIST, or Fashion-MNIST where the set itself is about MNIST."""
        name = "fashion_mnist" if self.dataset.name == "mnist" else "mnist"
        return load(name, self.base.data_dir, self.base.fallback_dataset)

    def pictures(self, name: str) -> Path:
        """The folder for a question's pictures."""
        return self.folder / "experiments" / name

    def draw(self, question: str, panels: Sequence[plots.Panel], name: str = "") -> Path:
        """The panels as a picture in the question's folder; its path."""
        path = self.pictures(question) / f"{name or question}.png"
        plots.lines(panels, path)
        return path

    @property
    def first_place(self) -> tuple[Data, Placement]:
        """Where a single network would train."""
        return self._population(self.dataset).first_place

    def kept(self, config: ConfigDict, dataset: Dataset) -> Path:
        """The folder of a network, the same for runs that are the same."""
        return self.folder / KEPT / digest(fingerprint(config), config.num_epochs, dataset.fingerprint)[:20]

    def train(
        self, runs: Mapping[str, Mapping[str, Any]], dataset: Dataset | None = None, seeds: int = 0
    ) -> dict[str, list[Member]]:
        """Name -> the trained networks of the run of that name, one a seed; `runs` maps it to its config's fields.

        They train in any order on all cores; one whose loss is not finite comes back with `diverged` set.
        """
        dataset = dataset or self.dataset
        wanted: dict[str, list[Path]] = {}
        members: dict[Path, Member] = {}
        for name, fields in runs.items():
            for seed in range(self.base.seed, self.base.seed + (seeds or self.budget.seeds)):
                config = trial_config(self.base, {**fields, "dataset": dataset.name, "seed": seed, "seeds": 1})
                path = self.kept(config, dataset)
                wanted.setdefault(name, []).append(path)
                if path not in members:
                    members[path] = self._restore(path, config, dataset)
        waiting = [path for path, member in members.items() if not member.records]
        trained = self._population(dataset).train([members[path] for path in waiting])
        with progress(len(waiting), "networks") as show, signals() as stopped:
            for done, (index, member) in enumerate(trained, start=1):
                members[waiting[index]] = member
                self._keep(waiting[index], member, dataset)
                show(done, f"val {accuracy(member):.2%}" if member.config.val_fraction else "")
                if stopped:
                    raise interrupted(stopped[0], self.folder)
        return {name: [members[path] for path in paths] for name, paths in wanted.items()}

    def again(self, members: Sequence[Member]) -> Iterator[list[Member]]:
        """The networks trained once more, bit for bit: all of them after each epoch, for what only their last kept."""
        members = [Member(member.config) for member in members]
        for epoch in range(1, max(member.config.num_epochs for member in members) + 1):
            for index, member in self._population(self.dataset).train(members, until=epoch):
                members[index] = member
            yield list(members)

    def test(self, member: Member, dataset: Dataset) -> float:
        """Test accuracy of a network's best parameters by validation; the test set is read once for each network."""
        path = self.kept(member.config, dataset) / "test.json"
        if not path.exists():
            static = self.static(member.config, dataset)
            assert member.lane is not None
            tested = evaluate_on(static, member.lane.best.params, *load_test(dataset), dataset.scale)
            workdir.write_json(path, {"accuracy": tested.accuracy, "loss": tested.loss})
        return workdir.read_json(path)["accuracy"]

    def static(self, config: ConfigDict, dataset: Dataset | None = None) -> Static:
        """The half of a config that is compiled in."""
        return self._population(dataset or self.dataset).static(config)

    def probabilities(self, member: Member, dataset: Dataset, images: np.ndarray) -> np.ndarray:
        """A network's distribution over the classes for each image, (n, classes)."""
        assert member.lane is not None
        static = self.static(member.config, dataset)
        return predict_probabilities(static, member.lane.best.params, images, dataset.scale)

    def _population(self, dataset: Dataset) -> Population:
        if dataset.fingerprint not in self._populations:
            population = Population(dataset, self.base.mesh, lanes=self.base.lanes, compiler=self._compiler)
            self._populations[dataset.fingerprint] = population
        return self._populations[dataset.fingerprint]

    def _restore(self, folder: Path, config: ConfigDict, dataset: Dataset) -> Member:
        if (folder / DIVERGED).exists():
            return Member(config, None, tuple(workdir.read_json(folder / DIVERGED)), True)
        return restore(folder, config, dataset, self._population(dataset)) if folder.exists() else Member(config)

    def _keep(self, folder: Path, member: Member, dataset: Dataset) -> None:
        workdir.create(folder)
        if member.diverged:
            workdir.write_json(folder / DIVERGED, member.records)
        else:
            keep(folder, member, dataset)
        log_run(member.config.to_dict(), member.records, self.folder, folder.name)


def digest(*parts: object) -> str:
    """A name for what these parts tell apart."""
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()


def accuracy(member: Member) -> float:
    """A network's validation accuracy after the epoch that validation chose."""
    return float(chosen(member.records)["val/accuracy"])


def accuracies(members: Sequence[Member]) -> list[float]:
    """That of every seed."""
    return [accuracy(member) for member in members]


def series(members: Sequence[Member], name: str) -> np.ndarray:
    """A logged number over the epochs, (seeds, epochs, …); NaN after the epoch in which a network diverged."""
    columns: list[list[Any]] = [[record.get(name) for record in member.records] for member in members]
    longest = max(columns, key=len)
    missing = np.full(np.shape(longest[0]), np.nan)
    return np.array([column + [missing] * (len(longest) - len(column)) for column in columns], float)


def curves(
    runs: Mapping[str, Sequence[Member]], name: str = "val/accuracy"
) -> dict[str, tuple[Sequence[float], np.ndarray]]:
    """The groups of a panel of a logged number over the epochs."""
    found = {label: series(members, name) for label, members in runs.items()}
    return {label: (range(1, values.shape[1] + 1), values) for label, values in found.items()}


def diverged(runs: Mapping[str, Sequence[Member]]) -> list[str]:
    """A sentence on the networks that diverged, if any did."""
    counts = {name: sum(member.diverged for member in members) for name, members in runs.items()}
    parts = [f"{count} of {len(runs[name])} with {name}" for name, count in counts.items() if count]
    return [f"The loss became not finite in {', '.join(parts)}; what they reached before is counted."] if parts else []


def called(dataset: str) -> str:
    """A dataset's name as prose has it; of a folder its last part."""
    return spoken(Path(dataset).name)


def network(config: ConfigDict, dataset: Dataset, optimizer: bool = True) -> str:
    """As in 'a 784-128-128-128-10 ReLU net with He weights, Adam at 0.001, batches of 64'."""
    how = f", {spoken(config.optimizer)} at {config.learning_rate:g}" if optimizer else ""
    return (
        f"a {sizes(config.hidden_sizes, dataset)} {spoken(config.activation)} net with {spoken(config.init)} weights"
        f"{how}, batches of {config.batch_size or 'all examples'}"
    )


def sizes(hidden: Sequence[int], dataset: Dataset) -> str:
    """The widths of a network's layers as in 784-128-10."""
    return "-".join(map(str, (dataset.train_images.shape[1], *hidden, len(dataset.class_names))))


def row(members: Sequence[Member], **first: Any) -> dict[str, Any]:
    """A line of a table: what is given, then the networks' validation accuracy (mean, sd) and seconds of training."""
    reached = np.array(accuracies(members))
    return {
        **first,
        "seeds": len(members),
        "validation accuracy": float(reached.mean()),
        "sd of accuracy": float(reached.std(ddof=1)) if len(reached) > 1 else None,
        "seconds an epoch": mean(record["seconds"] for member in members for record in member.records),
    }
