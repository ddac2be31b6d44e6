"""Nets of different depth, width, activation, loss and optimizer as lanes of one program.

Hidden layers are padded to the widest with zeros, which stay zero since what comes out of a padded neuron is masked;
layers beyond a lane's depth pass on what they get. Activation, loss and schedule are chosen by a number a lane, and
the optimizers are one update with seven coefficients (`optimizers.COEFFICIENTS`). All lanes train on one minibatch,
gathered and cast once.

The weights of all lanes lie side by side, of the first layer (in, lanes, out), so that its product with the shared
minibatch is one large one, of the others (lanes, in, out).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from mlp_jax.gradients import Step
from mlp_jax.hparams import Hparams, Static
from mlp_jax.losses import LOSSES, smooth
from mlp_jax.model import ACTIVATIONS, PRECISIONS, Layer, Params
from mlp_jax.optimizers import (
    COEFFICIENTS,
    OPTIMIZERS,
    Coefficients,
    MeanSquareState,
    MomentsState,
    TraceState,
    clip_by_global_norm,
    update_by,
)
from mlp_jax.schedules import SCHEDULES, learning_rate_factor
from mlp_jax.training import (
    Batch,
    Best,
    Data,
    EpochStats,
    Keys,
    Lane,
    Placed,
    Rows,
    Sums,
    TrainState,
    all_finite,
    draw_step,
    sum_up,
    take_batch,
)

# What may differ between lanes, with the value that stands for all of them where it is not a number of the lane.
_NAMES: dict[str, Any] = {"activation": "", "init": "", "loss": "", "optimizer": "", "schedule": "", "gradient": ""}
_FEATURES = ("l2", "decoupled_weight_decay", "clip", "warmup", "smoothing")  # present if any lane has them
# What is the same in all lanes of a program, as the minibatch or the arithmetic hangs on it.
_SHARED = frozenset({"sizes", "precision", "batch_size", "mixup", "ema", "distortions", "image_shape"})
# The config's names where `Static` has others.
_FIELDS = {
    "dropout": "dropout_rate",
    "weighted": "class_weight",
    "vat": "vat_weight",
    "input_dropout": "input_dropout_rate",
}


def unmixable(static: Static) -> str:
    """The config field for which a net cannot be a lane here, '' if it can: its draws or sums depend on its shape."""
    for name, value in static._asdict().items():
        if name not in _SHARED and name not in _NAMES and name not in _FEATURES and value not in (False, "none", ""):
            return _FIELDS.get(name, name)
    return "" if static.optimizer in COEFFICIENTS else "optimizer"


def kind(static: Static) -> Static:
    """What nets have to have in common to be lanes of one program. Nets without a hidden layer are a kind of their own.

    Their one matrix reads the inputs, which is as large as all others together where it has to be padded to that.
    """
    inputs, *hidden, classes = static.sizes
    sizes = (inputs, 1, classes) if hidden else (inputs, classes)
    none: dict[str, Any] = dict.fromkeys(_FEATURES, False)
    return static._replace(**_NAMES, **none, sizes=sizes)


class Form(NamedTuple):
    """What decides the text of the program; hashable. `static` has the padded sizes and no names.

    Of the activations and losses only those that some lane has are computed; a lane has its place among them.
    """

    static: Static
    activations: tuple[str, ...]
    losses: tuple[str, ...]

    @property
    def depth(self) -> int:
        """Hidden layers."""
        return len(self.static.sizes) - 2

    def holds(self, static: Static) -> bool:
        """Whether a net can be a lane of the program as it is."""
        return kind(static) == kind(self.static) and form_of([static], self) == self


def form_of(statics: Iterable[Static], known: Form | None = None) -> Form:
    """The least program that holds nets of one kind, and all that `known` does."""
    statics = [*statics, *([known.static] if known else [])]
    inputs, *_, classes = statics[0].sizes
    width = max((width for static in statics for width in static.sizes[1:-1]), default=0)
    sizes = (inputs, *[width] * max(len(static.sizes) - 2 for static in statics), classes)
    features: dict[str, Any] = {name: any(getattr(static, name) for static in statics) for name in _FEATURES}
    activations, losses = (
        tuple(sorted({*old, *(getattr(static, field) for static in statics)} - {""}))
        for field, old in (("activation", known.activations if known else ()), ("loss", known.losses if known else ()))
    )
    return Form(kind(statics[0])._replace(**features, sizes=sizes), activations, losses)


PADDING = 4  # lanes are padded to at most so many times their own numbers, on average


def forms_of(statics: Iterable[Static]) -> list[Form]:
    """The fewest programs, from the largest nets down, that hold these nets of one kind without too much `PADDING`."""
    forms: list[Form] = []
    lanes = own = 0
    for static, count in sorted(Counter(statics).items(), key=lambda item: _weights(item[0]), reverse=True):
        form = form_of([static], forms[-1] if lanes else None)
        lanes, own = lanes + count, own + count * _weights(static)
        if len(forms) and lanes * _weights(form.static) > PADDING * own:
            lanes, own = count, count * _weights(static)
            forms.append(form_of([static]))
        else:
            forms[-1:] = [form]
    return forms


def _weights(static: Static) -> int:
    return sum((a + 1) * b for a, b in pairwise(static.sizes))


class Numbers(NamedTuple):
    """What a lane is, (lanes,) each: its widths (lanes, hidden layers), 0 beyond its depth; its names' places; numbers.

    λ of the objective is `coupled`, that of the update `decoupled`; a lane that is not clipped has c = ∞.
    """

    widths: Placed
    activation: Placed
    loss: Placed
    optimizer: Placed
    schedule: Placed
    coupled: Placed
    decoupled: Placed
    hparams: Hparams


def numbers_of(form: Form, lanes: Sequence[tuple[Static, Hparams]], count: int) -> Numbers:
    """Those of `lanes`, on the host; places up to `count` are filled with the first, which nobody reads."""
    lanes = [*lanes, *[lanes[0]] * (count - len(lanes))]
    hparams = jax.tree.map(lambda *leaves: np.stack(leaves), *jax.device_get([numbers for _, numbers in lanes]))
    hidden = [static.sizes[1:-1] for static, _ in lanes]

    def places(field: str, names: tuple[str, ...]) -> np.ndarray:
        return np.array([names.index(getattr(static, field)) for static, _ in lanes], np.int32)

    def where(feature: str, values: np.ndarray, other: float) -> np.ndarray:
        return np.where([getattr(static, feature) for static, _ in lanes], values, values.dtype.type(other))

    return Numbers(
        np.array([(*widths, *[0] * (form.depth - len(widths))) for widths in hidden], np.int32),
        places("activation", form.activations),
        places("loss", form.losses),
        places("optimizer", tuple(COEFFICIENTS)),
        places("schedule", tuple(SCHEDULES)),
        where("l2", hparams.weight_decay, 0),
        where("decoupled_weight_decay", hparams.weight_decay, 0),
        hparams._replace(clip_norm=where("clip", hparams.clip_norm, np.inf)),
    )


# Lanes on the host


def blank(form: Form, count: int) -> Lane:
    """`count` lanes of zeros before their first step, on the host (zeros that nobody touches take no memory)."""
    static, dtype = form.static, form.static.dtype

    def params() -> Params:
        shapes = [(count, n_in, n_out) for n_in, n_out in pairwise(static.sizes)]
        shapes[0] = (static.sizes[0], count, static.sizes[1])
        zeros: Any = np.zeros
        return tuple(Layer(zeros(shape, dtype), zeros((count, shape[-1]), dtype)) for shape in shapes)

    def whole(value: int) -> Any:
        return np.full(count, value, np.int32)

    step: Any = np.int32(0)
    moments = MomentsState(step, params(), params())
    state = TrainState(params(), moments, step, params() if static.ema else ())
    return Lane(state, Sums(whole(0).astype(dtype), whole(0), whole(-1), ()), Best(params(), whole(-1), whole(0)))


_AXES: tuple[Any, Any, Any] = (0, -1, 1)  # in place of arrays


def axes(form: Form) -> Lane:
    """Which axis of each leaf counts the lanes; −1: none."""
    first, none, second = _AXES
    params = (Layer(second, first), *[Layer(first, first)] * form.depth)
    state = TrainState(params, MomentsState(none, params, params), none, params if form.static.ema else ())
    return Lane(state, Sums(first, first, first, ()), Best(params, first, first))


def stack(form: Form, lanes: Sequence[Lane | Params], count: int) -> Lane:
    """Lanes of nets' own shapes, all equally far, or first weights alone, padded and side by side."""
    whole = blank(form, count)

    def write(into: Params, index: int, params: Params) -> None:
        for place, layer in zip(_places(form, len(params)), params, strict=True):
            w, b = into[place]
            n_in, n_out = np.shape(layer.w)
            (w[index] if place else w[:, index])[:n_in, :n_out] = layer.w
            b[index, :n_out] = layer.b

    for index, lane in enumerate(lanes):
        if not isinstance(lane, Lane):
            write(whole.state.params, index, lane)
            continue
        write(whole.state.params, index, lane.state.params)
        for moment, into in zip(_moments(lane.state.opt_state), whole.state.opt_state[1:], strict=True):
            write(into, index, moment)
        write(whole.state.average, index, lane.state.average)
        write(whole.best.params, index, lane.best.params)
        whole.best.correct[index], whole.best.epoch[index] = lane.best.correct, lane.best.epoch
    if isinstance(lanes[0], Lane):
        step: Any = np.int32(lanes[0].state.step)
        moments = whole.state.opt_state._replace(count=step)
        return whole._replace(state=whole.state._replace(step=step, opt_state=moments))
    return whole


