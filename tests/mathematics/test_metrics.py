"""The confusion matrix and its scores against a loop and scikit-learn."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlp_jax.metrics import accuracy, confusion_matrix, scores


def counted(predictions, labels, weights=None, classes=10):
    weights = np.ones(len(labels)) if weights is None else weights
    arguments = (
        jnp.asarray(a, dtype) for a, dtype in ((predictions, "int32"), (labels, "int32"), (weights, "float32"))
    )
    return np.asarray(jax.jit(confusion_matrix, static_argnums=3)(*arguments, classes))


def looped(predictions, labels, weights, classes=10):
    matrix = np.zeros((classes, classes), int)
    for prediction, label, weight in zip(predictions, labels, weights, strict=True):
        matrix[label, prediction] += int(weight)
    return matrix


def random_case(n=1000, classes=10, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    return np.where(rng.random(n) < 0.6, labels, rng.integers(classes, size=n)), labels, rng.integers(0, 2, n)


def test_rows_are_true_and_columns_predicted():
    matrix = counted([1, 1, 2], [0, 0, 2], classes=3)
    np.testing.assert_array_equal(matrix, [[0, 2, 0], [0, 0, 0], [0, 0, 1]])
    assert matrix.dtype == np.int32


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_confusion_matrix_is_the_loop(seed):
    predictions, labels, real = random_case(64, seed=seed)
    matrix = counted(predictions, labels, real)
    np.testing.assert_array_equal(matrix, looped(predictions, labels, real))
    assert matrix.sum() == real.sum()
    np.testing.assert_array_equal(matrix.sum(axis=1), np.bincount(labels, real, minlength=10))
    np.testing.assert_array_equal(matrix.sum(axis=0), np.bincount(predictions, real, minlength=10))


def test_weights_of_any_float_dtype_count():
    with jax.enable_x64(True):
        ones = jnp.ones(3, jnp.float64)
        matrix = confusion_matrix(jnp.asarray([0, 1, 1]), jnp.asarray([0, 1, 0]), ones, 2)
    np.testing.assert_array_equal(matrix, [[1, 1], [0, 1]])


@pytest.mark.parametrize("classes", [10, 3])
def test_scores_match_scikit_learn(classes):
    from sklearn import metrics as sklearn

    predictions, labels, _real = random_case(classes=classes)
    matrix = counted(predictions, labels, classes=classes)
    np.testing.assert_array_equal(matrix, sklearn.confusion_matrix(labels, predictions))
    got = scores(matrix)
    expected = sklearn.precision_recall_fscore_support(labels, predictions)
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    assert accuracy(matrix) == sklearn.accuracy_score(labels, predictions)


def test_classes_never_seen_or_never_predicted_score_zero():
    from sklearn.metrics import precision_recall_fscore_support

    labels, predictions = [0, 0, 1, 2], [0, 1, 1, 1]  # 2 never predicted, 3 absent
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = scores(counted(predictions, labels, classes=4))
    expected = precision_recall_fscore_support(labels, predictions, labels=range(4), zero_division=0)
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, theirs)
    np.testing.assert_array_equal(got.f1[2:], 0)


def test_accuracy_by_hand():
    assert accuracy(np.array([[3, 1], [2, 4]])) == 0.7
    assert np.isnan(accuracy(np.zeros((2, 2), int)))
