"""Hand backprop against `jax.grad` and against central differences, in float64, for everything a config can choose.

The point is random: Xavier weights, normal biases, inputs in [0, 1), any labels, rows of unequal weight. Errors
are ‖a−n‖/(‖a‖+‖n‖). Central differences are (J(θ + hd) − J(θ − hd))/2h along *probes* d: one parameter each, or a
random unit vector.
"""

from functools import partial
from itertools import count, pairwise, product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from mlp_jax.gradients import GRADIENTS, Step, by_inputs_autodiff, objective, step_forward, with_adversary
from mlp_jax.hparams import Hparams, Static, split_config
from mlp_jax.losses import LOSSES, smooth
from mlp_jax.model import ACTIVATIONS, Layer, Params

AUTODIFF_TOLERANCE = 1e-12  # of every leaf
DIFFERENCES_TOLERANCE = 1e-7  # of the whole gradient
STEP = 1e-5  # h: truncation, about h², and rounding, about 1e-16/h, both stay far below the tolerance
BATCH = 4
DROPOUT_RATE, WEIGHT_DECAY = 0.3, 1e-3
VAT_XI = 0.1  # of a much smaller one p(x + ξd) − p(x) keeps too few digits to compare two ways to its gradient
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
    """Where a gradient is taken."""

    params: Params
    step: Step


def report(config: Any) -> tuple[str, bool]:
    """The table as text, and whether every row is within tolerance; sizes from the config, its combination marked."""
    inputs = {"digits": 64, "mnist1d": 40}.get(config.dataset, 784)
    with jax.enable_x64(True):
        static, hparams = split_config(config, inputs, 10, BATCH)
        rows = [row for activation in ACTIVATIONS for row in check(static._replace(activation=activation), hparams)]
    return _table(static, rows), all(row.passed for row in rows)


def check(static: Static, hparams: Hparams) -> list[Row]:
    """The rows of one activation: every loss, with dropout and without, with λ and without. Needs 64-bit types.

    Norm, smoothed targets, noise, confidence penalty and virtual adversarial training are the config's. The adversary
    is found each way for its gradient, and stays where the point has it for the differences.
    """
    static = static._replace(precision="float64")
    hparams = jax.tree.map(lambda number: number.astype(jnp.float64), hparams)
    hparams = hparams._replace(weight_decay=jnp.float64(WEIGHT_DECAY), vat_xi=jnp.float64(VAT_XI))
    share = hparams.label_smoothing if static.smoothing else jnp.float64(0)
    objectives = tuple(static._replace(loss=loss, l2=l2) for loss, l2 in product(LOSSES, (True, False)))
    entries = _probed_entries(static.sizes)
    rows = []
    for dropout in (True, False):
        for attempt in count():
            params, step = _far_from_kinks(static, hparams, dropout, attempt)
            step = step._replace(targets=smooth(step.targets, share))
            # Masks of ones are no dropout, and let one compiled program of probes serve both.
            point, step = Point(params, step), step if dropout else step._replace(masks=())
            hand = [GRADIENTS["backprop"](each, hparams, params, step)[1] for each in objectives]
            gradients = jnp.stack([ravel_pytree(gradient)[0] for gradient in hand])
            products, quotients, crossed = _along_probes(objectives, hparams, point, gradients, entries)
            if not crossed:
                break
        for each, by_hand, a, n in zip(objectives, hand, products.T, quotients.T, strict=True):
            by_jax = GRADIENTS["autodiff"](each, hparams, params, step)[1]
            leaves = zip(jax.tree.leaves(by_hand), jax.tree.leaves(by_jax), strict=True)
            worst = float(np.max([relative_error(*pair) for pair in leaves]))  # NaN is the largest
            rows.append(Row(each.activation, each.loss, dropout, each.l2, worst, relative_error(a, n)))
    return rows


def relative_error(a: Array, n: Array) -> float:
    """‖a−n‖/(‖a‖+‖n‖); 0 where both are zero."""
    difference, total = np.linalg.norm(a - n), np.linalg.norm(a) + np.linalg.norm(n)
    return 0.0 if total == 0 else float(difference / total)


def _probed_entries(sizes: tuple[int, ...]) -> np.ndarray:
    """Which entries of the ravelled parameters are probed one by one."""
    is_bias = np.concatenate([np.repeat([False, True], (n_in * n_out, n_out)) for n_in, n_out in pairwise(sizes)])
    if is_bias.size <= EVERY_PARAMETER:
        return np.arange(is_bias.size)
    weights = np.random.default_rng(0).choice(np.flatnonzero(~is_bias), WEIGHTS, replace=False)
    return np.concatenate([np.flatnonzero(is_bias), weights])


