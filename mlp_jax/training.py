"""The training program: pure functions from a lane's state to its next state, compiled by `lanes.compile`.

A *lane* is one network in training. Its program is the same whether it runs alone or among others; a run of several
seeds and a sweep only place more lanes. Nothing here reads a clock, a file or a flag.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from mlp_jax.augment import augment, mix
from mlp_jax.gradients import GRADIENTS, Step
from mlp_jax.hparams import Hparams, Static, steps_per_epoch
from mlp_jax.losses import LOSSES, smooth
from mlp_jax.metrics import confusion_matrix
from mlp_jax.model import ACTIVATIONS, Layer, Params, dropout_masks, forward, init_params, layer_noise
from mlp_jax.optimizers import (
    OPTIMIZERS,
    Optimizer,
    add_decoupled_weight_decay,
    clip_by_global_norm,
    limit_norms,
)
from mlp_jax.schedules import learning_rate_factor

EVALUATION_BATCH = 1000
UNROLL = 4  # steps of a turn where their number is compiled in: on a GPU one graph of kernels launches them
Placed = Any  # a NumPy array or number before it is placed on a device, a JAX array after


class Keys(NamedTuple):
    """One stream of keys a purpose; the list grows only at its end, so that old seeds keep their numbers."""

    split: Array
    init: Array
    shuffle: Array
    dropout: Array
    augment: Array
    mixup: Array
    noise: Array
    vat: Array
    input_dropout: Array


class Data(NamedTuple):
    """What lies on the device once: `images` (n, inputs), `labels` int32 (n,), `scale` = 1/largest pixel.

    Images are uint8, or features in a floating dtype, whose scale is 1. `weights` (n,) say how much an example counts
    in training; () where all count the same.
    """

    images: Placed
    labels: Placed
    scale: Placed
    weights: Placed = ()


class Rows(NamedTuple):
    """Row numbers of `Data` in batches: `indices` int32 (batches, width); in all, `total` of them are real.

    A batch holds `size` ≤ width real rows, the last one what is left; the others fill it up and weigh nothing. A
    width beyond the size lets a batch divide over a mesh.
    """

    indices: Placed
    total: Placed


class TrainState(NamedTuple):
    """What an update changes; `step` counts updates from 0."""

    params: Params
    opt_state: Any
    step: Array
    average: Any = ()  # Params with ema_decay: their mean over the steps, the last ones weighing most


class Probes(NamedTuple):
    """Norms ‖·‖ of every layer's gradient and update, (layers,), summed over the steps of an epoch."""

    grad_norm: Array
    update_norm: Array


class Sums(NamedTuple):
    """Of the epoch so far: Σ loss·total, Σ correct, the first step whose loss was not finite (−1: none), the probes."""

    loss: Array
    correct: Array
    first_bad: Array
    probes: Any  # Probes, or () where they are off


class Best(NamedTuple):
    """The parameters after the epoch with most correct validation examples, the first on ties; epochs from 1."""

    params: Params
    correct: Array
    epoch: Array


class Lane(NamedTuple):
    """Everything that a resume needs of one network in training."""

    state: TrainState
    sums: Sums
    best: Best


class EpochStats(NamedTuple):
    """What one epoch is logged from: mean losses, counts of correct examples, the first bad step, the probes.

    `val_loss` is NaN and `val_correct` 0 without validation.
    """

    train_loss: Array
    train_correct: Array
    val_loss: Array
    val_correct: Array
    first_bad: Array
    probes: dict[str, Array]


def make_keys(seed: Array | int) -> Keys:
    """The streams of a seed in 0 … 2³²−1."""
    return Keys(*jax.random.split(jax.random.key(jnp.asarray(seed, jnp.uint32)), len(Keys._fields)))


def host_generator(key: Array) -> np.random.Generator:
    """NumPy's generator seeded by a key: the split and the shuffles are drawn on the host, where they cost least."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def epoch_key(keys: Keys, epoch: Array | int) -> Array:
    """The key of epoch `epoch` (from 1), whose generator permutes the training rows."""
    return jax.random.fold_in(keys.shuffle, epoch)


def epoch_order(keys: Keys, epoch: int, train_indices: np.ndarray) -> np.ndarray:
    """The order in which epoch `epoch` (from 1) visits the training rows."""
    return host_generator(epoch_key(keys, epoch)).permutation(train_indices)


def in_batches(indices: np.ndarray, size: int, width: int = 0) -> Rows:
    """`indices` in their order as batches of `size`, each filled up with row 0 to `width` (0: to `size`)."""
    matrix = np.zeros((steps_per_epoch(len(indices), size), size), np.int32)
    matrix.reshape(-1)[: len(indices)] = indices
    return Rows(np.pad(matrix, ((0, 0), (0, max(width - size, 0)))), np.int32(len(indices)))


def make_optimizer(static: Static, hparams: Hparams, learning_rate: Array) -> Optimizer:
    """The config's optimizer at this learning rate; built inside the traced function, so its numbers may be traced."""
    constructor, arguments = OPTIMIZERS[static.optimizer]
    optimizer = constructor(learning_rate, *(getattr(hparams, name) for name in arguments))
    if static.decoupled_weight_decay:
        return add_decoupled_weight_decay(optimizer, learning_rate, hparams.weight_decay, weights_only)
    return optimizer


