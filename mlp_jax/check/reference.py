"""The network's mathematics in float64 NumPy, line by line replaceable: a known mistake is one other line.

Parameters are a list of (W, b), W of shape (in, out), b of (out,); a batch has an example a row; `y` is one-hot. The
same numbers as `model`, `losses`, `gradients` and `optimizers` (a test holds them together), without importing JAX.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray
Layers = Sequence[tuple[Array, Array]]
LEAK = 0.01


def sigmoid(z: Array) -> Array:
    """1/(1 + e^−z), without overflow."""
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, e) / (1 + e)


def softmax(z: Array, axis: int | None = -1) -> Array:
    """e^z over its sum along `axis`."""
    e = np.exp(z - np.max(z, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


# name -> f(z), and f'(z, a) in terms of a = f(z) where that is simplest
ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array, Array], Array]]] = {
    "identity": (lambda z: z, lambda z, a: np.ones_like(z)),
    "sigmoid": (sigmoid, lambda z, a: a * (1 - a)),
    "tanh": (np.tanh, lambda z, a: 1 - a * a),
    "relu": (lambda z: np.maximum(z, 0.0), lambda z, a: np.where(z > 0, 1.0, 0.0)),
    "leaky_relu": (lambda z: np.where(z > 0, z, LEAK * z), lambda z, a: np.where(z > 0, 1.0, LEAK)),
}


def cross_entropy(z: Array, y: Array) -> Array:
    """−Σ_k y_k ln p_k of each row, with p = softmax(z)."""
    top = np.max(z, axis=-1, keepdims=True)
    return -np.sum(y * (z - top - np.log(np.sum(np.exp(z - top), axis=-1, keepdims=True))), axis=-1)


def mse(z: Array, y: Array) -> Array:
    """(1/K)·Σ_k (p_k − y_k)² of each row, with p = softmax(z)."""
    return np.mean((softmax(z) - y) ** 2, axis=-1)


LOSSES: dict[str, Callable[[Array, Array], Array]] = {"cross_entropy": cross_entropy, "mse": mse}


class Forward(NamedTuple):
    """The lines of the forward pass. i is the layer's index from 0, n the number of layers."""

    affine: Callable[..., Array] = lambda h, w, b, i, n: h @ w + b
    hidden: Callable[..., Array] = lambda z, f, i, n: f(z)
    output: Callable[..., Array] = lambda z, f: z
    layer: Callable[..., int] = lambda i, n: i


class Cache(NamedTuple):
    """h₀ … h_{L−1}, what each layer multiplied; z_1 … z_L; a_1 … a_{L−1}."""

    h: list[Array]
    z: list[Array]


def forward(params: Layers, x: Array, activation: str, lines: Forward | None = None) -> tuple[Array, Cache]:
    """Logits (batch, classes), and what backpropagation reads."""
    lines, f, n = lines or Forward(), ACTIVATIONS[activation][0], len(params)
    h, z = [x], []
    for index in range(n):
        w, b = params[lines.layer(index, n)]
        z.append(lines.affine(h[-1], w, b, index, n))
        if index < n - 1:
            h.append(lines.hidden(z[-1], f, index, n))
    return lines.output(z[-1], f), Cache(h, z)


class Backward(NamedTuple):
    """The lines of the gradient. B rows, K classes; z, p, y (B, K); i the layer, from 0; c the cache."""

    probabilities: Callable[..., Array] = lambda z: softmax(z)
    targets: Callable[..., Array] = lambda y: y
    cross_entropy: Callable[..., Array] = lambda z, p, y: p - y
    compared: Callable[..., Array] = lambda z, p: p
    squares: Callable[..., Array] = lambda q, y: 2 * (q - y) / y.shape[1]
    jacobian: Callable[..., Array] = lambda p, d: p * (d - np.sum(d * p, axis=1, keepdims=True))
    share: Callable[..., Array] = lambda y: 1 / y.shape[0]
    derivative: Callable[..., Array] = lambda f, df, z, a, i, hidden: df(z, a)
    entered: Callable[..., Array] = lambda c, i, f: c.h[i]
    above: Callable[..., Array] = lambda params, i: params[i][0].T
    dw: Callable[..., Array] = lambda h, d: h.T @ d
    db: Callable[..., Array] = lambda d: d.sum(axis=0)
    w_share: Callable[..., float] = lambda size: 1.0
    b_share: Callable[..., float] = lambda size: 1.0
    decay: Callable[..., Any] = lambda rate, w, size: rate * w
    decay_b: Callable[..., Any] = lambda rate, b, size: 0.0
    reached: Callable[..., bool] = lambda i, n: True
    order: Callable[..., Any] = lambda grads: grads
    scale: Callable[..., float] = lambda factor: factor  # of a loss that is `factor` times ours