def cut(form: Form, static: Static, whole: Lane, index: int) -> Lane:
    """One lane of `whole`, which lies on the host, in its net's own shape, as a run alone would have it."""

    def read(source: Params) -> Params:
        return tuple(
            Layer((w[index] if place else w[:, index])[:n_in, :n_out].copy(), b[index, :n_out].copy())
            for place, (n_in, n_out) in zip(_places(form, len(static.sizes) - 1), pairwise(static.sizes), strict=True)
            for w, b in [source[place]]
        )

    def number(value: Any) -> Any:
        return np.asarray(value)

    state, (loss, correct, first_bad, _), best = whole
    count, mu, nu = state.opt_state
    opt_state: Any = ()
    if static.optimizer in ("momentum", "nesterov"):
        opt_state = TraceState(read(mu))
    elif static.optimizer == "rmsprop":
        opt_state = MeanSquareState(read(nu))
    elif static.optimizer != "sgd":
        opt_state = MomentsState(number(count), read(mu), read(nu))
    return Lane(
        TrainState(read(state.params), opt_state, number(state.step), read(state.average) if static.ema else ()),
        Sums(number(loss[index]), number(correct[index]), number(first_bad[index]), ()),
        Best(read(best.params), number(best.correct[index]), number(best.epoch[index])),
    )


