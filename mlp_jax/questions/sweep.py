"""A random search of the assignment's suggested grid, by the project's own sweep."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mlp_jax.files.workdir import read_if_there, read_lines
from mlp_jax.questions.compare import listed
from mlp_jax.questions.lab import Answer, Lab, digest
from mlp_jax.reports import insights
from mlp_jax.reports.html import percent
from mlp_jax.reports.sweep import IMPORTANCE
from mlp_jax.runs.config import fingerprint
from mlp_jax.sweeps.sweep import run

TITLE = "A hyperparameter sweep"
QUESTION = "Which hyperparameters matter, and what explains the runs that stay poor?"

# The assignment's suggested grid, as configs/sweep_random.py has it; the epochs are the budget's.
PARAMETERS = {
    "num_layers": {"values": (3, 4, 5)},
    "hidden_size": {"values": (32, 64, 128)},
    "weight_decay": {"values": (0.0, 0.0005, 0.5)},
    "learning_rate": {"values": (1e-3, 1e-4)},
    "optimizer": {"values": ("sgd", "momentum", "nesterov", "rmsprop", "adam", "nadam")},
    "batch_size": {"values": (16, 32, 64)},
    "init": {"values": ("random", "xavier")},
    "activation": {"values": ("sigmoid", "tanh", "relu")},
}


def config_of(lab: Lab) -> ConfigDict:
    """The config of the sweep; each trial's test accuracy is noted where neither search nor choice can see it."""
    sweep = {
        "method": "random",
        "metric": {"name": "val/accuracy", "goal": "maximize"},
        "parameters": PARAMETERS,
        "run_cap": lab.budget.trials,
        "report_test": True,
        "name": "assignment",
    }
    return ConfigDict({**lab.base.to_dict(), "sweep": sweep, "storage": ""})


def swept(lab: Lab) -> Path:
    """The workdir of the sweep, run to its end; other questions start from it."""
    config = config_of(lab)
    mark = digest(fingerprint(config), lab.dataset.fingerprint)[:8]
    folder = lab.folder / f"sweep-{lab.config.budget}-{mark}"
    if not (folder / "report.html").exists():  # the last file that a sweep writes
        run(config, folder)
    return folder


def answer(lab: Lab) -> Answer:
    """The sweep's own pictures, and its ten best trials."""
    folder = swept(lab)
    trials, importance = read_lines(folder / "trials.jsonl"), read_if_there(folder / IMPORTANCE)
    finished = ranked(trials)
    table = [
        {"place": place, "validation accuracy": value, **{k: insights.text(v) for k, v in trial["parameters"].items()}}
        for place, (trial, value) in enumerate(finished[:10], 1)
    ]
    names = ("history", "parallel_coordinates", "importance", "separators")
    pictures = [folder / "plots" / f"{name}.png" for name in names]
    weight = weight_of(importance, insights.correlations(trials))
    sentences = [best_of(finished), weight, insights.certainty(trials), insights.poor_sentences(trials)]
    return Answer(sentences, pictures, table, [("The sweep's own page", folder / "report.html")])


def ranked(trials: Sequence[insights.Trial]) -> list[tuple[insights.Trial, float]]:
    """The finished trials with their validation accuracies, the highest first."""
    known = [(trial, value) for trial in trials if (value := insights.score(trial)) is not None]
    return sorted(known, key=lambda pair: (-pair[1], pair[0]["number"]))


def best_of(finished: Sequence[tuple[insights.Trial, float]]) -> str:
    """How good the best is, and how the rest lie."""
    if not finished:
        return "No trial has finished."
    values = [value for _, value in finished]
    median = values[len(values) // 2]
    return (
        f"The best of {len(values)} finished trials reaches {percent(values[0])} on validation "
        f"({finished[0][0]['name']}), the median {percent(median)}."
    )


def weight_of(importance: Mapping[str, Any], correlations: Mapping[str, float | None]) -> str:
    """What matters most, and in which direction the strongest single choice works."""
    shares = sorted(((v, k) for k, v in importance.items() if v), reverse=True)
    known = sorted(((abs(v), v, k) for k, v in correlations.items() if v is not None), reverse=True)
    if not shares or not known:
        return "Too few trials have finished to tell which parameter matters."
    names = listed([f"{name} ({100 * share:.0f} %)" for share, name in shares[:3]])
    _, value, strongest = known[0]
    side = "higher" if value > 0 else "lower"
    return (
        f"To a random forest most differences are explained by {names}; the strongest rank correlation is that of "
        f"{strongest}, with {side} accuracy ({value:+.2f})."
    ).replace("-0.", "−0.")
