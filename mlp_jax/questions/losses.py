"""Cross-entropy against squared error: everything else the same, and each at its own best learning rate."""

from collections.abc import Iterable, Mapping
from itertools import product
from statistics import mean

import numpy as np

from mlp_jax.questions.compare import versus
from mlp_jax.questions.lab import Answer, Lab, accuracies, curves, diverged, network, row
from mlp_jax.reports import plots
from mlp_jax.reports.html import spoken

TITLE = "Cross-entropy against squared error"
QUESTION = (
    "Does the loss matter, all else equal, and with each loss at its own best learning rate (chosen on validation)?"
)
LOSSES = ("cross_entropy", "mse")
FACTORS = (0.3, 1.0, 3.0, 10.0)  # learning rates tried, times the config's

Rates = Mapping[str, float]  # loss -> learning rate


def answer(lab: Lab) -> Answer:
    """Both losses over seeds: at the config's learning rate, then each at the best of several, by their means."""
    usual = lab.base.learning_rate
    rates = [float(f"{factor * usual:.3g}") for factor in FACTORS]
    runs = lab.train(_runs(product(LOSSES, rates)))
    tried = {loss: {rate: accuracies(runs[_name(loss, rate)]) for rate in rates} for loss in LOSSES}
    found = {loss: {rate: mean(sample) for rate, sample in by_rate.items()} for loss, by_rate in tried.items()}
    equal: Rates = dict.fromkeys(LOSSES, usual)
    own: Rates = {loss: best_rate(found[loss]) for loss in LOSSES}
    wanted = dict.fromkeys([*equal.items(), *own.items()])

    def panel(chosen: Rates, title: str) -> plots.Panel:
        lines = curves({spoken(loss): runs[_name(loss, rate)] for loss, rate in chosen.items()})
        return plots.Panel(lines, "epoch", "validation accuracy", title, percent=True)

    def verdict(what: str, chosen: Rates) -> str:
        (a, first), (b, second) = ((spoken(loss), runs[_name(loss, rate)]) for loss, rate in chosen.items())
        return versus(what, a, accuracies(first), b, accuracies(second))

    choice = {spoken(loss): (rates, np.array(list(tried[loss].values())).T) for loss in LOSSES}
    panels = [
        panel(equal, f"All else equal (learning rate {usual:g})"),
        panel(own, "Each at its own best rate"),
        plots.Panel(
            choice, "learning rate", "validation accuracy", "The choice, over all seeds", log_x=True, percent=True
        ),
    ]
    table = [row(runs[_name(loss, rate)], loss=spoken(loss), **{"learning rate": rate}) for loss, rate in wanted]
    sentences = [
        f"The network is {network(lab.base, lab.dataset)}.",
        verdict("All else equal", equal),
        described(found),
        verdict("Each at its own best learning rate", own),
    ]
    return Answer([*sentences, *diverged(runs)], [lab.draw("losses", panels)], table)


def _name(loss: str, rate: float) -> str:
    return f"{spoken(loss)} at {rate:g}"


def _runs(wanted: Iterable[tuple[str, float]]) -> dict[str, dict[str, object]]:
    return {_name(loss, rate): {"loss": loss, "learning_rate": rate} for loss, rate in wanted}


def best_rate(by_rate: Mapping[float, float]) -> float:
    """The learning rate of the highest accuracy, the first on ties."""
    return max(by_rate, key=lambda rate: by_rate[rate])


def described(found: Mapping[str, Mapping[float, float]]) -> str:
    """Which rate each loss takes, and whether it lies at the end of those tried."""
    parts = []
    for loss, by_rate in found.items():
        best = best_rate(by_rate)
        ends = {min(by_rate): ", the smallest tried", max(by_rate): ", the largest tried"}
        parts.append(f"{best:g} for {spoken(loss)}{ends.get(best, '')}")
    return f"Validation chooses a learning rate of {' and '.join(parts)}."
