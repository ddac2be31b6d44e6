"""From the first step to the last epoch: the loop on the host around a compiled program, of one lane or of a chunk.

The single run, each seed of a run of several and, on a CPU, each trial of a sweep go through `fit`; so a lane is the
same computation wherever it runs. No file is written here; the only clock is the one whose reading is in the records.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from mlp_jax.data.arrays import Dataset
from mlp_jax.data.datasets import split
from mlp_jax.errors import UserError, shown
from mlp_jax.hparams import Hparams, Static, split_config, steps_per_epoch
from mlp_jax.lanes import mixed
from mlp_jax.lanes.placement import Placement, lane_shardings, put, state_shardings
from mlp_jax.model import Params, init_params
from mlp_jax.training import (
    EVALUATION_BATCH,
    Data,
    EpochStats,
    Keys,
    Lane,
    Placed,
    Rows,
    epoch_key,
    host_generator,
    in_batches,
    make_keys,
)

EPOCHS_DRAWN = 128  # whose shuffles' keys are fetched at once
FLOPS_PER_CALL = 6e10  # about two seconds of one slow core; a signal waits no longer than a call
OF_AN_ACCELERATOR = 300  # times as many where many lanes keep it busy
Record = dict[str, Any]  # one line of metrics.jsonl


class Task(NamedTuple):
    """A config made ready for one device: its halves, keys, rows and the data that lies there."""

    config: ConfigDict
    static: Static
    hparams: Hparams
    keys: Keys
    shuffle: Callable[[int], np.random.Generator]  # of each epoch from 1, on the host
    data: Data
    train_indices: np.ndarray
    validation: Rows
    placement: Placement

    @property
    def steps(self) -> int:
        """Updates of an epoch."""
        return steps_per_epoch(len(self.train_indices), self.static.batch_size)


Halves = tuple[Static, Hparams]  # of a config


class Program(NamedTuple):
    """The three functions of a training, compiled for one `Static`, one shape of data and one placement.

    The lane is donated: a call overwrites the state it was given.
    """

    init: Callable[[Hparams, Keys], Lane]
    train_steps: Callable[[Hparams, Keys, Data, Rows, Lane, tuple[Placed, Placed]], Lane]
    end_epoch: Callable[[Data, Placed, Placed, Rows, Lane], tuple[Lane, EpochStats]]


class Event(NamedTuple):
    """The lane after a call of the program; the record of an epoch that it ended, or the seconds of one under way."""

    lane: Lane
    record: Record | None = None
    seconds: float = 0.0


def place_data(
    images: np.ndarray, labels: np.ndarray, scale: float, placement: Placement, sample_weight: Any = ()
) -> Data:
    """A whole archive on the device, once, (n, inputs); `scale` is the largest pixel value.

    float64 stays what it is in a process that has 64-bit types, and is float32 in one that has not.
    """
    images = np.asarray(images, jax.dtypes.canonicalize_dtype(images.dtype))
    weights = np.asarray(sample_weight, jax.dtypes.canonicalize_dtype(np.float64)) if len(sample_weight) else ()
    return put(Data(images, np.asarray(labels, np.int32), np.float32(1 / scale), weights), placement.whole)


def place_dataset(dataset: Dataset, placement: Placement) -> Data:
    """`place_data` of a dataset's training set."""
    parts = dataset.train_images, dataset.train_labels, dataset.scale
    return place_data(*parts, placement, dataset.sample_weight)