def _places(form: Form, layers: int) -> list[int]:
    """Which layers of the form a net of `layers` layers has: the first ones, and the last."""
    return [*range(layers - 1), form.depth] if layers else []


def _moments(opt_state: Any) -> tuple[Params, Params]:
    """m and v of an optimizer's state, () where it has none."""
    return getattr(opt_state, "trace", getattr(opt_state, "mu", ())), getattr(opt_state, "nu", ())


# The program


def _over(values: Any, leaf: Array, axis: int = 0) -> Array:
    """(lanes,) as something that broadcasts with a leaf whose lanes are counted by `axis`."""
    return values.reshape([-1 if dimension == axis else 1 for dimension in range(leaf.ndim)])


def _chosen(places: Array, results: Sequence[Array]) -> Array:
    """For every lane the result at its place; `results` are (lanes, …)."""
    chosen, *others = results
    for place, other in enumerate(others, start=1):
        chosen = jnp.where(_over(places, other) == place, other, chosen)
    return chosen


def _product(form: Form, in_axes: tuple[int | None, int], out_axis: int = 0) -> Callable[[Array, Array], Array]:
    """a·b for every lane."""
    return jax.vmap(PRECISIONS[form.static.precision], in_axes, out_axis)


class Cache(NamedTuple):
    """What the way back reads: what each layer multiplied, (lanes, batch, width), and da/dz of what came out of it."""

    entered: tuple[Array, ...]
    slopes: tuple[Array, ...]


def forward(form: Form, numbers: Numbers, params: Params, inputs: Array) -> tuple[Array, Cache]:
    """Logits (lanes, batch, classes) of inputs (batch, in) that all lanes share, and the cache."""
    entered, slopes = [inputs], list[Array]()
    for index, (w, b) in enumerate(params):
        z = _product(form, (0, 0) if index else (None, 1))(entered[-1], w) + b[:, None]
        if index == form.depth:
            return z, Cache(tuple(entered), tuple(slopes))
        table = [ACTIVATIONS[name] for name in form.activations]
        values = [row.f(z) for row in table]
        width = _over(numbers.widths[:, index], z)
        real = lax.broadcasted_iota(jnp.int32, (1, 1, z.shape[-1]), 2) < width
        a = jnp.where(real, _chosen(numbers.activation, values), 0)
        slope = _chosen(numbers.activation, [row.df(z, value) for row, value in zip(table, values, strict=True)])
        slopes.append(jnp.where(real, slope, 0))
        entered.append(jnp.where(width > 0, a, entered[-1]) if index else a)
    raise AssertionError("params has no output layer")


