"""What a sweep's trials say: correlations, and the values that separate poor runs from the rest. Plain NumPy.

A trial is a row of trials.jsonl: `number`, `name`, `parameters`, `metric`, `status`, `val/accuracy`, …
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

Trial = Mapping[str, Any]

POOR = 0.65  # validation accuracy below which a run is called poor
CHANCE = 0.01  # a separator is believed where chance would give as strong a one less often than this
FEW_VALUES = 7  # a number that takes so few values is treated as a choice


class Separator(NamedTuple):
    """How many of the runs with these values, (parameter, value) each, are poor, and whether chance explains it.

    `z` = (poor/runs − P/N)/√(P/N·(1−P/N)/runs·(N−runs)/(N−1)) for P poor among N runs. `p` is the probability that
    `runs` drawn from the N without replacement hold at least (for z < 0: at most) so many poor ones (hypergeometric),
    times the number of separators looked at (Bonferroni).
    """

    values: tuple[tuple[str, str], ...]
    runs: int
    poor: int
    z: float
    p: float

    @property
    def label(self) -> str:
        """As in activation = sigmoid and init = random."""
        return " and ".join(f"{name} = {value}" for name, value in self.values)

    @property
    def side(self) -> int:
        """1: more poor runs than chance explains; −1: fewer; 0: neither."""
        return 0 if self.p >= CHANCE else int(math.copysign(1, self.z))


class Axis(NamedTuple):
    """A parallel-coordinates axis: every trial's place in 0 … 1, and the ticks as (place, text).

    `band` is the half width of one choice on an axis of choices, 0 on an axis of numbers; the trials of one choice
    are spread over its band by score, poor ones below. A missing number sits on the tick «–».
    """

    name: str
    places: list[float]
    ticks: list[tuple[float, str]]
    band: float


def score(trial: Trial) -> float | None:
    """The accuracy on validation, else the metric, of a trial that finished or was pruned; None for all others."""
    if trial.get("status") not in ("finished", "pruned"):
        return None
    value = trial.get("val/accuracy")
    value = trial.get("metric") if value is None else value
    return float(value) if value is not None and _is_number(value) else None


def is_accuracy(trials: Sequence[Trial]) -> bool:
    """Whether the scores are shares of 1."""
    return any(trial.get("val/accuracy") is not None for trial in trials)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def text(value: object) -> str:
    """A parameter's value as it is shown: lists as 128-128, floats short, nothing as –."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, list | tuple):
        return "-".join(text(item) for item in value) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def parameters(trials: Sequence[Trial]) -> tuple[list[str], dict[str, str]]:
    """The parameters that vary, in the order of their first mention; and those that do not, with their value."""
    names = list(dict.fromkeys(name for trial in trials for name in trial["parameters"]))
    seen = {name: {text(trial["parameters"].get(name)) for trial in trials} for name in names}
    return [n for n in names if len(seen[n]) > 1], {n: next(iter(seen[n])) for n in names if len(seen[n]) == 1}


def _column(trials: Sequence[Trial], name: str) -> list[Any]:
    return [trial["parameters"].get(name) for trial in trials]


def _is_numeric(values: Sequence[Any]) -> bool:
    return all(value is None or _is_number(value) for value in values)


