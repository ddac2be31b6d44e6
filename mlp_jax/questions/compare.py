"""Two samples over seeds compared, and the sentence that follows; plain Python."""

import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import NamedTuple

Sample = Sequence[float]


class Compared(NamedTuple):
    """A difference of two means and its standard error."""

    difference: float
    error: float

    @property
    def sign(self) -> int:
        """1 or −1 where the difference is beyond two standard errors, else 0: none."""
        return int(math.copysign(1, self.difference)) if abs(self.difference) > 2 * self.error else 0


def compare(a: Sample, b: Sample) -> Compared:
    """mean(a) − mean(b) with √(s_a²/n_a + s_b²/n_b); a sample of one says nothing of its error, so it is infinite."""
    difference = mean(a) - mean(b)
    if min(len(a), len(b)) < 2:
        return Compared(difference, math.inf)
    return Compared(difference, math.sqrt(stdev(a) ** 2 / len(a) + stdev(b) ** 2 / len(b)))


def mean_sd(sample: Sample) -> str:
    """Shares of 1 as '88.91 ± 0.12 %'; a single one without the deviation."""
    spread = f" ± {100 * stdev(sample):.2f}" if len(sample) > 1 else ""
    return f"{100 * mean(sample):.2f}{spread} %"


def points(share: float) -> str:
    """A difference of two shares, without its sign: '0.53 points' (of a percentage)."""
    return f"{100 * abs(share):.2f} points"


def versus(what: str, name_a: str, a: Sample, name_b: str, b: Sample) -> str:
    """Which of two samples of shares is higher, in one sentence that begins with `what`."""
    found = compare(a, b)
    if found.sign == 0:
        both = f"{name_a} ({mean_sd(a)}) and {name_b} ({mean_sd(b)})"
        return f"{what}: no difference between {both} beyond two standard errors ({points(2 * found.error)})."
    (first, ahead), (second, behind) = sorted(((name_a, a), (name_b, b)), key=lambda pair: -mean(pair[1]))
    return f"{what}: {first} ({mean_sd(ahead)}) is above {second} ({mean_sd(behind)}) by {points(found.difference)}."


def listed(names: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def race(what: str, samples: Mapping[str, Sample]) -> str:
    """Who is first by mean share, and by how much the others are behind, ± two standard errors of the difference."""
    order = sorted(samples, key=lambda name: -mean(samples[name]))
    leader, others = order[0], order[1:]
    found = {name: compare(samples[leader], samples[name]) for name in others}

    def gaps(names: Sequence[str]) -> str:
        return listed([f"{name} by {interval(found[name])}" for name in names])

    ties = [name for name in others if found[name].sign == 0]
    behind = [name for name in others if found[name].sign != 0]
    first = f"{leader} leads with {mean_sd(samples[leader])}"
    if not behind:
        return (
            f"{what}: no difference beyond two standard errors. {first}; behind, each within its error: {gaps(ties)}."
        )
    text = f"{what}: {first}; behind beyond two standard errors: {gaps(behind)}."
    return f"{text} Not told apart from {leader}, as the interval holds 0: {gaps(ties)}." if ties else text


def interval(found: Compared) -> str:
    """A difference ± two standard errors: '0.53 ± 0.20 points'; without the error where it is unknown."""
    error = f" ± {200 * found.error:.2f}" if math.isfinite(found.error) else ""
    return f"{100 * found.difference:.2f}{error} points"
