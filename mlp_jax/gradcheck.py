"""Hand backprop against `jax.grad` and against central differences, in float64, for everything a config can choose.

The point is random: Xavier weights, normal biases, inputs in [0, 1), any labels. Errors are ‖a−n‖/(‖a‖+‖n‖). Central
differences are (J(θ + hd) − J(θ − hd))/2h along *probes* d: one parameter each, or a random unit vector.
"""

from collections.abc import Callable
from functools import partial
from itertools import count, product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.flatten_util import ravel_pytree
from ml_collections import ConfigDict

from mlp_jax.boundary import Hparams, Static, split_config
from mlp_jax.gradients import GRADIENTS, objective
from mlp_jax.losses import LOSSES
from mlp_jax.model import ACTIVATIONS, Layer, Params, dropout_masks, forward, init_params

AUTODIFF_TOLERANCE = 1e-12  # of every leaf
DIFFERENCES_TOLERANCE = 1e-7  # of the whole gradient
STEP = 1e-5  # h: truncation, about h², and rounding, about 1e-16/h, both stay far below the tolerance
BATCH = 4
DROPOUT_RATE, WEIGHT_DECAY = 0.3, 1e-3
EVERY_PARAMETER = 2000  # up to so many are probed one by one; of more every bias, and of the rest as many as follow
WEIGHTS, DIRECTIONS = 200, 64
CANDIDATES = 8  # points drawn at once, of which the one farthest from a kink is tried


class Row(NamedTuple):
    """One combination and its errors: of the worst leaf against autodiff, and along all probes."""

    activation: str
    loss: str
    dropout: bool
    l2: bool
    autodiff: float
    differences: float

    @property
    def passed(self) -> bool:
        """Whether both errors are within tolerance; NaN is not."""
        return self.autodiff <= AUTODIFF_TOLERANCE and self.differences <= DIFFERENCES_TOLERANCE


class Point(NamedTuple):
    """Where a gradient is taken: the arguments of `objective`, in their order."""

    params: Params
    inputs: Array
    targets: Array
    weights: Array
    masks: tuple[Array, ...]


class Comparison(NamedTuple):
    """Gradients at a point for several objectives, and along the probes, (probes, objectives)."""

    hand: tuple[Params, ...]
    auto: tuple[Params, ...]
    along: Array  # gradient by hand · d
    quotients: Array  # central differences along d
    crossed: Array  # whether a pre-activation changed its sign within ±h


def report(config: ConfigDict) -> tuple[str, bool]:
    """The table as text, and whether every row is within tolerance; sizes from the config, its combination marked."""
    inputs = 64 if config.dataset == "digits" else 784
    with jax.enable_x64(True):
        static, hparams = split_config(config, inputs, 10, BATCH)
        rows = [
            row
            for activation, dropout in product(ACTIVATIONS, (True, False))
            for row in check(static._replace(activation=activation, dropout=dropout), hparams)
        ]
    own = (static.activation, static.loss, static.dropout, static.l2)
    return _table(static.sizes, rows, own), all(row.passed for row in rows)


def check(static: Static, hparams: Hparams) -> list[Row]:
    """The rows of one activation, with dropout or without: every loss, with λ and without. Needs 64-bit types."""
    static = static._replace(precision="float64", init="xavier")
    hparams = hparams._replace(weight_decay=jnp.float64(WEIGHT_DECAY))
    variants = tuple(static._replace(loss=loss, l2=l2) for loss, l2 in product(LOSSES, (True, False)))
    compare = jax.jit(partial(_compare, variants, hparams, _probed_entries(static.sizes)))
    comparisons = (compare(jax.random.fold_in(jax.random.key(0), attempt)) for attempt in count())
    found = next(comparison for comparison in comparisons if not comparison.crossed)
    return [
        Row(
            variant.activation,
            variant.loss,
            variant.dropout,
            variant.l2,
            max(relative_error(*leaves) for leaves in zip(*map(jax.tree.leaves, (hand, auto)), strict=True)),
            relative_error(along, quotients),
        )
        for variant, hand, auto, along, quotients in zip(
            variants, found.hand, found.auto, found.along.T, found.quotients.T, strict=True
        )
    ]


def relative_error(a: Array, n: Array) -> float:
    """‖a−n‖/(‖a‖+‖n‖); 0 where both are zero."""
    difference, total = np.linalg.norm(a - n), np.linalg.norm(a) + np.linalg.norm(n)
    return 0.0 if total == 0 else float(difference / total)


def _probed_entries(sizes: tuple[int, ...]) -> np.ndarray:
    """Which entries of the ravelled parameters are probed one by one."""
    shapes = zip(sizes[:-1], sizes[1:], strict=True)
    is_bias = np.concatenate([np.repeat([False, True], (n_in * n_out, n_out)) for n_in, n_out in shapes])
    if is_bias.size <= EVERY_PARAMETER:
        return np.arange(is_bias.size)
    weights = np.random.default_rng(0).choice(np.flatnonzero(~is_bias), WEIGHTS, replace=False)
    return np.concatenate([np.flatnonzero(is_bias), weights])


