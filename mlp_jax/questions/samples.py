"""What the classes look like: one and five images of each, and whose mean images lie nearest to each other."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from mlp_jax.questions.lab import Answer, Lab
from mlp_jax.reports import plots

TITLE = "The data"
QUESTION = "What do the images of every class look like?"


def answer(lab: Lab) -> Answer:
    """Pictures of one and of five training images a class."""
    data = lab.dataset
    folder = lab.pictures("samples")
    for count in (1, 5):
        path = folder / f"samples_{count}.png"
        plots.samples(data.train_images, data.train_labels, data.class_names, data.image_shape, path, count)
    classes = range(len(data.class_names))
    means = np.array([data.train_images[data.train_labels == c].mean(axis=0) for c in classes]) / data.scale
    counts = [int(np.sum(data.train_labels == c)) for c in classes]
    table = [
        {"class": name, "images": count, "mean brightness": float(image.mean())}
        for name, count, image in zip(data.class_names, counts, means, strict=True)
    ]
    pictures = [folder / f"samples_{count}.png" for count in (1, 5)]
    return Answer([_count(counts), distances(data.class_names, means)], pictures, table)


def _count(counts: Sequence[int]) -> str:
    if min(counts) == max(counts):
        return f"Each of the {len(counts)} classes has {counts[0]:,} training images."
    return f"The {len(counts)} classes have from {min(counts):,} to {max(counts):,} training images."


def distances(names: Sequence[str], means: np.ndarray) -> str:
    """The pairs of classes whose mean images (classes, pixels) are nearest and farthest, by Euclidean distance."""
    pairs = sorted(combinations(range(len(names)), 2), key=lambda pair: np.linalg.norm(means[pair[0]] - means[pair[1]]))
    (a, b), (c, d) = pairs[0], pairs[-1]
    near, far = (np.linalg.norm(means[i] - means[j]) for i, j in ((a, b), (c, d)))
    return (
        f"Of all pairs, the mean images of {names[a]} and {names[b]} are nearest to each other (distance {near:.2f}), "
        f"those of {names[c]} and {names[d]} farthest apart ({far:.2f})."
    )
