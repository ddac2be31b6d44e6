"""The mean distribution of several networks that differ by their seed alone, against one network.

Hansen and Salamon 1990, IEEE PAMI 12(10); of deep networks Lakshminarayanan et al. 2017, arXiv:1612.01474.
"""

from collections.abc import Mapping
from statistics import mean, stdev

import numpy as np

from mlp_jax.questions.compare import Sample, compare, interval, mean_sd
from mlp_jax.questions.lab import Answer, Lab, diverged, network
from mlp_jax.questions.subsets import subset
from mlp_jax.reports import plots
from mlp_jax.reports.html import percent
from mlp_jax.sweeps.sweep import trial_config

TITLE = "Ensembles"
QUESTION = "How much do several networks together know more than one, and how many are worth it?"
NETWORKS = 20
COUNTS = (1, 2, 4, 5, 10, 20)  # networks of an ensemble; each count divides all of them into disjoint groups
JUDGED = 5  # the largest with four groups, whose gain has a standard error
FIELDS = {"val_fraction": 0.0}


def answer(lab: Lab) -> Answer:
    """Accuracy of the groups of each count on the same unseen images, for networks of the config with other seeds."""
    held_out = round(lab.base.val_fraction * len(lab.dataset.train_labels))
    data = subset(lab.dataset, len(lab.dataset.train_labels), held_out)
    images, labels = data.read_test()
    runs = lab.train({"networks": FIELDS}, data, seeds=NETWORKS)
    finished = [member for member in runs["networks"] if not member.diverged]
    if not finished:
        return Answer(diverged(runs), [], [{"networks": 0}])
    given = np.array([lab.probabilities(member, data, images) for member in finished])
    found = {count: grouped(given, labels, count) for count in COUNTS if count <= len(finished)}
    rows = np.full((NETWORKS, len(found)), np.nan)
    for place, sample in enumerate(found.values()):
        rows[: len(sample), place] = sample
    title = "Mean ± sd over disjoint groups of the same networks"
    panel = plots.Panel({"groups": (list(found), rows)}, "networks together", "validation accuracy", title,
                        log_x=True, percent=True)  # fmt: skip
    table = [
        {
            "networks": count,
            "groups": len(sample),
            "validation accuracy": mean(sample),
            "sd": stdev(sample) if len(sample) > 1 else None,
        }
        for count, sample in found.items()
    ]
    sentences = [
        f"Each network is {network(trial_config(lab.base, FIELDS), data)}, trained on the same "
        f"{len(data.train_labels):,} images from a seed of its own; an ensemble takes the mean of their probabilities, "
        f"and the other {len(labels):,} images of the training set are the validation data.",
        *([gain(given, labels, JUDGED)] if len(finished) >= 2 * JUDGED else []),
        *([together(found)] if len(found) > 1 else []),
    ]
    return Answer([*sentences, *diverged(runs)], [lab.draw("ensembles", [panel])], table)


def grouped(given: np.ndarray, labels: np.ndarray, count: int) -> list[float]:
    """Accuracy of each disjoint group of `count` networks, by the mean of their distributions.

    `given` are the distributions (networks, examples, classes), grouped in their order; what is left over is not used.
    """
    whole = len(given) // count * count
    means = given[:whole].reshape(whole // count, count, *given.shape[1:]).mean(axis=1)
    return [float(share) for share in (means.argmax(axis=2) == labels).mean(axis=1)]


def gains(given: np.ndarray, labels: np.ndarray, count: int) -> list[float]:
    """Of each group: its accuracy less the mean accuracy of its networks alone."""
    alone = grouped(given, labels, 1)
    return [
        together - mean(alone[place * count : (place + 1) * count])
        for place, together in enumerate(grouped(given, labels, count))
    ]


def gain(given: np.ndarray, labels: np.ndarray, count: int) -> str:
    """What a group gains on its networks alone, ± two standard errors over the disjoint groups."""
    found = compare(gains(given, labels, count), [0.0, 0.0])
    groups = len(given) // count
    opening = f"{count} networks together"
    if found.sign == 0:
        return f"{opening} are no better and no worse than one of them, {interval(found)} over {groups} groups."
    side = "better" if found.sign > 0 else "worse"
    shown = interval(found._replace(difference=abs(found.difference)))
    return f"{opening} are {side} than one of them by {shown} (two standard errors over {groups} disjoint groups)."


def together(found: Mapping[int, Sample]) -> str:
    """The accuracy of all beside that of one, and the smallest count with nine tenths of what they gain, if they do."""
    counts = list(found)
    one, most = mean(found[counts[0]]), mean(found[counts[-1]])
    opening = f"One network has {mean_sd(found[counts[0]])}, all {counts[-1]} together {percent(most)}"
    if most <= one:
        return f"{opening}, which is no more."
    enough = next(count for count in counts if mean(found[count]) - one >= 0.9 * (most - one))
    return f"{opening}; nine tenths of the difference are there with {enough}."
