"""A run: data, training, log, checkpoints, one look at the test set, pictures. Mathematics meets the world here."""

import json
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from mlp_jax.runs import card
from mlp_jax.files import checkpoint
from mlp_jax.runs import cluster as processes
from mlp_jax.reports import run as report
from mlp_jax.runs import runtime
from mlp_jax.files import workdir
from mlp_jax.runs.config import changed_fields, complete, fingerprint, from_json, to_json
from mlp_jax.data.datasets import Dataset, check_mirrored, load, load_test, split
from mlp_jax.lanes.divergence import explain
from mlp_jax.errors import Diverged, Interrupted, UserError
from mlp_jax.lanes.evaluation import Tested, evaluate_on
from mlp_jax.lanes.fit import Compiler, Event, NotFinite, Record, Task, fit, make_task, place_data, place_lane
from mlp_jax.files.progress import describe, progress
from mlp_jax.runs.seeds import mean_records, records_of, seconds_of, summarize, train_seeds
from mlp_jax.lanes.placement import Placement, fetch, placements
from mlp_jax.files.tracking import open_tracker
from mlp_jax.training import Lane, init_lane

SEALED_AT_THE_END = ("metrics.jsonl", "evaluation.json", "summary.json")


def run(config: ConfigDict, folder: Path) -> dict[str, Any]:
    """Trains what `config` says in the workdir `folder`, or goes on where it was; returns the summary.

    A finished run is left as it is. Raises `Diverged` (exit status 1) when a loss is not finite and `Interrupted`
    after a signal, both with the checkpoint on disk that a resume starts from.
    """
    finished = _is_finished(config, folder)
    processes.agree("their config or their view of the workdir", f"{finished} {fingerprint(config)} {config.mesh}")
    if finished:
        summary = workdir.read_json(folder / "summary.json")
        try:
            print(f"{folder} is finished: {_result(summary)}")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{folder / 'summary.json'}: not as a run wrote it: {error!r}") from error
        return summary
    first = jax.process_index() == 0
    # Before the folder is made: an error leaves nothing behind. Of several processes the first downloads.
    if not first:
        processes.together("the data is there")
    dataset = load_for(config, folder)
    if first:
        processes.together("the data is there")
    processes.agree("their data", dataset.fingerprint)
    check_against(config, dataset)
    if first:
        workdir.create(folder)
    with workdir.lock(folder) if first else nullcontext():
        if first:
            _begin(config, folder, dataset)
        processes.together("the workdir is there")
        runtime.announce(folder)
        summary = _train_and_test(config, folder, dataset)
    if first:
        print(f"{folder}: {_result(summary)}")
    return summary


def _begin(config: ConfigDict, folder: Path, dataset: Dataset) -> None:
    # What a resume reads goes first or last, so that a crash between two of these lines loses nothing.
    (folder / "summary.json").unlink(missing_ok=True)
    if config.resume == "never":
        (folder / workdir.SUMS).unlink(missing_ok=True)
        for name in ("checkpoints", "seeds"):
            shutil.rmtree(folder / name, ignore_errors=True)
    workdir.seal(folder, dict.fromkeys(SEALED_AT_THE_END))
    workdir.write_sealed(folder / "config.json", to_json(config).encode())
    card.write(folder, dataset)


def _is_as_sealed(path: Path) -> bool:
    try:
        return workdir.is_as_sealed(path, workdir.read_bytes(path))
    except OSError:
        return False


def _is_finished(config: ConfigDict, folder: Path) -> bool:
    if config.resume == "never" or not (folder / "summary.json").exists():
        return False
    if changed_fields(from_json(folder / "config.json"), config):
        return False
    for path in (folder / name for name in SEALED_AT_THE_END):
        if not _is_as_sealed(path):
            print(f"{path}: is missing or damaged: made again from the last checkpoint", file=sys.stderr)
            return False
    # A seed that diverged has none.
    several = (folder / "seeds" / str(seed) for seed in range(config.seed, config.seed + config.seeds))
    kept = [path for path in several if path.exists()] if config.seeds > 1 else [folder]
    return all(checkpoint.newest_is_whole(path / "checkpoints") for path in kept)


