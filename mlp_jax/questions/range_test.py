"""A learning-rate range test of each optimizer, and what it suggests beside the best of a sweep."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import mean

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.hparams import Hparams, Static
from mlp_jax.lanes.fit import Task, make_task, order_of
from mlp_jax.questions.compare import Sample, compare, listed, mean_sd
from mlp_jax.questions.lab import Answer, Lab, accuracies, diverged, network
from mlp_jax.reports import plots
from mlp_jax.reports.html import spoken
from mlp_jax.sweeps.sweep import trial_config
from mlp_jax.training import Data, Keys, Lane, Rows, init_lane, no_sums, take_batch, train_step

TITLE = "A learning-rate range test"
QUESTION = "Does one short run with a rising learning rate find the rate that a sweep finds?"
OPTIMIZERS = ("sgd", "momentum", "nesterov", "rmsprop", "adam", "nadam")
RANGE, STEPS = (1e-6, 10.0), 800  # the learning rate from the first step to the last
SMOOTHING = 0.95
NEAR = 3.0  # a sweep of this spacing tells rates no better apart
SLOW, FAST = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0), (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
SWEPT = {name: SLOW if name in ("sgd", "momentum", "nesterov") else FAST for name in OPTIMIZERS}
# Small, since a sweep over six optimizers, six rates and the seeds is more than a hundred networks.
FIELDS = {"hidden_sizes": (64, 64), "schedule": "constant", "warmup_epochs": 0.0}


@partial(jax.jit, static_argnums=0)
def curve(static: Static, hparams: Hparams, keys: Keys, data: Data, order: Rows, rates: jax.Array) -> jax.Array:
    """The training loss of each step, before its update at that step's rate, (steps,)."""

    def step(lane: Lane, now: tuple[jax.Array, jax.Array]) -> tuple[Lane, jax.Array]:
        number, rate = now
        batch = take_batch(static, data, order, number, static.batch_size, hparams.class_weight)
        fresh = lane._replace(sums=no_sums(static))
        lane = train_step(static, hparams._replace(learning_rate=rate), keys, fresh, batch)
        return lane, lane.sums.loss / batch.total

    batches = jnp.arange(len(rates), dtype=jnp.int32) % order.indices.shape[0]
    return jax.lax.scan(step, init_lane(static, hparams, keys), (batches, rates))[1]


def tested(task: Task, rates: np.ndarray) -> np.ndarray:
    """`curve` of a task over the rates."""
    given = jnp.asarray(rates, task.static.dtype)
    return np.asarray(curve(task.static, task.hparams, task.keys, task.data, order_of(task, 1), given), float)


def suggested(rates: np.ndarray, losses: np.ndarray) -> float:
    """Half the rate at which the smoothed loss of a range test is least: beyond it larger steps do harm.

    The test, and that its loss turns at the largest rate worth taking: Smith 2017, arXiv:1506.01186, section 3.3. Half:
    the best rate is within a factor of two of that, Bengio 2012, arXiv:1206.5533, section 3.1.1.
    """
    return float(rates[int(np.argmin(smoothed(losses)))]) / 2


def smoothed(losses: np.ndarray) -> np.ndarray:
    """Σ d^(t−i)·ℓ_i over Σ d^(t−i), d = `SMOOTHING`, (steps,); infinite from the first loss that is not finite on."""
    total, weight, result = 0.0, 0.0, []
    for loss in losses:
        total, weight = SMOOTHING * total + loss, SMOOTHING * weight + 1
        result.append(total / weight)
    return np.where(np.isfinite(np.cumsum(losses)), result, np.inf)


def until_it_rises(losses: np.ndarray) -> np.ndarray:
    """The smoothed losses, NaN from where they are 1.2 times the first: what is left of a network says no more."""
    values = smoothed(losses)
    return np.where(np.maximum.accumulate(values) < 1.2 * values[0], values, np.nan)


