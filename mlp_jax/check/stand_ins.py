"""What a submission imports and a confined process cannot give: data sets of Keras and scikit-learn, and W&B."""

import sys
from collections.abc import Callable
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np

from mlp_jax.data.datasets import load

Pair = tuple[np.ndarray, np.ndarray]
WHAT = "scikit-learn's digits at 28×28 stand for the data, 500 to train and 200 to test; W&B is switched off"


def data(name: str) -> tuple[Pair, Pair]:
    """500 and 200 rows as Keras gives them, uint8 (n, 28, 28) with labels (n,): digits, others for each name.

    All are of the digits' training set. Raises UserError where scikit-learn is absent.
    """
    images, labels = (part.copy() for part in _rows(700 if "fashion" in name else 0))
    return (images[:500], labels[:500]), (images[500:], labels[500:])


@cache
def _rows(start: int) -> Pair:
    digits = load("digits", "", "")
    images, labels = digits.train_images[start : start + 700], digits.train_labels[start : start + 700]
    large = np.kron(images.reshape(-1, 8, 8), np.ones((1, 3, 3), np.uint8)) * np.uint8(255 // digits.scale)
    return np.pad(large, ((0, 0), (2, 2), (2, 2))), labels


def install(log: Callable[[object], None], openml: bool) -> None:
    """Puts the stand-ins where `import` finds them. `log` gets what W&B would; `openml` replaces fetch_openml."""
    names = ("mnist", "fashion_mnist")
    datasets = {
        name: _module(f"keras.datasets.{name}", load_data=lambda *_, name=name, **__: data(name)) for name in names
    }
    keras = _module(
        "keras",
        datasets=_module("keras.datasets", **datasets),
        utils=_module("keras.utils", to_categorical=lambda y, num_classes=10, **_: np.eye(num_classes)[np.ravel(y)]),
    )
    modules: dict[str, Any] = {"keras": keras, "tensorflow": _module("tensorflow", keras=keras), "wandb": _wandb(log)}
    for prefix in ("keras", "tensorflow.keras"):
        modules |= {prefix: keras, f"{prefix}.datasets": keras.datasets, f"{prefix}.utils": keras.utils}
        modules |= {f"{prefix}.datasets.{name}": module for name, module in datasets.items()}
    sys.modules.update(modules)
    if openml:
        import sklearn.datasets

        sklearn.datasets.fetch_openml = _fetch_openml


def _module(name: str, **contents: Any) -> ModuleType:
    module = ModuleType(name)
    module.__path__ = []  # so that it may have parts
    vars(module).update(contents)
    return module


class _Config(dict[str, Any]):
    """wandb.config: a dictionary whose items are attributes as well."""

    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__


def _wandb(log: Callable[[object], None]) -> MagicMock:
    """Takes every call; `init` keeps its config, `log` is heard."""
    wandb = MagicMock(name="wandb")

    def init(*_: object, config: Any = None, **__: object) -> MagicMock:
        fields = config if isinstance(config, dict) else vars(config) if config is not None else {}
        wandb.config = wandb.run.config = _Config(fields)
        return wandb.run

    wandb.init.side_effect = init
    wandb.log.side_effect = wandb.run.log.side_effect = lambda what=None, *_, **__: log(what)
    wandb.run.__enter__.return_value = wandb.run
    wandb.config = _Config()
    return wandb


def _fetch_openml(name: Any = None, *_: object, return_X_y: bool = False, **__: object) -> Any:
    (x, y), (x_test, y_test) = data(str(name).lower())
    rows = np.concatenate([x, x_test]).reshape(-1, 784).astype(np.float64)
    labels = np.concatenate([y, y_test]).astype(str).astype(object)
    return (rows, labels) if return_X_y else SimpleNamespace(data=rows, target=labels)
