"""A laboratory for multilayer perceptrons in pure functional JAX.

    import mlp_jax

    run = mlp_jax.train(dataset="digits", hidden_sizes=(64,))
    run.summary["test/accuracy"], run.predict(images)

docs/library.md has an example of every call. Importing this package imports nothing else; JAX comes with first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mlp_jax import check, losses, optimizers
    from mlp_jax.api import forward, grad, init, load, sweep, train
    from mlp_jax.classifier import Classifier
    from mlp_jax.errors import Diverged, UserError
    from mlp_jax.reports.compare import compare
    from mlp_jax.results import Run, Runs, Sweep

_HOMES = {
    "mlp_jax.api": ("init", "forward", "grad", "train", "load", "sweep"),
    "mlp_jax.results": ("Run", "Runs", "Sweep"),
    "mlp_jax.classifier": ("Classifier",),
    "mlp_jax.reports.compare": ("compare",),
    "mlp_jax.errors": ("UserError", "Diverged"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = ("optimizers", "losses", "check")

__all__ = [
    "Classifier",
    "Diverged",
    "Run",
    "Runs",
    "Sweep",
    "UserError",
    "check",
    "compare",
    "forward",
    "grad",
    "init",
    "load",
    "losses",
    "optimizers",
    "sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"mlp_jax.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'mlp_jax' has no attribute {name!r}; there are {', '.join(__all__)}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
