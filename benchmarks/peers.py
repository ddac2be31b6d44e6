"""Other libraries, each in its best honest form: the same net, Adam, data and batches, one epoch a call.

A peer that is not installed raises ImportError. None belongs to what the program needs: benchmarks/requirements.txt.
"""

import os
import warnings
from collections.abc import Callable

import numpy as np

from benchmarks.jobs import Job, data
from benchmarks.measure import Epoch


def keras(job: Job) -> Epoch:
    """Keras 3 on JAX, `fit` with a jitted step, 32 steps an execution; its inputs are float32 beforehand."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    images, labels = data(job.examples)
    inputs, labels = images.astype(np.float32) / 255, labels.astype(np.int32)
    hidden = [keras.layers.Dense(width, activation="relu") for width in job.sizes[1:-1]]
    model = keras.Sequential([keras.Input((784,)), *hidden, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss, jit_compile=True, steps_per_execution=32)

    def epoch() -> None:
        model.fit(inputs, labels, batch_size=job.batch, epochs=1, shuffle=True, verbose=0)

    return epoch


def flax(job: Job) -> Epoch:
    """flax.linen and optax: a jitted step that gathers its batch from data on the device, called from Python."""
    import jax
    import jax.numpy as jnp
    import optax
    from flax import linen as nn

    images, labels = jax.device_put(data(job.examples))
    layers = [part for width in job.sizes[1:-1] for part in (nn.Dense(width), nn.relu)]
    model, optimizer = nn.Sequential([*layers, nn.Dense(10)]), optax.adam(1e-3)
    params = model.init(jax.random.key(0), jnp.zeros((1, 784)))
    state = (params, optimizer.init(params))

    def step(state, indices, images, labels):  # type: ignore[no-untyped-def]
        params, opt_state = state

        def loss(params):  # type: ignore[no-untyped-def]
            logits = model.apply(params, images[indices].astype(jnp.float32) / 255)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels[indices]).mean()

        updates, opt_state = optimizer.update(jax.grad(loss)(params), opt_state)
        return optax.apply_updates(params, updates), opt_state

    compiled = jax.jit(step, donate_argnums=0)
    generator = np.random.default_rng(0)

    def epoch() -> None:
        nonlocal state
        for indices in _batches(generator, job):
            state = compiled(state, indices, images, labels)
        jax.block_until_ready(state)

    return epoch


def torch(job: Job, threads: int, compiled: bool = False) -> Epoch:
    """PyTorch with fused Adam, eager or its step through `torch.compile`."""
    import torch
    from torch import nn

    images, labels = (torch.from_numpy(array) for array in data(job.examples))
    labels = labels.long()
    hidden = [
        part for a, b in zip(job.sizes[:-2], job.sizes[1:-1], strict=True) for part in (nn.Linear(a, b), nn.ReLU())
    ]
    model = nn.Sequential(*hidden, nn.Linear(job.sizes[-2], 10))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)

    def loss_of(inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(model(inputs), labels)

    loss_of = torch.compile(loss_of) if compiled else loss_of

    def epoch() -> None:
        torch.set_num_threads(threads)
        for indices in torch.randperm(job.examples).split(job.batch):
            optimizer.zero_grad(set_to_none=True)
            loss_of(images[indices].float().div_(255), labels[indices]).backward()
            optimizer.step()

    return epoch


def sklearn(job: Job) -> Epoch:
    """scikit-learn's MLPClassifier; its inputs are float32 beforehand."""
    from sklearn.neural_network import MLPClassifier

    images, labels = data(job.examples)
    inputs = images.astype(np.float32) / 255
    model = MLPClassifier(job.sizes[1:-1], batch_size=job.batch, alpha=0, max_iter=1, warm_start=True)

    def epoch() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one epoch does not converge, it says
            model.fit(inputs, labels)

    return epoch


def numpy(job: Job) -> Epoch:
    """Backpropagation and Adam in vectorised NumPy, float32."""
    images, labels = data(job.examples)
    generator = np.random.default_rng(0)
    shapes = list(zip(job.sizes[:-1], job.sizes[1:], strict=True))
    weights = [generator.normal(0, (2 / a) ** 0.5, (a, b)).astype(np.float32) for a, b in shapes]
    params = weights + [np.zeros(b, np.float32) for _, b in shapes]
    mu, nu = [np.zeros_like(p) for p in params], [np.zeros_like(p) for p in params]
    count, layers = 0, len(shapes)

    def epoch() -> None:
        nonlocal count
        for indices in _batches(generator, job):
            hidden = [images[indices].astype(np.float32) / np.float32(255)]
            for w, b in zip(params[: layers - 1], params[layers:-1], strict=True):
                hidden.append(np.maximum(hidden[-1] @ w + b, 0))
            logits = hidden[-1] @ params[layers - 1] + params[-1]
            powers = np.exp(logits - logits.max(1, keepdims=True))
            delta = powers / powers.sum(1, keepdims=True)
            delta[np.arange(len(indices)), labels[indices]] -= 1
            delta /= np.float32(len(indices))
            grads: list[np.ndarray] = [np.empty(0)] * len(params)
            for layer in reversed(range(layers)):
                grads[layer], grads[layers + layer] = hidden[layer].T @ delta, delta.sum(0)
                if layer:
                    delta = (delta @ params[layer].T) * (hidden[layer] > 0)
            count += 1
            rate = np.float32(1e-3 * (1 - 0.999**count) ** 0.5 / (1 - 0.9**count))
            for p, m, v, g in zip(params, mu, nu, grads, strict=True):
                m *= np.float32(0.9)
                m += np.float32(0.1) * g
                v *= np.float32(0.999)
                v += np.float32(0.001) * g * g
                p -= rate * m / (np.sqrt(v) + np.float32(1e-8))

    return epoch


def _batches(generator: np.random.Generator, job: Job) -> np.ndarray:
    order = generator.permutation(job.examples)[: job.examples // job.batch * job.batch]
    return order.reshape(-1, job.batch).astype(np.int32)


PEERS: dict[str, Callable[[Job], Epoch]] = {
    "Keras 3 on JAX": keras,
    "flax + optax": flax,
    "PyTorch eager, 1 thread": lambda job: torch(job, 1),
    "PyTorch eager, 2 threads": lambda job: torch(job, 2),
    "scikit-learn": sklearn,
    "NumPy": numpy,
}
# Minutes of compiling: the long form only.
COMPILED_PEERS: dict[str, Callable[[Job], Epoch]] = {
    "PyTorch compiled, 1 thread": lambda job: torch(job, 1, True),
    "PyTorch compiled, 2 threads": lambda job: torch(job, 2, True),
}
