"""The obvious step, frozen: what the program is compared with. It is not kept in step with mlp_jax, on purpose."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

Params = list[tuple[Array, Array]]


def init(key: Array, sizes: tuple[int, ...]) -> Params:
    """He weights and zero biases."""
    keys = jax.random.split(key, len(sizes))
    return [(jax.random.normal(k, (a, b)) * (2 / a) ** 0.5, jnp.zeros(b)) for k, a, b in zip(keys, sizes, sizes[1:])]  # noqa: B905


def loss_fn(params: Params, inputs: Array, labels: Array) -> Array:
    """Mean cross-entropy of a ReLU net."""
    for w, b in params[:-1]:
        inputs = jax.nn.relu(inputs @ w + b)
    logits = inputs @ params[-1][0] + params[-1][1]
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).mean()


@partial(jax.jit, donate_argnums=0)
def epoch(state, order: Array, learning_rate: float, images: Array, labels: Array):
    """Adam over the rows of `order` (steps, batch); returns the state and the losses."""

    def step(state, indices: Array):
        params, mu, nu, count = state
        inputs = images[indices].astype(jnp.float32) / 255
        loss, grads = jax.value_and_grad(loss_fn)(params, inputs, labels[indices])
        count = count + 1
        mu = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mu, grads)
        nu = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, nu, grads)
        scale1, scale2 = 1 - 0.9**count, 1 - 0.999**count
        params = jax.tree.map(
            lambda p, m, v: p - learning_rate * (m / scale1) / (jnp.sqrt(v / scale2) + 1e-8), params, mu, nu
        )
        return (params, mu, nu, count), loss

    return lax.scan(step, state, order)


def start(key: Array, sizes: tuple[int, ...]):
    """The state before the first step."""
    params = init(key, sizes)
    return params, jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params), jnp.float32(0)