def ranks(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Ranks from 1, equal values sharing their mean rank."""
    _, inverse, counts = np.unique(np.asarray(values, float), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    x, y = ranks(a), ranks(b)
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def correlations(trials: Sequence[Trial]) -> dict[str, float | None]:
    """Spearman's rank correlation of every varying parameter with the score, over finished trials.

    A parameter of choices gives one row a choice, `activation = tanh`, for having it (1) or not (0). None: fewer than
    three trials, or nothing varies.
    """
    finished = [trial for trial in trials if trial.get("status") == "finished" and score(trial) is not None]
    scores = [float(score(trial) or 0) for trial in finished]
    rows: dict[str, float | None] = {}
    for name in parameters(trials)[0]:
        values = _column(finished, name)
        if _is_numeric(values):
            known = [(v, s) for v, s in zip(values, scores, strict=True) if v is not None]
            rows[name] = _correlation([v for v, _ in known], [s for _, s in known])
            continue
        for choice in sorted({text(value) for value in values}):
            rows[f"{name} = {choice}"] = _correlation([float(text(value) == choice) for value in values], scores)
    return rows


def _choices(values: Sequence[Any]) -> list[str]:
    """Each value as text; a number of many values as one of four ranges that hold equally many."""
    known = sorted({value for value in values if value is not None}) if _is_numeric(values) else []
    if len(known) <= FEW_VALUES:
        return [text(value) for value in values]
    cuts = np.quantile([value for value in values if value is not None], [0.25, 0.5, 0.75])
    names = [
        f"≤ {cuts[0]:.3g}",
        f"{cuts[0]:.3g} to {cuts[1]:.3g}",
        f"{cuts[1]:.3g} to {cuts[2]:.3g}",
        f"> {cuts[2]:.3g}",
    ]
    return ["–" if value is None else names[int(np.searchsorted(cuts, value))] for value in values]


def judged(trials: Sequence[Trial]) -> list[tuple[Trial, bool]]:
    """The trials that ended by themselves, each with whether it is poor: below `POOR`, or diverged."""
    ended = [trial for trial in trials if trial.get("status") == "diverged" or _finished(trial)]
    return [(trial, not _finished(trial) or float(trial["val/accuracy"]) < POOR) for trial in ended]


def _finished(trial: Trial) -> bool:
    return trial.get("status") == "finished" and _is_number(trial.get("val/accuracy"))


def separators(trials: Sequence[Trial]) -> list[Separator]:
    """Every value of every varying parameter, the strongest sign of poor runs first."""
    return _separators(*_columns_and_poor(trials), size=1)


def _columns_and_poor(trials: Sequence[Trial]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Of the judged trials: the value (or its range) of every varying parameter as text, and whether they are poor."""
    rows = judged(trials)
    kept = [trial for trial, _ in rows]
    columns = {name: np.array(_choices(_column(kept, name))) for name in parameters(kept)[0]}
    return columns, np.array([is_poor for _, is_poor in rows], float)


def _separators(columns: Mapping[str, np.ndarray], poor: np.ndarray, size: int) -> list[Separator]:
    """Every combination of the values of `size` parameters."""
    from scipy.stats import hypergeom

    coded = {name: np.unique(values, return_inverse=True) for name, values in columns.items()}
    rows: list[tuple[tuple[tuple[str, str], ...], int, int]] = []
    for names in combinations([name for name in coded if len(coded[name][0]) > 1], size):
        choices = [coded[name][0] for name in names]
        shape = [len(values) for values in choices]
        codes = np.ravel_multi_index([coded[name][1] for name in names], shape)
        runs, hits = np.bincount(codes), np.bincount(codes, weights=poor)
        for code in np.flatnonzero(runs):
            values = [str(c[k]) for c, k in zip(choices, np.unravel_index(code, shape), strict=True)]
            rows.append((tuple(zip(names, values, strict=True)), int(runs[code]), int(hits[code])))
    if not rows:
        return []
    total, bad = len(poor), int(poor.sum())
    runs, hits = np.array([row[1] for row in rows]), np.array([row[2] for row in rows])
    overall = bad / total
    variance = overall * (1 - overall) / runs * (total - runs) / max(total - 1, 1)
    z = np.divide(hits / runs - overall, np.sqrt(variance), out=np.zeros(len(rows)), where=variance > 0)
    tails = np.where(z < 0, hypergeom.cdf(hits, total, bad, runs), hypergeom.sf(hits - 1, total, bad, runs))
    p = np.minimum(1.0, tails * len(rows))
    found = [Separator(*row, float(a), float(b)) for row, a, b in zip(rows, z, p, strict=True)]
    return sorted(found, key=lambda separator: -separator.z)


def rules(trials: Sequence[Trial], most: int = 3) -> list[Separator]:
    """What separates the poor runs: the strongest value or pair of values, then the strongest among the others, …"""
    columns, poor = _columns_and_poor(trials)
    found: list[Separator] = []
    while len(found) < most:
        candidates = _separators(columns, poor, 1)[:1] + _separators(columns, poor, 2)[:1]
        candidates = [candidate for candidate in candidates if candidate.side > 0]
        if not candidates:
            break
        found.append(max(candidates, key=lambda candidate: candidate.z))
        left = ~np.all([columns[name] == value for name, value in found[-1].values], axis=0)
        columns, poor = {name: values[left] for name, values in columns.items()}, poor[left]
    return found


def poor_sentences(trials: Sequence[Trial]) -> str:
    """What separates the runs below 65 %, in at most three sentences; counts and chance decide what is said."""
    rows = judged(trials)
    poor, total = sum(is_poor for _, is_poor in rows), len(rows)
    if not total:
        return "No run has finished, so there is nothing to separate."
    diverged = sum(trial.get("status") == "diverged" for trial, _ in rows)
    note = f"; {diverged:,} of them diverged" if diverged else ""
    opening = f"{poor:,} of {total:,} runs ({100 * poor / total:.0f} %) end below {100 * POOR:.0f} %{note}."
    if poor in (0, total):
        return opening
    found = rules(trials)
    if not found:
        return f"{opening} No value, and no pair of values, separates them from the others beyond chance."
    clauses = [
        f"{'all' if row.poor == row.runs else f'{row.poor:,} of the'} {row.runs:,} runs with {row.label}"
        for row in found
    ]
    clauses[1:] = [clause.replace(" runs", " others", 1) for clause in clauses[1:]]
    rest, rest_poor = total - sum(row.runs for row in found), poor - sum(row.poor for row in found)
    listed = ", then ".join(clauses)
    remaining = f"; of the remaining {rest:,} runs {rest_poor:,} {'is' if rest_poor == 1 else 'are'}" if rest else ""
    return f"{opening} Poor are {listed}{remaining}."


# ---- parallel coordinates


def score_order(trials: Sequence[Trial], larger_is_better: bool = True) -> np.ndarray:
    """Every trial's rank by score in 0 (worst; no score) … 1 (best)."""
    worst = -math.inf if larger_is_better else math.inf
    values = [worst if (value := score(trial)) is None else value for trial in trials]
    return (ranks(values if larger_is_better else [-value for value in values]) - 1) / max(len(trials) - 1, 1)


def parameter_axis(name: str, values: Sequence[Any], order: np.ndarray) -> Axis:
    """An axis of choices, or of numbers where there are more than a few."""
    known = sorted({value for value in values if value is not None}) if _is_numeric(values) else []
    return number_axis(name, values) if len(known) > FEW_VALUES else _choice_axis(name, values, known, order)


def number_axis(name: str, values: Sequence[float | None], percent: bool = False) -> Axis:
    """Linear, or logarithmic where the numbers are positive and span a factor of 50; missing ones at the foot."""
    known = [value for value in values if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    logarithmic = low > 0 and high / low >= 50
    scale: Callable[[float], float] = math.log10 if logarithmic else float
    span = scale(high) - scale(low) if known else 0.0
    foot = 0.1 if len(known) < len(values) else 0.0

    def place(value: float | None) -> float:
        return 0.0 if value is None else foot + (1 - foot) * ((scale(value) - scale(low)) / span if span else 0.5)

    ticks = [low] if known and not span else _decades(low, high) if logarithmic else _round_numbers(low, high)
    shown = [(place(tick), f"{100 * tick:.4g} %" if percent else text(float(tick))) for tick in ticks]
    return Axis(name, [place(value) for value in values], ([(0.0, "–")] if foot else []) + shown, 0.0)


def _choice_axis(name: str, values: Sequence[Any], known: Sequence[float], order: np.ndarray) -> Axis:
    texts = np.array([text(value) for value in values])
    choices = list(dict.fromkeys(text(value) for value in known)) or sorted(set(texts.tolist()) - {"–"}, key=_naturally)
    choices = (["–"] if "–" in texts else []) + choices
    step = 1 / max(len(choices), 1)
    ticks = [((index + 0.5) * step, choice) for index, choice in enumerate(choices)]
    places = np.zeros(len(values))
    for centre, choice in ticks:
        members = np.flatnonzero(texts == choice)
        places[members] = centre + ((ranks(order[members]) - 0.5) / len(members) - 0.5) * step * 0.7
    return Axis(name, places.tolist(), ticks, step / 2)


def _naturally(label: str) -> list[Any]:
    """Sorts 32-32 before 128-128."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", label)]


def _decades(low: float, high: float) -> list[float]:
    powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    return [10.0**power for power in powers]


def _round_numbers(low: float, high: float) -> list[float]:
    if low == high:
        return []
    size = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if (high - low) / (size * factor) <= 6)
    return [step * index for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def axes(trials: Sequence[Trial], metric: str, importance: Mapping[str, float | None], order: np.ndarray) -> list[Axis]:
    """The varying parameters, unknown and little importance first, and the score as the last axis."""
    names = sorted(parameters(trials)[0], key=lambda name: importance.get(name) or 0.0)
    columns = [parameter_axis(name, _column(trials, name), order) for name in names]
    return [*columns, number_axis(metric, [score(trial) for trial in trials], percent=is_accuracy(trials))]
