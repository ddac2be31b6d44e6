"""A run: data, training, log, checkpoints, one look at the test set, pictures. Mathematics meets the world here."""

import json
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from mlp_jax.augment import DISTORTIONS
from mlp_jax.data.arrays import Dataset
from mlp_jax.data.datasets import check_mirrored, load, load_test, split
from mlp_jax.errors import Diverged, UserError
from mlp_jax.files import workdir
from mlp_jax.files.progress import epoch_text, progress
from mlp_jax.files.tracking import check_installed, open_tracker
from mlp_jax.lanes.compile import Compiler
from mlp_jax.lanes.divergence import explain
from mlp_jax.lanes.evaluation import Tested, evaluate_on
from mlp_jax.lanes.fit import Event, NotFinite, Record, Task, class_weights, fit, make_task, place_dataset, place_lane
from mlp_jax.lanes.placement import Placement, fetch, placements
from mlp_jax.metrics import chosen
from mlp_jax.reports import run as report
from mlp_jax.runs import cluster, resume, runtime
from mlp_jax.runs.config import FILE, changed_fields, checked, complete, fingerprint, from_json, to_json, write
from mlp_jax.runs.resume import CARD, CHECKPOINTS
from mlp_jax.runs.seeds import mean_records, summarize, train_seeds
from mlp_jax.runs.signals import interrupted, interruptible, signals
from mlp_jax.training import Lane, host_generator, make_keys

SUMMARY = "summary.json"
SHOWN = (SUMMARY, "metrics.jsonl", "evaluation.json")  # what a finished run has, made from its last checkpoint


def run(config: ConfigDict, folder: Path, dataset: Dataset | None = None) -> dict[str, Any]:
    """Trains what `config` says in the workdir `folder`, or goes on where it was; returns the summary.

    A finished run is left as it is. `dataset` is the run's data where they are loaded already. Raises `Diverged` (exit
    status 1) when a loss is not finite and `Interrupted` after a signal, both with the checkpoint on disk that a resume
    starts from.
    """
    config = checked(config)
    if dataset is not None:
        resume.check(config, folder, dataset)
    summary = _finished(config, folder)
    view = f"{summary is not None} {fingerprint(config)} {config.mesh}"
    cluster.agree("their config or their view of the workdir", view)
    if summary is not None:
        try:
            print(f"{folder} is finished: {_result(summary)}; see {folder / 'report.html'}")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{folder / SUMMARY}: not as a run wrote it: {error!r}") from error
        return summary
    first = jax.process_index() == 0
    # Before the folder is made: an error leaves nothing behind. Of several processes the first downloads.
    if not first:
        cluster.together("the data is there")
    if dataset is None:
        dataset = load_for(config, folder)
        resume.check(config, folder, dataset)
    if first:
        cluster.together("the data is there")
    cluster.agree("their data", dataset.fingerprint)
    check_against(config, dataset)
    if first:
        workdir.create(folder)
    with workdir.lock(folder) if first else nullcontext():
        if first:
            _begin(config, folder, dataset)
        cluster.together("the workdir is there")
        runtime.announce(folder)
        summary = _train_and_test(config, folder, dataset)
    if first:
        hint = report.hint_at_chance(
            config.to_dict(), workdir.read_lines(folder / "metrics.jsonl"), len(dataset.class_names)
        )
        if hint:
            print(f"{folder}: {hint}", file=sys.stderr)
        print(f"{folder}: {_result(summary)}; see {folder / 'report.html'}")
    return summary


def _begin(config: ConfigDict, folder: Path, dataset: Dataset) -> None:
    # What a resume reads goes first or last, so that a crash between two of these lines loses nothing.
    (folder / SUMMARY).unlink(missing_ok=True)
    if config.resume == "never":
        for name in (CHECKPOINTS, "seeds"):
            shutil.rmtree(folder / name, ignore_errors=True)
    write(config, folder)
    resume.write_card(folder, dataset)


def _finished(config: ConfigDict, folder: Path) -> dict[str, Any] | None:
    """The summary of a run that has come to its end under this config, its last checkpoint whole; else None."""
    if config.resume == "never" or not all((folder / name).exists() for name in SHOWN):
        return None
    if changed_fields(from_json(folder / FILE), config):
        return None
    # A seed that diverged has no folder.
    several = [path for n in range(config.seeds) if (path := folder / "seeds" / str(config.seed + n)).exists()]
    try:
        summary = workdir.read_if_there(folder / SUMMARY)
        return summary if all(map(resume.last_is_whole, several if config.seeds > 1 else [folder])) else None
    except UserError as error:
        print(f"{error}; made again from the last checkpoint", file=sys.stderr)
        return None


def load_for(config: ConfigDict, folder: Path) -> Dataset:
    """The data of a run; one that is resumed keeps the data it began with, a fallback included."""
    kept = (folder / CARD).exists() and config.resume != "never"
    name = resume.read_card(folder)["dataset"] if kept else config.dataset
    return load(name, config.data_dir, config.fallback_dataset if name == config.dataset else "")


