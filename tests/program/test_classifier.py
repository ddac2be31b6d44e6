"""The scikit-learn estimator: scikit-learn's own checks, its tools, and the bits of `mlp_jax.train`."""

import pickle

import jax
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import mlp_jax
from mlp_jax.errors import UserError

SMALL = {"hidden_sizes": (8,), "num_epochs": 5, "learning_rate": 1e-2}


def iris() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(X), np.array(["setosa", "versicolor", "virginica"])[y]


@pytest.mark.slow
def test_scikit_learn_finds_nothing_wrong():
    results = check_estimator(mlp_jax.Classifier(), on_fail=None)
    assert [(r["check_name"], r["exception"]) for r in results if r["status"] not in ("passed", "skipped")] == []
    assert sum(r["status"] == "passed" for r in results) >= 60


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_it_has_the_bits_of_train(dtype):
    X, y = iris()
    X = (X + 3).astype(dtype)
    model = mlp_jax.Classifier(**SMALL, dropout_rate=0.2, seed=3).fit(X, y)
    precision = "float64" if dtype == np.float64 else "float32"
    run = mlp_jax.train(data=(X, y), **SMALL, dropout_rate=0.2, seed=3, val_fraction=0.0, precision=precision)
    for a, b in zip(jax.tree.leaves(model.run_.params), jax.tree.leaves(run.params), strict=True):
        assert a.dtype == b.dtype == precision
        assert np.array_equal(a, b)
    assert np.array_equal(model.predict(X), run.predict(X))


@pytest.mark.slow
def test_it_works_in_a_pipeline_a_grid_search_and_cross_validation():
    X, y = load_iris(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), mlp_jax.Classifier(**{**SMALL, "num_epochs": 60}))
    assert cross_val_score(pipeline, X, y, cv=3).mean() > 0.9
    search = GridSearchCV(pipeline, {"classifier__learning_rate": [1e-5, 1e-2]}, cv=2).fit(X, y)
    assert search.best_params_ == {"classifier__learning_rate": 1e-2}


def test_it_can_be_cloned_pickled_and_shown():
    X, y = iris()
    model = mlp_jax.Classifier(**SMALL).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
    assert clone(model).get_params() == model.get_params()
    assert "learning_rate=0.01" in repr(model)


def test_partial_fit_goes_on_with_the_optimizer_and_needs_all_classes_once():
    """Plain SGD at full batch: three calls of one epoch are one fit of three. A class may come late."""
    X, y = iris()
    fields = {"hidden_sizes": (8,), "optimizer": "momentum", "learning_rate": 0.1, "batch_size": 0}
    whole = mlp_jax.Classifier(**fields, num_epochs=3).fit(X, y)
    parts = mlp_jax.Classifier(**fields)
    for _ in range(3):
        parts.partial_fit(X, y)
    for a, b in zip(jax.tree.leaves(whole.run_.params), jax.tree.leaves(parts.run_.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    late = mlp_jax.Classifier(**SMALL).partial_fit(X[:100], y[:100], classes=np.unique(y))
    assert late.predict_proba(X).shape == (150, 3)
    late.partial_fit(X, y)
    with pytest.raises(UserError, match="'rose' is no label"):
        late.partial_fit(X, ["rose"] * 150)


def test_fit_after_fit_begins_anew_and_partial_fit_after_fit_goes_on():
    X, y = iris()
    model = mlp_jax.Classifier(**SMALL).fit(X, y)
    before = model.predict_proba(X)
    assert np.array_equal(model.fit(X, y).predict_proba(X), before)
    after = model.partial_fit(X, y).predict_proba(X)
    assert not np.array_equal(after, before)
    assert np.abs(after - before).max() < 0.5  # one epoch more, not one from the start


def test_classes_weigh_as_scikit_learn_has_them():
    """Balanced is n/(K·n_k); a dictionary names labels; both are rows repeated, at full batch."""
    X, y = iris()
    X, y = X[:110], y[:110]  # 50, 50 and 10
    fields = {"hidden_sizes": (5,), "batch_size": 0, "num_epochs": 4}
    balanced = mlp_jax.Classifier(**fields, class_weight="balanced").fit(X, y)
    named = mlp_jax.Classifier(**fields, class_weight={"virginica": 5}).fit(X, y)
    repeats = np.where(y == "virginica", 5, 1)
    repeated = mlp_jax.Classifier(**fields).fit(X.repeat(repeats, axis=0), y.repeat(repeats))
    for model in (balanced, named):
        np.testing.assert_allclose(model.predict_proba(X), repeated.predict_proba(X), rtol=1e-9)
    with pytest.raises(UserError, match="'rose'"):
        mlp_jax.Classifier(**fields, class_weight={"rose": 2}).fit(X, y)


@pytest.mark.parametrize(
    ("X", "y", "words"),
    [
        ([[np.nan, 1], [2, 3]], [0, 1], "NaN"),
        (np.empty((0, 2)), [], "0 sample"),
        ([[1, 2], [3, 4]], [1, 1], "1 class"),
        ([["a", "b"], ["c", "d"]], [0, 1], "could not convert string to float"),
        ([[1, 2], [3, 4]], [0, 1, 1], "inconsistent numbers of samples"),
        ([[1, 2], [3, 4]], [0.5, 1.5], "continuous"),
    ],
)
def test_bad_input_is_said_as_scikit_learn_says_it(X, y, words):
    with pytest.raises(ValueError, match=words):
        mlp_jax.Classifier().fit(X, y)


def test_the_names_of_scikit_learns_own_network_are_told_in_ours():
    from sklearn.neural_network import MLPClassifier

    from mlp_jax.classifier import _THERE, PARAMETERS

    assert set(_THERE) <= set(MLPClassifier().get_params()) - set(PARAMETERS)
    assert set(_THERE.values()) <= set(PARAMETERS)
    with pytest.raises(UserError, match=r"'random_state' .* is seed"):
        mlp_jax.Classifier(random_state=0)


def test_wrong_parameters_and_features_are_one_line():
    X, y = iris()
    with pytest.raises(UserError, match="did you mean hidden_sizes"):
        mlp_jax.Classifier(hidden_size=3)
    with pytest.raises(UserError, match="learning_rate: -1"):
        mlp_jax.Classifier(learning_rate=-1.0).fit(X, y)
    with pytest.raises(ValueError, match="3 features, but Classifier is expecting 4"):
        mlp_jax.Classifier(**SMALL).fit(X, y).predict(X[:, :3])