def load_for(config: ConfigDict, folder: Path) -> Dataset:
    """The data of a run; one that is resumed keeps the data it began with, a fallback included."""
    kept = (folder / card.FILE).exists() and config.resume != "never"
    name = card.read(folder)["dataset"] if kept else config.dataset
    return load(name, config.data_dir, config.fallback_dataset if name == config.dataset else "")


def check_against(config: ConfigDict, dataset: Dataset) -> None:
    """Raises UserError for what only data and devices can tell: an empty side of the split, digits to be mirrored."""
    split(dataset.train_labels, config.val_fraction, config.stratified, np.random.default_rng(0))
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
    tracker = open_tracker(config.tracker if first else "none", json.loads(to_json(config)), folder, folder.name)
    if config.seeds > 1:
        with interruptible(folder):
            members, population = train_seeds(config, folder, dataset)
        records, compile_seconds = mean_records(members), population.compiler.seconds
        workdir.write_jsonl(folder / "metrics.jsonl", records)
        for record in records:
            tracker.log(record, record["epoch"])
        lanes = [member.lane for member in members if member.lane is not None]
        task = make_task(members[0].config, dataset, *population.first_place)
    else:
        members = []
        task, lane, records, compile_seconds = _train(config, folder, dataset, placements(config.mesh)[0], tracker)
        lanes = [lane]
    if not first:
        return {}
    images, labels = load_test(dataset)
    tests = [evaluate_on(task.static, jax.device_get(x.best.params), images, labels, dataset.scale) for x in lanes]
    summary = {
        "dataset": dataset.name,
        **(summarize(members, tests, labels) if members else _figures(lanes[0], records, tests[0])),
        "compile_seconds": compile_seconds,
        **runtime.describe(),
    }
    write_evaluation(folder / "evaluation.json", "test", dataset, tests[0], images, labels)
    report.write_run_plots(folder)
    tracker.finish(summary)
    # The report needs the summary, which marks the run as finished and so is written for good last of all.
    report.write_run_report(folder, json.loads(to_json(complete({}))), summary)
    content = workdir.json_bytes(summary)
    evaluation = workdir.read_bytes(folder / "evaluation.json")
    ends = (workdir.jsonl_bytes(records), evaluation, content)
    workdir.seal(folder, dict(zip(SEALED_AT_THE_END, ends, strict=True)))
    workdir.write_bytes(folder / "summary.json", content)
    return summary


def write_evaluation(path: Path, part: str, dataset: Dataset, tested: Tested, images: Any, labels: Any) -> None:
    """evaluation.json: figures, confusion matrix, samples and the most confident mistakes with their pixels."""
    probabilities = tested.probabilities
    content = report.evaluation(
        part,
        dataset.class_names,
        dataset.image_shape,
        tested.confusion,
        {name: getattr(tested.scores, name) for name in ("precision", "recall", "f1")},
        report.Predictions(images, labels, probabilities.argmax(axis=-1), probabilities.max(axis=-1)),
        (dataset.train_images, dataset.train_labels),
    )
    figures = {"dataset": dataset.name, "count": len(labels), "loss": tested.loss, "accuracy": tested.accuracy}
    workdir.write_json(path, {**figures, **content})


def _figures(lane: Lane, records: list[Record], test: Tested) -> dict[str, Any]:
    best_epoch = int(lane.best.epoch)
    return {
        "best_epoch": best_epoch,
        "val/accuracy": records[best_epoch - 1]["val/accuracy"],
        "test/loss": test.loss,
        "test/accuracy": test.accuracy,
        "seconds": sum(record["seconds"] for record in records),
    }


