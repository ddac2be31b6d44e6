"""Seven optimizers as pure init/update pairs that read as their equations.

`opt.init(params) -> state`, `opt.update(grads, state, params) -> (updates, state)`; the new parameters are
`params + updates`, leaf by leaf. They work on any pytree and under every JAX transformation; every number may be
traced. Numbers are cast to the leaf's dtype; moments of 16-bit leaves are held in float32; updates come back in
the leaf's dtype. η is `learning_rate`, g the gradient, w a parameter.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

Tree = Any  # any pytree of arrays
Number = Array | float


class Optimizer(NamedTuple):
    """A pair of pure functions; see the module's docstring."""

    init: Callable[[Tree], Tree]
    update: Callable[[Tree, Tree, Tree], tuple[Tree, Tree]]


class TraceState(NamedTuple):
    """Momentum and Nesterov: the running sum of gradients u."""

    trace: Tree


class MeanSquareState(NamedTuple):
    """RMSprop: the running mean of squared gradients v."""

    nu: Tree


class MomentsState(NamedTuple):
    """Adam and Nadam: the number of updates t, and the running means m of g and v of g²."""

    count: Array  # type: ignore[assignment]  # it hides tuple.count, which nobody calls
    mu: Tree
    nu: Tree


class MuonState(NamedTuple):
    """Muon: the running sum of gradients u of the hidden matrices, and Adam's state of the rest; gaps are None."""

    trace: Tree
    rest: MomentsState


def _moment_dtype(leaf: Array) -> jnp.dtype:
    if not jnp.issubdtype(leaf.dtype, jnp.floating):  # moments of whole numbers would be cut off at every update
        raise TypeError(f"an optimizer cannot take {leaf.dtype}; allowed are float16, bfloat16, float32 and float64")
    return leaf.dtype if jnp.finfo(leaf.dtype).bits >= 32 else jnp.dtype(jnp.float32)


def _moments(params: Tree) -> Tree:
    return jax.tree.map(lambda p: jnp.zeros(p.shape, _moment_dtype(p)), params)


def _map(f: Callable[..., Array], numbers: tuple[Number, ...], first: Tree, *rest: Tree) -> Tree:
    """f(numbers…, leaves…) leaf by leaf, everything cast to the dtype of the first leaf's moment."""

    def leafwise(*leaves: Array) -> Array:
        dtype = _moment_dtype(leaves[0])
        return f(*(jnp.asarray(number, dtype) for number in numbers), *(leaf.astype(dtype) for leaf in leaves))

    return jax.tree.map(leafwise, first, *rest)


def _as_updates(steps: Tree, params: Tree) -> Tree:
    return jax.tree.map(lambda step, p: step.astype(p.dtype), steps, params)


@jax.custom_jvp
def _root(x: Array) -> Array:
    return jnp.sqrt(x)


@_root.defjvp
def _root_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # √ has no derivative at 0: one that is finite there keeps a leaf without gradient from turning into NaN.
    (x,), (dx,) = primals, tangents
    root = jnp.sqrt(x)
    return root, dx * jnp.where(x > 0, 0.5 / root, 0)