def weights_only(params: Params) -> Any:
    """True for every weight matrix and False for every bias: what weight decay applies to."""
    return tuple(Layer(w=True, b=False) for _ in params)  # type: ignore[arg-type]


def init_lane(static: Static, hparams: Hparams, keys: Keys) -> Lane:
    """A network before its first step."""
    params = init_params(keys.init, static.sizes, static.init, hparams.init_scale, static.dtype)
    return start_lane(static, hparams, params)


def start_lane(static: Static, hparams: Hparams, params: Params) -> Lane:
    """A lane whose first step starts at `params`."""
    opt_state = make_optimizer(static, hparams, hparams.learning_rate).init(params)
    best = Best(jax.tree.map(jnp.zeros_like, params), jnp.int32(-1), jnp.int32(0))
    average = jax.tree.map(jnp.zeros_like, params) if static.ema else ()
    return Lane(TrainState(params, opt_state, jnp.int32(0), average), no_sums(static), best)


def no_sums(static: Static) -> Sums:
    """Of an epoch before its first step."""
    layers = len(static.sizes) - 1
    probes = Probes(jnp.zeros(layers, static.dtype), jnp.zeros(layers, static.dtype)) if static.probes else ()
    return Sums(jnp.zeros((), static.dtype), jnp.int32(0), jnp.int32(-1), probes)


def _layer_norms(params: Params) -> Array:
    return jnp.stack([jnp.sqrt(jnp.sum(layer.w**2) + jnp.sum(layer.b**2)) for layer in params])


class Batch(NamedTuple):
    """Pixels (width, in), their scale, labels (width,), real (width,), which is 0 for fillers; the sum of `real`.

    The sum is a number of its own since adding up a batch that is divided over devices makes them talk. `weights`
    (width,) are what each row counts in the objective, and `total` is their sum; without weights `real` and `size`.
    """

    pixels: Array
    scale: Array
    labels: Array
    real: Array
    size: Array
    weights: Array
    total: Array

    @property
    def inputs(self) -> Array:
        """The pixels as the network reads them, 0 to 1; features as they are."""
        return self.pixels.astype(self.scale.dtype) * self.scale


def take_batch(
    static: Static, data: Data, rows: Rows, batch: Array, size: int, class_weight: Array | tuple[()] = ()
) -> Batch:
    """Batch number `batch` of `rows`, of which `size` columns hold rows; weighed if there is a weight of each class."""
    indices = rows.indices[batch]
    count = jnp.minimum(size, rows.total - batch * size)
    real = lax.iota(jnp.int32, indices.shape[0]) < count
    scale = data.scale.astype(static.dtype)
    pixels, labels = data.images[indices], data.labels[indices]
    weights, total = real, count = real.astype(static.dtype), count.astype(static.dtype)
    if not isinstance(class_weight, tuple):
        weights = weights * class_weight[labels]
        if not isinstance(data.weights, tuple):
            weights = weights * data.weights[indices].astype(static.dtype)
        total = jnp.sum(weights)
    return Batch(pixels, scale, labels, real, count, weights, total)


def _targets(static: Static, labels: Array) -> Array:
    return jax.nn.one_hot(labels, static.sizes[-1], dtype=static.dtype)


