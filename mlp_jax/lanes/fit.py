"""One lane from its first step to its last epoch: the loop on the host around the compiled program.

The single run, each seed of a run of several and each trial of a sweep go through `fit`; so a lane is the same
computation wherever it runs. No file is written here; the only clock is the one whose reading is in the records.
"""

import threading
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from mlp_jax.data.datasets import Dataset, split
from mlp_jax.hparams import Hparams, Static, split_config, steps_per_epoch
from mlp_jax.lanes.placement import Placement, put, state_shardings
from mlp_jax.model import init_params
from mlp_jax.training import (
    EVALUATION_BATCH,
    Data,
    EpochStats,
    Keys,
    Lane,
    Program,
    Rows,
    end_epoch,
    ending,
    epoch_order,
    host_generator,
    in_batches,
    init_lane,
    make_keys,
    start_lane,
    train_steps,
    without_optimizer,
)

FLOPS_PER_CALL = 6e10  # about two seconds of one slow core; a signal waits no longer than a call
Record = dict[str, Any]  # one line of metrics.jsonl


class Task(NamedTuple):
    """A config made ready for one device: its halves, keys, rows and the data that lies there."""

    config: ConfigDict
    static: Static
    hparams: Hparams
    keys: Keys
    data: Data
    train_indices: np.ndarray
    validation: Rows
    placement: Placement


class Event(NamedTuple):
    """The lane after a call of the program; the record of an epoch that it ended, or the seconds of one under way."""

    lane: Lane
    record: Record | None = None
    seconds: float = 0.0


def place_data(images: np.ndarray, labels: np.ndarray, scale: float, placement: Placement) -> Data:
    """A whole archive on the device, once, as uint8 (n, inputs); `scale` is the largest pixel value."""
    return put(Data(images, np.asarray(labels, np.int32), np.float32(1 / scale)), placement.whole)


def make_task(config: ConfigDict, dataset: Dataset, data: Data, placement: Placement) -> Task:
    """What `config` means on `dataset`; `config.seed` decides the split."""
    keys = make_keys(config.seed)
    train, validation = split(dataset.train_labels, config.val_fraction, config.stratified, host_generator(keys.split))
    inputs, classes = dataset.train_images.shape[1], len(dataset.class_names)
    static, hparams = split_config(config, inputs, classes, len(train), dataset.image_shape)
    hparams, keys = put((hparams, keys), placement.whole)
    rows = place_rows(validation, min(EVALUATION_BATCH, max(len(validation), 1)), placement)
    return Task(config, static, hparams, keys, data, train, rows, placement)


def place_lane(lane: Lane, placement: Placement) -> Lane:
    """A lane from the host, or from another placement, on the devices."""
    return put(lane, state_shardings(placement, lane))


