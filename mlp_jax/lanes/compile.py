"""Programs compiled ahead of time, so that no clock of an epoch sees a compiler: of one lane, or of many side by side.

Side by side means under `vmap`, for accelerators, divided over their devices. Lanes of one shape train in chunks of one
fixed size, filled up with copies that nobody reads, so that neither the number of compilations nor the bits of a lane
depend on how trials fell into groups.
"""

import threading
import time
from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mlp_jax.errors import UserError
from mlp_jax.hparams import Hparams, Static
from mlp_jax.lanes import mixed, pieces
from mlp_jax.lanes.fit import Chunk, MixedChunk, Program, Task, init_weights, order_of, steps_per_call
from mlp_jax.lanes.placement import lane_shardings, platform, put, state_shardings
from mlp_jax.model import Params
from mlp_jax.training import (
    EVALUATION_BATCH,
    Data,
    EpochStats,
    Keys,
    Lane,
    Placed,
    Rows,
    end_epoch,
    init_lane,
    train_on,
    train_steps,
)

MOST_LANES = 256  # under way at once, on all devices together
SHARE_OF_MEMORY = 0.5
# Kept, those used last. Linux gives a process 65,530 mappings, of which a training program on a CPU takes some 130;
# LLVM ends the process that is refused one.
MOST_PROGRAMS = 200
# Bytes of w, m and v that stay in the vector memory from step to step, by JAX's name of the device. By the compiler's
# estimate a lane's step then takes 2.6 µs, and 6.5 where they do not fit (784-128×3-10).
ON_CHIP = {"TPU v5 lite": 105e6}


