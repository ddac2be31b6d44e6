"""The network as a scikit-learn estimator: in a Pipeline, in GridSearchCV, in cross_val_score."""

from inspect import Parameter, Signature
from typing import Any

import jax.numpy as jnp
import numpy as np

from mlp_jax import api
from mlp_jax.data.arrays import OWN, from_arrays
from mlp_jax.errors import UserError, import_extra, not_one_of
from mlp_jax.lanes.population import Member
from mlp_jax.runs.defaults import FIELDS
from mlp_jax.training import Lane

import_extra("sklearn", "Classifier", "sklearn")

from sklearn.base import BaseEstimator, ClassifierMixin  # noqa: E402
from sklearn.utils.multiclass import check_classification_targets  # noqa: E402
from sklearn.utils.validation import check_is_fitted, validate_data  # noqa: E402

# The fields of a config that say nothing of a table of features, or that belong to files and devices.
_OTHERS = """dataset data_dir fallback_dataset seeds probes evaluate_split mesh lanes steps_per_call resume
    checkpoint_seconds tracker wandb_project wandb_entity"""
# A table is small and has its test set elsewhere: nothing is held out, and more epochs are trained than of images.
PARAMETERS: dict[str, Any] = {
    **{n: value for n, value in FIELDS.items() if not n.startswith("augment_") and n not in _OTHERS.split()},
    "num_epochs": 100,
    "val_fraction": 0.0,
    "precision": None,  # the features' own: float64 for float64, as scikit-learn does, float32 for all others
    "class_weight": None,  # None, "balanced", or label -> weight
}
# What scikit-learn's own MLPClassifier calls them, where the name is not alike.
_THERE = {
    "alpha": "weight_decay",
    "hidden_layer_sizes": "hidden_sizes",
    "learning_rate_init": "learning_rate",
    "max_iter": "num_epochs",
    "n_iter_no_change": "early_stopping",
    "random_state": "seed",
    "solver": "optimizer",
    "validation_fraction": "val_fraction",
}
_DTYPES = (np.float64, np.float32, np.uint8)


class Classifier(ClassifierMixin, BaseEstimator):
    """A multilayer perceptron for a table of features: `mlp_jax.train` in scikit-learn's conventions.

    The parameters are the fields of a config (docs/fields.md) with their defaults, but `num_epochs=100`,
    `val_fraction=0.0`, `precision=None` (float64 for float64 features, as scikit-learn's own nets, else float32, which
    is about twice as fast) and `class_weight=None` (or "balanced", or a dictionary from label to weight). uint8
    features are pixels, 0 … 255. After `fit` there are `classes_`, `n_features_in_` and `run_`, the `Run`. The same
    data, seed and fields give the bits of `mlp_jax.train(data=(X, y), …)`.

    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> model = Classifier(hidden_sizes=(16,), learning_rate=1e-2).fit(X, X[:, 0] > 0)
    >>> float(model.score(X, X[:, 0] > 0)) > 0.95
    True
    """

    def __init__(self, **fields: Any) -> None:
        for name in fields:
            if name in _THERE:
                raise UserError(
                    f"Classifier: parameter: {name!r} of scikit-learn's MLPClassifier is {_THERE[name]} here"
                )
            if name not in PARAMETERS:
                raise not_one_of("Classifier: parameter", name, PARAMETERS)
        for name, value in {**PARAMETERS, **fields}.items():
            setattr(self, name, value)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "Classifier":
        """Trains on X (n, features) with labels y (n,), weighed by `sample_weight` (n,); returns the estimator."""
        X, y = self._checked(X, y)
        self.classes_, self._epochs = np.unique(y), 0
        return self._train(X, y, sample_weight, self._fields(X), None)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> "Classifier":
        """One more epoch, on X with labels y; the first call of all names the `classes` that will come.

        The optimizer's state stays; the learning rate is constant, and nothing is held out.
        """
        first = not hasattr(self, "classes_")
        X, y = self._checked(X, y, reset=first)
        if first:
            self.classes_, self._epochs = np.unique(y if classes is None else classes), 0
            self._lane: Lane | None = None
        fields = {**self._fields(X), "num_epochs": 1, "val_fraction": 0.0, "early_stopping": 0}
        fields |= {"schedule": "constant", "warmup_epochs": 0.0, "seed": (self.seed + self._epochs) % 2**32}
        return self._train(X, y, sample_weight, fields, _counted_anew(self._lane) if self._lane else None)

    def _train(self, X: Any, y: Any, sample_weight: Any, fields: dict[str, Any], lane: Lane | None) -> "Classifier":
        config = api.as_config({}, fields)
        with api.session(config):
            data = from_arrays(X, y, sample_weight=sample_weight, classes=self.classes_)
            ((self.run_, member),) = api.train_members(data, [Member(config, lane)])
        api.check_converged(self.run_)
        self._lane, self._epochs = member.lane, self._epochs + 1
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """The distribution over `classes_` for each row of X: (n, classes)."""
        check_is_fitted(self)
        return self.run_.predict_proba(validate_data(self, X, dtype=_DTYPES, reset=False))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable label of each row of X: (n,)."""
        best = self.predict_proba(X).argmax(axis=-1)
        return self.classes_[best]

    def _checked(self, X: Any, y: Any, reset: bool = True) -> tuple[np.ndarray, np.ndarray]:
        X, y = validate_data(self, X, y, dtype=_DTYPES, reset=reset)
        check_classification_targets(y)
        return X, y

    def _fields(self, X: np.ndarray) -> dict[str, Any]:
        """The fields of the config that the parameters mean for these features."""
        fields = {"dataset": OWN, **{name: getattr(self, name) for name in PARAMETERS}}
        fields["precision"] = self.precision or ("float64" if X.dtype == np.float64 else "float32")
        weights, classes = self.class_weight or (), self.classes_.tolist()
        if isinstance(weights, dict):
            if strange := [label for label in weights if label not in classes]:
                raise not_one_of("class_weight: label", strange[0], classes)
            weights = tuple(float(weights.get(label, 1.0)) for label in classes)
        fields["class_weight"] = (weights,) if isinstance(weights, str) else weights
        return fields


def _counted_anew(lane: Lane) -> Lane:
    """The network with its optimizer's state, before the first step of another epoch 1."""
    best = lane.best._replace(correct=jnp.int32(-1), epoch=jnp.int32(0))
    return lane._replace(state=lane.state._replace(step=jnp.int32(0)), best=best)


_SELF = Parameter("self", Parameter.POSITIONAL_OR_KEYWORD)
_OWN = [Parameter(name, Parameter.KEYWORD_ONLY, default=value) for name, value in PARAMETERS.items()]
Classifier.__init__.__signature__ = Signature([_SELF, *_OWN])  # type: ignore[attr-defined]  # what scikit-learn reads
