"""A sweep: asks the study for trials, trains them as a population, tells what came of each."""

import json
import math
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean, mean
from typing import Any

from ml_collections import ConfigDict

from mlp_jax.data.arrays import Dataset
from mlp_jax.data.datasets import load_test
from mlp_jax.errors import Interrupted, UserError, import_extra
from mlp_jax.files import workdir
from mlp_jax.files.progress import among, progress
from mlp_jax.files.tracking import log_run
from mlp_jax.lanes.compile import Compiler
from mlp_jax.lanes.evaluation import evaluate_on
from mlp_jax.lanes.population import Member, Population, Watch
from mlp_jax.metrics import chosen
from mlp_jax.runs import resume
from mlp_jax.runs.config import EXTRAS, check, check_lanes, checked, complete, fingerprint, to_json, validate, write
from mlp_jax.runs.run import check_against, load_for
from mlp_jax.runs.run import run as train_run
from mlp_jax.runs.runtime import announce, describe
from mlp_jax.runs.seeds import each_seed
from mlp_jax.runs.signals import interruptible
from mlp_jax.schedules import DEPENDS_ON_LENGTH
from mlp_jax.sweeps.dialect import parse, to_yaml
from mlp_jax.sweeps.samplers import Trial
from mlp_jax.sweeps.space import Space
from mlp_jax.sweeps.study import Outcome, Study, open_study

TELL_SECONDS = 2.0  # trials that have ended are told together, at most this late of a small study,
ROWS = 1000  # and later by as much for each so many trials, up to ten times, since all are written anew
MOST_TRIALS = 1 << 14  # asked for at once, where nothing is learnt between batches and one program trains them all
WAIT_SECONDS = 2.0  # between two looks for trials that another worker may leave behind


def run(config: ConfigDict, folder: Path, dataset: Dataset | None = None) -> dict[str, Any] | None:
    """Searches what `config.sweep` says in the workdir `folder`, or goes on with it; returns best.json's content.

    The study is `folder/study.journal`, or in `config.storage`, which several workers may share. All other files of
    the folder are views of it. The test set is read only with `sweep.report_test`. `dataset` is what is trained on,
    where it is loaded already.
    """
    for package in ("optuna", "sqlalchemy", "sklearn"):  # the last is what Optuna's importance needs, at the end
        import_extra(package, "a sweep", "sweep")
    config = checked(config)
    space = parse(config.sweep.to_dict(), config, check)
    _check_lanes(config, space)
    dataset = dataset or load_for(config, folder)
    resume.check(config, folder, dataset)
    check_against(config, dataset)
    if space.report_test and not len(load_test(dataset)[1]):
        raise UserError(f"sweep.report_test: True asks for a test set, which {dataset.name} has not; allowed is False")
    if config.storage:
        from mlp_jax.sweeps.journal import check_url  # with Optuna, which is slow to import

        check_url(config.storage)
    workdir.create(folder)
    with workdir.lock(folder):
        write(config, folder)
        resume.write_card(folder, dataset)
        workdir.write_bytes(folder / "sweep.yaml", to_yaml(space, config, complete({})).encode())
        plain = fingerprint(trial_config(config, {})) + dataset.fingerprint
        study = open_study(space, folder, config.storage, config.seed, plain)
        try:
            _search(config, study, dataset, folder)
            best = _write_views(config, study, folder)
            _draw(study, folder)
        finally:
            study.close()
    ended = f"{_best_text(study)}{_stopped_text(study)}; see {folder / 'report.html'}"
    print(f"{folder}: {ended if best else 'no trial has finished'}")
    return best


def trial_config(config: ConfigDict, overrides: dict[str, Any]) -> ConfigDict:
    """The config of one trial: the sweep's own without what makes it a sweep, with the trial's fields."""
    fields = {name: value for name, value in config.to_dict().items() if name not in EXTRAS}
    return ConfigDict({**fields, **overrides})


