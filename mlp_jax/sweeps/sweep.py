"""A sweep: asks the search for trials, trains them as a population, records each once."""

import json
import math
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from statistics import mean
from typing import Any

from ml_collections import ConfigDict

from mlp_jax.data.datasets import Dataset, load_test
from mlp_jax.errors import Interrupted, UserError
from mlp_jax.files import workdir
from mlp_jax.files.progress import progress
from mlp_jax.files.tracking import open_tracker
from mlp_jax.hparams import split_config
from mlp_jax.lanes.evaluation import evaluate_on
from mlp_jax.lanes.population import Member, Population
from mlp_jax.runs import config as configs
from mlp_jax.runs import resume, runtime
from mlp_jax.runs import run as experiment
from mlp_jax.runs.signals import interruptible
from mlp_jax.schedules import DEPENDS_ON_LENGTH
from mlp_jax.sweeps.database import check_url
from mlp_jax.sweeps.dialect import parse, to_yaml
from mlp_jax.sweeps.space import Space
from mlp_jax.sweeps.study import Outcome, Study, Trial, open_study

BATCH = {"grid": 48, "random": 48, "bayes": 8}  # trials claimed at once; TPE learns only between batches
TELL_SECONDS = 2.0  # finished trials are written to the study together, at most this late
WAIT_SECONDS = 2.0  # between two looks for trials that another worker may leave behind


def run(config: ConfigDict, folder: Path) -> dict[str, Any] | None:
    """Searches what `config.sweep` says in the workdir `folder`, or goes on with it; returns best.json's content.

    The study is `folder/study.db`, or the database of `config.storage`, which several workers may share. All other
    files of the folder are views of it. The test set is read only with `sweep.report_test`.
    """
    space = parse(config.sweep.to_dict(), config, configs.check)
    dataset = experiment.load_for(config, folder)
    experiment.check_against(config, dataset)
    if config.storage:
        check_url(config.storage)
    workdir.create(folder)
    with workdir.lock(folder):
        configs.write(config, folder)
        resume.write_card(folder, dataset)
        defaults = configs.complete({})
        workdir.write_bytes(folder / "sweep.yaml", to_yaml(space, config, defaults).encode())
        plain = trial_config(config, {})
        study = open_study(space, folder, config.storage, config.seed, configs.fingerprint(plain) + dataset.fingerprint)
        try:
            runtime.announce(folder)
            _search(config, space, study, dataset, folder)
            best = _write_views(config, study, folder)
            _draw(study, folder, defaults)
        finally:
            study.close()
    print(f"{folder}: {_result(study.space, best)}")
    return best


def trial_config(config: ConfigDict, overrides: dict[str, Any]) -> ConfigDict:
    """The config of one trial: the sweep's own without what makes it a sweep, with the trial's fields."""
    fields = {name: value for name, value in config.to_dict().items() if name not in configs.EXTRAS}
    return ConfigDict({**fields, **overrides})


def _search(config: ConfigDict, space: Space, study: Study, dataset: Dataset, folder: Path) -> None:
    population = Population(dataset, config.mesh)
    test = load_test(dataset) if space.report_test else None
    done = len(study.trials())
    told: list[tuple[Trial, Outcome]] = []
    with progress(space.cap or math.inf, "trials") as show, interruptible(folder):
        try:
            while not study.finished():
                trials = study.ask(space.batch or BATCH[space.method])
                if not trials and not study.finished():
                    time.sleep(WAIT_SECONDS)
                last = time.monotonic()
                with closing(_train(config, space, study, population, trials)) as ended:
                    for trial, outcome, member in ended:
                        if test is not None and member is not None and math.isfinite(outcome.value):
                            outcome = _with_test(outcome, member, dataset, test)
                        told.append((trial, outcome))
                        done += 1
                        if member is not None:
                            _track(config, folder, trial, member)
                        if time.monotonic() - last >= TELL_SECONDS:
                            last = _tell(config, study, told, folder)
                        show(done, _best_text(study))
                _tell(config, study, told, folder)
        except Interrupted:
            _tell(config, study, told, folder)
            raise