def place_rows(indices: np.ndarray, size: int, placement: Placement) -> Rows:
    """`indices` in batches of `size`, on the device; a mesh gets batches that divide over it."""
    matrix, total = in_batches(indices, size, -(-size // placement.shards) * placement.shards)
    return Rows(put(matrix, placement.rows), put(total, placement.whole))


def steps_per_call(config: ConfigDict, static: Static, steps: int) -> int:
    """Steps of one call: an epoch in the least number of equal calls that each keep the device busy ≲ 2 s."""
    weights = sum(a * b for a, b in zip(static.sizes[:-1], static.sizes[1:], strict=True))
    most = config.steps_per_call or max(1, int(FLOPS_PER_CALL / (6 * weights * (static.batch_size + 4))))
    return -(-steps // -(-steps // most))


class Compiler:
    """Compiled functions by what decides their text, so that all nets on one device that can share one do.

    They are compiled ahead of time, so that no clock of an epoch sees a compiler.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.compiled: dict[Any, Any] = {}
        self._locks: dict[Any, threading.Lock] = {}
        self._guard = threading.Lock()

    def once(self, task: Task, kind: Any, compile: Callable[[], Any]) -> Any:
        """What `compile` makes, the first time for this `kind` of function on data like the task's."""
        counts = (len(task.train_indices), task.validation.indices.shape, task.data.images.shape)
        key = (kind, counts, task.placement)
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self.compiled:
                start = time.perf_counter()
                self.compiled[key] = compile()
                with self._guard:
                    self.seconds += time.perf_counter() - start
        return self.compiled[key]

    def __call__(self, task: Task) -> Program:
        """The program of a single lane. Its first weights are drawn layer by layer, by programs that JAX keeps."""
        static, number = task.static, np.int32(0)

        @cache
        def lane() -> Lane:
            found = jax.eval_shape(partial(init_lane, static), task.hparams, task.keys)
            return jax.tree.map(_placed, found, state_shardings(task.placement, found))

        def compile_start() -> Any:
            jitted = jax.jit(partial(start_lane, static.trained), out_shardings=_places(lane()))
            return jitted.lower(task.hparams, lane().state.params).compile()

        def compile_steps() -> Any:
            arguments = task.hparams, task.keys, task.data, order_of(task, 1), lane(), number, number
            steps = partial(train_steps, static.trained)
            return jax.jit(steps, donate_argnums=4, out_shardings=_places(lane())).lower(*arguments).compile()

        def compile_end() -> Any:
            rest = without_optimizer(lane())
            places = _places(rest), task.placement.whole
            arguments = task.data, number, number, task.validation, rest
            end = partial(end_epoch, static.evaluated)
            return jax.jit(end, donate_argnums=4, out_shardings=places).lower(*arguments).compile()

        start = self.once(task, ("start", static.trained), compile_start)
        steps = self.once(task, ("steps", static.trained), compile_steps)
        end = self.once(task, ("end", static.evaluated), compile_end)

        def init(hparams: Hparams, keys: Keys) -> Lane:
            key, scale = jax.random.key_data(keys.init), hparams.init_scale
            key, scale = map(jnp.asarray, map(np.asarray, (key, scale)))  # on the first device
            params = init_params(jax.random.wrap_key_data(key), static.sizes, static.init, scale, static.dtype)
            return start(hparams, put(params, state_shardings(task.placement, params)))

        return Program(init, steps, ending(end))


def _placed(leaf: jax.ShapeDtypeStruct, place: jax.sharding.Sharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)


def _places(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.sharding, tree)


def order_of(task: Task, epoch: int) -> Rows:
    """The batches of epoch `epoch` (from 1), on the device."""
    return place_rows(epoch_order(task.keys, epoch, task.train_indices), task.static.batch_size, task.placement)


def to_record(task: Task, epoch: int, step: int, stats: EpochStats, seconds: float) -> Record:
    """The line of metrics.jsonl of an epoch; accuracies are exact ratios of counts."""
    validated = int(task.validation.total)
    record: Record = {
        "epoch": epoch,
        "step": step,
        "train/loss": float(stats.train_loss),
        "train/accuracy": int(stats.train_correct) / len(task.train_indices),
        "val/loss": float(stats.val_loss) if validated else None,
        "val/accuracy": int(stats.val_correct) / validated if validated else None,
        "seconds": seconds,
    }
    for name, values in stats.probes.items():
        record[f"probes/{name}"] = [float(value) for value in np.asarray(values)]
    return record


class NotFinite(Exception):
    """The loss of a step was not finite: training has diverged. `step` counts updates from 0."""

    def __init__(self, step: int, record: Record) -> None:
        super().__init__(f"the loss of step {step} is not finite")
        self.step, self.record = step, record


def fit(task: Task, program: Program, lane: Lane | None = None, seconds: float = 0.0) -> Iterator[Event]:
    """Trains to the last epoch (or an early stop), yielding after every call of the program.

    `lane` is the state to go on from, the middle of an epoch included, with the `seconds` that epoch has taken so
    far; the end is the same bits as without the break. A yielded lane is valid until the next one is asked for.
    Raises `NotFinite` at the end of an epoch in which a loss was not finite.
    """
    config = task.config
    lane = program.init(task.hparams, task.keys) if lane is None else lane
    examples = len(task.train_indices)
    steps = steps_per_epoch(examples, task.static.batch_size)
    per_call = steps_per_call(config, task.static, steps)
    epoch, batch = divmod(int(lane.state.step), steps)
    best_epoch, order = int(lane.best.epoch), None
    while epoch < config.num_epochs and not (batch == 0 and stops_early(config, epoch, best_epoch)):
        order = order_of(task, epoch + 1) if order is None else order
        start = time.perf_counter()
        while batch < steps:
            stop = min(batch + per_call, steps)
            lane = program.train_steps(task.hparams, task.keys, task.data, order, lane, np.int32(batch), np.int32(stop))
            batch = stop
            if batch < steps:
                jax.block_until_ready(lane.state.step)
                seconds += time.perf_counter() - start
                yield Event(lane, seconds=seconds)
                start = time.perf_counter()
        lane, stats = program.end_epoch(task.data, np.int32(examples), np.int32(steps), task.validation, lane)
        epoch, batch = epoch + 1, 0
        # Drawn while the device is busy with the calls above.
        order = order_of(task, epoch + 1) if epoch < config.num_epochs else None
        stats, best_epoch = jax.device_get((stats, lane.best.epoch))
        record = to_record(task, epoch, epoch * steps, stats, seconds + time.perf_counter() - start)
        seconds = 0.0
        if stats.first_bad >= 0:
            raise NotFinite(int(stats.first_bad), record)
        yield Event(lane, record)


def stops_early(config: ConfigDict, epoch: int, best_epoch: int) -> bool:
    """Whether `early_stopping` epochs have passed without a better validation accuracy."""
    return bool(config.early_stopping) and epoch - best_epoch >= config.early_stopping