def _train(config: ConfigDict, folder: Path, dataset: Dataset, placement: Placement, tracker: Any) -> _Trained:
    data = place_data(dataset.train_images, dataset.train_labels, dataset.scale, placement)
    task = make_task(config, dataset, data, placement)
    prints = {"config": fingerprint(config), "data": dataset.fingerprint}
    saved = _restore(config, folder, task, prints)
    processes.agree("the checkpoint they go on from", str(saved and saved.step))
    first = jax.process_index() == 0
    records = records_of(saved, folder) if saved else []
    if first and saved and saved.extra.get("threads") != runtime.usable_cores():
        line = f"{folder}: goes on with {runtime.usable_cores()} usable cores, begun with {saved.extra.get('threads')}:"
        print(f"{line} the numbers are equal to rounding, perhaps not bit for bit", file=sys.stderr)
    lane = place_lane(saved.state, placement) if saved else None
    if first:
        workdir.write_jsonl(folder / "metrics.jsonl", records)
    compiler = Compiler()
    program = compiler(task)

    def save(event: Event) -> None:
        several = jax.process_count() > 1
        lane, isfinite = (event.lane, jnp.isfinite) if several else (jax.device_get(event.lane), np.isfinite)
        if lane.sums.first_bad >= 0 or not all(isfinite(leaf).all() for leaf in jax.tree.leaves(lane.state.params)):
            return  # the last good one stays the newest
        extra = {"records": records, "seconds": event.seconds, "threads": runtime.usable_cores()}
        checkpoint.save(folder / "checkpoints", int(lane.state.step), lane, extra, prints)

    last_save = time.monotonic()
    seconds = seconds_of(saved, folder) if saved else 0.0
    event = Event(lane if lane is not None else program.init(task.hparams, task.keys))
    with progress(config.num_epochs, "epochs") as show, signals() as stopped:
        try:
            for event in fit(task, program, event.lane, seconds):  # noqa: B020 (the first lane, then each next)
                if event.record is not None:
                    records.append(event.record)
                    if first:
                        workdir.append_jsonl(folder / "metrics.jsonl", event.record)
                    tracker.log(event.record, event.record["epoch"])
                    show(event.record["epoch"], describe(event.record))
                stop, due = _decide(bool(stopped), time.monotonic() - last_save >= config.checkpoint_seconds)
                if stop:
                    save(event)
                    by = stopped[0] if stopped else "another process"
                    raise Interrupted(f"stopped by {by}; the same command goes on: --workdir={folder}")
                if due:
                    save(event)
                    last_save = time.monotonic()
        except NotFinite as bad:
            if first:
                workdir.append_jsonl(folder / "metrics.jsonl", bad.record)
            good = _restore(config, folder, task, prints)
            raise Diverged(explain(task, program, good.state if good else None, bad.step)) from None
    if saved is None or saved.step != int(event.lane.state.step):
        save(event)
    return _Trained(task, fetch(event.lane) if jax.process_count() > 1 else event.lane, records, compiler.seconds)


def _decide(stopped: bool, due: bool) -> tuple[bool, bool]:
    """Whether to stop, as any of several processes was told to, and whether to save, as the first's clock says."""
    if jax.process_count() == 1:
        return stopped, due
    said = processes.of_all([stopped, due])
    return bool(said[:, 0].any()), bool(said[0, 1])


def _restore(config: ConfigDict, folder: Path, task: Task, prints: dict[str, str]) -> checkpoint.Restored | None:
    template = jax.eval_shape(lambda: init_lane(task.static, task.hparams, task.keys))
    compared = {"data": prints["data"]} if config.resume == "changed" else prints
    warn = None if jax.process_index() == 0 else lambda line: None
    return checkpoint.restore(folder / "checkpoints", template, compared, warn)


@contextmanager
def signals() -> Iterator[list[str]]:
    """The names of SIGTERM and SIGINT as they arrive, in place of what they do by themselves."""
    arrived: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield arrived
        return

    def note(number: int, frame: FrameType | None) -> None:
        if arrived:  # a second one does not wait for the call to end
            raise KeyboardInterrupt
        arrived.append(signal.Signals(number).name)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield arrived
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interruptible(folder: Path) -> Iterator[None]:
    """SIGTERM and SIGINT raise `Interrupted` at once: for work whose finished parts are on the disk already."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.default_int_handler)  # a second one does not wait for the lanes to stop
        raise Interrupted(f"stopped by {signal.Signals(number).name}; the same command goes on: --workdir={folder}")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _result(summary: dict[str, Any]) -> str:
    parts = [summary["dataset"]]
    if summary["val/accuracy"] is not None:
        parts.append(f"validation {summary['val/accuracy']:.2%} at epoch {summary['best_epoch']}")
    parts.append(f"test {summary['test/accuracy']:.2%}")
    return ", ".join(parts) + f" ({summary['seconds']:.1f} s of training)"
