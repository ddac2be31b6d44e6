"""The search space: what varies, over which values, how it is searched, and what a trial is called."""

import json
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from mlp_jax.runs.spelling import ABBREVIATIONS, sizes


@dataclass(frozen=True)
class Distribution:
    """The values of one parameter: `choices`, or the numbers from `low` to `high`.

    A `step` other than 0 leaves round(x / step)·step for x in [low, high]. `log` makes log x uniform in place of x.
    """

    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float = 0.0
    log: bool = False
    whole: bool = False  # the field takes whole numbers

    @property
    def size(self) -> int | None:
        """The number of values; None where they are a continuum."""
        if self.choices:
            return len(self.choices)
        return round(self.high / self.step) - round(self.low / self.step) + 1 if self.step else None

    @property
    def even(self) -> bool:
        """Whether there are finitely many values, each as likely as the next."""
        return self.size is not None and not self.log

    @property
    def values(self) -> list[Any]:
        """All the values, in the order given or from small to large; none where they are a continuum."""
        return [self.at(index) for index in range(self.size or 0)]

    def at(self, index: int) -> Any:
        """The value with this index, in the order given or from small to large."""
        if self.choices:
            return self.choices[index]
        value = Decimal(repr(self.step)) * (round(self.low / self.step) + index)  # 3 · 0.1 is 0.3 here
        return int(value) if self.whole else float(value)

    def draw(self, u: float) -> Any:
        """The value below which a share u of [0, 1) lies."""
        if self.even:
            return self.at(int(u * (self.size or 1)))
        if self.log:
            return self.snap(math.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low))))
        return self.snap(self.low + u * (self.high - self.low))

    def snap(self, value: float) -> Any:
        """The allowed value nearest to a number."""
        bounded = min(max(value, self.low), self.high)
        return self.at(round(bounded / self.step) - round(self.low / self.step)) if self.step else bounded


@dataclass(frozen=True)
class Hyperband:
    """`early_terminate`: at each of `brackets` (epochs) a trial goes on if it is among the best 1/eta up to its number.

    W&B's rule: its best value up to the bracket against the others' values there; `strict` takes its value there.
    """

    brackets: tuple[int, ...]
    eta: float
    strict: bool
    given: dict[str, Any]  # as in the sweep


@dataclass(frozen=True)
class Space:
    """A sweep that makes sense: what varies, what is fixed, how it is searched, what is wanted and how much of it."""

    method: str
    metric: str
    goal: str  # maximize or minimize
    target: float | None  # no new trials once a trial has reached it
    parameters: dict[str, Distribution]  # in the order of ABBREVIATIONS; may hold num_layers and hidden_size
    fixed: dict[str, Any]
    run_cap: int  # the largest number of trials; 0: as many as there are
    early_terminate: Hyperband | None
    name: str
    batch: int  # trials proposed at once; 0: the sweep's choice
    report_test: bool
    depth: int  # of the config, where only a width is searched
    width: int  # of the config, where only a depth is searched

    @property
    def size(self) -> int | None:
        """The number of configurations; None where a parameter is a continuum."""
        sizes = [distribution.size for distribution in self.parameters.values()]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    @property
    def cap(self) -> int | None:
        """The number of trials after which the sweep is over; None where only its target ends it."""
        limits = [limit for limit in (self.run_cap or None, self.size) if limit is not None]
        return min(limits) if limits else None

    def overrides(self, params: dict[str, Any]) -> dict[str, Any]:
        """The config fields of a trial: what it varies and what the sweep fixes, depth x width as `hidden_sizes`."""
        fields = {**self.fixed, **params}
        if "num_layers" in fields or "hidden_size" in fields:
            depth, width = fields.pop("num_layers", self.depth), fields.pop("hidden_size", self.width)
            fields["hidden_sizes"] = (width,) * depth
        elif "hidden_sizes" in fields:
            fields["hidden_sizes"] = sizes(fields["hidden_sizes"])
        return fields

    def trial_name(self, number: int, params: dict[str, Any]) -> str:
        """A readable name of what varies, as hl_3_sz_128_bs_16_ac_tanh; ends in its number where values are rounded."""
        rounded = self.size is None
        shown = {f: f"{v:.4g}" if rounded and isinstance(v, float) else str(v) for f, v in params.items()}
        words = [f"{ABBREVIATIONS.get(field, field)}_{value}" for field, value in shown.items()]
        return re.sub(r"[^\w.+-]", "-", "_".join(words + [f"n_{number}"] * (rounded or not words)))

    def fingerprint(self) -> dict[str, Any]:
        """What makes two studies the same search, in JSON's types: all but how far and how many at once."""
        early = self.early_terminate
        what = {
            "method": self.method,
            "metric": [self.metric, self.goal],
            "parameters": {field: vars(distribution) for field, distribution in self.parameters.items()},
            "fixed parameters": [self.fixed, self.depth, self.width],
            "early_terminate": [early.brackets, early.eta, early.strict] if early else [],
        }
        return dict(json.loads(json.dumps(what)))
