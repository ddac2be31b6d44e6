"""Parts of a training set for questions that need few examples, other labels, or unseen images that nobody chose by."""

import numpy as np

from mlp_jax.data.arrays import Dataset
from mlp_jax.questions.lab import digest


def subset(dataset: Dataset, examples: int, unseen: int, seed: int = 0) -> Dataset:
    """`examples` of the training set, drawn by `seed`, with `unseen` others of it in place of the test set.

    The data's own test set is not touched. Of a training set that is too small each part is at most half.
    """
    size = len(dataset.train_labels)
    order = np.random.default_rng(seed).permutation(size)
    kept = min(examples, size - min(unseen, size // 2))
    train, held_out = np.sort(order[:kept]), np.sort(order[kept:][:unseen])
    parts = [(dataset.train_images[rows], dataset.train_labels[rows]) for rows in (train, held_out)]
    return dataset._replace(
        train_images=parts[0][0],
        train_labels=parts[0][1],
        fingerprint=digest(dataset.fingerprint, "subset", kept, unseen, seed),
        read_test=lambda: parts[1],
        sample_weight=dataset.sample_weight[train] if len(dataset.sample_weight) else (),
    )


def with_noise(dataset: Dataset, share: float, seed: int = 0) -> Dataset:
    """The same with another class, each alike, as the label of round(share·n) training examples; unseen ones stay."""
    generator = np.random.default_rng(seed)
    labels, classes = dataset.train_labels.copy(), len(dataset.class_names)
    rows = generator.permutation(len(labels))[: round(share * len(labels))]
    labels[rows] = (labels[rows] + generator.integers(1, classes, len(rows))) % classes
    return _labelled(dataset, labels, "noise", share, seed)


def with_shuffled_labels(dataset: Dataset, seed: int = 0) -> Dataset:
    """The same with the training labels in another order, so that they say nothing about the images."""
    labels = np.random.default_rng(seed).permutation(dataset.train_labels)
    return _labelled(dataset, labels, "shuffled", seed)


def _labelled(dataset: Dataset, labels: np.ndarray, *how: object) -> Dataset:
    return dataset._replace(train_labels=labels, fingerprint=digest(dataset.fingerprint, *how))
