"""Lanes side by side on one device: the training program of one lane under `vmap`, for accelerators.

Lanes of one shape train in chunks of one fixed size, filled up with copies that nobody reads, so that neither the
number of compilations nor the bits of a lane depend on how trials fell into groups.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.hparams import Static, steps_per_epoch
from mlp_jax.lanes.fit import Compiler, Record, Task, order_of, steps_per_call, stops_early, to_record
from mlp_jax.training import Lane, Program, Rows, end_epoch, ending, init_lane, train_steps, without_optimizer

MOST_LANES = 256  # under way at once, on all devices together
SHARE_OF_MEMORY = 0.5


def chunk_size(static: Static, device: jax.Device, devices: int = 1) -> int:
    """Lanes of a chunk: as many as half the device's memory holds, a power of two, at most its share of 256."""
    weights = sum((a + 1) * b for a, b in zip(static.sizes[:-1], static.sizes[1:], strict=True))
    rows = sum(static.sizes) * static.batch_size
    bytes_per_lane = static.dtype.itemsize * (7 * weights + 4 * rows)  # w, g, m, v, update, best, one to spare
    memory = (device.memory_stats() or {}).get("bytes_limit", 2**32)
    fitting = max(1, int(SHARE_OF_MEMORY * memory / bytes_per_lane))
    return 1 << min(max(1, MOST_LANES // devices), fitting).bit_length() - 1


def stack(trees: Sequence[Any]) -> Any:
    """Pytrees of one structure as one, with a new leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def compile_abreast(compiler: Compiler, tasks: Sequence[Task], shared: bool) -> Program:
    """The program of `compiler` for len(tasks) lanes; `shared`: all lanes see the same rows in one order."""
    first, static, number = tasks[0], tasks[0].static, np.int32(0)
    rows, whole = None if shared else 0, tasks[0].placement.whole
    init = jax.vmap(partial(init_lane, static))
    steps = jax.vmap(partial(train_steps, static.trained), in_axes=(0, 0, None, rows, 0, None, None))
    end = jax.vmap(partial(end_epoch, static.evaluated), in_axes=(None, None, None, rows, 0))
    jit = partial(jax.jit, out_shardings=whole)

    @cache
    def arguments() -> tuple[Any, Any, Rows, Rows, Lane]:
        hparams, keys, order, validation = _arguments(tasks, shared, 1)
        lane = jax.eval_shape(init, hparams, keys)
        lane = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), lane)
        return hparams, keys, order, validation, lane

    def compile_init() -> Any:
        hparams, keys, *_ = arguments()
        return jit(init).lower(hparams, keys).compile()

    def compile_steps() -> Any:
        hparams, keys, order, _, lane = arguments()
        return jit(steps, donate_argnums=4).lower(hparams, keys, first.data, order, lane, number, number).compile()

    def compile_end() -> Any:
        *_, validation, lane = arguments()
        return (
            jit(end, donate_argnums=4).lower(first.data, number, number, validation, without_optimizer(lane)).compile()
        )

    def once(name: str, of: Static, compile: Callable[[], Any]) -> Any:
        return compiler.once(first, (name, of, len(tasks), shared), compile)

    return Program(
        once("init", static, compile_init),
        once("steps", static.trained, compile_steps),
        ending(once("end", static.evaluated, compile_end)),
    )


def _arguments(tasks: Sequence[Task], shared: bool, epoch: int) -> tuple[Any, Any, Rows, Rows]:
    order = order_of(tasks[0], epoch) if shared else _orders(tasks, epoch)
    validation = tasks[0].validation if shared else stack([task.validation for task in tasks])
    return stack([task.hparams for task in tasks]), stack([task.keys for task in tasks]), order, validation


def _orders(tasks: Sequence[Task], epoch: int) -> Rows:
    by_seed = {task.config.seed: order_of(task, epoch) for task in {t.config.seed: t for t in tasks}.values()}
    return stack([by_seed[task.config.seed] for task in tasks])


def fit_abreast(
    tasks: Sequence[Task], count: int, program: Program, shared: bool, lanes: Sequence[Lane], until: int | None
) -> Iterator[tuple[int, Record, Lane | None, bool]]:
    """Trains `tasks` together to their ends, or to epoch `until`; yields (index, record, lane, diverged) every epoch.

    Of the tasks the first `count` are wanted, the others fill up the chunk.
    The seconds of a record are the lane's share of the epoch's. `lanes` are the states to go on from, all at the end
    of the same epoch; none for the start. The lane that is yielded is on
    the host, and None before the task has come to its end.
    """
    first = tasks[0]
    hparams, keys, _, validation = _arguments(tasks, shared, 1)
    lane = stack(lanes) if lanes else program.init(hparams, keys)
    lane = jax.device_put(lane, first.placement.whole)
    examples = len(first.train_indices)
    steps = steps_per_epoch(examples, first.static.batch_size)
    per_call = steps_per_call(first.config, first.static, steps)
    epoch = int(lane.state.step[0]) // steps
    active = set(range(count))
    while active:
        start = time.perf_counter()
        epoch += 1
        order = order_of(first, epoch) if shared else _orders(tasks, epoch)
        for batch in range(0, steps, per_call):
            bounds = np.int32(batch), np.int32(min(batch + per_call, steps))
            lane = program.train_steps(hparams, keys, first.data, order, lane, *bounds)
        lane, stats = program.end_epoch(first.data, np.int32(examples), np.int32(steps), validation, lane)
        stats, best_epochs = jax.device_get((stats, lane.best.epoch))
        seconds = (time.perf_counter() - start) / len(active)
        for index in sorted(active):
            task = tasks[index]
            own = jax.tree.map(lambda leaf, index=index: leaf[index], stats)
            record: Record = to_record(task, epoch, epoch * steps, own, seconds)
            last = min(until or task.config.num_epochs, task.config.num_epochs)
            diverged = bool(own.first_bad >= 0)
            over = epoch >= last or diverged or stops_early(task.config, epoch, int(best_epochs[index]))
            if over:
                active.remove(index)
            yield index, record, _lane_of(lane, index) if over else None, diverged


def _lane_of(lanes: Lane, index: int) -> Lane:
    return jax.device_get(jax.tree.map(lambda leaf: leaf[index], lanes))