def draw_step(static: Static, hparams: Hparams, keys: Keys, step: Array, batch: Batch) -> Step:
    """A batch as update `step` (from 0) trains on it: distorted, blended, with smoothed targets, masks and noise."""
    masks: tuple[Array, ...] = ()
    if static.dropout:
        key = jax.random.fold_in(keys.dropout, step)
        masks = dropout_masks(key, hparams.dropout_rate, len(batch.labels), static.sizes[1:-1], static.dtype)
    if static.distortions:
        key = jax.random.fold_in(keys.augment, step)
        pixels = batch.pixels.astype(static.dtype)
        batch = batch._replace(pixels=augment(static.distortions, hparams.augment, key, static.image_shape, pixels))
    inputs, targets, weights, total = batch.inputs, _targets(static, batch.labels), batch.weights, batch.total
    if static.mixup:
        key = jax.random.fold_in(keys.mixup, step)
        if static.weighted:  # a label keeps the weight of its example; their blend, by its sum, is that of the row
            inputs, targets = mix(key, hparams.mixup_alpha, batch.size, inputs, weights[:, None] * targets)
            sums = jnp.sum(targets, axis=1)
            targets, weights = targets / jnp.where(sums > 0, sums, 1)[:, None], batch.real * sums
        else:
            inputs, targets = mix(key, hparams.mixup_alpha, batch.size, inputs, targets)
    if static.smoothing:
        targets = smooth(targets, hparams.label_smoothing)
    if static.input_dropout:
        key = jax.random.fold_in(keys.input_dropout, step)
        (kept,) = dropout_masks(key, hparams.input_dropout_rate, len(inputs), static.sizes[:1], static.dtype)
        inputs = inputs * kept
    noise: tuple[Array, ...] = ()
    if static.noise:
        key = jax.random.fold_in(keys.noise, step)
        noise = layer_noise(key, hparams.noise, len(inputs), static.sizes[:-1], static.dtype)
    direction: Any = ()
    if static.vat:
        direction = jax.random.normal(jax.random.fold_in(keys.vat, step), inputs.shape, static.dtype)
    if static.weighted:
        total = jnp.where(total > 0, total, 1)  # a batch in which nothing counts has no gradient
    return Step(inputs, targets, weights / total, masks, noise, direction)


def train_step(static: Static, hparams: Hparams, keys: Keys, lane: Lane, batch: Batch) -> Lane:
    """One update on one batch."""
    state, sums = lane.state, lane.sums
    drawn = draw_step(static, hparams, keys, state.step, batch)
    (loss, logits), grads = GRADIENTS[static.gradient](static, hparams, state.params, drawn)
    if static.clip:
        grads = clip_by_global_norm(grads, hparams.clip_norm)
    factor = learning_rate_factor(static.schedule, static.warmup, state.step, hparams.schedule)
    optimizer = make_optimizer(static, hparams, hparams.learning_rate * factor)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = jax.tree.map(jnp.add, state.params, updates)
    if static.max_norm:
        params = tuple(layer._replace(w=limit_norms(layer.w, hparams.max_norm)) for layer in params)
    average = state.average
    if static.ema:
        average = move_average(average, params, hparams.ema_decay, state.step + 1)

    # Counted in the dtype of the gradient (exact to 2²⁴ rows), so that devices send the two together.
    correct = jnp.sum(jnp.where(lax.argmax(logits, 1, jnp.int32) == batch.labels, batch.real, 0)).astype(jnp.int32)
    bad = (sums.first_bad < 0) & ~jnp.isfinite(loss)
    probes = sums.probes
    if static.probes:
        probes = Probes(probes.grad_norm + _layer_norms(grads), probes.update_norm + _layer_norms(updates))
    sums = Sums(
        sums.loss + loss * batch.total, sums.correct + correct, jnp.where(bad, state.step, sums.first_bad), probes
    )
    return Lane(TrainState(params, opt_state, state.step + 1, average), sums, lane.best)


def train_on(static: Static, hparams: Hparams, keys: Keys, data: Data, order: Rows, lane: Lane, number: Array) -> Lane:
    """One update on batch `number` of `order`."""
    batch = take_batch(static, data, order, number, static.batch_size, hparams.class_weight)
    return train_step(static, hparams, keys, lane, batch)


def move_average(average: Params, params: Params, decay: Array, count: Array) -> Params:
    """a ← a + (1 − d)/(1 − d^t)·(θ − a), t = `count` updates from 1: Σ d^(t−i)·θ_i over Σ d^(t−i).

    That is the exponential moving average with its bias corrected as in Adam: the first is θ_1 itself.
    """
    weight = (1 - decay) / (1 - decay ** count.astype(decay.dtype))
    return jax.tree.map(lambda a, p: a + weight * (p - a), average, params)


def train_steps(
    static: Static,
    hparams: Hparams,
    keys: Keys,
    data: Data,
    order: Rows,
    lane: Lane,
    bounds: tuple[Placed, Placed],
    count: int = 0,
) -> Lane:
    """Batches start … stop − 1 of the epoch whose row order is `order`; one program for any bounds (start, stop).

    With `count` a program for `count` batches from start alone, whose loop needs no condition that the host reads.
    """

    def body(batch: Array, lane: Lane) -> Lane:
        return train_on(static, hparams, keys, data, order, lane, batch)

    if not count:
        return lax.fori_loop(*bounds, body, lane)
    start, _ = bounds
    return lax.fori_loop(np.int32(0), np.int32(count), lambda i, lane: body(start + i, lane), lane, unroll=UNROLL)


class Evaluation(NamedTuple):
    """Sums over every example: Σ loss, the confusion matrix, and the units (a hidden layer each) that pass gradient."""

    loss: Array
    confusion: Array
    alive: tuple[Array, ...]