def chunk_size(static: Static, device: jax.Device, devices: int = 1) -> int:
    """Lanes of a chunk: as many as half the device's memory holds, a power of two, at most its share of 256.

    UserError where the memory does not hold one.
    """
    weights = sum((a + 1) * b for a, b in pairwise(static.sizes))
    trained, evaluated = 4 * static.batch_size * sum(static.sizes), 2 * EVALUATION_BATCH * max(static.sizes)
    # w, g, m, v, update, best, one to spare; the activations of a step, or of an evaluation, which keeps no old ones.
    bytes_per_lane = static.dtype.itemsize * (7 * weights + max(trained, evaluated))
    known = (device.memory_stats() or {}).get("bytes_limit")
    if known is not None and bytes_per_lane > known:
        needs = f"a net of {'-'.join(map(str, static.sizes))} in batches of {static.batch_size} needs"
        raise UserError(f"hidden_sizes: {needs} {bytes_per_lane / 2**30:.3g} GiB; the device has {known / 2**30:.3g}")
    memory = known or 2**32
    fitting = max(1, int(SHARE_OF_MEMORY * memory / bytes_per_lane))
    if on_chip := ON_CHIP.get(device.device_kind):
        fitting = max(1, min(fitting, int(on_chip / (static.dtype.itemsize * 3 * weights))))
    return 1 << min(max(1, MOST_LANES // devices), fitting).bit_length() - 1


def start(task: Task, params: Params | None = None) -> Lane:
    """A lane before its first step at `params`, or at zeros; as `training.start_lane`, without a program of its own."""
    shapes = _lane_of(task)
    lane = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    state = lane.state if params is None else lane.state._replace(params=params)
    sums, best = lane.sums._replace(first_bad=np.int32(-1)), lane.best._replace(correct=np.int32(-1))
    return put(Lane(state, sums, best), _places(shapes))


class Compiler:
    """Compiled functions by what decides their text, so that all nets on one device that can share one do."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.programs = 0  # training programs compiled, on all devices
        self.compiled: dict[Any, Any] = {}  # the last used at the end
        self._locks: dict[Any, threading.Lock] = {}
        self._guard = threading.Lock()

    def __call__(self, task: Task) -> Program:
        """The program of a single lane. Its first weights are drawn layer by layer, by programs that JAX keeps."""
        static = task.static

        @cache
        def arguments() -> tuple[Any, ...]:
            return task.hparams, task.keys, order_of(task, 1), task.validation, _lane_of(task)

        def init(hparams: Hparams, keys: Keys) -> Lane:
            return start(task, init_weights(static, hparams, keys))

        def end_in_pieces() -> Any:
            number = np.int32(1)
            pieces.end_epoch(static, task.data, number, number, task.validation, start(task))  # compiles them
            return partial(pieces.end_epoch, static)

        texts = static.trained, static.evaluated
        steps, end = partial(train_steps, static.trained), partial(end_epoch, static.evaluated)
        count = steps_per_call(task) if platform(task.placement) == "gpu" else 0
        if platform(task.placement) == "cpu" and task.placement.shards == 1:
            return Program(
                init,
                self._steps(task, texts[0], (), steps, arguments),
                self._made(task, ("end", texts[1]), end_in_pieces),
            )
        return Program(init, *self._loop(task, texts, (), steps, end, arguments, count=count))

    def side_by_side(self, chunk: Chunk) -> Program:
        """The program of a chunk of lanes."""
        task, kind = chunk.first, (len(chunk.tasks), chunk.shared)
        static, rows = task.static, None if chunk.shared else 0
        init = jax.vmap(partial(init_lane, static))

        @cache
        def arguments() -> tuple[Any, ...]:
            lane = jax.eval_shape(init, chunk.hparams, chunk.keys)
            lane = _on(lane, jax.tree.map(lambda _: chunk.lanes, lane))
            return chunk.hparams, chunk.keys, chunk.orders(1), chunk.validation, lane

        start = self._once(task, ("init", static, *kind), init, lambda: ((chunk.hparams, chunk.keys), chunk.lanes))
        texts = static.trained, static.evaluated
        steps = partial(_train_side_by_side, static.trained, chunk.shared)
        end = jax.vmap(partial(end_epoch, static.evaluated), in_axes=(None, None, None, rows, 0))
        return Program(start, *self._loop(task, texts, kind, steps, end, arguments, chunk.lanes))

    def mixed(self, chunk: MixedChunk) -> Program:
        """The program of a chunk of nets of different shapes; its lanes begin on the host."""
        task, form = chunk.first, chunk.form

        @cache
        def arguments() -> tuple[Any, ...]:
            lane = _on(mixed.blank(form, chunk.size), lane_shardings(task.placement, mixed.axes(form)))
            return chunk.hparams, chunk.keys, chunk.orders(1), chunk.validation, lane

        steps, end = partial(mixed.train_steps, form), partial(mixed.end_epoch, form)
        sides = lane_shardings(task.placement, 0)
        return Program(
            lambda hparams, keys: chunk.begin(None, ()),
            *self._loop(task, (form, form), (chunk.size,), steps, end, arguments, sides),
        )

    def _loop(
        self,
        task: Task,
        texts: tuple[Any, Any],
        kind: tuple[Any, ...],
        steps: Any,
        end: Any,
        arguments: Callable[[], Any],
        stats: Any = None,
        count: int = 0,
    ) -> Any:
        """`steps` and `end` compiled, each once for its text. The optimizer's state goes round `end`.

        So that serves all optimizers. `stats`: where what an epoch is logged from lies.
        """
        number = np.int32(0)

        def of_end() -> tuple[Any, Any]:
            *_, validation, lane = arguments()
            lane = _without_optimizer(lane)
            return (task.data, number, number, validation, lane), (_places(lane), stats or task.placement.whole)

        compiled_steps = self._steps(task, texts[0], kind, steps, arguments, count)
        compiled_end = self._once(task, ("end", texts[1], *kind), end, of_end, 4)

        def end_epoch(*arguments: Any) -> tuple[Lane, EpochStats]:
            *others, lane = arguments
            ended, stats = compiled_end(*others, _without_optimizer(lane))
            return ended._replace(state=ended.state._replace(opt_state=lane.state.opt_state)), stats

        return compiled_steps, end_epoch

    def _steps(self, task: Task, text: Any, kind: Any, steps: Any, arguments: Callable[[], Any], count: int = 0) -> Any:
        """`steps` compiled for any bounds; where there is a `count`, for so many steps and each other number met."""
        number = np.int32(0)

        def of_steps() -> tuple[Any, Any]:
            hparams, keys, order, _, lane = arguments()
            return (hparams, keys, task.data, order, lane, (number, number)), _places(lane)

        def compiled(count: int) -> Any:
            counted = partial(steps, count=count) if count else steps
            return self._once(task, ("steps", text, *kind, *([count] if count else [])), counted, of_steps, 4)

        def of_count(*arguments: Any) -> Lane:
            start, stop = arguments[-1]
            return compiled(int(stop) - int(start))(*arguments)

        first = compiled(count)
        return of_count if count else first

    def _once(
        self, task: Task, kind: Any, f: Any, arguments: Callable[[], tuple[Any, Any]], donated: int | tuple[()] = ()
    ) -> Any:
        """`f` compiled for `arguments()`: values and the places of what comes out. Once for data like the task's."""

        def compile() -> Any:
            values, places = arguments()
            return jax.jit(f, out_shardings=places, donate_argnums=donated).lower(*values).compile()

        return self._made(task, kind, compile)

    def _made(self, task: Task, kind: Any, make: Callable[[], Any]) -> Any:
        data = tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(task.data))
        counts = (len(task.train_indices), task.validation.indices.shape, data)
        key = (kind, counts, task.placement)
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            with self._guard:  # so that nobody drops it meanwhile
                program = self.compiled.pop(key, None)
            if program is None:
                start = time.perf_counter()
                program = make()
                with self._guard:
                    self.seconds += time.perf_counter() - start
                    self.programs += kind[0] == "steps"
            with self._guard:
                self.compiled[key] = program
                if len(self.compiled) > MOST_PROGRAMS:
                    del self.compiled[next(iter(self.compiled))]
        return program


def _train_side_by_side(
    static: Static,
    shared: bool,
    hparams: Hparams,
    keys: Keys,
    data: Data,
    order: Rows,
    lane: Lane,
    bounds: tuple[Placed, Placed],
) -> Lane:
    """`training.train_steps` of lanes of one shape.

    Where they share what the first layer multiplies, its weights are (in, lanes, out) from the first step to the last,
    as in `mixed`: a GPU would transpose them in every step to make one product of all.
    """
    one = shared and not (static.distortions or static.mixup)

    def axis(path: Any, _: Any) -> int:
        return int(one and jax.tree_util.keystr(path).endswith("[0].w"))

    axes = Lane(jax.tree_util.tree_map_with_path(axis, lane.state), 0, 0)  # type: ignore[arg-type]
    step = jax.vmap(partial(train_on, static), in_axes=(0, 0, None, None if shared else 0, axes, None), out_axes=axes)
    first = lane._replace(state=jax.tree.map(lambda leaf, axis: jnp.moveaxis(leaf, 0, axis), lane.state, axes.state))
    last = lax.fori_loop(*bounds, lambda number, lane: step(hparams, keys, data, order, lane, number), first)
    return last._replace(state=jax.tree.map(lambda leaf, axis: jnp.moveaxis(leaf, axis, 0), last.state, axes.state))


def _lane_of(task: Task) -> Lane:
    """The shapes of a lane, and where its leaves lie."""
    lane = jax.eval_shape(partial(init_lane, task.static), task.hparams, task.keys)
    return _on(lane, state_shardings(task.placement, lane))


def _on(tree: Any, shardings: Any) -> Any:
    return jax.tree.map(lambda leaf, s: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=s), tree, shardings)


def _places(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.sharding, tree)


def _without_optimizer(lane: Lane) -> Lane:
    return lane._replace(state=lane.state._replace(opt_state=()))