def _tell(config: ConfigDict, study: Study, told: list[tuple[Trial, Outcome]], folder: Path) -> float:
    if told:
        study.tell(told)
        told.clear()
        _write_views(config, study, folder)
    return time.monotonic()


def _train(
    config: ConfigDict, space: Space, study: Study, population: Population, trials: Sequence[Trial]
) -> Generator[tuple[Trial, Outcome, Member | None]]:
    """Each trial as it ends, with its outcome and, where it had one to itself, its lane."""
    groups = _groups(config, space, trials)
    seeds = [_members(configs_of) for configs_of, _ in groups]
    flat = [(group, seed) for group, members in enumerate(seeds) for seed in range(len(members))]
    active = set(range(len(groups)))
    for until in [*(space.early_terminate.brackets if space.early_terminate else ()), None]:
        places = [(group, seed) for group, seed in flat if group in active]
        left = {group: len(seeds[group]) for group in active}
        for index, member in population.train([seeds[group][seed] for group, seed in places], until):
            group, seed = places[index]
            seeds[group][seed] = member
            left[group] -= 1
            if left[group]:
                continue
            ends = until is None or until >= member.config.num_epochs or any(m.diverged for m in seeds[group])
            trial = groups[group][1][0]
            pruned = not ends and study.should_stop(trial, _history(space, seeds[group]))
            if ends or pruned:
                active.discard(group)
                for trial in groups[group][1]:
                    alone = seeds[group][0] if len(groups[group][1]) == 1 else None
                    yield trial, _outcome(space, seeds[group], trial_config(config, trial.overrides), pruned), alone
                seeds[group] = [m._replace(lane=None) for m in seeds[group]]


def _groups(config: ConfigDict, space: Space, trials: Sequence[Trial]) -> list[tuple[ConfigDict, list[Trial]]]:
    """Trials that share one training: those that differ only in num_epochs where no number depends on it.

    A trial that may be stopped early or is to be tested on its own parameters has a training of its own.
    """
    groups: dict[str, tuple[ConfigDict, list[Trial]]] = {}
    for trial in trials:
        own = trial_config(config, trial.overrides)
        shareable = own.schedule not in DEPENDS_ON_LENGTH and not space.early_terminate and not space.report_test
        without = {**own.to_dict(), "num_epochs": 0 if shareable else own.num_epochs}
        name = json.dumps([without, None if shareable else trial.number], sort_keys=True)
        shared, members = groups.setdefault(name, (own, []))
        members.append(trial)
        shared.num_epochs = max(shared.num_epochs, own.num_epochs)
    return list(groups.values())


def _members(config: ConfigDict) -> list[Member]:
    """A lane for each of the config's seeds."""
    members = []
    for seed in range(config.seed, config.seed + config.seeds):
        own = ConfigDict({**config.to_dict(), "seed": seed, "seeds": 1})
        members.append(Member(own))
    return members


def _history(space: Space, members: Sequence[Member]) -> list[float]:
    """The metric after each epoch, its mean over the seeds; NaN where a lane has no such number."""
    columns = zip(*([record[space.metric] for record in member.records] for member in members), strict=False)
    return [mean(math.nan if value is None else value for value in column) for column in columns]


def _outcome(space: Space, members: Sequence[Member], config: ConfigDict, pruned: bool) -> Outcome:
    """The trial's metric is the best of its epochs; the other figures are of the epoch that validation chose."""
    members = [member._replace(records=member.records[: config.num_epochs]) for member in members]
    history = _history(space, members)
    if any(member.diverged for member in members) or not history:
        return Outcome(math.nan, False, [], {"num_epochs": len(history)})
    value = max(history) if space.goal == "maximize" else min(history)
    chosen = [_chosen(member) for member in members]
    names = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")
    result: dict[str, Any] = {"num_epochs": len(history), "best_epoch": chosen[0]["epoch"]}
    result |= {name: mean(row[name] for row in chosen) for name in names if chosen[0][name] is not None}
    result["seconds"] = sum(record["seconds"] for member in members for record in member.records)
    return Outcome(value, pruned, history, result)