def class_weights(config: ConfigDict, dataset: Dataset, train: np.ndarray) -> np.ndarray:
    """The weight of each class, (classes,), on average over the weights of the rows `train` 1; empty without weights.

    `balanced` is n/(K·n_k) of the rows. As a batch divides by its total, a common factor changes nothing but the mean
    over an epoch, which so divides by the number of rows. UserError for weights that fit no data.
    """
    given, classes = config.class_weight, len(dataset.class_names)
    if not given and not len(dataset.sample_weight):
        return np.zeros(0)
    if config.lanes == "mixed":
        raise UserError("lanes: 'mixed' is not for data that are weighed, by sample_weight; allowed: 'auto', 'queue'")
    labels = dataset.train_labels[train]
    weights = np.ones(classes)
    if given == ("balanced",):
        counts = np.bincount(labels, minlength=classes)
        weights = len(labels) / (classes * np.maximum(counts, 1))
    elif given:
        if len(given) != classes:
            raise UserError(
                f"class_weight: {shown(given)} has {len(given)} numbers; {dataset.name} has {classes} classes"
            )
        weights = np.asarray(given, float)
    of_rows = weights[labels] * (dataset.sample_weight[train] if len(dataset.sample_weight) else 1)
    if not of_rows.any():
        raise UserError(f"class_weight: {shown(given)} leaves no training example that counts")
    return weights / of_rows.mean()


def make_task(config: ConfigDict, dataset: Dataset, data: Data, placement: Placement) -> Task:
    """What `config` means on `dataset`; `config.seed` decides the split."""
    keys = make_keys(config.seed)
    train, validation = split(dataset.train_labels, config.val_fraction, config.stratified, host_generator(keys.split))
    inputs, classes = dataset.train_images.shape[1], len(dataset.class_names)
    weights = class_weights(config, dataset, train)
    static, hparams = split_config(config, inputs, classes, len(train), dataset.image_shape, weights)
    shuffle = _shuffles(keys)
    hparams, keys = put((hparams, keys), placement.whole)
    rows = place_rows(validation, min(EVALUATION_BATCH, max(len(validation), 1)), placement)
    return Task(config, static, hparams, keys, shuffle, data, train, rows, placement)


_epoch_keys = jax.jit(jax.vmap(epoch_key, (None, 0)))


