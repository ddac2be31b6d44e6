"""Dead units at a high learning rate: ReLU against tanh."""

from collections.abc import Sequence

import numpy as np

from mlp_jax.lanes.population import Member
from mlp_jax.questions.compare import listed, versus
from mlp_jax.questions.lab import Answer, Lab, accuracies, curves, diverged, row, series
from mlp_jax.reports import plots
from mlp_jax.reports.html import spoken

TITLE = "Dead units"
QUESTION = "How many hidden units die at a learning rate of 0.1, with ReLU and with tanh?"
RATE = 0.1
ACTIVATIONS, OPTIMIZERS = ("relu", "tanh"), ("sgd", "adam")


def answer(lab: Lab) -> Answer:
    """The share of units whose slope is exactly 0 on every validation image, after every epoch."""
    fields = {
        f"{spoken(activation)}, {spoken(optimizer)}": {
            "activation": activation, "optimizer": optimizer, "learning_rate": RATE, "probes": True,
        }
        for optimizer in OPTIMIZERS
        for activation in ACTIVATIONS
    }  # fmt: skip
    runs = lab.train(fields)
    shares = {name: dead(members, lab.base.hidden_sizes) for name, members in runs.items()}
    reached = {name: accuracies(members) for name, members in runs.items()}
    panels = [
        plots.Panel({name: (range(1, share.shape[1] + 1), share) for name, share in shares.items()}, "epoch",
                    "dead hidden units", f"Units without gradient, learning rate {RATE:g}", percent=True),
        plots.Panel(curves(runs), "epoch", "validation accuracy", "What it costs", percent=True),
    ]  # fmt: skip
    last = {name: [float(seed[np.isfinite(seed)][-1]) for seed in share] for name, share in shares.items()}
    table = [
        {"activation": spoken(fields[name]["activation"]), "optimizer": spoken(fields[name]["optimizer"]),
         "dead units": f"{100 * np.mean(last[name]):.2f} %", **row(members)}
        for name, members in runs.items()
    ]  # fmt: skip
    sentences = [
        f"Hidden layers of {listed(list(map(str, lab.base.hidden_sizes)))} units, {spoken(lab.base.init)} weights, "
        f"batches of {lab.base.batch_size}; a unit counts as dead whose slope is exactly 0 on every validation image "
        "(a ReLU that is never on, a tanh that float32 cannot tell from ±1).",
    ]
    for optimizer in OPTIMIZERS:
        relu, tanh = (f"{spoken(a)}, {spoken(optimizer)}" for a in ACTIVATIONS)
        sentences.append(
            versus(f"Dead after the last epoch with {spoken(optimizer)}", "ReLU", last[relu], "tanh", last[tanh])
        )
        sentences.append(versus(f"Accuracy with {spoken(optimizer)}", "ReLU", reached[relu], "tanh", reached[tanh]))
    return Answer([*sentences, *diverged(runs)], [lab.draw("dead_units", panels)], table)


def dead(members: Sequence[Member], widths: Sequence[int]) -> np.ndarray:
    """The dead share of all hidden units, (seeds, epochs); where the parameters are not finite all are dead."""
    return np.average(np.nan_to_num(series(members, "probes/dead_units"), nan=1.0), axis=-1, weights=widths)