def check_against(config: ConfigDict, dataset: Dataset) -> None:
    """Raises UserError for what only data and machine can tell: an empty side of the split, an absent tracker."""
    check_installed(config.tracker)
    distortion = next((name for name in DISTORTIONS if config[f"augment_{name}"]), None)
    if distortion and not (len(dataset.image_shape) == 2 and dataset.train_images.dtype == np.uint8):
        given = config[f"augment_{distortion}"]
        raise UserError(
            f"augment_{distortion}: {given} is for grey pictures; {dataset.name} has features; allowed is 0"
        )
    train, _ = split(dataset.train_labels, config.val_fraction, config.stratified, np.random.default_rng(0))
    class_weights(config, dataset, train)
    placements(config.mesh)
    if config.augment_flip:
        check_mirrored(dataset.name)


class _Trained(NamedTuple):
    task: Task
    lane: Lane
    records: list[Record]
    compile_seconds: float


def _train_and_test(config: ConfigDict, folder: Path, dataset: Dataset) -> dict[str, Any]:
    first = jax.process_index() == 0
    machine = runtime.describe()  # not at the end, when the checkout may be at another commit
    tracker = open_tracker(config.tracker if first else "none", json.loads(to_json(config)), folder, folder.name)
    if config.seeds > 1:
        with interruptible(folder):
            members, population = train_seeds(config, folder, dataset)
        records, compile_seconds = mean_records(members), population.compiler.seconds
        for record in records:
            tracker.log(record, record["epoch"])
        lanes = [member.lane for member in members if member.lane is not None]
        task = make_task(members[0].config, dataset, *population.first_place)
    else:
        members = []
        task, lane, records, compile_seconds = _train(
            config, folder, dataset, placements(config.mesh, batch=config.batch_size)[0], tracker
        )
        lanes = [lane]
    if not first:
        return {}
    workdir.write_jsonl(folder / "metrics.jsonl", records)  # on the disk, as appended lines may not be yet
    images, labels = load_test(dataset)
    part, params = "test", [jax.device_get(lane.best.params) for lane in lanes]
    tests = [evaluate_on(task.static, each, images, labels, dataset.scale) for each in params] if len(labels) else []
    summary = {
        "dataset": dataset.name,
        **(summarize(members, tests, labels) if members else run_figures(lanes[0], records, tests)),
        "compile_seconds": compile_seconds,
        **machine,
    }
    if not tests:  # what it gets wrong is worth a look all the same
        part = "validation" if config.val_fraction else "train"
        images, labels = rows_of(part, task.config, dataset)
        tests = [evaluate_on(task.static, params[0], images, labels, dataset.scale)]
    write_evaluation(folder / "evaluation.json", part, dataset, tests[0], images, labels)
    report.write_run_plots(folder)
    tracker.finish(summary, folder)
    # The report needs the summary, whose file marks the run as finished and so is written last of all.
    report.write_run_report(folder, json.loads(to_json(complete({}))), summary)
    workdir.write_json(folder / SUMMARY, summary)
    return summary