def add_scores(
    static: Static, loss: Array, confusion: Array, logits: Array, labels: Array, real: Array
) -> tuple[Array, Array]:
    """The sums with those of a batch."""
    losses = LOSSES[static.loss].value(logits, _targets(static, labels))
    found = confusion_matrix(lax.argmax(logits, 1, jnp.int32), labels, real, static.sizes[-1])
    return loss + jnp.sum(real * losses), confusion + found


def add_alive(static: Static, alive: Array, z: Array, a: Array, real: Array) -> Array:
    """The units of a hidden layer that pass gradient, with those that do in a batch."""
    return alive | jnp.any(ACTIVATIONS[static.activation].df(z, a) * real[:, None] != 0, axis=0)


def evaluate(static: Static, params: Params, data: Data, rows: Rows) -> Evaluation:
    """Loss (without λ and dropout) and confusion matrix over `rows`, summed batch by batch; no example is dropped."""

    def body(batch: Array, total: Evaluation) -> Evaluation:
        taken = take_batch(static, data, rows, batch, rows.indices.shape[1])
        logits, cache = forward(params, taken.inputs, **static.net)
        alive = total.alive
        if static.probes:
            layers = zip(alive, cache.pre_activations, cache.activations, strict=True)
            alive = tuple(add_alive(static, old, z, a, taken.real) for old, z, a in layers)
        scores = add_scores(static, total.loss, total.confusion, logits, taken.labels, taken.real)
        return Evaluation(*scores, alive)

    classes, hidden = static.sizes[-1], static.sizes[1:-1]
    nothing = Evaluation(
        jnp.zeros((), static.dtype),
        jnp.zeros((classes, classes), jnp.int32),
        tuple(jnp.zeros(width, bool) for width in hidden) if static.probes else (),
    )
    return lax.fori_loop(0, rows.indices.shape[0], body, nothing)


def compare(static: Static, total: Evaluation | None, count: Array, best: Array) -> tuple[Array, Array, Array]:
    """(mean loss, correct examples, whether they are more than `best`) of a validation of `count` examples.

    Without validation the last parameters are the ones to test.
    """
    if total is None:
        return jnp.asarray(jnp.nan, static.dtype), jnp.int32(0), jnp.asarray(True)
    correct = jnp.trace(total.confusion, dtype=jnp.int32)
    return total.loss / count.astype(static.dtype), correct, correct > best


def keep_better(better: Array, new: Any, old: Any) -> Any:
    """`new` where it is better, else `old`."""
    return jax.tree.map(lambda one, other: jnp.where(better, one, other), new, old)


def all_finite(tree: Any) -> Array:
    """Whether every number is."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def sum_up(
    static: Static, state_step: Array, sums: Sums, counts: tuple[Array, Array], finite: Array
) -> tuple[Array, Array, Array]:
    """(mean training loss, epoch, first bad step) of an epoch of `counts` = (rows, steps).

    A last step that makes the parameters infinite leaves no later loss to tell.
    """
    rows, steps = counts
    first_bad = jnp.where((sums.first_bad < 0) & ~finite, state_step, sums.first_bad)
    return sums.loss / rows.astype(static.dtype), state_step // steps, first_bad


def end_epoch(
    static: Static, data: Data, train_count: Placed, steps: Placed, validation: Rows, lane: Lane
) -> tuple[Lane, EpochStats]:
    """Validates, keeps the best parameters (averaged ones, if any), and sets the epoch's sums back to nothing.

    The epoch had `train_count` rows in `steps` steps. The optimizer's state passes through. `lanes.pieces` has the same
    in parts.
    """
    state, sums, best = lane
    params = state.average if static.ema else state.params
    total = evaluate(static, params, data, validation) if validation.indices.shape[0] else None
    val_loss, correct, better = compare(static, total, validation.total, best.correct)
    finite = all_finite(state.params)
    train_loss, epoch, first_bad = sum_up(static, state.step, sums, (train_count, steps), finite)
    kept = keep_better(better, Best(params, correct, epoch), best)
    probes = probed(static, steps, sums, state.params, total.alive if total else ()) if static.probes else {}
    stats = EpochStats(train_loss, sums.correct, val_loss, correct, first_bad, probes)
    return Lane(state, no_sums(static), kept), stats


def probed(static: Static, steps: Array, sums: Sums, params: Params, alive: tuple[Array, ...]) -> dict[str, Array]:
    """What the probes of an epoch say, a number a layer each."""
    found = {
        "grad_norm": sums.probes.grad_norm / steps.astype(static.dtype),
        "update_norm": sums.probes.update_norm / steps.astype(static.dtype),
        "weight_norm": _layer_norms(params),
    }
    if alive:
        found["dead_units"] = jnp.stack([1 - jnp.mean(units.astype(static.dtype)) for units in alive])
    return found