def backward(form: Form, numbers: Numbers, params: Params, cache: Cache, delta: Array) -> Params:
    """The gradient by every layer, without λ, of ∂/∂logits; see `gradients.backprop`."""
    grads: list[Layer] = []
    for index in reversed(range(form.depth + 1)):
        if index < form.depth:
            below, delta = delta, delta * cache.slopes[index]
        by_w = _product(form, (0, 0) if index else (None, 0), 0 if index else 1)
        entered = cache.entered[index]
        grads.append(Layer(by_w(jnp.swapaxes(entered, -1, -2), delta), jnp.sum(delta, axis=1)))
        if index:
            back = _product(form, (0, 0))(delta, jnp.swapaxes(params[index].w, 1, 2))
            there = index == form.depth or _over(numbers.widths[:, index], back) > 0
            delta = jnp.where(there, back, below) if index < form.depth else back
    return tuple(reversed(grads))


def _squares(params: Params) -> Array:
    """Σw² of every lane's weights."""
    return sum(jnp.sum(layer.w**2, axis=(1, 2) if index else (0, 2)) for index, layer in enumerate(params))  # type: ignore[return-value]


def _finished(grads: Params) -> Params:
    """The same; a GPU's products would else take λw as what they add to, which is written and read for that alone."""
    apart: Any = lax.optimization_barrier
    return lax.platform_dependent(grads, cuda=apart, rocm=apart, default=lambda grads: grads)


def coefficients(form: Form, numbers: Numbers, learning_rate: Array, t: Array) -> Coefficients:
    """Those of update t (from 1) of every lane, (lanes,) each, at its learning rate of that update."""
    rows = []
    for name in COEFFICIENTS:
        arguments = (getattr(numbers.hparams, argument) for argument in OPTIMIZERS[name][1])
        rows.append(COEFFICIENTS[name](learning_rate, t.astype(learning_rate.dtype), *arguments))
    full = partial(jnp.broadcast_to, shape=learning_rate.shape)
    of_dtype = partial(jnp.asarray, dtype=learning_rate.dtype)
    columns = zip(*rows, strict=True)
    return Coefficients(*(_chosen(numbers.optimizer, [full(of_dtype(c)) for c in column]) for column in columns))


def train_step(form: Form, numbers: Numbers, lane: Lane, batch: Batch, drawn: Step) -> Lane:
    """One update of every lane on the batch that they share; see `training.train_step`."""
    inputs, targets, weights, *_ = drawn
    static, hparams, state, sums = form.static, numbers.hparams, lane.state, lane.sums
    params, (count, mu, nu) = state.params, state.opt_state
    if static.smoothing:
        targets = smooth(targets, hparams.label_smoothing[:, None, None])
    logits, cache = forward(form, numbers, params, inputs)
    losses = [LOSSES[name] for name in form.losses]
    loss = jnp.sum(weights * _chosen(numbers.loss, [row.value(logits, targets) for row in losses]), axis=1)
    delta = weights[:, None] * _chosen(numbers.loss, [row.delta(logits, targets) for row in losses])
    grads = backward(form, numbers, params, cache, delta)
    along: Any = axes(form).state.params
    if static.l2:
        loss = loss + 0.5 * numbers.coupled * _squares(params)
        grads = tuple(
            Layer(g.w + _over(numbers.coupled, w, axis) * w, g.b)
            for g, (w, _), (axis, _) in zip(_finished(grads), params, along, strict=True)
        )
    if static.clip:
        grads = jax.vmap(clip_by_global_norm, in_axes=(along, 0), out_axes=along)(grads, hparams.clip_norm)
    by_schedule = [
        learning_rate_factor(name, static.warmup, jnp.broadcast_to(state.step, loss.shape), hparams.schedule)
        for name in SCHEDULES
    ]
    learning_rate = hparams.learning_rate * _chosen(numbers.schedule, by_schedule)
    c, decay = coefficients(form, numbers, learning_rate, state.step + 1), learning_rate * numbers.decoupled

    def update(w: Array, g: Array, m: Array, v: Array, axis: int, decays: bool) -> tuple[Array, Array, Array]:
        change, m, v = update_by(Coefficients(*(_over(number, w, axis) for number in c)), g, m, v)
        if decays and static.decoupled_weight_decay:
            change = change - _over(decay, w, axis) * w
        return w + change, m, v

    updated = [
        (update(p.w, g.w, m.w, v.w, axis, True), update(p.b, g.b, m.b, v.b, 0, False))
        for p, g, m, v, (axis, _) in zip(params, grads, mu, nu, along, strict=True)
    ]
    params, mu, nu = (tuple(Layer(w[part], b[part]) for w, b in updated) for part in range(3))
    average = state.average
    if static.ema:
        d = hparams.ema_decay
        weight = (1 - d) / (1 - d ** (state.step + 1).astype(d.dtype))
        average = jax.tree.map(lambda a, p, axis: a + _over(weight, a, axis) * (p - a), average, params, along)

    right = lax.argmax(logits, 2, jnp.int32) == batch.labels
    correct = jnp.sum(jnp.where(right, batch.real, 0), axis=1).astype(jnp.int32)
    bad = (sums.first_bad < 0) & ~jnp.isfinite(loss)
    first_bad = jnp.where(bad, state.step, sums.first_bad)
    return Lane(
        TrainState(params, MomentsState(count + 1, mu, nu), state.step + 1, average),
        Sums(sums.loss + loss * batch.size, sums.correct + correct, first_bad, ()),
        lane.best,
    )


