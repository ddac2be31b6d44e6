"""Validation error over the width of a network, with and without wrong labels among those it is trained on.

Belkin et al. 2019, PNAS 116(32), arXiv:1812.11118; of deep networks Nakkiran et al. 2020, arXiv:1912.02292; on MNIST-1D
Greydanus and Kobak 2024, arXiv:2011.14439.
"""

from collections.abc import Mapping
from itertools import pairwise
from statistics import mean

import numpy as np

from mlp_jax.data.datasets import load
from mlp_jax.lanes.population import Member
from mlp_jax.questions.compare import Sample, compare, mean_sd
from mlp_jax.questions.lab import Answer, Lab, diverged, series, sizes
from mlp_jax.questions.subsets import subset, with_noise
from mlp_jax.reports import plots

TITLE = "Double descent"
QUESTION = "Does the error on unseen data only fall, or fall, rise and fall again, as a network grows?"
WIDTHS = (2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 400)
NOISE = (0.0, 0.15)
EXAMPLES, UNSEEN, EPOCHS = 1000, 3000, 300
MORE_SEEDS = 2  # than the budget's: near the peak networks differ much
LEARNED = 0.005  # training error below which the examples count as learned by heart
# Until every label is learned by heart, without anything that would keep a network from that.
FIELDS = {
    "optimizer": "adam", "learning_rate": 0.003, "batch_size": 64, "activation": "relu", "init": "he",
    "loss": "cross_entropy", "weight_decay": 0.0, "dropout_rate": 0.0, "num_epochs": EPOCHS, "val_fraction": 0.0,
}  # fmt: skip

Errors = Mapping[int, Sample]  # width -> a share of mistakes for each seed


def answer(lab: Lab) -> Answer:
    """Training and validation error after the last epoch, on MNIST-1D, whose examples have 40 numbers."""
    data = subset(load("mnist1d", lab.base.data_dir, ""), EXAMPLES, UNSEEN)
    images, labels = data.read_test()
    seen: dict[str, Errors] = {}
    unseen: dict[str, Errors] = {}
    lost, table = dict[str, list[Member]](), []
    seeds = lab.budget.seeds + MORE_SEEDS
    for share in NOISE:
        noisy = with_noise(data, share)
        runs = lab.train({str(width): {**FIELDS, "hidden_sizes": (width,)} for width in WIDTHS}, noisy, seeds)
        found = {int(width): [m for m in members if not m.diverged] for width, members in runs.items()}
        name = noise_name(share)
        lost |= {f"{name}, width {width}": members for width, members in runs.items()}
        own = {width: members for width, members in found.items() if members}
        seen[name] = {w: [1 - float(row[-1]) for row in series(ms, "train/accuracy")] for w, ms in own.items()}
        unseen[name] = {w: [1 - lab.test(m, noisy) for m in members] for w, members in own.items()}
        table += [
            {
                "labels": name,
                "width": width,
                "parameters": (images.shape[1] + 1 + len(data.class_names)) * width + len(data.class_names),
                "training error": mean(seen[name][width]),
                "validation error": mean(unseen[name][width]),
                "sd": float(np.std(unseen[name][width], ddof=1)) if len(own[width]) > 1 else None,
            }
            for width in own
        ]
    panels = [
        plots.Panel({name: (list(by), np.array(list(by.values())).T) for name, by in errors.items()}, "hidden units",
                    what, title, log_x=True, percent=True)
        for errors, what, title in (
            (unseen, "validation error", "On unseen examples"),
            (seen, "training error", "On those it is trained on"),
        )
    ]  # fmt: skip
    sentences = [
        f"One hidden layer, {sizes((0,), data).replace('-0-', '-WIDTH-')}, on {len(data.train_labels):,} examples of "
        f"MNIST-1D for {EPOCHS} epochs, the last of which counts; {len(labels):,} others, which are never trained on "
        "and keep their right labels, are the validation data.",
        *(shape(f"With {name}", unseen[name], threshold(seen[name])) for name in unseen),
    ]
    return Answer([*sentences, *diverged(lost)], [lab.draw("double_descent", panels)], table)


def noise_name(share: float) -> str:
    """As a legend has it."""
    return f"{100 * share:.0f} % wrong labels" if share else "all labels right"


def threshold(errors: Errors) -> int | None:
    """The interpolation threshold: the width from which on the mean training error stays below `LEARNED`."""
    found = None
    for width, sample in errors.items():
        found = None if mean(sample) >= LEARNED else found or width
    return found


def shape(what: str, errors: Errors, peak: int | None) -> str:
    """How the validation error goes to the best narrower width, on to the interpolation threshold, and to the widest.

    The place of the peak is given by the training error, so that it is not chosen by the errors that are compared.
    """
    widths = list(errors)
    if peak is None or peak in (widths[0], widths[-1]):
        where = "no width" if peak is None else f"width {peak} already" if peak == widths[0] else f"only width {peak}"
        return f"{what} {where} learns the training examples by heart, so no peak is within these widths."
    low = min((width for width in widths if width < peak), key=lambda width: mean(errors[width]))
    stops = list(dict.fromkeys((widths[0], low, peak, widths[-1])))
    signs = [compare(errors[b], errors[a]).sign for a, b in pairwise(stops)]
    verbs = {-1: "falls to", 0: "does not change beyond two standard errors with", 1: "rises to"}
    learned = ", where the training examples are first learned by heart,"
    clauses = [
        f"{verbs[sign]} {mean_sd(errors[stop])} at width {stop}{learned if stop == peak else ''}"
        for sign, stop in zip(signs, stops[1:], strict=True)
    ]
    return (
        f"{what} the validation error begins with {mean_sd(errors[widths[0]])} at width {widths[0]}, "
        f"{', '.join(clauses[:-1])} and {clauses[-1]}: {'' if signs == [-1, 1, -1] else 'no '}double descent."
    )
