"""What a sweep's trials say: correlations, and the values that separate poor runs from the rest. Plain NumPy.

A trial is a row of trials.jsonl: `number`, `name`, `parameters`, `metric`, `status`, `val/accuracy`, …
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, compress
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.errors import is_number

Trial = Mapping[str, Any]

POOR = 0.65  # validation accuracy below which a run is called poor
CHANCE = 0.01  # a separator is believed where chance would give as strong a one less often than this
AT_CHANCE = 0.05  # of the way from guessing to always right: who gets no further has learned nothing
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
        """As in activation = sigmoid and learning_rate > 0.1."""
        return " and ".join(
            f"{name} {value}" if value.startswith(("≤", ">")) else f"{name} = {value}" for name, value in self.values
        )

    @property
    def side(self) -> int:
        """1: more poor runs than chance explains; −1: fewer; 0: neither."""
        return 0 if self.p >= CHANCE else int(math.copysign(1, self.z))


class Axis(NamedTuple):
    """A parallel-coordinates axis: every trial's place in 0 … 1, and the ticks as (place, text).

    `band` is the half width of one choice on an axis of choices, 0 on an axis of numbers; the trials of one choice
    are spread over its band by score, poor ones below. A missing number sits on the tick «–». `log` says whether an
    axis of numbers is logarithmic.
    """

    name: str
    places: list[float]
    ticks: list[tuple[float, str]]
    band: float
    log: bool = False


# ---- trials


def score(trial: Trial) -> float | None:
    """The accuracy on validation, else the metric, of a trial that finished or was pruned; None for all others."""
    if trial.get("status") not in ("finished", "pruned"):
        return None
    value: Any = trial.get("val/accuracy")
    value = trial.get("metric") if value is None else value
    return float(value) if is_number(value) else None


def is_accuracy(trials: Sequence[Trial]) -> bool:
    """Whether the scores are shares of 1."""
    return any(trial.get("val/accuracy") is not None for trial in trials)


def at_chance(accuracy: float, classes: int) -> bool:
    """Whether an accuracy is hardly above that of guessing among `classes`: (accuracy − 1/k)/(1 − 1/k) < 0.05."""
    return (accuracy - 1 / classes) / (1 - 1 / classes) < AT_CHANCE


def text(value: object) -> str:
    """A parameter's value as it is shown: lists as 128-128, floats short, nothing as –."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, list | tuple):
        return "-".join(text(item) for item in value) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def parameters(trials: Sequence[Trial]) -> tuple[list[str], dict[str, str]]:
    """The parameters that vary, in the order of their first mention; and those that do not, with their value."""
    names = dict.fromkeys(name for trial in trials for name in trial["parameters"])
    seen = {name: {text(value) for value in _column(trials, name)} for name in names}
    return [n for n in names if len(seen[n]) > 1], {n: next(iter(seen[n])) for n in names if len(seen[n]) == 1}


def _column(trials: Sequence[Trial], name: str) -> list[Any]:
    return [trial["parameters"].get(name) for trial in trials]


def _is_numeric(values: Sequence[Any]) -> bool:
    return all(value is None or is_number(value) for value in values)


def _many_numbers(values: Sequence[Any]) -> bool:
    return _is_numeric(values) and len(set(values) - {None}) > FEW_VALUES


# ---- correlations


