"""The obvious step, frozen, for every trial of the suggested grid: one trial after another, each jitted as it comes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from benchmarks.jobs import data
from benchmarks.reference import init

ACTIVATIONS = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": jax.nn.relu, "identity": lambda z: z}


def _update(name: str, rate: float, count: Array, p: Array, g: Array, m: Array, v: Array) -> tuple[Array, Array, Array]:
    if name == "sgd":
        return p - rate * g, m, v
    if name in ("momentum", "nesterov"):
        m = 0.9 * m + g
        return p - rate * (m if name == "momentum" else g + 0.9 * m), m, v
    if name == "rmsprop":
        v = 0.9 * v + 0.1 * g * g
        return p - rate * g / (jnp.sqrt(v) + 1e-8), m, v
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    ahead = m / (1 - 0.9**count)
    if name == "nadam":
        ahead = 0.9 * m / (1 - 0.9 ** (count + 1)) + 0.1 * g / (1 - 0.9**count)
    return p - rate * ahead / (jnp.sqrt(v / (1 - 0.999**count)) + 1e-8), m, v


def train(trial: dict[str, Any], examples: int) -> None:
    """Trains a trial of configs/sweep_random.py's space on `examples` random images for its epochs."""
    sizes = (784, *(int(trial["hidden_size"]),) * int(trial["num_layers"]), 10)
    f, decay, batch = ACTIVATIONS[trial["activation"]], trial["weight_decay"], int(trial["batch_size"])

    def loss_of(params: Any, inputs: Array, labels: Array) -> Array:
        for w, b in params[:-1]:
            inputs = f(inputs @ w + b)
        logits = inputs @ params[-1][0] + params[-1][1]
        loss = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).mean()
        return loss + decay / 2 * sum((w * w).sum() for w, _ in params)

    def epoch(state: Any, order: Array, images: Array, labels: Array) -> Any:
        def step(state: Any, indices: Array) -> Any:
            params, mu, nu, count = state
            inputs = images[indices].astype(jnp.float32) / 255
            loss, grads = jax.value_and_grad(loss_of)(params, inputs, labels[indices])
            count = count + 1
            leaves = [jax.tree.leaves(tree) for tree in (params, grads, mu, nu)]
            rate, name = trial["learning_rate"], trial["optimizer"]
            new = [_update(name, rate, count, *leaf) for leaf in zip(*leaves, strict=True)]
            params, mu, nu = (jax.tree.unflatten(jax.tree.structure(params), part) for part in zip(*new, strict=True))
            return (params, mu, nu, count), loss

        return lax.scan(step, state, order)

    images, labels = data(examples)
    params = init(jax.random.key(0), sizes)
    zeros = jax.tree.map(jnp.zeros_like, params)
    state = (params, zeros, jax.tree.map(jnp.zeros_like, params), jnp.float32(0))
    data_on_device = jax.device_put((images, labels.astype(np.int32)))
    compiled = jax.jit(epoch, donate_argnums=0)
    for number in range(int(trial["num_epochs"])):
        order = np.random.default_rng(number).permutation(examples)[: examples // batch * batch]
        state, losses = compiled(state, order.reshape(-1, batch).astype(np.int32), *data_on_device)
        float(losses.mean())
