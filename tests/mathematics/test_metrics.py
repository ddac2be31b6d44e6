"""The confusion matrix and its scores against a loop and scikit-learn."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from mlp_jax.metrics import accuracy, confusion_matrix, scores


def counted(predictions, labels, weights=None, classes=10):
    weights = np.ones(len(labels)) if weights is None else weights
    arguments = ((predictions, "int32"), (labels, "int32"), (weights, "float32"))
    arrays = (jnp.asarray(a, dtype) for a, dtype in arguments)
    return np.asarray(jax.jit(confusion_matrix, static_argnums=3)(*arrays, classes))


def random_case(n=1000, classes=10, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    return np.where(rng.random(n) < 0.6, labels, rng.integers(classes, size=n)), labels, rng.integers(0, 2, n)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_confusion_matrix_is_the_loop(seed):
    predictions, labels, real = random_case(64, seed=seed)
    looped = np.zeros((10, 10), int)
    for prediction, label, weight in zip(predictions, labels, real, strict=True):
        looped[label, prediction] += weight
    matrix = counted(predictions, labels, real)
    assert matrix.dtype == np.int32
    np.testing.assert_array_equal(matrix, looped)


def test_weights_of_any_float_dtype_count():
    with jax.enable_x64(True):
        ones = jnp.ones(3, jnp.float64)
        matrix = confusion_matrix(jnp.asarray([0, 1, 1]), jnp.asarray([0, 1, 0]), ones, 2)
    np.testing.assert_array_equal(matrix, [[1, 1], [0, 1]])


@pytest.mark.parametrize("classes", [10, 3])
def test_scores_match_scikit_learn(classes):
    predictions, labels, _ = random_case(classes=classes)
    matrix = counted(predictions, labels, classes=classes)
    np.testing.assert_array_equal(matrix, sklearn.confusion_matrix(labels, predictions))
    expected = sklearn.precision_recall_fscore_support(labels, predictions)
    np.testing.assert_allclose(scores(matrix), expected, rtol=1e-12)
    assert accuracy(matrix) == sklearn.accuracy_score(labels, predictions)


def test_classes_never_seen_or_never_predicted_score_zero():
    labels, predictions = [0, 0, 1, 2], [0, 1, 1, 1]  # 2 never predicted, 3 absent
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = scores(counted(predictions, labels, classes=4))
    expected = sklearn.precision_recall_fscore_support(labels, predictions, labels=range(4), zero_division=0)
    np.testing.assert_allclose(got, expected)
    np.testing.assert_array_equal(got.f1[2:], 0)


def test_accuracy_of_nothing_is_not_a_number():
    assert np.isnan(accuracy(np.zeros((2, 2), int)))