def sgd(learning_rate: Number) -> Optimizer:
    """w ← w − ηg (Robbins & Monro 1951)."""

    def update(grads: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
        return _as_updates(_map(lambda eta, g: -eta * g, (learning_rate,), grads), params), state

    return Optimizer(lambda params: (), update)


def momentum(learning_rate: Number, momentum: Number = 0.9) -> Optimizer:
    """Heavy ball: u ← μu + g, w ← w − ηu (Polyak 1964). No (1 − μ) on g, as in PyTorch."""

    def update(grads: Tree, state: TraceState, params: Tree) -> tuple[Tree, TraceState]:
        trace = _map(lambda mu, g, u: mu * u + g, (momentum,), grads, state.trace)
        return _as_updates(_map(lambda eta, u: -eta * u, (learning_rate,), trace), params), TraceState(trace)

    return Optimizer(lambda params: TraceState(_moments(params)), update)


def nesterov(learning_rate: Number, momentum: Number = 0.9) -> Optimizer:
    """u ← μu + g, w ← w − η(g + μu) (Nesterov 1983; Sutskever et al. 2013).

    The gradient is taken at the current parameters: at constant η they are the look-ahead points of the textbook form.
    """

    def update(grads: Tree, state: TraceState, params: Tree) -> tuple[Tree, TraceState]:
        trace = _map(lambda mu, g, u: mu * u + g, (momentum,), grads, state.trace)
        steps = _map(lambda eta, mu, g, u: -eta * (g + mu * u), (learning_rate, momentum), grads, trace)
        return _as_updates(steps, params), TraceState(trace)

    return Optimizer(lambda params: TraceState(_moments(params)), update)


def rmsprop(learning_rate: Number, beta: Number = 0.9, eps: Number = 1e-8) -> Optimizer:
    """v ← βv + (1−β)g², w ← w − η·g/(√v + ε), v₀ = 0 (Hinton 2012). No bias correction; ε outside the root."""

    def update(grads: Tree, state: MeanSquareState, params: Tree) -> tuple[Tree, MeanSquareState]:
        nu = _map(lambda b, g, v: b * v + (1 - b) * g * g, (beta,), grads, state.nu)
        steps = _map(lambda eta, e, g, v: -eta * g / (_root(v) + e), (learning_rate, eps), grads, nu)
        return _as_updates(steps, params), MeanSquareState(nu)

    return Optimizer(lambda params: MeanSquareState(_moments(params)), update)


def adam(learning_rate: Number, beta1: Number = 0.9, beta2: Number = 0.999, eps: Number = 1e-8) -> Optimizer:
    """m ← β1·m + (1−β1)g, v ← β2·v + (1−β2)g², w ← w − η·m̂/(√v̂ + ε) (Kingma & Ba 2015).

    m̂ = m/(1−β1^t) and v̂ = v/(1−β2^t), with t counting updates from 1; ε is added to the corrected root.
    """

    def step(numbers: tuple[Array, ...], g: Array, m: Array, v: Array) -> Array:
        eta, b1, b2, e, t = numbers
        c1, root_c2 = 1 - b1**t, jnp.sqrt(1 - b2**t)  # taken out of the fraction, so that no leaf is corrected
        return -(eta * root_c2 / c1) * m / (_root(v) + e * root_c2)

    return _from_moments(step, learning_rate, beta1, beta2, eps)


def nadam(learning_rate: Number, beta1: Number = 0.9, beta2: Number = 0.999, eps: Number = 1e-8) -> Optimizer:
    """Adam with μ̂ = β1·m/(1−β1^(t+1)) + (1−β1)·g/(1−β1^t) in place of m̂ (Dozat 2016, β1 constant)."""

    def step(numbers: tuple[Array, ...], g: Array, m: Array, v: Array) -> Array:
        eta, b1, b2, e, t = numbers
        ahead = (b1 / (1 - b1 ** (t + 1))) * m + ((1 - b1) / (1 - b1**t)) * g
        root_c2 = jnp.sqrt(1 - b2**t)
        return -(eta * root_c2) * ahead / (_root(v) + e * root_c2)

    return _from_moments(step, learning_rate, beta1, beta2, eps)


ADAM_SHARE = 0.05  # of Muon's learning rate that Adam gets


def muon(
    learning_rate: Number,
    momentum: Number = 0.95,
    beta1: Number = 0.9,
    beta2: Number = 0.999,
    eps: Number = 1e-8,
) -> Optimizer:
    """u ← μu + g, w ← w − η·√max(1, out/in)·orthogonal(g + μu) of hidden matrices (in, out) (Jordan et al. 2024).

    Those are all leaves with two axes but the last, which is the output layer. That and all others get Adam at
    `ADAM_SHARE`·η.
    """
    adam_of_rest = adam(ADAM_SHARE * learning_rate, beta1, beta2, eps)

    def parts(tree: Tree) -> tuple[Tree, Tree]:
        leaves, structure = jax.tree.flatten(tree)
        *hidden, _ = [place for place, leaf in enumerate(leaves) if leaf.ndim == 2] or [-1]

        def part(own: bool) -> Tree:
            kept = [leaf if (place in hidden) == own else None for place, leaf in enumerate(leaves)]
            return jax.tree.unflatten(structure, kept)

        return part(True), part(False)

    def step(eta: Array, mu: Array, g: Array, u: Array) -> Array:
        n_in, n_out = g.shape
        return -eta * max(1, n_out / max(n_in, 1)) ** 0.5 * orthogonal(g + mu * u)

    def init(params: Tree) -> MuonState:
        hidden, rest = parts(params)
        return MuonState(_moments(hidden), adam_of_rest.init(rest))

    def update(grads: Tree, state: MuonState, params: Tree) -> tuple[Tree, MuonState]:
        (hidden, rest), (hidden_params, rest_params) = parts(grads), parts(params)
        trace = _map(lambda mu, g, u: mu * u + g, (momentum,), hidden, state.trace)
        steps = _as_updates(_map(step, (learning_rate, momentum), hidden, trace), hidden_params)
        updates, moments = adam_of_rest.update(rest, state.rest, rest_params)
        both = jax.tree.map(lambda s, u: u if s is None else s, steps, updates, is_leaf=lambda leaf: leaf is None)
        return both, MuonState(trace, moments)

    return Optimizer(init, update)


def orthogonal(g: Array) -> Array:
    """About U·Vᵀ of g = U·S·Vᵀ: singular values from 0.68 to 1.14, of those of g above a hundredth of its norm.

    Five times X ← aX + (bA + cA²)·X with A = X·Xᵀ, from g/‖g‖: Newton and Schulz's iteration with the coefficients of
    Jordan et al. 2024.
    """
    dot = partial(jnp.dot, precision=lax.Precision.HIGHEST)
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = g.shape[0] > g.shape[1]
    x = g.T if tall else g
    x = x / (_root(jnp.sum(x * x)) + 1e-7)
    for _ in range(5):
        square = dot(x, x.T)
        x = a * x + dot(b * square + c * dot(square, square), x)
    return x.T if tall else x


def _from_moments(
    step: Callable[..., Array], learning_rate: Number, beta1: Number, beta2: Number, eps: Number
) -> Optimizer:
    """The optimizer whose updates are step((η, β1, β2, ε, t), g, m, v) of the new moments m and v."""

    def mean(beta: Array, g: Array, m: Array) -> Array:
        return beta * m + (1 - beta) * g

    def mean_square(beta: Array, g: Array, v: Array) -> Array:
        return beta * v + (1 - beta) * g * g

    def step_from_old(*numbers_and_leaves: Array) -> Array:
        *numbers, g, m, v = numbers_and_leaves
        _, b1, b2, *_ = numbers
        g, m, v = _apart(g, m, v)
        return step(numbers, g, mean(b1, g, m), mean_square(b2, g, v))

    def update(grads: Tree, state: MomentsState, params: Tree) -> tuple[Tree, MomentsState]:
        count = state.count + 1
        mu = _map(mean, (beta1,), grads, state.mu)
        nu = _map(mean_square, (beta2,), grads, state.nu)
        steps = _map(step_from_old, (learning_rate, beta1, beta2, eps, count), grads, state.mu, state.nu)
        return _as_updates(steps, params), MomentsState(count, mu, nu)

    return Optimizer(lambda params: MomentsState(jnp.zeros((), jnp.int32), _moments(params), _moments(params)), update)


def _apart(*leaves: Array) -> tuple[Array, ...]:
    """The same arrays; on a CPU what is computed from them is not shared with what is computed from the originals.

    The step takes the new moments from the old ones a second time. Then m, v and w all read the same arrays, and XLA
    makes one loop of the three (see `runtime._fuse_outputs`) where it would write the moments and read them again.
    """
    return lax.platform_dependent(
        *leaves, cpu=lambda *leaves: lax.optimization_barrier(leaves), default=lambda *leaves: leaves
    )


def add_decoupled_weight_decay(
    optimizer: Optimizer, learning_rate: Number, weight_decay: Number, decayed: Callable[[Tree], Tree]
) -> Optimizer:
    """Adds −ηλw to the updates of the leaves for which `decayed(params)` holds True (Loshchilov & Hutter 2019)."""

    def update(grads: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
        updates, state = optimizer.update(grads, state, params)
        decay = _map(lambda eta, decay, w: -eta * decay * w, (learning_rate, weight_decay), params)
        mask = decayed(params)
        return jax.tree.map(lambda u, d, yes: u + d.astype(u.dtype) if yes else u, updates, decay, mask), state

    return Optimizer(optimizer.init, update)


def clip_by_global_norm(grads: Tree, max_norm: Number) -> Tree:
    """g ← g·min(1, c/‖g‖) with ‖g‖ over all leaves together (Pascanu et al. 2013)."""
    leaves = jax.tree.leaves(grads)
    widest = max((_moment_dtype(g) for g in leaves), key=lambda dtype: dtype.itemsize, default=jnp.dtype(jnp.float32))
    norm = _root(sum((jnp.sum(jnp.square(g.astype(widest))) for g in leaves), start=jnp.zeros((), widest)))
    bound = jnp.asarray(max_norm, widest)
    factor = jnp.where(norm > bound, bound / jnp.where(norm > bound, norm, 1), 1)
    return jax.tree.map(lambda g: (g.astype(widest) * factor).astype(g.dtype), grads)


def limit_norms(w: Array, max_norm: Number) -> Array:
    """w_j ← w_j·min(1, c/‖w_j‖) for the weights w_j, a column, that come into each unit (Srivastava et al. 2014)."""
    bound = jnp.asarray(max_norm, w.dtype)
    norms = jnp.sqrt(jnp.sum(w * w, axis=0))
    return w * jnp.where(norms > bound, bound / jnp.where(norms > bound, norms, 1), 1)


# name -> (constructor, the config's names of its arguments after the learning rate)
OPTIMIZERS: dict[str, tuple[Callable[..., Optimizer], tuple[str, ...]]] = {
    "sgd": (sgd, ()),
    "momentum": (momentum, ("momentum",)),
    "nesterov": (nesterov, ("momentum",)),
    "rmsprop": (rmsprop, ("beta", "eps")),
    "adam": (adam, ("beta1", "beta2", "eps")),
    "nadam": (nadam, ("beta1", "beta2", "eps")),
    "muon": (muon, ("momentum", "beta1", "beta2", "eps")),
}


class Coefficients(NamedTuple):
    """An update as numbers: m ← αm + γg, v ← βv + (1−β)g², w ← w − (p·m + q·g)/(s·√v + e)."""

    alpha: Number
    gamma: Number
    beta: Number
    p: Number
    q: Number
    s: Number
    e: Number


def _adam_coefficients(eta: Number, t: Array, b1: Number, b2: Number, eps: Number) -> Coefficients:
    return Coefficients(b1, 1 - b1, b2, eta / (1 - b1**t), 0, 1 / jnp.sqrt(1 - b2**t), eps)


def _nadam_coefficients(eta: Number, t: Array, b1: Number, b2: Number, eps: Number) -> Coefficients:
    c1, ahead = 1 - b1**t, 1 - b1 ** (t + 1)
    return Coefficients(b1, 1 - b1, b2, eta * b1 / ahead, eta * (1 - b1) / c1, 1 / jnp.sqrt(1 - b2**t), eps)


# name -> the coefficients of update t (from 1) at learning rate η; the other arguments are those of `OPTIMIZERS`. So
# networks with different optimizers share one program. An optimizer that is no such update has no row.
COEFFICIENTS: dict[str, Callable[..., Coefficients]] = {
    "sgd": lambda eta, t: Coefficients(0, 0, 0, 0, eta, 0, 1),
    "momentum": lambda eta, t, mu: Coefficients(mu, 1, 0, eta, 0, 0, 1),
    "nesterov": lambda eta, t, mu: Coefficients(mu, 1, 0, eta * mu, eta, 0, 1),
    "rmsprop": lambda eta, t, b, eps: Coefficients(0, 0, b, 0, eta, 1, eps),
    "adam": _adam_coefficients,
    "nadam": _nadam_coefficients,
}


def update_by(c: Coefficients, g: Array, m: Array, v: Array) -> tuple[Array, Array, Array]:
    """(update, m, v) of one leaf; the numbers of `c` have the leaf's dtype and broadcast with it."""
    m, v = c.alpha * m + c.gamma * g, c.beta * v + (1 - c.beta) * g * g
    root = jnp.where(c.s > 0, c.s * jnp.sqrt(v), 0)  # 0·∞ would be NaN where an unused g² overflows
    return -(c.p * m + c.q * g) / (root + c.e), m, v
