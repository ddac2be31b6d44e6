"""Training against test accuracy over all trials of the sweep."""

from collections.abc import Sequence
from itertools import compress
from statistics import mean, stdev

import numpy as np

from mlp_jax.files.workdir import read_lines
from mlp_jax.questions.compare import compare, points
from mlp_jax.questions.lab import Answer, Lab
from mlp_jax.questions.sweep import swept
from mlp_jax.reports import plots
from mlp_jax.reports.html import percent
from mlp_jax.reports.insights import at_chance, ranks

TITLE = "Training against test accuracy"
QUESTION = "Do runs that fit the training set better also do better on the test set, and how large is the gap?"
PARTS = (("train", "training"), ("test", "test"))


def answer(lab: Lab) -> Answer:
    """One dot a trial, at the epoch that validation chose; nothing is chosen by these test figures."""
    trials = [t for t in read_lines(swept(lab) / "trials.jsonl") if t.get("test/accuracy") is not None]
    train, test = ([float(trial[f"{name}/accuracy"]) for trial in trials] for name, _ in PARTS)
    guesses = [at_chance(value, len(lab.dataset.class_names)) for value in train]
    path, title = lab.pictures("generalisation") / "train_against_test.png", f"{len(trials)} trials of the sweep"
    plots.scatter(train, test, "training accuracy", "test accuracy", path, title, guesses)
    table = []
    for parameter in ("activation", "init", "weight_decay"):
        for value in sorted({str(trial["parameters"][parameter]) for trial in trials}):
            own = [trial for trial in trials if str(trial["parameters"][parameter]) == value]
            learned = [trial for trial in own if not at_chance(trial["train/accuracy"], len(lab.dataset.class_names))]
            first = {"trials with": f"{parameter} = {value}", "trials": len(own), "at chance": len(own) - len(learned)}
            means = {
                f"{part} accuracy": mean(trial[f"{name}/accuracy"] for trial in learned) if learned else None
                for name, part in PARTS
            }
            table.append({**first, **means})
    note = "Training accuracy is counted while training, over the epoch that validation chose, so it lags a little."
    fit, tested = (list(compress(values, [not guess for guess in guesses])) for values in (train, test))
    links = [("The sweep's own page", swept(lab) / "report.html")]
    return Answer([gap(fit, tested), order(fit, tested), *apart(guesses), note], [path], table, links)


def apart(guesses: Sequence[bool]) -> list[str]:
    """A sentence on the trials that are no better than guessing, if there are any."""
    if not any(guesses):
        return []
    return [
        f"{sum(guesses)} of the {len(guesses)} trials fit the training set no better than guessing; they are left out "
        "of these figures and of the table's means, and are grey in the picture."
    ]


def gap(train: Sequence[float], test: Sequence[float]) -> str:
    """The mean difference between training and test accuracy, in pairs, against twice its standard error."""
    if len(train) < 2:
        return "Fewer than two trials have finished."
    differences = [a - b for a, b in zip(train, test, strict=True)]
    found = compare(differences, [0.0, 0.0])
    over, fit, tested = f"Over {len(train)} trials", percent(mean(train)), percent(mean(test))
    if found.sign == 0:
        both = f"training ({fit}) and test accuracy ({tested})"
        return f"{over} there is no difference between {both} beyond two standard errors ({points(2 * found.error)})."
    side = "above" if found.sign > 0 else "below"
    by = f"{points(found.difference)}, sd {points(stdev(differences))}"
    return f"{over} training accuracy ({fit}) is {side} test accuracy ({tested}) by {by}."


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
