"""A race of the six optimizers over seeds."""

from mlp_jax.questions.compare import race
from mlp_jax.questions.lab import Answer, Lab, accuracies, curves, diverged, network, row, series
from mlp_jax.reports import plots
from mlp_jax.reports.html import spoken
from mlp_jax.sweeps.sweep import trial_config

TITLE = "An optimizer race"
QUESTION = "Which of the six optimizers is fastest over the first five epochs, on the same network and the same seeds?"
# The learning rate of each in configs/NAME.py, where it was chosen on validation.
RATES = {"sgd": 0.1, "momentum": 0.02, "nesterov": 0.02, "rmsprop": 5e-4, "adam": 1e-3, "nadam": 1e-3}
NET = {"hidden_sizes": (128, 128, 128), "activation": "relu", "num_epochs": 5}


def answer(lab: Lab) -> Answer:
    """Curves with bands for all six, after the first epoch and at the best."""
    fields = {name: {**NET, "optimizer": name, "learning_rate": rate} for name, rate in RATES.items()}
    runs = {spoken(name): members for name, members in lab.train(fields).items()}
    panels = [
        plots.Panel(curves(runs, "train/loss"), "epoch", "training loss"),
        plots.Panel(curves(runs), "epoch", "validation accuracy", percent=True),
    ]
    table = [row(runs[spoken(name)], optimizer=spoken(name), **{"learning rate": rate}) for name, rate in RATES.items()]
    first = {name: [float(seed[0]) for seed in series(members, "val/accuracy")] for name, members in runs.items()}
    net = network(trial_config(lab.base, NET), lab.dataset, optimizer=False)
    sentences = [
        f"The network is {net}; each optimizer has the learning rate of its own config.",
        race("After the first epoch", first),
        race("At the best epoch", {name: accuracies(members) for name, members in runs.items()}),
    ]
    return Answer([*sentences, *diverged(runs)], [lab.draw("optimizers", panels)], table)
