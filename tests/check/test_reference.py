"""The NumPy reference gives the library's own numbers."""

import jax
import numpy as np
import pytest

from configs import default
from mlp_jax import gradients, model, optimizers
from mlp_jax.check import reference
from mlp_jax.check.networks import case
from mlp_jax.hparams import split_config

CLOSE = 1e-12


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("loss", reference.LOSSES)
@pytest.mark.parametrize("activation", reference.ACTIVATIONS)
def test_loss_and_gradient_are_those_of_backprop(activation, loss):
    one = case((6, 5, 4, 3), 7, 0)
    config = default.get_config()
    config.update(
        {"hidden_sizes": (5, 4), "activation": activation, "loss": loss, "precision": "float64", "weight_decay": 0.03}
    )
    static, hparams = split_config(config, inputs=6, classes=3, num_examples=7)
    params = tuple(model.Layer(w, b) for w, b in one.params)
    step = gradients.Step(one.x, one.y, np.full(7, 1 / 7))
    (value, logits), expected = gradients.backprop(static, hparams, params, step)
    z, _ = reference.forward(one.params, one.x, activation)
    found = reference.gradients(one.params, one.x, one.y, activation, loss, 0.03)
    np.testing.assert_allclose(z, logits, rtol=CLOSE, atol=CLOSE)
    penalty = 0.03 / 2 * sum(np.sum(w * w) for w, _ in one.params)
    assert abs(np.mean(reference.LOSSES[loss](z, one.y)) + penalty - value) < CLOSE
    for (dw, db), layer in zip(found, expected, strict=True):
        np.testing.assert_allclose(dw, layer.w, rtol=CLOSE, atol=CLOSE)
        np.testing.assert_allclose(db, layer.b, rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize("name", reference.OPTIMIZERS)
def test_updates_are_those_of_the_library(name):
    rng = np.random.default_rng(1)
    w, grads = rng.normal(size=(3, 2)), rng.normal(size=(50, 3, 2)) * 10.0 ** rng.uniform(-6, 0, size=(3, 2))
    numbers = reference.Numbers(0.02, 0.8, 0.85, 0.7, 0.95, 1e-5)
    make, names = optimizers.OPTIMIZERS[name]
    optimizer = make(0.02, **{argument: getattr(numbers, argument) for argument in names})
    state, expected, now = optimizer.init(w), [], w
    for g in grads:
        updates, state = optimizer.update(g, state, now)
        now = now + updates
        expected.append(now)
    np.testing.assert_allclose(reference.path(name, w, grads, numbers), expected, rtol=1e-11, atol=CLOSE)
