"""One example, a mini-batch and the whole training set an update: compared per example and per second."""

from collections.abc import Mapping, Sequence
from statistics import mean

import numpy as np

from mlp_jax.hparams import steps_per_epoch
from mlp_jax.lanes.population import Member
from mlp_jax.questions.compare import Sample, compare, listed, race
from mlp_jax.questions.lab import Answer, Lab, accuracy, curves, diverged, row, series, sizes
from mlp_jax.reports import plots

TITLE = "One example, a mini-batch, the whole training set"
QUESTION = "Which batch size learns most from the same number of examples, and which in the same time?"
WIDTHS = (64,)  # small, since an update on one example costs nearly as much as one on a mini-batch
MINI = 64
# batch size -> learning rate of plain SGD: of the usual size for each, not tuned; larger batches bear larger ones.
RATES = {1: 0.005, MINI: 0.1, 0: 0.5}
NAMES = {1: "batch size 1", MINI: f"batch size {MINI}", 0: "full batch"}
MORE = 10  # the whole training set makes one update an epoch, so it gets this many times the epochs


def answer(lab: Lab) -> Answer:
    """Validation accuracy over the examples seen and over the seconds of training, on one network."""
    fields = {
        NAMES[size]: {
            "optimizer": "sgd", "batch_size": size, "learning_rate": rate, "hidden_sizes": WIDTHS,
            "num_epochs": lab.budget.epochs * (1 if size else MORE),
        }
        for size, rate in RATES.items()
    }  # fmt: skip
    runs = lab.train(fields)
    by_pass = curves(runs)
    by_second = {name: (np.mean(clock(runs[name]), axis=0), values) for name, (_, values) in by_pass.items()}
    panels = [
        plots.Panel(x, xlabel, "validation accuracy", title, log_x=True, percent=True)
        for x, xlabel, title in (
            (by_pass, "passes over the training set", "Per example"),
            (by_second, "seconds of training, on one core's share", "Per second"),
        )
    ]
    level = min(accuracy(member) for members in runs.values() for member in members)
    passes, waits = (
        {name: [reached(member, level)[part] for member in members] for name, members in runs.items()}
        for part in (0, 1)
    )
    examples = len(lab.dataset.train_labels) - round(lab.base.val_fraction * len(lab.dataset.train_labels))
    table = [
        row(runs[NAMES[size]], **{
            "batches": NAMES[size],
            "learning rate": rate,
            "updates an epoch": steps_per_epoch(examples, size or examples),
            f"passes to {100 * level:.1f} %": mean(passes[NAMES[size]]),
            f"seconds to {100 * level:.1f} %": mean(waits[NAMES[size]]),
        })
        for size, rate in RATES.items()
    ]  # fmt: skip
    after = {
        name: [float(best) for best in np.nan_to_num(values)[:, : lab.budget.epochs].max(axis=1)]
        for name, (_, values) in by_pass.items()
    }
    sentences = [
        f"The network is {sizes(WIDTHS, lab.dataset)} under plain SGD, each batch size at a learning rate of its own.",
        race(f"Per example, after {lab.budget.epochs} passes", after),
        fastest(level, waits),
    ]
    return Answer([*sentences, *diverged(runs)], [lab.draw("batches", panels)], table)


def clock(members: Sequence[Member]) -> np.ndarray:
    """Seconds of training at the end of every epoch, (seeds, epochs)."""
    return np.cumsum(series(members, "seconds"), axis=1)


def reached(member: Member, level: float) -> tuple[int, float]:
    """Passes and seconds until the validation accuracy is `level` for the first time."""
    place = next(i for i, record in enumerate(member.records) if record["val/accuracy"] >= level)
    return place + 1, sum(record["seconds"] for record in member.records[: place + 1])


def fastest(level: float, waits: Mapping[str, Sample]) -> str:
    """Who is first at an accuracy that all reach, in seconds."""
    order = sorted(waits, key=lambda name: mean(waits[name]))
    opening = f"Per second, {100 * level:.1f} %, which all reach, takes"
    ties = [name for name in order[1:] if compare(waits[order[0]], waits[name]).sign == 0]
    if len(ties) == len(order) - 1:
        return f"{opening} no different time beyond two standard errors."
    shown = [f"{name} {mean(waits[name]):.2g} s" for name in order]
    tied = f"; {listed([order[0], *ties])} are not told apart" if ties else ""
    return f"{opening} {listed(shown)}{tied}."
