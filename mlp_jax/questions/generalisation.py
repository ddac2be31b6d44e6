"""Training against test accuracy over all trials of the sweep."""

from collections.abc import Sequence
from statistics import mean, stdev

import numpy as np

from mlp_jax.files.workdir import read_lines
from mlp_jax.questions.compare import compare, points
from mlp_jax.questions.lab import Answer, Lab
from mlp_jax.questions.sweep import swept
from mlp_jax.reports import plots
from mlp_jax.reports.html import percent
from mlp_jax.reports.insights import ranks

TITLE = "Training against test accuracy"
QUESTION = "Do runs that fit the training set better also do better on the test set, and how large is the gap?"


def answer(lab: Lab) -> Answer:
    """One dot a trial, at the epoch that validation chose; nothing is chosen by these test figures."""
    trials = [t for t in read_lines(swept(lab) / "trials.jsonl") if t.get("test/accuracy") is not None]
    train, test = ([float(trial[f"{part}/accuracy"]) for trial in trials] for part in ("train", "test"))
    path = lab.pictures("generalisation") / "train_against_test.png"
    plots.scatter(train, test, "training accuracy", "test accuracy", path, f"{len(trials)} trials of the sweep")
    table = []
    for parameter in ("activation", "init", "weight_decay"):
        for value in sorted({str(trial["parameters"][parameter]) for trial in trials}):
            own = [i for i, trial in enumerate(trials) if str(trial["parameters"][parameter]) == value]
            table.append(
                {
                    "trials with": f"{parameter} = {value}",
                    "trials": len(own),
                    "training accuracy": mean(train[i] for i in own),
                    "test accuracy": mean(test[i] for i in own),
                }
            )
    note = "Training accuracy is counted while training, over the epoch that validation chose, so it lags a little."
    return Answer([gap(train, test), order(train, test), note], [path], table)


def gap(train: Sequence[float], test: Sequence[float]) -> str:
    """The mean difference between training and test accuracy, in pairs, against twice its standard error."""
    if len(train) < 2:
        return "Fewer than two trials have finished."
    differences = [a - b for a, b in zip(train, test, strict=True)]
    found = compare(differences, [0.0, 0.0])
    both = f"training ({percent(mean(train))}) and test accuracy ({percent(mean(test))})"
    if found.sign == 0:
        allowed = points(2 * found.error)
        return f"Over {len(train)} trials there is no difference between {both} beyond two standard errors ({allowed})."
    side = "above" if found.sign > 0 else "below"
    return (
        f"Over {len(train)} trials training accuracy ({percent(mean(train))}) is {side} test accuracy "
        f"({percent(mean(test))}) by {points(found.difference)}, sd {points(stdev(differences))}."
    )


def order(train: Sequence[float], test: Sequence[float]) -> str:
    """Spearman's rank correlation of the two; by chance it has a standard error of 1/√(n − 1)."""
    a, b = ranks(train), ranks(test)
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return "There are too few different trials for a rank correlation."
    value, allowed = float(np.corrcoef(a, b)[0, 1]), 2 / (len(a) - 1) ** 0.5
    shown = f"{value:.2f}".replace("-", "−")
    if abs(value) <= allowed:
        return f"Their rank correlation ({shown}) is not beyond chance ({allowed:.2f})."
    word = "better" if value > 0 else "worse"
    return f"Trials that fit the training set better do {word} on the test set: the rank correlation is {shown}."