def train_steps(
    form: Form,
    numbers: Numbers,
    drawing: tuple[Hparams, Keys],
    data: Data,
    order: Rows,
    lane: Lane,
    bounds: tuple[Placed, Placed],
) -> Lane:
    """Batches start … stop − 1 of an epoch, in which all lanes are; see `training.train_steps`.

    `drawing`: the numbers of one lane by which the batch is distorted and blended, the same in all, and their keys.
    """
    static = form.static._replace(smoothing=False)

    def body(number: Array, lane: Lane) -> Lane:
        batch = take_batch(static, data, order, number, static.batch_size)
        return train_step(form, numbers, lane, batch, draw_step(static, *drawing, lane.state.step, batch))

    return lax.fori_loop(*bounds, body, lane)


def end_epoch(
    form: Form, data: Data, train_count: Placed, steps: Placed, tested: tuple[Numbers, Rows], lane: Lane
) -> tuple[Lane, EpochStats]:
    """Validates every lane, keeps its best parameters, sets its sums back; see `training.end_epoch`."""
    numbers, validation = tested
    static, (state, sums, best), along = form.static, lane, axes(form)
    params = state.average if static.ema else state.params
    lanes, dtype = sums.loss.shape, static.dtype
    val_loss, correct, better = jnp.full(lanes, jnp.nan, dtype), jnp.zeros(lanes, jnp.int32), jnp.ones(lanes, bool)
    if validation.indices.shape[0]:

        def body(number: Array, total: tuple[Array, Array]) -> tuple[Array, Array]:
            batch = take_batch(static, data, validation, number, validation.indices.shape[1])
            logits, _ = forward(form, numbers, params, batch.inputs)
            targets = jax.nn.one_hot(batch.labels, static.sizes[-1], dtype=dtype)
            losses = _chosen(numbers.loss, [LOSSES[name].value(logits, targets) for name in form.losses])
            right = (lax.argmax(logits, 2, jnp.int32) == batch.labels) & (batch.real > 0)
            return total[0] + jnp.sum(batch.real * losses, axis=1), total[1] + jnp.sum(right, axis=1, dtype=jnp.int32)

        nothing = jnp.zeros(lanes, dtype), correct
        val_loss, correct = lax.fori_loop(0, validation.indices.shape[0], body, nothing)
        val_loss = val_loss / validation.total.astype(dtype)
        better = correct > best.correct

    finite = jax.vmap(all_finite, (along.state.params,))(state.params)
    train_loss, epoch, first_bad = sum_up(static, state.step, sums, (train_count, steps), finite)

    def keep(new: Array, old: Array, axis: int) -> Array:
        return jnp.where(_over(better, new, axis), new, old)

    kept = jax.tree.map(keep, params, best.params, along.best.params)
    best = Best(kept, jnp.where(better, correct, best.correct), jnp.where(better, epoch, best.epoch))
    stats = EpochStats(train_loss, sums.correct, val_loss, correct, first_bad, {})
    none = Sums(jnp.zeros_like(sums.loss), jnp.zeros_like(sums.correct), jnp.full_like(sums.first_bad, -1), ())
    return Lane(state, none, best), stats