def answer(lab: Lab) -> Answer:
    """The test of each optimizer over seeds; then a sweep, and a training at the suggestion, on the same network."""
    rates = np.geomspace(*RANGE, STEPS)
    places = range(lab.base.seed, lab.base.seed + lab.budget.seeds)
    losses = {}
    for name in OPTIMIZERS:
        fields = {**FIELDS, "optimizer": name}
        tasks = [
            make_task(trial_config(lab.base, {**fields, "seed": s}), lab.dataset, *lab.first_place) for s in places
        ]
        losses[name] = np.array([tested(task, rates) for task in tasks])
    found = {
        name: float(f"{math.exp(mean(math.log(suggested(rates, one)) for one in every)):.2g}")
        for name, every in losses.items()
    }
    wanted = {name: dict.fromkeys([*SWEPT[name], found[name]]) for name in OPTIMIZERS}
    runs = lab.train(
        {_name(o, rate): {**FIELDS, "optimizer": o, "learning_rate": rate} for o in OPTIMIZERS for rate in wanted[o]}
    )
    swept = {o: {rate: accuracies(runs[_name(o, rate)]) for rate in SWEPT[o]} for o in OPTIMIZERS}
    best = {o: max(swept[o], key=lambda rate: mean(swept[o][rate])) for o in OPTIMIZERS}
    at = {o: accuracies(runs[_name(o, found[o])]) for o in OPTIMIZERS}
    curves = {spoken(o): (rates.tolist(), np.array([until_it_rises(one) for one in losses[o]])) for o in OPTIMIZERS}
    choice = {spoken(o): (SWEPT[o], np.array(list(swept[o].values())).T) for o in OPTIMIZERS}
    line = [min(best.values()) / NEAR, max(best.values()) * NEAR]
    both = {**{spoken(o): ([best[o]], [found[o]]) for o in OPTIMIZERS}, "equal": (line, line)}
    panels = [
        plots.Panel(curves, "learning rate, rising", "smoothed training loss", "One run each", log_x=True),
        plots.Panel(choice, "learning rate", "validation accuracy", "The sweep", log_x=True, percent=True),
        plots.Panel(both, "best rate of the sweep", "suggested rate", "One beside the other", log_x=True, log_y=True),
    ]
    table = [
        {
            "optimizer": spoken(o),
            "suggested rate": found[o],
            "best rate of the sweep": best[o],
            "ratio": found[o] / best[o],
            "accuracy at the suggestion": mean(at[o]),
            "accuracy at the best": mean(swept[o][best[o]]),
        }
        for o in OPTIMIZERS
    ]
    net = network(trial_config(lab.base, FIELDS), lab.dataset, optimizer=False)
    sentences = [
        f"The network is {net}. In {STEPS} steps the learning rate rises from {RANGE[0]:g} to {RANGE[1]:g}; suggested "
        f"is half the rate at which the loss, smoothed by {SMOOTHING:g}, is least (geometric mean over {len(places)} "
        "seeds).",
        within({spoken(o): found[o] / best[o] for o in OPTIMIZERS}),
        as_good({spoken(o): (at[o], swept[o][best[o]]) for o in OPTIMIZERS}),
        *ends({spoken(o): (best[o], SWEPT[o]) for o in OPTIMIZERS}),
    ]
    return Answer([*sentences, *diverged(runs)], [lab.draw("range_test", panels)], table)


def _name(optimizer: str, rate: float) -> str:
    return f"{spoken(optimizer)} at {rate:g}"


def within(ratios: Mapping[str, float]) -> str:
    """For how many the suggestion is within a factor of three of the sweep's best rate, and what the others are."""
    near = [name for name, ratio in ratios.items() if 1 / NEAR <= ratio <= NEAR]
    far = [f"{name} ({factor(ratio)})" for name, ratio in ratios.items() if name not in near]
    others = f"; not of {listed(far)}" if far else ""
    return (
        f"The suggestion is within a factor of {NEAR:g} of the best rate of the sweep for {len(near)} of {len(ratios)} "
        f"optimizers{others}."
    )


def factor(ratio: float) -> str:
    """As in '4.0 times too high'."""
    return f"{ratio:.1f} times too high" if ratio > 1 else f"{1 / ratio:.1f} times too low"


def as_good(pairs: Mapping[str, tuple[Sample, Sample]]) -> str:
    """Where a training at the suggestion reaches another accuracy than one at the sweep's best rate."""
    signs = {name: compare(*pair).sign for name, pair in pairs.items()}
    equal = [name for name, sign in signs.items() if sign == 0]
    parts = [
        f"{verb} for {listed([f'{name} ({mean_sd(a)} against {mean_sd(b)})' for name, (a, b) in own.items()])}"
        for verb, wanted in (("less", -1), ("more", 1))
        if (own := {name: pairs[name] for name, sign in signs.items() if sign == wanted})
    ]
    others = f", {', '.join(parts)}" if parts else ""
    return (
        f"Trained at the suggestion, validation accuracy is no different from that at the best rate beyond two "
        f"standard errors for {len(equal)} of {len(pairs)}{others}."
    )


def ends(best: Mapping[str, tuple[float, Sequence[float]]]) -> list[str]:
    """A sentence on the best rates at an end of those tried, if there are any: a better one may lie beyond."""
    found = [name for name, (rate, tried) in best.items() if rate in (min(tried), max(tried))]
    return [f"The best rate lies at an end of those tried for {listed(found)}."] if found else []
