"""Validation error over the width of a network, with and without wrong labels among those it is trained on.

Belkin et al. 2019, PNAS 116(32), arXiv:1812.11118; of deep networks Nakkiran et al. 2020, arXiv:1912.02292; on MNIST-1D
Greydanus and Kobak 2024, arXiv:2011.14439.
"""

import math
from collections.abc import Mapping
from statistics import mean, variance

import numpy as np

from mlp_jax.data.datasets import load
from mlp_jax.lanes.population import Member
from mlp_jax.questions.compare import Sample, mean_sd, points
from mlp_jax.questions.lab import Answer, Lab, diverged, series, sizes
from mlp_jax.questions.subsets import subset, with_noise
from mlp_jax.reports import plots

TITLE = "Double descent"
QUESTION = "Does the error on unseen data only fall, or fall, rise and fall again, as a network grows?"
WIDTHS = (2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 400)
NOISE = (0.0, 0.15)
EXAMPLES, UNSEEN, EPOCHS = 1000, 3000, 300
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
    for share in NOISE:
        noisy = with_noise(data, share)
        runs = lab.train({str(width): {**FIELDS, "hidden_sizes": (width,)} for width in WIDTHS}, noisy)
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
        *(shape(f"With {name}", unseen[name]) for name in unseen),
        *(fitted(f"With {name}", seen[name]) for name in seen),
    ]
    return Answer([*sentences, *diverged(lost)], [lab.draw("double_descent", panels)], table)


def noise_name(share: float) -> str:
    """As a legend has it."""
    return f"{100 * share:.0f} % wrong labels" if share else "all labels right"


def shape(what: str, errors: Errors) -> str:
    """Whether the error falls, rises or does both along the widths, each beyond chance.

    The rise is the largest between any two widths; what falls before and after it is judged from the first and to the
    last width. As the pair is chosen by its result, every difference is held to `margin`, not to two standard errors.
    """
    widths, (low, high), least = list(errors), rise(errors), margin(errors)
    means = {width: mean(sample) for width, sample in errors.items()}
    first, last = widths[0], widths[-1]

    def at(width: int) -> str:
        return f"{mean_sd(errors[width])} at width {width}"

    chance = f"beyond chance ({points(least)})"
    if means[high] - means[low] <= least:
        if means[first] - means[last] > least:
            return f"{what} the validation error falls from {at(first)} to {at(last)}, and nowhere rises {chance}."
        return f"{what} the validation error does not change between {at(first)} and {at(last)} {chance}."
    before, after = means[first] - means[low] > least, means[high] - means[last] > least
    falls = f"falls from {at(first)} to {at(low)}, " if before else ""
    rises = f"rises from {at(low)} to {at(high)}" if not before else f"rises to {at(high)}"
    again = f"falls {'again ' if before else ''}to {at(last)}" if after else "does not fall again"
    verdict = "double descent" if before and after else "no double descent"
    return f"{what} the validation error {falls}{rises} and {again}, each {chance}: {verdict}."


def margin(errors: Errors) -> float:
    """The difference that the largest of all pairs of means exceeds by chance in one of 20 cases: q·s/√n (Tukey 1949).

    s² is the mean of the variances over the seeds, n the seeds of the width that has fewest; infinite for one seed.
    """
    from scipy.stats import studentized_range

    seeds = min(map(len, errors.values()))
    if seeds < 2:
        return math.inf
    spread = math.sqrt(mean(variance(sample) for sample in errors.values()))
    return float(studentized_range.ppf(0.95, len(errors), len(errors) * (seeds - 1))) * spread / math.sqrt(seeds)


def rise(errors: Errors) -> tuple[int, int]:
    """The widths (low, high), low first, between which the mean error rises most; the same one where it never does."""
    means = {width: mean(sample) for width, sample in errors.items()}
    widths = list(means)
    pairs = [(low, high) for place, low in enumerate(widths) for high in widths[place:]]
    return max(pairs, key=lambda pair: means[pair[1]] - means[pair[0]])


def fitted(what: str, errors: Errors) -> str:
    """From which width on the training examples are all right: the interpolation threshold."""
    exact = [mean(sample) < 0.005 for sample in errors.values()]
    if not exact[-1]:
        return f"{what} no width up to {list(errors)[-1]} keeps its mistakes on the training examples below 0.5 %."
    first = len(exact) - next((place for place, right in enumerate(exact[::-1]) if not right), len(exact))
    return (
        f"{what} networks make fewer than 0.5 % mistakes on the training examples from width {list(errors)[first]} on."
    )