def _search(config: ConfigDict, study: Study, dataset: Dataset, folder: Path) -> None:
    population = Population(dataset, config.mesh, lanes=config.lanes)
    batches = _batches(config, study) if population.mixed else 1
    summary = _Summary(folder, population.compiler)
    test = load_test(dataset) if study.space.report_test else None
    before, last = len(study.trials()), time.monotonic()
    done, work, did = before, dict[int, float](), 0.0  # what each trial begun here costs, and what has been done of it
    waiting: list[tuple[Trial, Outcome]] = []
    best = _best_so_far(study)

    def tell() -> None:
        nonlocal best
        if waiting:
            study.tell(waiting)
            waiting.clear()
            _write_views(config, study, folder)
            summary.write(len(study.trials()))
            best = _best_so_far(study)

    with progress(study.space.cap or math.inf, "trials") as show, interruptible(folder):
        left = None

        def watch(record: dict[str, Any]) -> None:
            show(done, among(best, record), left)

        try:
            while not study.finished():
                trials = study.ask(batches)
                if trials and not work:
                    announce(folder)
                work |= {trial.number: _work(config, study.space, trial, dataset) for trial in trials}
                if not trials and not study.finished():
                    time.sleep(WAIT_SECONDS)
                with closing(_train(config, study, population, trials, watch)) as ended:
                    for trial, outcome, member in ended:
                        if test is not None and member is not None and math.isfinite(outcome.value):
                            outcome = replace(outcome, test_accuracy=_test_accuracy(population, member, test))
                        waiting.append((trial, outcome))
                        done, did = done + 1, did + work[trial.number]
                        if member is not None:
                            name = study.space.trial_name(trial.number, trial.params)
                            log_run(member.config.to_dict(), member.records, folder, name)
                        if time.monotonic() - last >= TELL_SECONDS * min(1 + done / ROWS, 10):
                            tell()
                            last = time.monotonic()
                        left = _left(study.space.cap, before, list(work.values()), did)
                        show(done, best, left)
                tell()
        except Interrupted:
            tell()
            raise