def ranks(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Ranks from 1, equal values sharing their mean rank."""
    _, inverse, counts = np.unique(np.asarray(values, float), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def correlations(trials: Sequence[Trial]) -> dict[str, float | None]:
    """Spearman's rank correlation of every varying parameter with the score, over finished trials.

    A parameter of choices gives one row a choice, `activation = tanh`, for having it (1) or not (0). None: fewer than
    three trials, or nothing varies.
    """
    finished = [trial for trial in trials if trial.get("status") == "finished" and score(trial) is not None]
    scores = [score(trial) for trial in finished]
    rows: dict[str, float | None] = {}
    for name in parameters(trials)[0]:
        values = _column(finished, name)
        if _is_numeric(values):
            known = [value is not None for value in values]
            rows[name] = _correlation(list(compress(values, known)), list(compress(scores, known)))
        else:
            texts = [text(value) for value in values]
            rows |= {f"{name} = {own}": _correlation([t == own for t in texts], scores) for own in sorted(set(texts))}
    return rows


def _correlation(a: Sequence[Any], b: Sequence[Any]) -> float | None:
    x, y = ranks(a), ranks(b)
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def chances(trials: Sequence[Trial], larger_is_better: bool = True) -> dict[str, float]:
    """For every varying parameter: how often scores that do not depend on it would differ as much between its values.

    Kruskal's and Wallis's test over finished and diverged trials, the latter below all others, times the number of
    parameters (Bonferroni); a number of many values counts by its four ranges. 1 where nothing can be said.
    """
    from scipy.stats import kruskal

    ended = [trial for trial in trials if trial.get("status") in ("finished", "diverged")]
    order, names = score_order(ended, larger_is_better), parameters(ended)[0]
    found = {}
    for name in names:
        values = np.array(_choices(_column(ended, name)))
        groups = [order[values == value] for value in sorted(set(values.tolist()))]
        known = len(groups) > 1 and len(ended) > len(groups) and np.ptp(order) > 0
        found[name] = min(1.0, len(names) * float(kruskal(*groups).pvalue)) if known else 1.0
    return found


def certainty(trials: Sequence[Trial], larger_is_better: bool = True) -> str:
    """How far shares of importance can be trusted: which parameters matter beyond chance, in a sentence."""
    found = chances(trials, larger_is_better)
    count = sum(trial.get("status") in ("finished", "diverged") for trial in trials)
    sure = [name for name, p in found.items() if p < CHANCE]
    if not sure:
        return f"By itself no parameter changes the result beyond chance in these {count:,} runs: the shares are hints."
    others = "; the others' shares may be noise, or due to values that act together" if len(sure) < len(found) else ""
    if len(sure) == 1:
        return f"By itself {sure[0]} changes the result beyond chance{others}."
    return f"By themselves {', '.join(sure[:-1])} and {sure[-1]} change the result beyond chance{others}."


# ---- what separates the poor runs


def judged(trials: Sequence[Trial]) -> list[tuple[Trial, bool]]:
    """The trials that ended by themselves, each with whether it is poor: below `POOR`, or diverged."""
    rows = []
    for trial in trials:
        finished = trial.get("status") == "finished" and is_number(trial.get("val/accuracy"))
        if finished or trial.get("status") == "diverged":
            rows.append((trial, not finished or trial["val/accuracy"] < POOR))
    return rows


def separators(trials: Sequence[Trial]) -> list[Separator]:
    """Every value of every varying parameter, the strongest sign of poor runs first."""
    return _separators(*_columns_and_poor(trials), size=1)


def rules(trials: Sequence[Trial]) -> list[Separator]:
    """The strongest value, or pair of values, of poor runs, then the strongest among the others, at most three."""
    columns, poor = _columns_and_poor(trials)
    found: list[Separator] = []
    while len(found) < 3:
        strongest = _separators(columns, poor, 1)[:1] + _separators(columns, poor, 2)[:1]
        strongest = [row for row in strongest if row.side > 0]
        if not strongest:
            break
        found.append(max(strongest, key=lambda row: row.z))
        names, wanted = zip(*found[-1].values, strict=True)
        left = [values != wanted for values in zip(*(columns[name] for name in names), strict=True)]
        columns, poor = {k: list(compress(v, left)) for k, v in columns.items()}, list(compress(poor, left))
    return found


def _columns_and_poor(trials: Sequence[Trial]) -> tuple[dict[str, list[str]], list[bool]]:
    """Of the judged trials: the value (or its range) of every varying parameter as text, and whether they are poor."""
    rows = judged(trials)
    kept = [trial for trial, _ in rows]
    return {name: _choices(_column(kept, name)) for name in parameters(kept)[0]}, [poor for _, poor in rows]


def _choices(values: Sequence[Any]) -> list[str]:
    """Each value as text; a number of many values as one of four ranges that hold equally many."""
    if not _many_numbers(values):
        return [text(value) for value in values]
    cuts = np.quantile([value for value in values if value is not None], [0.25, 0.5, 0.75])
    low, middle, high = (f"{cut:.3g}" for cut in cuts)
    names = [f"≤ {low}", f"{low} to {middle}", f"{middle} to {high}", f"> {high}"]
    return ["–" if value is None else names[np.searchsorted(cuts, value)] for value in values]


def _separators(columns: Mapping[str, list[str]], poor: list[bool], size: int) -> list[Separator]:
    """Every combination of the values of `size` parameters."""
    from scipy.stats import hypergeom

    rows = []
    for names in combinations([name for name, values in columns.items() if len(set(values)) > 1], size):
        groups = list(zip(*(columns[name] for name in names), strict=True))
        runs, bad = Counter(groups), Counter(compress(groups, poor))
        rows += [(tuple(zip(names, values, strict=True)), runs[values], bad[values]) for values in sorted(runs)]
    if not rows:
        return []
    total, hits = len(poor), sum(poor)
    n, k = np.array([row[1:] for row in rows]).T
    variance = hits / total * (1 - hits / total) / n * (total - n) / max(total - 1, 1)
    z = np.divide(k / n - hits / total, np.sqrt(variance), out=np.zeros(len(rows)), where=variance > 0)
    tails = np.where(z < 0, hypergeom.cdf(k, total, hits, n), hypergeom.sf(k - 1, total, hits, n))
    p = np.minimum(1.0, tails * len(rows))
    found = [Separator(*row, float(a), float(b)) for row, a, b in zip(rows, z, p, strict=True)]
    return sorted(found, key=lambda separator: -separator.z)


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
    clauses: list[str] = []
    for row in found:
        some = "all" if row.poor == row.runs else f"{row.poor:,} of the"
        clauses.append(f"{some} {row.runs:,} {'others' if clauses else 'runs'} with {row.label}")
    rest, rest_poor = total - sum(row.runs for row in found), poor - sum(row.poor for row in found)
    remaining = f"; of the remaining {rest:,} runs {rest_poor:,} {'is' if rest_poor == 1 else 'are'}" if rest else ""
    return f"{opening} Poor are {', then '.join(clauses)}{remaining}."


# ---- parallel coordinates


def score_order(trials: Sequence[Trial], larger_is_better: bool = True) -> np.ndarray:
    """Every trial's rank by score in 0 (worst; no score) … 1 (best)."""
    sign = 1 if larger_is_better else -1
    values = [-math.inf if (value := score(trial)) is None else sign * value for trial in trials]
    return (ranks(values) - 1) / max(len(trials) - 1, 1)


def axes(trials: Sequence[Trial], metric: str, importance: Mapping[str, float | None], order: np.ndarray) -> list[Axis]:
    """The varying parameters, unknown and little importance first, and the score as the last axis.

    Numbers of more than a few values have an axis of numbers, all others one of choices.
    """
    found = []
    for name in sorted(parameters(trials)[0], key=lambda name: importance.get(name) or 0.0):
        values = _column(trials, name)
        found.append(number_axis(name, values) if _many_numbers(values) else _choice_axis(name, values, order))
    return [*found, number_axis(metric, [score(trial) for trial in trials], percent=is_accuracy(trials))]


def wide(values: Sequence[float]) -> bool:
    """Whether numbers are positive and span a factor of 50, so that they need a logarithmic axis."""
    return bool(values) and min(values) > 0 and max(values) / min(values) >= 50


def number_axis(name: str, values: Sequence[float | None], percent: bool = False) -> Axis:
    """Linear, or logarithmic where the numbers are positive and span a factor of 50; missing ones at the foot."""
    known = [value for value in values if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    logarithmic = wide(known)
    scale: Callable[[float], float] = math.log10 if logarithmic else float
    span = scale(high) - scale(low) if known else 0.0
    foot = 0.1 if len(known) < len(values) else 0.0

    def place(value: float | None) -> float:
        return 0.0 if value is None else foot + (1 - foot) * ((scale(value) - scale(low)) / span if span else 0.5)

    marks = (_decades if logarithmic else _round_numbers)(low, high) if known else []
    ticks = [(place(mark), f"{100 * mark:.4g} %" if percent else text(float(mark))) for mark in marks]
    return Axis(name, [place(value) for value in values], [(0.0, "–")] * (foot > 0) + ticks, 0.0, logarithmic)


def _decades(low: float, high: float) -> list[float]:
    powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    return [10.0**power for power in powers]


def _round_numbers(low: float, high: float) -> list[float]:
    if low == high:
        return [low]
    size = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if (high - low) / (size * factor) <= 6)
    return [step * index for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _choice_axis(name: str, values: Sequence[Any], order: np.ndarray) -> Axis:
    texts = np.array([text(value) for value in values])
    if _is_numeric(values):
        choices = list(dict.fromkeys(text(value) for value in sorted(set(values) - {None})))
    else:
        choices = sorted(set(texts.tolist()) - {"–"}, key=_naturally)
    choices = ["–"] * ("–" in texts) + choices
    step = 1 / len(choices)
    ticks = [((index + 0.5) * step, choice) for index, choice in enumerate(choices)]
    places = np.zeros(len(values))
    for centre, choice in ticks:
        members = np.flatnonzero(texts == choice)
        places[members] = centre + ((ranks(order[members]) - 0.5) / len(members) - 0.5) * step * 0.7
    return Axis(name, places.tolist(), ticks, step / 2)


def _naturally(label: str) -> list[Any]:
    """Sorts 32-32 before 128-128."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", label)]