def _shuffles(keys: Keys) -> Callable[[int], np.random.Generator]:
    """`host_generator(epoch_key(…))`, drawn for many epochs ahead: a key that a device draws waits until it is idle."""

    @cache
    def drawn(block: int) -> np.ndarray:
        first = block * EPOCHS_DRAWN
        return np.asarray(jax.random.key_data(_epoch_keys(keys, jnp.arange(first, first + EPOCHS_DRAWN))))

    drawn(0)
    return lambda epoch: np.random.default_rng(drawn(epoch // EPOCHS_DRAWN)[epoch % EPOCHS_DRAWN])


def place_lane(lane: Lane, placement: Placement) -> Lane:
    """A lane from the host, or from another placement, on the devices."""
    return put(lane, state_shardings(placement, lane))


def place_rows(indices: np.ndarray, size: int, placement: Placement) -> Rows:
    """`indices` in batches of `size`, on the device; a mesh gets batches that divide over it."""
    matrix, total = in_batches(indices, size, -(-size // placement.shards) * placement.shards)
    return Rows(put(matrix, placement.rows), put(total, placement.whole))


def steps_per_call(task: Task, lanes: int = 1) -> int:
    """Steps of one call: an epoch in the least number of equal calls that each keep the device busy ≲ 2 s."""
    weights = lanes * sum(a * b for a, b in pairwise(task.static.sizes))
    flops = FLOPS_PER_CALL * (1 if lanes == 1 or jax.default_backend() == "cpu" else OF_AN_ACCELERATOR)
    most = task.config.steps_per_call or max(1, int(flops / (6 * weights * (task.static.batch_size + 4))))
    return -(-task.steps // -(-task.steps // most))


def order_of(task: Task, epoch: int) -> Rows:
    """The batches of epoch `epoch` (from 1), on the device."""
    return place_rows(task.shuffle(epoch).permutation(task.train_indices), task.static.batch_size, task.placement)


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
    examples, steps, per_call = len(task.train_indices), task.steps, steps_per_call(task)
    epoch, batch = divmod(int(lane.state.step), steps)
    best_epoch, order = int(lane.best.epoch), None
    while epoch < config.num_epochs and not (batch == 0 and stops_early(config, epoch, best_epoch)):
        order = order_of(task, epoch + 1) if order is None else order
        start = time.perf_counter()
        while batch < steps:
            stop = min(batch + per_call, steps)
            bounds = np.int32(batch), np.int32(stop)
            lane = program.train_steps(task.hparams, task.keys, task.data, order, lane, bounds)
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


class Chunk:
    """Lanes of one shape side by side, all equally far: of `tasks` the first `count` are wanted, the others fill up.

    `shared`: all lanes of the population have one seed, and see the same rows in one order. `lanes` is where something
    lies whose first axis counts them.
    """

    def __init__(self, tasks: Sequence[Task], size: int, shared: bool) -> None:
        self.first, self.configs, self.shared = tasks[0], [task.config for task in tasks], shared
        self.tasks = [*tasks, *[tasks[0]] * (size - len(tasks))]
        self.lanes = lane_shardings(self.first.placement, 0)
        self.hparams, self.keys = self._stack([(task.hparams, task.keys) for task in self.tasks])
        self.validation = tasks[0].validation if self.shared else self._stack([task.validation for task in self.tasks])

    def _stack(self, trees: Sequence[Any]) -> Any:
        """On the devices, the lanes divided among them."""
        return put(stack(trees), self.lanes)

    def orders(self, epoch: int) -> Rows:
        """The batches of epoch `epoch` (from 1) of every lane."""
        if self.shared:
            return order_of(self.tasks[0], epoch)
        by_seed = {task.config.seed: order_of(task, epoch) for task in {t.config.seed: t for t in self.tasks}.values()}
        return self._stack([by_seed[task.config.seed] for task in self.tasks])

    def begin(self, program: Program, lanes: Sequence[Lane]) -> Lane:
        """The state to go on from on the devices; `lanes` on the host, none for the start."""
        if not lanes:
            return program.init(self.hparams, self.keys)
        return self._stack([*lanes, *[lanes[0]] * (len(self.tasks) - len(lanes))])

    def fetch(self, lane: Lane, indices: Sequence[int]) -> list[Lane]:
        """Some lanes on the host: all in one piece where they are many."""
        if 8 * len(indices) >= len(self.tasks):
            lane = jax.device_get(lane)
        return [jax.device_get(_lane_of(lane, index)) for index in indices]


class MixedChunk:
    """Lanes of `form` for nets of different shapes, all equally far, with one seed and one minibatch.

    `first` is the task of the first of them; `size` lanes lie on the devices.
    """

    def __init__(
        self, first: Task, form: mixed.Form, configs: Sequence[ConfigDict], halves: Sequence[Halves], size: int
    ) -> None:
        self.first, self.form, self.configs, self.halves, self.size = first, form, configs, halves, size
        self.hparams = self.place(mixed.numbers_of(form, halves, size), 0)
        self.keys, self.validation = (first.hparams, first.keys), (self.hparams, first.validation)

    def place(self, tree: Any, axes: Any) -> Any:
        """On the devices, the lanes divided among them; `axes` as in `placement.lane_shardings`."""
        axes = jax.tree.map(lambda _: axes, tree) if isinstance(axes, int) else axes
        return put(tree, lane_shardings(self.first.placement, axes))

    def orders(self, epoch: int) -> Rows:
        """The batches of epoch `epoch` (from 1), which all lanes share."""
        return order_of(self.first, epoch)

    def begin(self, program: Any, lanes: Sequence[Lane]) -> Lane:
        """As in `Chunk`; first weights are drawn by each net's own programs, once for nets that have the same."""
        drawn: dict[Any, Params] = {}
        for static, hparams in self.halves if not lanes else ():
            key = static.sizes, static.init, float(hparams.init_scale)
            if key not in drawn:
                drawn[key] = jax.device_get(init_weights(static, hparams, self.first.keys))
        first = [
            drawn[static.sizes, static.init, float(hparams.init_scale)] for static, hparams in self.halves if drawn
        ]
        return self.place(mixed.stack(self.form, lanes or first, self.size), mixed.axes(self.form))

    def fetch(self, lane: Lane, indices: Sequence[int]) -> list[Lane]:
        """Some lanes on the host, in their nets' own shapes: all in one piece where they are many."""
        if 8 * len(indices) >= self.size:
            whole = jax.device_get(lane)
            return [mixed.cut(self.form, self.halves[index][0], whole, index) for index in indices]
        return [mixed.cut(self.form, self.halves[index][0], self._one(lane, index), 0) for index in indices]

    def _one(self, lane: Lane, index: int) -> Lane:
        def take(leaf: Any, axis: int) -> Any:
            return leaf if axis < 0 else jax.lax.dynamic_slice_in_dim(leaf, index, 1, axis)

        return jax.device_get(jax.tree.map(take, lane, mixed.axes(self.form)))


def init_weights(static: Static, hparams: Hparams, keys: Keys) -> Params:
    """A net's first weights, on the first device, layer by layer, by programs that JAX keeps."""
    key, scale = jax.random.key_data(keys.init), hparams.init_scale
    key, scale = map(jnp.asarray, map(np.asarray, (key, scale)))
    return init_params(jax.random.wrap_key_data(key), static.sizes, static.init, scale, static.dtype)


def stack(trees: Sequence[Any]) -> Any:
    """Pytrees of one structure as one, with a new leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


class Progress(NamedTuple):
    """The record of an epoch of one lane of a chunk; `lane`, on the host, where it comes out of the chunk.

    It does when it is `over`, and when the chunk is given up for a fuller one.
    """

    number: int
    record: Record
    lane: Lane | None
    over: bool
    diverged: bool


def fit_side_by_side(
    chunk: Any,
    program: Program,
    lanes: Sequence[Lane],
    until: int | None,
    stopped: Callable[[], bool] = lambda: False,
    leave: Callable[[int, int], bool] = lambda left, epoch: False,
) -> Iterator[Progress]:
    """Trains a chunk to the ends of its configs, or to epoch `until`; yields every lane's progress after every epoch.

    `lanes` are the states to go on from, on the host, all at the end of the same epoch; none for the start. A chunk
    ends early where `stopped()` between two calls of the program, and where `leave(left, epoch)` of the number of lanes
    left after an epoch. The seconds of a record are the lane's share of the epoch's.
    """
    first, lane = chunk.first, chunk.begin(program, lanes)
    examples, steps, per_call = len(first.train_indices), first.steps, steps_per_call(first, len(chunk.configs))
    epoch = int(np.max(lane.state.step)) // steps
    active, order = list(range(len(chunk.configs))), chunk.orders(epoch + 1)
    while active:
        start = time.perf_counter()
        epoch += 1
        for batch in range(0, steps, per_call):
            bounds = np.int32(batch), np.int32(min(batch + per_call, steps))
            lane = program.train_steps(chunk.hparams, chunk.keys, first.data, order, lane, bounds)
            if bounds[1] < steps:
                jax.block_until_ready(lane.state.step)
                if stopped():
                    return
        lane, stats = program.end_epoch(first.data, np.int32(examples), np.int32(steps), chunk.validation, lane)
        order = chunk.orders(epoch + 1)  # drawn while the devices are busy with the calls above
        stats, best_epochs = jax.device_get((stats, lane.best.epoch))
        seconds = (time.perf_counter() - start) / len(active)
        over = {}
        for index in active:
            config = chunk.configs[index]
            ends = epoch >= min(until or config.num_epochs, config.num_epochs)
            over[index] = ends or stats.first_bad[index] >= 0 or stops_early(config, epoch, int(best_epochs[index]))
        left = [index for index in active if not over[index]]
        left = [] if left and leave(len(left), epoch) else left
        out = [index for index in active if index not in left]
        fetched = dict(zip(out, chunk.fetch(lane, out), strict=True))
        for index in active:
            own = _lane_of(stats, index)
            record = to_record(first, epoch, epoch * steps, own, seconds)
            yield Progress(index, record, fetched.get(index), bool(over[index]), bool(own.first_bad >= 0))
        active = left


def _lane_of(lanes: Any, index: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], lanes)


def stops_early(config: ConfigDict, epoch: int, best_epoch: int) -> bool:
    """Whether `early_stopping` epochs have passed without a better validation accuracy."""
    return bool(config.early_stopping) and epoch - best_epoch >= config.early_stopping
