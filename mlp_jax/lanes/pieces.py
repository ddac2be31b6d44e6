"""The end of an epoch in pieces that nets of different shapes share: a program a kind of layer, not one a net.

On a CPU compiling costs more than calling: whole, the end of an epoch took as long to compile as the steps, and for
nearly every trial of a sweep. The mathematics is that of `training.end_epoch`.
"""

from functools import partial
from typing import Any

import jax
import numpy as np

from mlp_jax import training
from mlp_jax.hparams import Static
from mlp_jax.model import Layer, Params, hidden_layer, output_layer
from mlp_jax.training import Best, Data, EpochStats, Evaluation, Lane, Placed, Rows, Sums

Array = jax.Array


def end_epoch(
    static: Static, data: Data, train_count: Placed, steps: Placed, validation: Rows, lane: Lane
) -> tuple[Lane, EpochStats]:
    """As `training.end_epoch`, of a lane that lies on one device and whose best parameters it may overwrite."""
    state, sums, best = lane
    params = state.average if static.ema else state.params
    common = static.evaluated._replace(sizes=(), activation="", loss="", norm="", ema=False)
    total = _evaluate(static, common, params, data, validation) if validation.indices.shape[0] else None
    scored = None if total is None else total._replace(alive=())
    val_loss, correct, better = _compare(common, scored, validation.total, best.correct)
    kept, finite = [], np.True_
    for new, old, trained in zip(params, best.params, state.params, strict=True):
        layer, finite = _keep(better, finite, new, old, trained)
        kept.append(layer)
    probes = {}
    if static.probes:
        probes = _probed(static.evaluated, steps, sums, state.params, total.alive if total else ())
    counts = train_count, steps
    train_loss, first_bad, correct_of_best, epoch, fresh = _finish(
        common, state.step, sums._replace(probes=()), counts, finite, better, correct, best.correct, best.epoch
    )
    fresh = fresh._replace(probes=_no_probes(sums.probes) if static.probes else ())
    stats = EpochStats(train_loss, sums.correct, val_loss, correct, first_bad, probes)
    return Lane(state, fresh, Best(tuple(kept), correct_of_best, epoch)), stats


def _evaluate(static: Static, common: Static, params: Params, data: Data, rows: Rows) -> Evaluation:
    """As `training.evaluate`."""
    classes = static.sizes[-1]
    loss: Any = np.zeros((), static.dtype)
    confusion: Any = np.zeros((classes, classes), np.int32)
    alive: list[Any] = [np.zeros(width, bool) for width in static.sizes[1:-1]] if static.probes else []
    for number in range(rows.indices.shape[0]):
        entered, labels, real = _read(common, data, rows, np.int32(number))
        for index, layer in enumerate(params[:-1]):
            own = static.evaluated._replace(sizes=(), loss="", ema=False)
            entered, found = _hidden(own, layer, entered, real, alive[index] if alive else None)
            if alive:
                alive[index] = found
        last = common._replace(sizes=static.sizes[-1:], loss=static.loss, probes=False)
        loss, confusion = _score(last, params[-1], entered, labels, real, loss, confusion)
    return Evaluation(loss, confusion, tuple(alive))


@partial(jax.jit, static_argnums=0)
def _read(static: Static, data: Data, rows: Rows, batch: Array) -> tuple[Array, Array, Array]:
    taken = training.take_batch(static, data, rows, batch, rows.indices.shape[1])
    return taken.inputs, taken.labels, taken.real


@partial(jax.jit, static_argnums=0)
def _hidden(
    static: Static, layer: Layer, entered: Array, real: Array, alive: Array | None
) -> tuple[Array, Array | None]:
    z, a, _ = hidden_layer(layer, entered, **static.net)
    return a, None if alive is None else training.add_alive(static, alive, z, a, real)


@partial(jax.jit, static_argnums=0)
def _score(
    static: Static, layer: Layer, entered: Array, labels: Array, real: Array, loss: Array, confusion: Array
) -> tuple[Array, Array]:
    return training.add_scores(static, loss, confusion, output_layer(layer, entered, static.precision), labels, real)


_compare = jax.jit(training.compare, static_argnums=0)
_probed = jax.jit(training.probed, static_argnums=0)
_no_probes = jax.jit(lambda probes: jax.tree.map(jax.numpy.zeros_like, probes))


@partial(jax.jit, donate_argnums=3)
def _keep(better: Array, finite: Array, new: Layer, old: Layer, trained: Layer) -> tuple[Layer, Array]:
    return training.keep_better(better, new, old), finite & training.all_finite(trained)


@partial(jax.jit, static_argnums=0)
def _finish(
    static: Static, step: Array, sums: Sums, counts: tuple[Array, Array], finite: Array, better: Array, *bests: Array
) -> tuple[Any, ...]:
    correct, best_correct, best_epoch = bests
    train_loss, epoch, first_bad = training.sum_up(static, step, sums, counts, finite)
    kept = training.keep_better(better, (correct, epoch), (best_correct, best_epoch))
    return train_loss, first_bad, *kept, training.no_sums(static._replace(probes=False))
