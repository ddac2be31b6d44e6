"""Numbers beside ours: right, or which known mistakes give the same ones, or where and by what factor they differ.

An observation is what a submission gave in one situation, named arrays; None where it raised. A prediction is the same
of ours with some lines replaced. A mistake is named only where it predicts every observation and no other does.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from mlp_jax.check.mistakes import Lines, Mistake

Array = np.ndarray
Tensors = dict[str, Array]
Predict = Callable[[int, Lines], Tensors]

RIGHT_TO, NAMED_TO, FLOAT32_TO = 1e-7, 1e-6, 2e-5  # relative to the largest entry of an observation


class Judgement(NamedTuple):
    """`error` is the largest relative one; `names` the mistakes that explain it, `others` the sets that do as well."""

    right: bool
    error: float
    names: tuple[str, ...] = ()
    others: tuple[tuple[str, ...], ...] = ()
    where: str = ""
    pattern: str = ""


def deviation(found: Tensors | None, expected: Tensors | None, by_entry: bool = False) -> float:
    """The largest |found − expected|, over the largest |expected| (of each entry, over its first axis, if `by_entry`).

    NaN and infinity are numbers like others here: equal where both have them. Both absent is 0.
    """
    if found is None or expected is None:
        return 0.0 if found is expected else np.inf
    if found.keys() != expected.keys() or any(np.shape(found[key]) != np.shape(expected[key]) for key in expected):
        return np.inf
    with np.errstate(all="ignore"):
        finite = [np.where(np.isfinite(e), np.abs(e), 0) for e in expected.values()]
        largest = max((float(np.max(e, initial=0)) for e in finite), default=0.0)
        worst = 0.0
        for (key, e), size in zip(expected.items(), finite, strict=True):
            f = np.asarray(found[key], np.float64)
            odd = ~np.isfinite(e)
            if (np.isfinite(f) == odd).any() or (np.isnan(f) != np.isnan(e)).any():
                return np.inf
            scale = np.max(size, axis=0) if by_entry else largest
            difference = np.where(odd, 0, np.abs(f - np.where(odd, 0, e)))
            relative = np.where(difference == 0, 0, difference / np.where(scale == 0, 1e-300, scale))
            worst = max(worst, float(np.max(relative, initial=0)))
    return worst


def judge(
    found: Sequence[Tensors | None],
    predict: Predict,
    mistakes: Mapping[str, Mistake],
    base: Lines | None = None,
    by_entry: bool = False,
    tolerance: float = RIGHT_TO,
    pairs: bool = True,
) -> Judgement:
    """Ours beside theirs; then every known mistake, then every two of them."""
    base = base or {}

    def predicted(index: int, lines: Lines) -> Tensors | None:
        try:
            with np.errstate(all="ignore"):
                return predict(index, {**base, **lines})
        except (ValueError, IndexError):  # shapes that a wrong line does not fit
            return None

    ours = [predicted(index, {}) for index in range(len(found))]
    error = max((deviation(f, o, by_entry) for f, o in zip(found, ours, strict=True)), default=np.inf)
    if error <= tolerance:
        return Judgement(True, error)
    named_to = max(NAMED_TO, tolerance)

    def explains(lines: Lines) -> bool:
        return all(deviation(f, predicted(i, lines), by_entry) <= named_to for i, f in enumerate(found))

    sets: list[tuple[str, ...]] = [
        (name,) for name, mistake in mistakes.items() if any(explains(variant) for variant in mistake.variants)
    ]
    if not sets and pairs:
        for (one, first), (two, second) in combinations(mistakes.items(), 2):
            both = ((a, b) for a in first.variants for b in second.variants if not a.keys() & b.keys())
            if any(explains({**a, **b}) for a, b in both):
                sets.append((one, two))
    where, pattern = _pattern(found, ours)
    if len(sets) == 1:
        return Judgement(False, error, sets[0], (), where, pattern)
    return Judgement(False, error, (), tuple(sets), where, pattern)


def _pattern(found: Sequence[Tensors | None], ours: Sequence[Tensors | None]) -> tuple[str, str]:
    """Which arrays are off in the first situation that tells, and how: a factor, a sign, zero, transposed, NaN."""
    pairs = [(f, o) for f, o in zip(found, ours, strict=True) if f is not None and o is not None]
    pairs.sort(key=lambda pair: -len(pair[1]))
    for f, o in pairs:
        said = {key: _difference(f[key], o[key]) for key in o if key in f}
        off = {key: what for key, what in said.items() if what}
        if not off:
            continue
        if len(off) == len(said) and len(set(off.values())) == 1:
            return "everywhere", next(iter(off.values()))
        return ", ".join(off), "; ".join(f"{key}: {what}" for key, what in off.items())
    return "", ""


def _difference(found: Array, ours: Array) -> str:
    """How an array differs from ours, in a few words; empty where it does not."""
    found = np.asarray(found, np.float64)
    if found.shape != ours.shape:
        return f"of shape {found.shape} where {ours.shape} was expected"
    if not np.isfinite(found).all():
        return "NaN or infinite"
    scale = float(np.max(np.abs(ours), initial=0)) or 1.0
    if np.max(np.abs(found - ours), initial=0) <= NAMED_TO * scale:
        return ""
    if not found.any():
        return "zero"
    factor = float(np.vdot(found, ours) / (np.vdot(ours, ours) or 1.0))
    if np.max(np.abs(found - factor * ours)) <= NAMED_TO * np.max(np.abs(found)):
        return "of the wrong sign" if abs(factor + 1) < NAMED_TO else f"{factor:.6g} × ours"
    if found.ndim == 2 and found.shape[0] == found.shape[1] and np.allclose(found, ours.T, rtol=1e-6, atol=0):
        return "transposed"
    shifted = found - ours
    if found.size > 1 and np.ptp(shifted) <= NAMED_TO * np.max(np.abs(found)):
        return f"ours + {float(shifted.flat[0]):.6g}"
    signs = np.mean(np.sign(found) == np.sign(ours))
    return f"off by up to {np.max(np.abs(found - ours)) / scale:.2g} of its largest entry, {signs:.0%} of signs right"
