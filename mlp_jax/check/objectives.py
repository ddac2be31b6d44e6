"""The value of somebody's loss: how it is called, what it is a mean or a sum of, and which known mistake it has."""

import warnings
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.check import reference as ours
from mlp_jax.check.mistakes import OF_LOGITS, Lines
from mlp_jax.check.names import parameters_of, roles_of

Array = np.ndarray
Factor = Callable[[int, int], float]  # of the batch size and the number of classes

CLOSE = 1e-6  # relative; a loss may add 1e-9 inside its logarithm

# What a loss may be, beside a mean: a convention, not a mistake.
CONVENTIONS: dict[str, dict[str, Factor]] = {
    "cross_entropy": {"mean over the batch": lambda b, k: 1.0, "sum over the batch": lambda b, k: float(b)},
    "mse": {
        "mean over batch and classes": lambda b, k: 1.0,
        "mean over the batch, sum over the classes": lambda b, k: float(k),
        "sum over batch and classes": lambda b, k: float(b * k),
        "half the mean over batch and classes": lambda b, k: 0.5,
        "half the sum over the classes, mean over the batch": lambda b, k: k / 2,
        "half the sum over batch and classes": lambda b, k: b * k / 2,
        "mean over the classes, sum over the batch": lambda b, k: float(b),
    },
}
_Value = Callable[[Array, Array], float]
# name of a loss -> mistake -> its forms as means; each is looked for as a sum, too, by the factors of CONVENTIONS.
WRONG: dict[str, dict[str, list[_Value]]] = {
    "cross_entropy": {
        "loss_over_classes": [lambda z, y: float(np.mean(ours.cross_entropy(z, y))) / y.shape[1]],
        "loss_sign": [lambda z, y: -float(np.mean(ours.cross_entropy(z, y)))],
        "loss_log10": [
            lambda z, y: float(np.mean(ours.cross_entropy(z, y))) / np.log(10),
            lambda z, y: float(np.mean(ours.cross_entropy(z, y))) / np.log(2),
        ],
        "loss_softmax_twice": [lambda z, y: float(np.mean(ours.cross_entropy(ours.softmax(z), y)))],
    },
    "mse": {
        "mse_of_logits": [lambda z, y: float(np.mean((z - y) ** 2))],
        "loss_sign": [lambda z, y: -float(np.mean(ours.mse(z, y)))],
    },
}


class Loss(NamedTuple):
    """A loss that was understood, or that was called at least. `value(z, y)` calls it on logits and one-hot labels."""

    value: _Value
    convention: str  # a key of CONVENTIONS; empty where it is none of them
    mistake: str  # a key of MISTAKES, or empty
    takes: str  # logits or probabilities
    labels: str
    error: float
    factor: Factor = lambda b, k: 1.0
    base: Lines = {}  # noqa: RUF012  # the lines of our gradient that fit it
    other: "Loss | None" = (
        None  # the same function, given the other of logits and probabilities, where that fits as well
    )


def _samples(classes: int) -> list[tuple[Array, Array]]:
    samples = []
    for seed, batch in enumerate((7, 3)):
        rng = np.random.default_rng(seed)
        z = rng.normal(size=(batch, classes)) * 1.5
        samples.append((z, np.eye(classes)[rng.integers(classes, size=batch)]))
    return samples


def number(result: Any) -> float:
    """The loss in what a function returned: a number, the mean of one for each example, the first number of a tuple."""
    if isinstance(result, tuple | list) and result:
        result = next((part for part in result if np.ndim(part) == 0), result[0])
    array = np.asarray(result, np.float64)
    if array.ndim > 1 and max(array.shape) != array.size:
        raise ValueError(f"a loss of shape {array.shape}")
    return float(np.mean(array))


def _callers(fn: Callable[..., Any], columns: bool) -> list[tuple[str, str, _Value]]:
    """Every way to call a loss: the order of its arguments, logits or probabilities, one-hot or integer labels."""
    parameters = [p.name for p in parameters_of(fn)]
    roles = roles_of(fn, ("y", "logits"))
    if len(parameters) < 2:
        return []
    if set(roles) == {"y", "logits"}:
        orders = [(roles["logits"], roles["y"])]
    elif "y" in roles:
        orders = [(next(p for p in parameters if p != roles["y"]), roles["y"])]
    else:
        orders = [(parameters[0], parameters[1]), (parameters[1], parameters[0])]
    ways: list[tuple[str, str, _Value]] = []
    for (of_output, of_labels), takes, labels in product(orders, ("logits", "probabilities"), ("one-hot", "integers")):

        def value(
            z: Array, y: Array, *, a: str = of_output, b: str = of_labels, t: str = takes, n: str = labels
        ) -> float:
            output = ours.softmax(z) if t == "probabilities" else z.copy()
            target = y.argmax(axis=1) if n == "integers" else y.copy()
            if columns:
                output, target = output.T, target.T
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                return number(fn(**{a: output, b: target}))

        ways.append((takes, labels, value))
    return ways


def understand(
    name: str, functions: Sequence[Callable[..., Any]], classes: int, takes: str = "", columns: bool = False
) -> Loss | None:
    """The best reading of somebody's loss: ours; then a convention; then a known mistake; then whatever it gives.

    `takes` is what their losses are known to be given: of two readings that fit, that one. None: none can be called.
    """
    samples, readings = _samples(classes), []
    for fn, transposed in product(functions, (False, True) if columns else (False,)):
        for given, labels, value in _callers(fn, transposed):
            try:
                found = [value(z, y) for z, y in samples]
            except Exception:
                continue
            foreign = bool(takes) and given != takes
            expected = [float(np.mean(ours.LOSSES[name](z, y))) for z, y in samples]
            error = max(abs(f - e) / abs(e) for f, e in zip(found, expected, strict=True))
            for rank, (said, factor) in enumerate(CONVENTIONS[name].items()):
                if _same(found, [e * factor(*y.shape) for e, (_, y) in zip(expected, samples, strict=True)]):
                    error = abs(found[0] / (expected[0] * factor(*samples[0][1].shape)) - 1)
                    readings.append((foreign, rank, Loss(value, said, "", given, labels, error, factor)))
            for mistake, variants in WRONG[name].items():
                for variant, (rank, (said, factor)) in product(variants, enumerate(CONVENTIONS[name].items())):
                    if _same(found, [variant(z, y) * factor(*y.shape) for z, y in samples]):
                        base = OF_LOGITS if mistake == "mse_of_logits" else {}
                        read = Loss(value, said, mistake, given, labels, error, factor, base)
                        readings.append((foreign, 20 + rank, read))
            if np.isfinite(found).all():
                readings.append((foreign, 100, Loss(value, "", "", given, labels, error)))
    # A reading that fits beats one that does not, whatever their losses are usually given.
    readings.sort(key=lambda reading: (reading[1] >= 100, reading[0], reading[1]))
    if not readings:
        return None
    best = readings[0][2]
    fits = [one for _, rank, one in readings if rank < 100 and one.takes != best.takes and one.convention]
    return best._replace(other=fits[0] if fits and readings[0][1] < 100 else None)


def _same(found: Sequence[float], expected: Sequence[float]) -> bool:
    return all(abs(f - e) <= CLOSE * abs(e) for f, e in zip(found, expected, strict=True))