def _draw(static: Static, hparams: Hparams, key: Array) -> Point:
    keys = jax.random.split(key, 5)
    params = tuple(
        Layer(layer.w, jax.random.normal(jax.random.fold_in(keys[1], index), layer.b.shape, layer.b.dtype))
        for index, layer in enumerate(init_params(keys[0], static.sizes, static.init, hparams.init_scale, static.dtype))
    )
    inputs = jax.random.uniform(keys[2], (BATCH, static.sizes[0]), static.dtype)
    labels = jax.random.randint(keys[3], (BATCH,), 0, static.sizes[-1])
    targets = jax.nn.one_hot(labels, static.sizes[-1], dtype=static.dtype)
    rate = jnp.asarray(DROPOUT_RATE, static.dtype)
    masks = dropout_masks(keys[4], rate, BATCH, static.sizes[1:-1], static.dtype) if static.dropout else ()
    return Point(params, inputs, targets, jnp.full(BATCH, 1 / BATCH, static.dtype), masks)


def _pre_activations(static: Static, point: Point, params: Params) -> Array:
    _, cache = forward(params, point.inputs, static.activation, point.masks, static.precision)
    return jnp.concatenate([jnp.zeros(0, static.dtype), *(z.ravel() for z in cache.pre_activations)])


def _far_from_kinks(static: Static, hparams: Hparams, key: Array) -> Point:
    """Of some random points the one whose pre-activation nearest to zero is the farthest."""

    def margin(key: Array) -> Array:
        point = _draw(static, hparams, key)
        return jnp.min(jnp.abs(_pre_activations(static, point, point.params)), initial=jnp.inf)

    keys = jax.random.split(key, CANDIDATES)
    return _draw(static, hparams, keys[jnp.argmax(lax.map(margin, keys))])


def _compare(variants: tuple[Static, ...], hparams: Hparams, entries: np.ndarray, key: Array) -> Comparison:
    """Everything about a point in one program, in which the variants share their forward passes."""
    static = variants[0]
    point_key, direction_key = jax.random.split(key)
    point = _far_from_kinks(static, hparams, point_key)
    hand, auto = (
        tuple(GRADIENTS[name](variant, hparams, *point)[1] for variant in variants) for name in ("backprop", "autodiff")
    )
    theta, unravel = ravel_pytree(point.params)
    gradients = jnp.stack([ravel_pytree(gradient)[0] for gradient in hand])
    signs = _pre_activations(static, point, point.params) > 0

    def at(theta: Array) -> tuple[Array, Array]:
        params = unravel(theta)
        values = [objective(variant, hparams, params, *point[1:])[0] for variant in variants]
        return jnp.stack(values), jnp.any((_pre_activations(static, point, params) > 0) != signs)

    def one_entry(probe: Array) -> Array:
        return jnp.zeros_like(theta).at[jnp.asarray(entries)[probe]].set(1)

    def unit_vector(probe: Array) -> Array:
        d = jax.random.normal(jax.random.fold_in(direction_key, probe), theta.shape, theta.dtype)
        return d / jnp.linalg.norm(d)

    def along(probe: Array) -> tuple[Array, Array, Array]:
        d = lax.cond(probe < len(entries), one_entry, unit_vector, probe)
        (above, crossed_above), (below, crossed_below) = at(theta + STEP * d), at(theta - STEP * d)
        return gradients @ d, (above - below) / (2 * STEP), crossed_above | crossed_below

    directions = DIRECTIONS if theta.size > EVERY_PARAMETER else 0
    products, quotients, crossed = lax.map(along, jnp.arange(len(entries) + directions))
    return Comparison(hand, auto, products, quotients, jnp.any(crossed))


def _table(sizes: tuple[int, ...], rows: list[Row], own: tuple[str, str, bool, bool]) -> str:
    on: Callable[[bool, float], str] = lambda there, number: f"{number:g}" if there else "-"
    lines = [
        f"{'-'.join(map(str, sizes))}, float64, {BATCH} examples; * marks the config's own combination",
        f"  {'activation':12}{'loss':15}{'dropout':9}{'λ':7}{'jax.grad':>10}{'differences':>13}",
    ]
    for row in rows:
        mark = "*" if row[:4] == own else " "
        dropout, decay = on(row.dropout, DROPOUT_RATE), on(row.l2, WEIGHT_DECAY)
        lines.append(
            f"{mark} {row.activation:12}{row.loss:15}{dropout:9}{decay:7}{row.autodiff:10.1e}{row.differences:13.1e}"
            f"  {'ok' if row.passed else 'WRONG'}"
        )
    wrong = sum(not row.passed for row in rows)
    lines.append(
        f"{len(rows) - wrong} of {len(rows)} within {AUTODIFF_TOLERANCE:g} of jax.grad and {DIFFERENCES_TOLERANCE:g} of "
        "central differences"
    )
    return "\n".join(lines)
