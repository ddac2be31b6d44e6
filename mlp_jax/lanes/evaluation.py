"""A trained network on a data set: loss, confusion matrix and scores; and the classes of new images."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax import metrics
from mlp_jax.hparams import Static
from mlp_jax.lanes.fit import place_data, place_rows
from mlp_jax.lanes.placement import on_device
from mlp_jax.model import Params, forward
from mlp_jax.training import EVALUATION_BATCH, Data, Rows, evaluate, take_batch


class Tested(NamedTuple):
    """What parameters make of labelled images; `loss` is without λ and dropout, rows of `confusion` are true."""

    loss: float
    accuracy: float
    confusion: np.ndarray  # (classes, classes)
    scores: metrics.Scores  # per class
    probabilities: np.ndarray  # (n, classes)


def _logits(static: Static, params: Params, data: Data, rows: Rows) -> jax.Array:
    """Logits (batches, width, classes) of every row."""

    def of_batch(batch: jax.Array) -> jax.Array:
        inputs = take_batch(static, data, rows, batch, rows.indices.shape[1]).inputs
        return forward(params, inputs, **static.net)[0]

    return jax.lax.map(of_batch, jnp.arange(rows.indices.shape[0], dtype=jnp.int32))


def evaluate_on(static: Static, params: Params, images: np.ndarray, labels: np.ndarray, scale: float) -> Tested:
    """Evaluates on images, uint8 (n, inputs), with labels (n,); every example counts once."""
    total = _computed(evaluate, static, params, images, labels, scale)
    return Tested(
        float(total.loss) / len(labels),
        metrics.accuracy(total.confusion),
        total.confusion,
        metrics.scores(total.confusion),
        predict_probabilities(static, params, images, scale),
    )


def ensemble_accuracy(tests: Sequence[Tested], labels: np.ndarray) -> float:
    """Of the networks together: the class of the mean of their distributions."""
    probabilities = sum(tested.probabilities for tested in tests)
    return float(np.mean(np.argmax(probabilities, axis=-1) == labels))


def predict_probabilities(static: Static, params: Params, images: np.ndarray, scale: float) -> np.ndarray:
    """The network's distribution over the classes for each image: uint8 (n, inputs) -> float64 (n, classes)."""
    logits = _computed(_logits, static, params, images, np.zeros(len(images), np.int32), scale)
    return _softmax(logits.reshape(-1, static.sizes[-1])[: len(images)].astype(np.float64))


def _computed(
    f: Callable[..., Any], static: Static, params: Params, images: np.ndarray, labels: np.ndarray, scale: float
) -> Any:
    """f(static, params, data, rows) of all the images, on the first device."""
    placement = on_device(jax.devices()[0])
    data = place_data(images, labels, scale, placement)
    rows = place_rows(np.arange(len(images)), min(EVALUATION_BATCH, len(images)), placement)
    return jax.device_get(
        _jitted(f, static.evaluated._replace(probes=False), jax.device_put(params, placement.whole), data, rows)
    )


@partial(jax.jit, static_argnums=(0, 1))
def _jitted(f: Callable[..., Any], static: Static, params: Params, data: Data, rows: Rows) -> Any:
    return f(static, params, data, rows)


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
