"""True labels against shuffled ones: a network learns both by heart (Zhang et al. 2017, arXiv:1611.03530)."""

from collections.abc import Sequence
from statistics import mean

import numpy as np

from mlp_jax.lanes.population import Member
from mlp_jax.questions.compare import Sample, compare, mean_sd
from mlp_jax.questions.lab import Answer, Lab, curves, diverged, series, sizes
from mlp_jax.questions.subsets import subset, with_shuffled_labels
from mlp_jax.reports import plots
from mlp_jax.reports.html import percent

TITLE = "Random labels"
QUESTION = "Can a network learn labels that say nothing about the images, and how long does it take?"
EXAMPLES, UNSEEN, EPOCHS = 2000, 5000, 100
HIDDEN = (256, 256)
LEARNED = 0.99  # training accuracy from which the labels count as learned
TRUE, SHUFFLED = "true labels", "shuffled labels"
FIELDS = {
    "optimizer": "adam", "learning_rate": 0.001, "batch_size": 64, "hidden_sizes": HIDDEN, "activation": "relu",
    "init": "he", "weight_decay": 0.0, "dropout_rate": 0.0, "num_epochs": EPOCHS, "val_fraction": 0.0,
}  # fmt: skip


def answer(lab: Lab) -> Answer:
    """Training accuracy over the epochs, and accuracy on unseen images with their true labels after the last one."""
    data = subset(lab.dataset, EXAMPLES, UNSEEN)
    shuffled = [with_shuffled_labels(data, draw) for draw in range(lab.budget.seeds)]
    trained = {TRUE: [(member, data) for member in lab.train({TRUE: FIELDS}, data)[TRUE]]}
    # An order of its own for each network: what one order happens to share with the true labels is then no bias.
    trained[SHUFFLED] = [(lab.train({SHUFFLED: FIELDS}, own, seeds=1)[SHUFFLED][0], own) for own in shuffled]
    runs = {name: [member for member, _ in pairs] for name, pairs in trained.items()}
    unseen = {
        name: [lab.test(member, own) for member, own in pairs if not member.diverged] for name, pairs in trained.items()
    }
    waits = {name: epochs_to(members) for name, members in runs.items()}
    panels = [
        plots.Panel(curves(runs, "train/accuracy"), "epoch", "training accuracy", percent=True),
        plots.Panel(curves(runs, "train/loss"), "epoch", "training loss", log_y=True),
    ]
    table = [
        {
            "labels": name,
            "seeds": len(members),
            "training accuracy": mean(last(members)),
            f"epochs to {percent(LEARNED)}": mean(waits[name]) if waits[name] else None,
            "validation accuracy": mean(unseen[name]) if unseen[name] else None,
        }
        for name, members in runs.items()
    ]
    sentences = [
        f"The network is {sizes(HIDDEN, data)}, trained by Adam on {len(data.train_labels):,} images; "
        f"{len(data.read_test()[1]):,} others with their true labels, never trained on, are the validation data.",
        learned({name: last(members) for name, members in runs.items()}),
        slower(waits[TRUE], waits[SHUFFLED], len(runs[SHUFFLED])),
        chance(unseen[SHUFFLED], 1 / len(data.class_names), unseen[TRUE]),
    ]
    return Answer([*sentences, *diverged(runs)], [lab.draw("random_labels", panels)], table)


def last(members: Sequence[Member]) -> list[float]:
    """Training accuracy of each in its last epoch."""
    return [float(member.records[-1]["train/accuracy"]) for member in members]


def epochs_to(members: Sequence[Member]) -> list[int]:
    """The epochs that each of those takes whose training accuracy reaches `LEARNED`."""
    reached = series(members, "train/accuracy") >= LEARNED
    return [int(np.argmax(row)) + 1 for row in reached if row.any()]


def learned(reached: dict[str, Sample]) -> str:
    """Which labels are learned by heart, by the mean over the seeds."""
    both = " and ".join(f"{mean_sd(sample)} of the {name}" for name, sample in reached.items())
    right = [name for name, sample in reached.items() if mean(sample) >= LEARNED]
    verdict = {0: "neither are learned", 1: f"only the {right[0] if right else ''} are learned", 2: "both are learned"}
    return f"In the last epoch the network has {both} right: {verdict[len(right)]} by heart."


def slower(true: Sequence[int], shuffled: Sequence[int], seeds: int) -> str:
    """How many times the epochs of the true labels the shuffled ones take to be learned."""
    if not true or not shuffled:
        missing = listed_missing(true, shuffled)
        return f"Within {EPOCHS} epochs no network reaches {percent(LEARNED)} of the {missing}."
    found = compare(shuffled, true)
    opening = f"To {percent(LEARNED)} of the training labels"
    if found.sign == 0:
        return (
            f"{opening} shuffled labels ({mean(shuffled):.1f} epochs) and true ones ({mean(true):.1f}) take no "
            "different time beyond two standard errors."
        )
    ahead, behind = (("true", true), ("shuffled", shuffled))[:: found.sign]
    return (
        f"{opening} {behind[0]} ones take {mean(behind[1]) / mean(ahead[1]):.1f} times the epochs of {ahead[0]} ones "
        f"({mean(behind[1]):.1f} against {mean(ahead[1]):.1f}; {len(shuffled)} of {seeds} networks get there with "
        "shuffled labels)."
    )


def listed_missing(true: Sequence[int], shuffled: Sequence[int]) -> str:
    """Which labels no network has learned."""
    return " or the ".join(name for name, waits in ((TRUE, true), (SHUFFLED, shuffled)) if not waits)


def chance(accuracies: Sample, guess: float, true: Sample) -> str:
    """Whether what was learned from shuffled labels helps on unseen images, against guessing."""
    if not accuracies or not true:
        return "Too few networks have finished to judge them on unseen images."
    found = compare(accuracies, [guess, guess])
    side = {-1: "below", 0: "no different from", 1: "above"}[found.sign]
    return (
        f"On unseen images the networks of shuffled labels reach {mean_sd(accuracies)}, {side} guessing "
        f"({percent(guess)}){' beyond two standard errors' if found.sign else ''}; those of true labels reach "
        f"{mean_sd(true)}."
    )