def _batches(config: ConfigDict, study: Study) -> int:
    """Batches trained together by one program: more than one where no trial waits for what earlier ones have shown."""
    space = study.space
    learns = space.method == "bayes" or space.early_terminate or space.target is not None
    return 1 if learns or config.storage else max(1, MOST_TRIALS // study.size)


def _check_lanes(config: ConfigDict, space: Space) -> None:
    """Raises a UserError where lanes='mixed' cannot mix what some trial would be."""
    ends = {field: values.choices or (values.low, values.high) for field, values in space.parameters.items()}
    first = {field: values[0] for field, values in ends.items()}
    for field, values in ends.items() if config.lanes == "mixed" else ():
        for value in values:
            check_lanes(trial_config(config, space.overrides({**first, field: value})))


class _Summary:
    """summary.json: what the sweep took on this worker, over all its starts."""

    def __init__(self, folder: Path, compiler: Compiler) -> None:
        self._path, self._compiler, self._start = folder / "summary.json", compiler, time.perf_counter()
        self._before = workdir.read_if_there(self._path) or {}
        self._machine = describe()

    def write(self, trials: int) -> None:
        """`trials` have ended so far in the whole study."""
        now = {
            "seconds": time.perf_counter() - self._start,
            "compile_seconds": self._compiler.seconds,
            "programs": self._compiler.programs,
        }
        sums = {name: value + self._before.get(name, 0) for name, value in now.items()}
        workdir.write_json(self._path, {"trials": trials, **sums, **self._machine})


def _work(config: ConfigDict, space: Space, trial: Trial, dataset: Dataset) -> float:
    """What a trial costs, in multiply-adds of a forward pass; a step costs a million of them beside (measured)."""
    own = space.overrides(trial.params)
    hidden, batch, seeds, epochs = (
        own.get(name, config[name]) for name in ("hidden_sizes", "batch_size", "seeds", "num_epochs")
    )
    inputs, classes, examples = dataset.train_images.shape[1], len(dataset.class_names), len(dataset.train_labels)
    weights, batch = sum(a * b for a, b in pairwise((inputs, *hidden, classes))), batch or examples
    return float(seeds * epochs * (examples / batch) * (1e6 + weights * (batch + 5)))


def _left(cap: int | None, before: int, works: Sequence[float], did: float) -> float | None:
    """The share of a sweep's work that is left; trials that have not been proposed cost what the others do.

    `before` trials had ended when this process began, `works` are those it began since, of which it `did` so much.
    """
    if cap is None or cap <= before:
        return None
    return (1 - before / cap) * max(0.0, 1 - did / (fmean(works) * (cap - before)))


@dataclass(eq=False)
class Training:
    """Trials that share a training, as they differ in num_epochs at most, and its lanes, one a seed."""

    trials: list[Trial]
    members: list[Member]


def _train(
    config: ConfigDict, study: Study, population: Population, trials: Sequence[Trial], watch: Watch
) -> Generator[tuple[Trial, Outcome, Member | None]]:
    """Each trial as it ends, with its outcome and, where it had one to itself, its lane.

    With early_terminate all train to the next bracket, then it is decided on all of them.
    """
    space, early = study.space, study.space.early_terminate
    active = _trainings(config, space, trials)
    histories: dict[int, list[float]] = {}
    for until in (*(early.brackets if early else ()), None):
        lanes = [(training, seed) for training in active for seed in range(len(training.members))]
        left = {training: len(training.members) for training in active}
        for index, member in population.train([training.members[seed] for training, seed in lanes], until, watch):
            training, seed = lanes[index]
            training.members[seed] = member
            left[training] -= 1
            if left[training]:
                continue
            if early:
                histories[training.trials[0].number] = _history(space.metric, training.members)
            diverged = any(member.diverged for member in training.members)
            if until is None or until >= member.config.num_epochs or diverged:
                active.remove(training)
                yield from _ended(config, space, training)
        stopped = study.to_stop(until, histories) if until else set()
        for training in [training for training in active if training.trials[0].number in stopped]:
            active.remove(training)
            yield from _ended(config, space, training, pruned=True)


def _ended(
    config: ConfigDict, space: Space, training: Training, pruned: bool = False
) -> Iterator[tuple[Trial, Outcome, Member | None]]:
    """What came of each trial of a training."""
    for trial in training.trials:
        epochs = space.overrides(trial.params).get("num_epochs", config.num_epochs)
        alone = training.members[0] if len(training.trials) == 1 else None
        yield trial, _outcome(space, training.members, epochs, pruned), alone
    training.members = []  # frees the parameters


def _trainings(config: ConfigDict, space: Space, trials: Sequence[Trial]) -> list[Training]:
    """Trials that differ in num_epochs alone share a training where no number depends on how long it is to be.

    A trial that may be stopped early or is to be tested on its own parameters has a training of its own.
    """
    shared: dict[str, tuple[ConfigDict, list[Trial]]] = {}
    for trial in trials:
        own = trial_config(config, space.overrides(trial.params))
        shareable = own.schedule not in DEPENDS_ON_LENGTH and not space.early_terminate and not space.report_test
        same = own.to_dict() | ({"num_epochs": 0} if shareable else {"trial": trial.number})
        longest, sharers = shared.setdefault(json.dumps(same, sort_keys=True), (own, []))
        longest.num_epochs = max(longest.num_epochs, own.num_epochs)
        sharers.append(trial)
    return [Training(sharers, [Member(own) for own in each_seed(longest)]) for longest, sharers in shared.values()]


def _history(name: str, members: Sequence[Member]) -> list[float]:
    """A logged number after each epoch, its mean over the seeds; NaN where a lane has no such number.

    It ends before the epoch in which a lane diverged.
    """
    sound = [member.records[: -1 if member.diverged else None] for member in members]
    columns = zip(*([record[name] for record in records] for records in sound), strict=False)
    return [mean(math.nan if value is None else value for value in column) for column in columns]


def _outcome(space: Space, members: Sequence[Member], num_epochs: int, pruned: bool) -> Outcome:
    """The trial's metric is the best of its epochs; the other figures are of the epoch that validation chose.

    `curve` is the validation accuracy after each epoch, or the metric itself where that is a loss.
    """
    members = [
        member._replace(
            records=member.records[:num_epochs], diverged=member.diverged and len(member.records) <= num_epochs
        )
        for member in members
    ]
    history = _history(space.metric, members)
    validated = space.metric.endswith("accuracy") and members[0].config.val_fraction > 0
    curve = _history("val/accuracy", members) if validated else history
    if any(member.diverged for member in members):
        epochs = min(len(member.records) for member in members)
        return Outcome(math.nan, False, history, {"num_epochs": epochs, "curve": curve})
    best = [chosen(member.records) for member in members]
    names = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")
    result: dict[str, Any] = {"num_epochs": len(history), "best_epoch": best[0]["epoch"], "curve": curve}
    result |= {name: mean(row[name] for row in best) for name in names if best[0][name] is not None}
    result["seconds"] = sum(record["seconds"] for member in members for record in member.records)
    return Outcome(max(history) if space.goal == "maximize" else min(history), pruned, history, result)


def _test_accuracy(population: Population, member: Member, test: Any) -> float:
    assert member.lane is not None
    images, labels = test
    static, scale = population.static(member.config), population.dataset.scale
    return evaluate_on(static, member.lane.best.params, images, labels, scale).accuracy


def _best_so_far(study: Study) -> str:
    """As short as the live line needs it."""
    best = study.best()
    return f"best {study.space.metric} {best['metric']:.4f}, trial {best['number']}" if best else ""


def _best_text(study: Study) -> str:
    best = study.best()
    return f"best {study.space.metric} {best['metric']:.4f} with {best['name']}" if best else ""


def _stopped_text(study: Study) -> str:
    """How many trials early_terminate stopped, where it was asked for."""
    rows = study.trials()
    stopped = sum(row["status"] == "pruned" for row in rows)
    return f"; {stopped} of {len(rows)} trials stopped early" if study.space.early_terminate else ""


def _write_views(config: ConfigDict, study: Study, folder: Path) -> dict[str, Any] | None:
    """Writes trials.jsonl and best.json as the study has them; returns the content of best.json."""
    tests = study.test_accuracies()
    rows = study.trials()
    for row in rows:
        if row["number"] in tests:
            row["test/accuracy"] = tests[row["number"]]
    workdir.write_jsonl(folder / "trials.jsonl", rows)
    best = study.best()
    if best is not None:
        best["config"] = json.loads(to_json(trial_config(config, best["config"])))
        workdir.write_json(folder / "best.json", best)
    return best


def _draw(study: Study, folder: Path) -> None:
    from mlp_jax.reports.sweep import IMPORTANCE, write_sweep_plots  # with matplotlib, which is slow to import

    importance = study.importance()
    write_sweep_plots(folder, importance)
    workdir.write_json(folder / IMPORTANCE, importance)
    _write_page(folder)


def _write_page(folder: Path) -> None:
    """report.html from the files in the folder."""
    from mlp_jax.reports.sweep import IMPORTANCE, write_sweep_report

    importance = workdir.read_if_there(folder / IMPORTANCE)
    write_sweep_report(folder, json.loads(to_json(complete({}))), importance)


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
    final = complete(fields)
    final.val_fraction = 0.0
    final.early_stopping = 0
    if final.schedule not in DEPENDS_ON_LENGTH:
        final.num_epochs = best_epoch
    final.data_dir, final.resume = config.data_dir, config.resume
    validate(final)
    place = Path(output) if output else folder / "best"
    summary = train_run(final, place)
    if place == folder / "best":
        _write_page(folder)  # which leads to the page of this run
    return summary