def _chosen(member: Member) -> dict[str, Any]:
    """The record of the highest validation accuracy, the first on ties; the last without validation."""
    if member.records[0]["val/accuracy"] is None:
        return member.records[-1]
    return max(member.records, key=lambda record: (record["val/accuracy"], -record["epoch"]))


def _with_test(outcome: Outcome, member: Member, dataset: Dataset, test: Any) -> Outcome:
    assert member.lane is not None
    inputs, classes = dataset.train_images.shape[1], len(dataset.class_names)
    static, _ = split_config(member.config, inputs, classes, len(dataset.train_labels))
    images, labels = test
    accuracy = evaluate_on(static, member.lane.best.params, images, labels, dataset.scale).accuracy
    return Outcome(outcome.value, outcome.pruned, outcome.history, outcome.result, accuracy)


def _track(config: ConfigDict, folder: Path, trial: Trial, member: Member) -> None:
    if config.tracker == "none":
        return
    fields = json.loads(configs.to_json(member.config))
    tracker = open_tracker(config.tracker, fields, folder, trial.name, group=folder.name)
    for record in member.records:
        tracker.log(record, record["epoch"])
    tracker.finish({})


def _best_text(study: Study) -> str:
    best = study.best()
    return f"best {study.space.metric} {best['metric']:.4f} {best['name']}" if best else ""


def _write_views(config: ConfigDict, study: Study, folder: Path) -> dict[str, Any] | None:
    """trials.jsonl and best.json from the study."""
    tests = study.test_accuracies()
    rows = study.trials()
    for row in rows:
        if row["number"] in tests:
            row["test/accuracy"] = tests[row["number"]]
    contents = {"trials.jsonl": workdir.jsonl_bytes(rows)}
    best = study.best()
    if best is not None:
        own = trial_config(config, best["config"])
        best = {**best, "config": json.loads(configs.to_json(own))}
        contents["best.json"] = workdir.json_bytes(best)
    for name, content in contents.items():
        workdir.write_bytes(folder / name, content)
    return best


def _draw(study: Study, folder: Path, defaults: ConfigDict) -> None:
    from mlp_jax.reports.sweep import write_sweep_plots, write_sweep_report

    importance = study.importance()
    write_sweep_plots(folder, importance)
    write_sweep_report(folder, json.loads(configs.to_json(defaults)), importance)


def _result(space: Space, best: dict[str, Any] | None) -> str:
    if best is None:
        return "no trial has finished"
    return f"best {space.metric} {best['metric']:.4f} with {best['name']}; details in report.html"


def best(config: ConfigDict, folder: Path, output: str = "") -> dict[str, Any]:
    """Trains the sweep's best configuration on train + validation and tests it once; returns the run's summary.

    It trains for the epochs that validation chose; in full where the schedule depends on the length of the run.
    """
    path = folder / "best.json"
    if not path.exists():
        raise UserError(f"--workdir: {str(folder)!r} holds no finished sweep: it has no best.json")
    found = workdir.read_json(path)
    try:
        fields, best_epoch = dict(found["config"]), int(found["best_epoch"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not as a sweep wrote it: {error!r}") from error
    final = configs.complete(fields)
    final.val_fraction = 0.0
    final.early_stopping = 0
    if final.schedule not in DEPENDS_ON_LENGTH:
        final.num_epochs = best_epoch
    final.data_dir, final.resume = config.data_dir, config.resume
    configs.validate(final)
    return experiment.run(final, Path(output) if output else folder / "best")