def _draw(static: Static, hparams: Hparams, dropout: bool, rng: np.random.Generator) -> Point:
    """A random point; drawn by NumPy, since compiling jax.random would take longer than all the rest."""
    sizes = static.sizes
    layers = []
    for n_in, n_out in pairwise(sizes):
        bound = (6 / (n_in + n_out)) ** 0.5
        w = rng.uniform(-bound, bound, (n_in, n_out))
        layers.append(Layer(jnp.asarray(w), jnp.asarray(rng.normal(size=n_out))))
    targets = jnp.asarray(np.eye(sizes[-1])[rng.integers(sizes[-1], size=BATCH)])
    rate = DROPOUT_RATE if dropout else 0.0
    inputs, weights = jnp.asarray(rng.random((BATCH, sizes[0]))), jnp.asarray(rng.dirichlet(np.full(BATCH, 5.0)))
    masks = tuple(jnp.asarray((rng.random((BATCH, width)) >= rate) / (1 - rate)) for width in sizes[1:-1])
    step = Step(inputs, targets, weights, masks)
    if static.noise:
        step = step._replace(noise=tuple(hparams.noise * rng.normal(size=(BATCH, width)) for width in sizes[:-1]))
    if static.vat:
        step = step._replace(direction=jnp.asarray(rng.normal(size=inputs.shape)))
        step = with_adversary(static, hparams, tuple(layers), step, by_inputs_autodiff)
    return Point(tuple(layers), step)


def _far_from_kinks(static: Static, hparams: Hparams, dropout: bool, attempt: int) -> Point:
    """Of some random points the one whose pre-activation nearest to zero is the farthest."""
    rng = np.random.default_rng(attempt)
    points = [_draw(static, hparams, dropout, rng) for _ in range(CANDIDATES)]
    return max(points, key=lambda point: float(jnp.min(jnp.abs(_pre_activations(static, *point)))))


def _pre_activations(static: Static, params: Params, step: Step) -> Array:
    steps = [step, *([step._replace(inputs=step.adversary.inputs)] if static.vat else [])]
    caches = [step_forward(static, params, each)[1] for each in steps]
    return jnp.concatenate([jnp.ones(1, static.dtype), *(z.ravel() for c in caches for z in c.pre_activations)])


@partial(jax.jit, static_argnames="objectives")
def _along_probes(
    objectives: tuple[Static, ...], hparams: Hparams, point: Point, gradients: Array, entries: Array
) -> tuple[Array, Array, Array]:
    """Per probe and objective: gradient·d and the central difference; and whether any pre-activation changed sign.

    The objectives share their forward passes, once compiled.
    """
    theta, unravel = ravel_pytree(point.params)

    def at(theta: Array) -> tuple[Array, Array]:
        params = unravel(theta)
        values = [objective(each, hparams, params, point.step)[0] for each in objectives]
        return jnp.stack(values), _pre_activations(objectives[0], params, point.step) > 0

    def one_entry(probe: Array) -> Array:
        return jnp.zeros_like(theta).at[entries[probe]].set(1)

    def unit_vector(probe: Array) -> Array:
        state = jnp.zeros(4, jnp.uint32).at[0].set(probe.astype(jnp.uint32))
        _, bits = lax.rng_bit_generator(state, theta.shape, jnp.uint32)  # compiles in a fraction of jax.random's time
        return jnp.where(bits % 2 == 0, 1, -1) / jnp.sqrt(jnp.asarray(theta.size, theta.dtype))

    def along(probe: Array) -> tuple[Array, Array, Array]:
        d = lax.cond(probe < len(entries), one_entry, unit_vector, probe)
        values, positive = lax.map(lambda h: at(theta + h * d), jnp.asarray([STEP, -STEP], theta.dtype))
        return gradients @ d, (values[0] - values[1]) / (2 * STEP), jnp.any(positive[0] != positive[1])

    directions = DIRECTIONS if theta.size > EVERY_PARAMETER else 0
    products, quotients, crossed = lax.map(along, jnp.arange(len(entries) + directions))
    return products, quotients, jnp.any(crossed)


def _table(static: Static, rows: list[Row]) -> str:
    own = (static.activation, static.loss, static.dropout, static.l2)
    terms = {"smoothed": static.smoothing, "noise": static.noise}
    terms |= {"confidence penalty": static.confidence_penalty, "adversarial": static.vat}
    extras = "".join(
        [f", norm={static.norm}"] * (static.norm != "none") + [f", {name}" for name in terms if terms[name]]
    )
    lines = [
        f"{'-'.join(map(str, static.sizes))}{extras}, float64, {BATCH} examples; * marks the config's own combination",
        f"  {'activation':12}{'loss':15}{'dropout':9}{'λ':7}{'jax.grad':>10}{'differences':>13}",
    ]
    for row in rows:
        mark = "*" if row[:4] == own else " "
        dropout, decay = str(DROPOUT_RATE if row.dropout else "-"), str(WEIGHT_DECAY if row.l2 else "-")
        lines.append(
            f"{mark} {row.activation:12}{row.loss:15}{dropout:9}{decay:7}{row.autodiff:10.1e}{row.differences:13.1e}"
            f"  {'ok' if row.passed else 'WRONG'}"
        )
    lines.append(
        f"{sum(row.passed for row in rows)} of {len(rows)} within {AUTODIFF_TOLERANCE:g} of jax.grad "
        f"and {DIFFERENCES_TOLERANCE:g} of central differences"
    )
    return "\n".join(lines)