def rows_of(part: str, config: ConfigDict, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of test, of validation (the rows that a run of this config holds out) or of train (the rest).

    Raises UserError where there are none.
    """
    if part == "test":
        images, labels = load_test(dataset)
        why, allowed = f"{dataset.name} has no test set", "validation, train"
    else:
        generator = host_generator(make_keys(config.seed).split)
        train, held_out = split(dataset.train_labels, config.val_fraction, config.stratified, generator)
        chosen = train if part == "train" else held_out
        images, labels = dataset.train_images[chosen], dataset.train_labels[chosen]
        why, allowed = "the run has val_fraction=0", "test, train"
    if not len(labels):
        raise UserError(f"evaluate_split: {part!r} is empty, since {why}; allowed: {allowed}")
    return images, labels


def write_evaluation(path: Path, part: str, dataset: Dataset, tested: Tested, images: Any, labels: Any) -> None:
    """evaluation.json: figures, confusion matrix, samples and the most confident mistakes with their pixels."""
    probabilities, train_images = tested.probabilities, dataset.train_images
    if train_images.dtype != np.uint8 and dataset.image_shape:
        low, high = train_images.min(), train_images.max()
        images, train_images = (_as_pixels(each, low, high) for each in (images, train_images))
    content = report.evaluation(
        part,
        dataset.class_names,
        dataset.image_shape,
        tested.confusion,
        {name: getattr(tested.scores, name) for name in ("precision", "recall", "f1")},
        report.Predictions(images, labels, probabilities.argmax(axis=-1), probabilities.max(axis=-1)),
        (train_images, dataset.train_labels),
    )
    figures = {"dataset": dataset.name, "count": len(labels), "loss": tested.loss, "accuracy": tested.accuracy}
    workdir.write_json(path, {**figures, **content})


def _as_pixels(images: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.rint(255 * ((images - low) / ((high - low) or 1)).clip(0, 1)).astype(np.uint8)


def run_figures(lane: Lane, records: Sequence[Record], tests: Sequence[Tested]) -> dict[str, Any]:
    """What a summary says of one network: the epoch that validation chose, its accuracy, the test, the seconds."""
    return {
        "best_epoch": int(lane.best.epoch),
        "val/accuracy": chosen(records)["val/accuracy"],
        "test/loss": tests[0].loss if tests else None,
        "test/accuracy": tests[0].accuracy if tests else None,
        "seconds": sum(record["seconds"] for record in records),
    }


def _train(config: ConfigDict, folder: Path, dataset: Dataset, placement: Placement, tracker: Any) -> _Trained:
    """Trains one network from its last checkpoint, or from the start, logging and saving on the way."""
    data = place_dataset(dataset, placement)
    task = make_task(config, dataset, data, placement)
    saved = _restore(task, folder, dataset)
    cluster.agree("the checkpoint they go on from", str(saved and saved.lane.state.step))
    first = jax.process_index() == 0
    records = saved.records if saved else []
    metrics = folder / "metrics.jsonl"
    if first:
        workdir.write_jsonl(metrics, records)
        if records:
            print(f"{folder}: goes on after epoch {records[-1]['epoch']}", file=sys.stderr)
        if saved and saved.threads != runtime.usable_cores():
            line = f"{folder}: goes on with {runtime.usable_cores()} usable cores, begun with {saved.threads}:"
            print(f"{line} the numbers are equal to rounding, perhaps not bit for bit", file=sys.stderr)
    compiler = Compiler()
    program = compiler(task)
    lane = place_lane(saved.lane, placement) if saved else program.init(task.hparams, task.keys)
    event, last_save = Event(lane), time.monotonic()
    with progress(config.num_epochs, "epochs") as show, signals() as stopped:
        try:
            for event in fit(task, program, lane, saved.seconds if saved else 0.0):
                if event.record is not None:
                    records.append(event.record)
                    if first:
                        workdir.append_jsonl(metrics, event.record)
                    tracker.log(event.record, event.record["epoch"])
                    show(event.record["epoch"], epoch_text(event.record))
                stop, due = _decide(bool(stopped), time.monotonic() - last_save >= config.checkpoint_seconds)
                if stop or due:
                    _save(event, records, folder, config, dataset)
                    last_save = time.monotonic()
                if stop:
                    raise interrupted(stopped[0] if stopped else "another process", folder)
        except NotFinite as bad:
            if first:
                workdir.append_jsonl(metrics, bad.record)
            good = _restore(task, folder, dataset)
            raise Diverged(explain(task, program, good.lane if good else None, bad.step)) from None
    if saved is None or saved.lane.state.step != int(event.lane.state.step):
        _save(event, records, folder, config, dataset)
    return _Trained(task, fetch(event.lane), records, compiler.seconds)


def _save(event: Event, records: list[Record], folder: Path, config: ConfigDict, dataset: Dataset) -> None:
    """A checkpoint of the lane, unless a number in it is not finite: then the last good one stays the newest."""
    lane = fetch(event.lane)
    finite = lane.sums.first_bad < 0 and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(lane.state.params))
    if finite and jax.process_index() == 0:
        seconds, threads = event.seconds, runtime.usable_cores()
        resume.keep(folder, lane, records, config, dataset, seconds=seconds, threads=threads)
    cluster.together("the checkpoint is written")


def _restore(task: Task, folder: Path, dataset: Dataset) -> resume.Kept | None:
    compared = resume.prints(task.config, dataset.fingerprint)
    warn = None if jax.process_index() == 0 else lambda line: None
    return resume.restore(folder, (task.static, task.hparams), task.config.seed, compared, warn)


def _decide(stopped: bool, due: bool) -> tuple[bool, bool]:
    """Whether to stop, as any of several processes was told to, and whether to save, as the first's clock says."""
    if jax.process_count() == 1:
        return stopped, due
    said = cluster.of_all([stopped, due])
    return bool(said[:, 0].any()), bool(said[0, 1])


def _result(summary: dict[str, Any]) -> str:
    several = "seeds" in summary
    parts = [summary["dataset"], *([f"mean ± sd of {len(summary['seeds'])} seeds"] if several else [])]

    def figure(name: str) -> str:
        return f"{summary[name]:.2%}" + (f" ± {summary[f'{name}/sd']:.2%}" if several else "")

    if summary["val/accuracy"] is not None:
        at = "" if several else f" at epoch {summary['best_epoch']}"  # every seed has its own
        parts.append(f"validation {figure('val/accuracy')}{at}")
    if summary["test/accuracy"] is not None:
        parts.append(f"test {figure('test/accuracy')}")
    return ", ".join(parts) + f" ({summary['seconds']:.1f} s of training)"
