"""A trained network on a data set: loss, confusion matrix and scores; and the classes of new images."""

from functools import partial
from typing import Any

import jax
import numpy as np

from mlp_jax import metrics
from mlp_jax.boundary import Static
from mlp_jax.fit import place_data, place_rows
from mlp_jax.model import Params, forward
from mlp_jax.sharding import on_device
from mlp_jax.train import EVALUATION_BATCH, Data, Rows, evaluate, take_batch

WORST = 40  # mistakes kept for the pictures, the most confident first


def _logits(static: Static, params: Params, data: Data, rows: Rows) -> jax.Array:
    """Logits (batches, width, classes) of every row."""

    def of_batch(batch: jax.Array) -> jax.Array:
        inputs, _, _ = take_batch(static, data, rows, batch, rows.indices.shape[1])
        return forward(params, inputs, static.activation, (), static.precision)[0]

    return jax.lax.map(of_batch, jax.numpy.arange(rows.indices.shape[0]))


def evaluate_on(static: Static, params: Params, images: np.ndarray, labels: np.ndarray, scale: float) -> dict[str, Any]:
    """Everything there is to say of the parameters on labelled images, as evaluation.json holds it.

    `loss` is without λ and dropout; `confusion` has true classes as rows; precision, recall and F1 are per class,
    with their plain means under `macro`; `mistakes` are the most confident ones.
    """
    placement = on_device(jax.devices()[0])
    params = jax.device_put(params, placement.whole)
    data = place_data(images, labels, scale, placement)
    rows = place_rows(np.arange(len(labels)), min(EVALUATION_BATCH, len(labels)), placement)
    plain = static._replace(probes=False)
    total = jax.device_get(jax.jit(partial(evaluate, plain))(params, data, rows))
    logits = np.asarray(jax.jit(partial(_logits, plain))(params, data, rows))
    probabilities = _softmax(logits.reshape(-1, static.sizes[-1])[: len(labels)].astype(np.float64))
    scores = metrics.scores(total.confusion)
    return {
        "count": len(labels),
        "loss": float(total.loss) / len(labels),
        "accuracy": metrics.accuracy(total.confusion),
        "confusion": total.confusion.tolist(),
        "precision": scores.precision.tolist(),
        "recall": scores.recall.tolist(),
        "f1": scores.f1.tolist(),
        "macro": {
            "precision": float(scores.precision.mean()),
            "recall": float(scores.recall.mean()),
            "f1": float(scores.f1.mean()),
        },
        "mistakes": _mistakes(probabilities, labels),
    }


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _mistakes(probabilities: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
    predicted = probabilities.argmax(axis=-1)
    confidence = probabilities[np.arange(len(labels)), predicted]
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:WORST]
    return [
        {"index": int(i), "true": int(labels[i]), "predicted": int(predicted[i]), "probability": float(confidence[i])}
        for i in worst
    ]
