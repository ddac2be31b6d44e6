"""Cross-entropy against squared error: everything else the same, and each at its own best learning rate."""

from collections.abc import Mapping
from functools import partial

from mlp_jax.questions.compare import versus
from mlp_jax.questions.lab import Answer, Lab, accuracies, accuracy, diverged, epochs, network, row, series
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
    """Both losses over seeds: at the config's learning rate, then each at the best of several of the first seed."""
    usual = lab.base.learning_rate
    rates = [float(f"{factor * usual:.3g}") for factor in FACTORS]
    tried = {_name(loss, rate): _fields(loss, rate) for loss in LOSSES for rate in rates}
    first = lab.train(tried, seeds=1)
    found = {loss: {rate: accuracy(first[_name(loss, rate)][0]) for rate in rates} for loss in LOSSES}
    equal: Rates = dict.fromkeys(LOSSES, usual)
    own: Rates = {loss: best_rate(found[loss]) for loss in LOSSES}
    wanted = [(loss, chosen[loss]) for chosen in (equal, own) for loss in LOSSES]
    runs = lab.train({_name(loss, rate): _fields(loss, rate) for loss, rate in wanted})

    def panel(chosen: Rates, title: str) -> plots.Panel:
        lines = {}
        for loss, rate in chosen.items():
            members = runs[_name(loss, rate)]
            lines[spoken(loss)] = epochs(members), series(members, "val/accuracy")
        return plots.Panel(lines, "epoch", "validation accuracy", title, percent=True)

    def verdict(what: str, chosen: Rates) -> str:
        a, b = LOSSES
        samples = [accuracies(runs[_name(loss, chosen[loss])]) for loss in LOSSES]
        return versus(what, spoken(a), samples[0], spoken(b), samples[1])

    choice = {spoken(loss): (rates, list(found[loss].values())) for loss in LOSSES}
    panels = [
        panel(equal, f"All else equal (learning rate {usual:g})"),
        panel(own, "Each at its own best rate"),
        plots.Panel(choice, "learning rate", "validation accuracy", "The choice, first seed", log_x=True, percent=True),
    ]
    path = lab.pictures("losses") / "losses.png"
    plots.lines(panels, path)
    table = [
        row(runs[_name(loss, rate)], loss=spoken(loss), **{"learning rate": rate})
        for loss, rate in dict.fromkeys(wanted)
    ]
    sentences = [
        f"The network is {network(lab.base, lab.dataset)}.",
        verdict("All else equal", equal),
        described(found),
        verdict("Each at its own best learning rate", own),
    ]
    return Answer([*sentences, *diverged(runs)], [path], table)


def _name(loss: str, rate: float) -> str:
    return f"{spoken(loss)} at {rate:g}"


def _fields(loss: str, rate: float) -> dict[str, object]:
    return {"loss": loss, "learning_rate": rate}


def best_rate(by_rate: Mapping[float, float]) -> float:
    """The learning rate of the highest accuracy, the first on ties."""
    return max(by_rate, key=partial(dict.__getitem__, dict(by_rate)))


def described(found: Mapping[str, Mapping[float, float]]) -> str:
    """Which rate each loss takes, and whether it lies at the end of those tried."""
    parts = []
    for loss, by_rate in found.items():
        best = best_rate(by_rate)
        ends = {min(by_rate): ", the smallest tried", max(by_rate): ", the largest tried"}
        parts.append(f"{best:g} for {spoken(loss)}{ends.get(best, '')}")
    return f"Validation chooses a learning rate of {' and '.join(parts)}."