def gradients(
    params: Layers,
    x: Array,
    y: Array,
    activation: str,
    loss: str,
    weight_decay: float = 0.0,
    lines: Backward | None = None,
) -> list[tuple[Array, Array]]:
    """The gradient of mean loss + λ/2·Σ‖W‖² by every (W, b), by hand, from the last layer to the first."""
    lines, (f, df), n, size = lines or Backward(), ACTIVATIONS[activation], len(params), len(x)
    z, cache = forward(params, x, activation)
    p, y = lines.probabilities(z), lines.targets(y)
    d = (
        lines.cross_entropy(z, p, y)
        if loss == "cross_entropy"
        else lines.jacobian(p, lines.squares(lines.compared(z, p), y))
    )
    delta, grads = d * lines.share(y), []
    for index in reversed(range(n)):
        w, b = params[index]
        dw = lines.dw(lines.entered(cache, index, f), delta) * lines.w_share(size) + np.zeros_like(w)
        db = lines.db(delta) * lines.b_share(size) + np.zeros_like(b)
        if not lines.reached(index, n):
            dw, db = np.zeros_like(w), np.zeros_like(b)
        if weight_decay:
            dw, db = dw + lines.decay(weight_decay, w, size), db + lines.decay_b(weight_decay, b, size)
        grads.append((dw, db))
        if index:
            slope = lines.derivative(f, df, cache.z[index - 1], cache.h[index], index - 1, n - 1)
            delta = (delta @ lines.above(params, index)) * slope
    return lines.order(grads[::-1])


class Numbers(NamedTuple):
    """The numbers of an optimizer."""

    learning_rate: float = 0.01
    momentum: float = 0.9
    beta: float = 0.9
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8


class Step(NamedTuple):
    """The lines of the optimizers. k counts updates from 0; tensor i of n; c is 1 − β2^t, or 1 without correction."""

    counted: Callable[..., float] = lambda k, i, n: k + 1
    gradient: Callable[..., Array] = lambda g: g
    kept: Callable[..., Any] = lambda state: state
    trace: Callable[..., Array] = lambda mu, u, g, eta: mu * u + g
    momentum: Callable[..., Array] = lambda mu, u, g, old: u
    nesterov: Callable[..., Array] = lambda mu, u, g, old: g + mu * u
    square: Callable[..., Array] = lambda beta, v, g: beta * v + (1 - beta) * g * g
    mean: Callable[..., Array] = lambda beta, m, g: beta * m + (1 - beta) * g
    m_hat: Callable[..., Array] = lambda m, b1, t: m / (1 - b1**t)
    v_hat: Callable[..., Array] = lambda v, b2, t: v / (1 - b2**t)
    ahead: Callable[..., Array] = lambda m, g, b1, t: b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
    root: Callable[..., Array] = lambda v, eps, c: np.sqrt(v) + eps
    rms_v: Callable[..., Array] = lambda v, old, beta, t: v
    update: Callable[..., Array] = lambda eta, step, g: -eta * step
    betas: Callable[..., tuple[float, float]] = lambda b1, b2: (b1, b2)


OPTIMIZERS = ("sgd", "momentum", "nesterov", "rmsprop", "adam", "nadam")


def update(
    name: str,
    g: Array,
    state: dict[str, Array],
    k: int,
    numbers: Numbers,
    lines: Step | None = None,
    tensor: tuple[int, int] = (0, 1),
) -> Array:
    """What update k, from 0, adds to one tensor; `state` is kept from update to update, {} at first."""
    lines, eta, mu, beta, *betas, eps = lines or Step(), *numbers
    b1, b2 = lines.betas(*betas)
    zero = np.zeros_like(g)
    g, t = lines.gradient(g), lines.counted(k, *tensor)
    u, m, v = lines.kept(tuple(state.get(key, zero) for key in "umv"))
    old_u, old_v = u, v
    if name == "sgd":
        step = g
    elif name in ("momentum", "nesterov"):
        u = lines.trace(mu, u, g, eta)
        step = (lines.momentum if name == "momentum" else lines.nesterov)(mu, u, g, old_u)
    elif name == "rmsprop":
        v = lines.square(beta, v, g)
        step = g / lines.root(lines.rms_v(v, old_v, beta, t), eps, 1.0)
    else:
        m, v = lines.mean(b1, m, g), lines.square(b2, v, g)
        top = lines.m_hat(m, b1, t) if name == "adam" else lines.ahead(m, g, b1, t)
        step = top / lines.root(lines.v_hat(v, b2, t), eps, 1 - b2**t)
    state.update(u=u, m=m, v=v)
    return lines.update(eta, step, g)


def path(
    name: str, w: Array, grads: Array, numbers: Numbers, lines: Step | None = None, tensor: tuple[int, int] = (0, 1)
) -> Array:
    """The parameters after each update by the given gradients: (updates, …). `tensor` is (i, n) of `Step.counted`."""
    state: dict[str, Array] = {}
    steps = []
    with np.errstate(all="ignore"):
        for k, g in enumerate(grads):
            w = w + update(name, g, state, k, numbers, lines, tensor)
            steps.append(w)
    return np.array(steps)
