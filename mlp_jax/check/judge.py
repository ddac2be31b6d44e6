"""Numbers beside ours: right, or which known mistakes give the same ones, or where and by what factor they differ.

An observation is what a submission gave in one situation, named arrays; None where it raised. A prediction is the same
of ours with some lines replaced. A mistake is named only where it predicts every observation and no other does.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, product
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
    if not expected:
        return 0.0
    with np.errstate(all="ignore"):
        f, e = ([np.asarray(part[key], np.float64) for key in expected] for part in (found, expected))
        if by_entry:
            (one,), (other,) = f, e  # a path: an update a row
            scale, difference = np.max(np.abs(other), axis=0), np.abs(one - other)
            worst = float(
                np.max(np.where(difference == 0, 0, difference / np.where(scale == 0, 1e-300, scale)), initial=0)
            )
        else:
            other = np.concatenate([part.reshape(-1) for part in e])
            one = np.concatenate([part.reshape(-1) for part in f])
            worst = float(np.abs(one - other).max()) / (float(np.abs(other).max()) or 1e-300)
    if np.isfinite(worst):
        return worst
    with np.errstate(all="ignore"):
        finite = [np.where(np.isfinite(part), np.abs(part), 0) for part in e]
        largest = max(float(np.max(part, initial=0)) for part in finite)
        worst = 0.0
        for one, other, size in zip(f, e, finite, strict=True):
            odd = ~np.isfinite(other)
            if (np.isfinite(one) == odd).any() or (np.isnan(one) != np.isnan(other)).any():
                return np.inf
            scale = np.max(size, axis=0) if by_entry else largest
            difference = np.where(odd, 0, np.abs(one - np.where(odd, 0, other)))
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
    hints: Sequence[tuple[str, ...]] = (),
) -> Judgement:
    """Ours beside theirs; then every known mistake; then `hints`, which explain other numbers of the same submission,
    alone and with one mistake more; then every two mistakes.
    """
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

    # The smallest situation first: most candidates fail there.
    cheapest = sorted(range(len(found)), key=lambda i: sum(a.size for a in (ours[i] or {"": np.zeros(99999)}).values()))

    def explains(lines: Lines) -> bool:
        return all(deviation(found[i], predicted(i, lines), by_entry) <= named_to for i in cheapest)

    sets: list[tuple[str, ...]] = [
        (name,) for name, mistake in mistakes.items() if any(explains(variant) for variant in mistake.variants)
    ]
    for hint in hints if not sets else ():
        for given in product(*(mistakes[name].variants for name in hint if name in mistakes)):
            if len(given) != len(hint) or sum(map(len, given)) != len({key for lines in given for key in lines}):
                continue
            known = {key: line for lines in given for key, line in lines.items()}
            if len(hint) > 1 and explains(known):
                sets.append(hint)
                continue
            for name, mistake in mistakes.items():
                free = (variant for variant in mistake.variants if not variant.keys() & known.keys())
                if any(explains({**known, **variant}) for variant in free):
                    sets.append((*hint, name))
    if not sets and pairs:
        sets += _pairs(mistakes, found[cheapest[0]], lambda lines: predicted(cheapest[0], lines), explains, by_entry)
    sets = list(dict.fromkeys(tuple(sorted(names)) for names in sets))
    where, pattern = _pattern(found, ours)
    if len(sets) == 1:
        return Judgement(False, error, sets[0], (), where, pattern)
    return Judgement(False, error, (), tuple(sets), where, pattern)


def _pairs(
    mistakes: Mapping[str, Mistake],
    found: Tensors | None,
    predict: Callable[[Lines], Tensors | None],
    explains: Callable[[Lines], bool],
    by_entry: bool,
) -> list[tuple[str, ...]]:
    """Every two mistakes that explain what one does not.

    A line without effect in the smallest situation has none there in a pair, either.
    """
    ours = predict({})
    singles = [(name, lines, predict(lines)) for name, mistake in mistakes.items() for lines in mistake.variants]
    idle = [deviation(alone, ours, by_entry) == 0 for _, _, alone in singles]
    sets: dict[tuple[str, ...], None] = {}
    for (one, two), (idle_one, idle_two) in zip(combinations(singles, 2), combinations(idle, 2), strict=True):
        if one[0] == two[0] or one[1].keys() & two[1].keys() or (one[0], two[0]) in sets:
            continue
        lines = {**one[1], **two[1]}
        there = two[2] if idle_one else one[2] if idle_two else predict(lines)
        if deviation(found, there, by_entry) <= NAMED_TO and explains(lines):
            sets[one[0], two[0]] = None
    return list(sets)


def _pattern(found: Sequence[Tensors | None], ours: Sequence[Tensors | None]) -> tuple[str, str]:
    """Which arrays are off in the first situation that tells, and how: a factor, a sign, zero, transposed, NaN."""
    pairs = [(f, o) for f, o in zip(found, ours, strict=True) if f is not None and o is not None]
    pairs.sort(key=lambda pair: -len(pair[1]))
    for f, o in pairs:
        said = {key: _difference(f[key], o[key]) for key in o if key in f}
        off = {key: what for key, what in said.items() if what}
        if not off:
            continue
        words = list(dict.fromkeys(off.values()))
        pattern = words[0] if len(words) == 1 else "; ".join(f"{key}: {what}" for key, what in list(off.items())[:4])
        parts = {key[-1:] for key in off}
        if len(off) == len(said):
            return "everywhere", pattern
        if len(parts) == 1 and len(off) > 2 and set(off) == {key for key in said if key[-1:] in parts}:
            return f"every {parts.pop()}", pattern
        return "; ".join(off), pattern + (" …" if len(words) > 1 and len(off) > 4 else "")
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
