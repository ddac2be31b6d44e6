"""The confusion matrix, and everything that is read off it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


def confusion_matrix(predictions: Array, labels: Array, weights: Array, classes: int) -> Array:
    """Counts (classes, classes), rows true, columns predicted: C_ij = Σ_n weight_n·[label_n = i][prediction_n = j]."""
    rows = jax.nn.one_hot(labels, classes, dtype=jnp.float32) * weights[:, None].astype(jnp.float32)
    columns = jax.nn.one_hot(predictions, classes, dtype=jnp.float32)
    return jnp.dot(rows.T, columns, precision=jax.lax.Precision.HIGHEST).astype(jnp.int32)


class Scores(NamedTuple):
    """Per class, (classes,): precision C_ii/Σ_j C_ji, recall C_ii/Σ_j C_ij, F1 their harmonic mean; and the support."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray


def accuracy(confusion: np.ndarray) -> float:
    """Σ_i C_ii / Σ_ij C_ij; NaN where nothing was counted."""
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else float("nan")


def scores(confusion: np.ndarray) -> Scores:
    """Precision, recall and F1 of every class; 0 where the denominator is 0 (as scikit-learn's zero_division=0)."""
    hits, true, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)

    def ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.divide(a, b, out=np.zeros(len(hits)), where=b > 0)

    return Scores(ratio(hits, predicted), ratio(hits, true), ratio(2 * hits, true + predicted), true)


def chosen(records: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The record of the epoch that validation chose: the highest accuracy, the first on ties; else the last one."""
    validated = [record for record in records if record.get("val/accuracy") is not None]
    return max(validated, key=lambda record: record["val/accuracy"]) if validated else records[-1]
