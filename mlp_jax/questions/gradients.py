"""Vanishing gradients: the norm of the first layer's gradient over depth, by activation and by initialisation."""

import math
from collections.abc import Mapping, Sequence
from statistics import mean

import numpy as np

from mlp_jax.lanes.population import Member
from mlp_jax.questions.compare import Sample, compare, versus
from mlp_jax.questions.lab import Answer, Lab, accuracies, diverged, row, series
from mlp_jax.reports import plots
from mlp_jax.reports.html import spoken

TITLE = "Vanishing gradients"
QUESTION = "What becomes of the first layer's gradient as a network gets deeper, by activation and by initialisation?"
DEPTHS = (1, 2, 4, 8)
NETS = (("sigmoid", "xavier"), ("tanh", "xavier"), ("relu", "xavier"), ("relu", "he"), ("relu", "random"))
WIDTH, BATCH = 128, 128
TINY = 1e-38  # stands for a norm that float32 cannot tell from 0


def answer(lab: Lab) -> Answer:
    """Norms are means over the steps of the first epoch, by the program's own probes."""
    names = {net: f"{spoken(net[0])}, {spoken(net[1])}" for net in NETS}
    fields = {
        f"{names[net]} {depth}": {
            "activation": net[0], "init": net[1], "hidden_sizes": (WIDTH,) * depth, "batch_size": BATCH, "probes": True,
        }
        for net in NETS
        for depth in DEPTHS
    }  # fmt: skip
    runs = lab.train(fields)
    shallow, deep = DEPTHS[0], DEPTHS[-1]
    norms = {name: {d: first_layer(runs[f"{name} {d}"]) for d in DEPTHS} for name in names.values()}
    deepest = {name: (range(1, deep + 2), layers(runs[f"{name} {deep}"])) for name in names.values()}
    reached = {name: {d: accuracies(runs[f"{name} {d}"]) for d in DEPTHS} for name in names.values()}
    depths, layer, norm = "hidden layers", "layer", "norm, mean of epoch 1"
    panels = [
        plots.Panel(_by_depth(norms), depths, norm, "Gradient of the first layer", log_y=True),
        plots.Panel(deepest, layer, norm, f"Gradient of every layer, {deep} hidden layers", log_y=True),
        plots.Panel(_by_depth(reached), depths, "validation accuracy", "What it costs", percent=True),
    ]
    table = [
        row(runs[f"{name} {depth}"], net=name, **{"hidden layers": depth, "first layer's gradient": mean(values)})
        for name, by_depth in norms.items()
        for depth, values in by_depth.items()
    ]
    sigmoid, relu = names["sigmoid", "xavier"], names["relu", "xavier"]
    sentences = [
        f"Hidden layers of {WIDTH} units, {spoken(lab.base.optimizer)}, batches of {BATCH}; the gradient is that of "
        "weights and biases, its norm the mean over the steps of the first epoch.",
        trends(shallow, deep, {name: (by_depth[shallow], by_depth[deep]) for name, by_depth in norms.items()}),
        ratio(f"With {deep} hidden layers", sigmoid, norms[sigmoid][deep], relu, norms[relu][deep]),
        versus("What it costs there", sigmoid, reached[sigmoid][deep], relu, reached[relu][deep]),
    ]
    return Answer([*sentences, *diverged(runs)], [lab.draw("gradients", panels)], table)


def layers(members: Sequence[Member]) -> np.ndarray:
    """The norm of every layer's gradient in the first epoch, (seeds, layers)."""
    return np.maximum(np.nan_to_num(series(members, "probes/grad_norm")[:, 0], nan=TINY, posinf=1 / TINY), TINY)


def first_layer(members: Sequence[Member]) -> list[float]:
    """That of the first layer, one a seed."""
    return [float(norm) for norm in layers(members)[:, 0]]


def _by_depth(runs: Mapping[str, Mapping[int, Sample]]) -> dict[str, tuple[Sequence[float], np.ndarray]]:
    return {name: (DEPTHS, np.array(list(by_depth.values())).T) for name, by_depth in runs.items()}


def _logs(sample: Sample) -> list[float]:
    return [math.log10(value) for value in sample]


def times(logarithm: float) -> str:
    """10 to this power as a factor: '12', '3.4e+05'."""
    return f"{10 ** abs(logarithm):.2g}"


def trends(shallow: int, deep: int, norms: Mapping[str, tuple[Sample, Sample]]) -> str:
    """How the norm changes from the shallow net to the deep one, a clause for every kind of net."""
    clauses = []
    for name, (before, after) in norms.items():
        change = compare(_logs(after), _logs(before))
        factor = f"by a factor of {times(change.difference)}"
        words = {-1: f"shrinks {factor}", 0: "does not change beyond two standard errors", 1: f"grows {factor}"}
        clauses.append(f"{words[change.sign]} with {name}")
    return f"From {shallow} to {deep} hidden layers the first layer's gradient {'; '.join(clauses)}."


def ratio(what: str, name_a: str, a: Sample, name_b: str, b: Sample) -> str:
    """Which of two norms is larger, and by what factor."""
    found = compare(_logs(a), _logs(b))
    if found.sign == 0:
        return f"{what} the gradients with {name_a} and with {name_b} do not differ beyond two standard errors."
    small, large = (name_a, name_b) if found.sign < 0 else (name_b, name_a)
    return f"{what} the gradient with {small} is {times(found.difference)} times smaller than with {large}."
