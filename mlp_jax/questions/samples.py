"""What the classes look like, one and five images of each, how many there are, and whose mean images lie nearest."""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from mlp_jax.questions.lab import Answer, Lab
from mlp_jax.reports import plots
from mlp_jax.runs.run import rows_of

TITLE = "The data"
QUESTION = "What do the images of every class look like, and are there as many of each?"


def answer(lab: Lab) -> Answer:
    """Pictures of one and of five training images a class, and of their numbers; the test set stays closed."""
    data = lab.dataset
    folder = lab.pictures("samples")
    for count in (1, 5):
        path = folder / f"samples_{count}.png"
        plots.samples(data.train_images, data.train_labels, data.class_names, data.image_shape, path, count)
    classes = range(len(data.class_names))
    means = np.array([data.train_images[data.train_labels == c].mean(axis=0) for c in classes]) / data.scale
    parts = ("trained on", "held out")
    labels = [rows_of(part, lab.base, data)[1] for part in ("train", "validation")]
    counts = [np.bincount(own, minlength=len(classes)) for own in labels]
    plots.columns(
        data.class_names,
        dict(zip(parts, counts, strict=True)),
        folder / "classes.png",
        "images",
        "How many of each class",
    )
    table = [
        {"class": name, **dict(zip(parts, map(int, both), strict=True)), "mean brightness": float(image.mean())}
        for name, both, image in zip(data.class_names, zip(*counts, strict=True), means, strict=True)
    ]
    sentences = [
        balance("training images", data.class_names, counts[0] + counts[1]),
        balance(f"images held out by seed {lab.base.seed}", data.class_names, counts[1]),
        distances(data.class_names, means),
    ]
    pictures = [folder / f"{name}.png" for name in ("samples_1", "samples_5", "classes")]
    return Answer(sentences, pictures, table)


def balance(what: str, names: Sequence[str], counts: np.ndarray) -> str:
    """Whether the classes are equally frequent, and which is farthest from its even share n/k.

    Chance alone leaves χ² = Σ(count − n/k)²/(n/k) at k − 1, with a standard deviation of √(2(k − 1)).
    """
    total, classes = int(counts.sum()), len(counts)
    even = total / classes
    if counts.min() == counts.max():
        return f"The {total:,} {what} are balanced: {counts[0]:,} of each of the {classes} classes."
    far = int(np.abs(counts - even).argmax())
    beyond = float(np.sum((counts - even) ** 2) / even) > classes - 1 + 2 * math.sqrt(2 * (classes - 1))
    verdict = "not balanced" if beyond else "as balanced as chance leaves them"
    side = "more" if counts[far] > even else "fewer"
    return (
        f"The {total:,} {what} are {verdict}, {counts.min():,} to {counts.max():,} a class; farthest from "
        f"an even share is {names[far]}, with {100 * abs(counts[far] / even - 1):.1f} % {side} ({counts[far]:,})."
    )


def distances(names: Sequence[str], means: np.ndarray) -> str:
    """The pairs of classes whose mean images (classes, pixels) are nearest and farthest, by Euclidean distance."""
    pairs = sorted(combinations(range(len(names)), 2), key=lambda pair: np.linalg.norm(means[pair[0]] - means[pair[1]]))
    (a, b), (c, d) = pairs[0], pairs[-1]
    near, far = (np.linalg.norm(means[i] - means[j]) for i, j in ((a, b), (c, d)))
    return (
        f"Of all pairs, the mean images of {names[a]} and {names[b]} are nearest to each other (distance {near:.2f}), "
        f"those of {names[c]} and {names[d]} farthest apart ({far:.2f})."
    )
