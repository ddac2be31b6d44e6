"""A dataset as the other rooms are given it, and one made of a user's own arrays."""

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.data import idx
from mlp_jax.errors import UserError, shown

OWN = "own_data"  # the name of a user's own arrays, which no file holds and only a call in Python can give


class Dataset(NamedTuple):
    """The training set of a dataset, and the way to its test set, which only `datasets.load_test` goes.

    train_images are read-only (n, d): pixels as uint8, of which `scale` is the largest value there is, or features as
    float32 or float64 with scale 1. train_labels (n,) are indices of `classes`, uint8 up to 256 classes. `fingerprint`
    is a SHA-256 of the training arrays and their shapes, however they were stored.
    """

    name: str  # of what was really loaded
    train_images: np.ndarray
    train_labels: np.ndarray
    class_names: tuple[str, ...]
    image_shape: tuple[int, ...]  # (height, width), (height, width, 3); () for what has no picture
    scale: int
    fingerprint: str
    read_test: Callable[[], tuple[np.ndarray, np.ndarray]]  # no rows where there is no test set
    classes: Any = ()  # the labels as they were given, in the order of class_names; (): the numbers 0, 1, …
    sample_weight: Any = ()  # (n,), the largest 1; (): every example counts the same


def from_arrays(
    x: Any,
    y: Any,
    x_test: Any = None,
    y_test: Any = None,
    sample_weight: Any = None,
    name: str = OWN,
    classes: Any = None,
) -> Dataset:
    """A dataset of a user's own arrays: `x` (n, …) real, `y` (n,) whole numbers or strings, any labels.

    uint8 are pixels 0 … 255, the same dataset as these arrays in IDX files; every other dtype is features, taken as
    they are. The classes are the labels that occur in `y`, sorted, or `classes` where more are to come. `sample_weight`
    (n,) ≥ 0 says how much an example counts in training. Without `x_test` there is no test set. Raises UserError for
    what cannot be learned from.

    >>> dataset = from_arrays([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]], ["dog", "cat", "dog"])
    >>> dataset.class_names, dataset.train_labels.tolist(), dataset.scale
    (('cat', 'dog'), [1, 0, 1], 1)
    """
    features = as_features("x", x)
    classes = np.unique(_labels("y", y, len(features)) if classes is None else np.asarray(classes))
    indices = as_places("y", y, len(features), classes)
    if len(classes) < 2:
        raise UserError(f"y: all labels are of 1 class, {shown(classes[0].item())}; at least two classes are needed")
    given = features, _narrow(indices, len(classes))
    weights = () if sample_weight is None else _weights(sample_weight, len(features))
    if (x_test is None) != (y_test is None):
        present, absent = ("y_test", "x_test") if x_test is None else ("x_test", "y_test")
        raise UserError(f"{present}: given without {absent}; a test set needs both")
    test = features[:0], given[1][:0]
    if x_test is not None:
        test = _test(x_test, y_test, features, classes)
    names = tuple(str(label) or "(empty)" for label in classes.tolist())
    return Dataset(
        name=name,
        train_images=_rows(features),
        train_labels=given[1],
        class_names=names,
        image_shape=_picture(features.shape[1:]),
        scale=255 if features.dtype == np.uint8 else 1,
        fingerprint=_fingerprint(*given, names, weights),
        read_test=lambda: (_rows(test[0]), test[1]),
        classes=classes,
        sample_weight=weights,
    )


def fingerprint(images_digest: str, labels: np.ndarray) -> str:
    """Of pixels, by their `idx.digest`, with uint8 labels."""
    return hashlib.sha256((images_digest + idx.digest(labels)).encode()).hexdigest()


def as_features(name: str, x: Any, like: tuple[int, ...] | None = None) -> np.ndarray:
    """The array as the network is given it: uint8, float64 as they are, else float32, all finite, (n, …).

    UserError, beginning with `name`, for anything else and for another shape of an example than `like`.
    """
    try:
        array = np.asarray(x)
    except ValueError as error:  # rows of different lengths
        raise UserError(f"{name}: no array of numbers: {' '.join(str(error).split())}") from error
    if array.dtype.kind not in "biuf":
        allowed = "allowed are real numbers (booleans, integers, floats)"
        raise UserError(f"{name}: features of type {array.dtype}{_first_word(array)}; {allowed}")
    if array.ndim < 2:
        raise UserError(f"{name}: of shape {array.shape}; one row an example is needed, (examples, features)")
    if 0 in array.shape:
        raise UserError(f"{name}: empty, of shape {array.shape}")
    if like is not None and int(np.prod(array.shape[1:])) != int(np.prod(like)):
        raise UserError(
            f"{name}: {int(np.prod(array.shape[1:]))} features an example; the training set has {int(np.prod(like))}"
        )
    if array.dtype != np.uint8:
        wide = array.dtype.kind == "f" and array.dtype.itemsize >= 8
        with np.errstate(over="ignore"):
            largest = np.float32(max(abs(float(array.min())), abs(float(array.max()))))
        if not np.isfinite(largest):
            finite = np.isfinite(array)
            what = "values beyond ±3.4e38, which float32 cannot hold" if finite.all() else "NaN or infinity"
            first = "" if finite.all() else f", first in {_place(finite.argmin(), array.shape)}"
            raise UserError(f"{name}: holds {what}{first}; only finite numbers can be learned from")
        array = array.astype(np.float64 if wide else np.float32, copy=False)
    array = np.ascontiguousarray(array).view()
    array.flags.writeable = False
    return array


def _place(index: Any, shape: tuple[int, ...]) -> str:
    """Where an element of (examples, …) stands, as a row and column from 0."""
    row, *rest = (int(n) for n in np.unravel_index(index, shape))
    return f"row {row}, column {rest[0] if len(rest) == 1 else tuple(rest)}"


def _first_word(array: np.ndarray) -> str:
    """The first text in an array of text, or of numbers and text as of a table with a column of words."""
    for index, value in enumerate(array.flat if array.ndim > 1 else ()):
        if isinstance(value, str):
            return f", as {shown(str(value))} in {_place(index, array.shape)}"
    return ""


def _labels(name: str, y: Any, examples: int) -> np.ndarray:
    labels = np.asarray(y)
    if labels.dtype.kind == "O":
        missing = [row for row, label in enumerate(labels.flat) if _missing(label)]
        if missing:
            raise UserError(f"{name}: {len(missing)} of the labels are missing, the first in row {missing[0]}")
    if labels.dtype.kind == "O" and not all(isinstance(label, str) for label in labels.flat):
        labels = np.array(labels.tolist())  # whole numbers stay such, what is mixed becomes text or stays as it is
        if labels.dtype.kind in "OUT":
            raise UserError(f"{name}: labels of several types; allowed are whole numbers, or strings")
    if labels.ndim != 1:
        raise UserError(f"{name}: of shape {labels.shape}; one label an example is needed, ({examples},)")
    if len(labels) != examples:
        raise UserError(f"{name}: {len(labels)} labels for {examples} examples")
    if labels.dtype.kind not in "biufOUT":
        raise UserError(f"{name}: labels of type {labels.dtype}; allowed are whole numbers, or strings")
    if labels.dtype.kind == "f":
        wrong = labels[~(np.isfinite(labels) & (labels == np.rint(labels)))]
        if len(wrong):
            raise UserError(f"{name}: {wrong[0]} is no whole number; labels are classes: whole numbers, or strings")
    return labels


def _missing(label: Any) -> bool:
    """Whether pandas' reader left nothing here: None, NaN, NaT or NA."""
    return label is None or (not isinstance(label, str) and str(label) in ("nan", "NaT", "<NA>"))


def _narrow(indices: np.ndarray, classes: int) -> np.ndarray:
    """Indices of classes in the dtype that a dataset has them in."""
    return indices.astype(np.uint8 if classes <= 256 else np.int32)


def _test(x: Any, y: Any, features: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    array = as_features("x_test", x, features.shape[1:])
    if (array.dtype == np.uint8) != (features.dtype == np.uint8):
        kinds = f"{array.dtype}, x of {np.asarray(features).dtype}"
        raise UserError(
            f"x_test: of {kinds}; uint8 are pixels 0 … 255, anything else features: both have to be the same"
        )
    return array, _narrow(as_places("y_test", y, len(array), classes), len(classes))


def as_places(name: str, y: Any, examples: int, classes: np.ndarray) -> np.ndarray:
    """Where each of the labels `y` stands in the sorted `classes`; UserError, beginning with `name`, for another."""
    labels = _labels(name, y, examples)
    try:
        places = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
        unknown = np.flatnonzero(classes[places] != labels)
    except TypeError:  # numbers among strings
        unknown = np.array([0])
    if len(unknown):
        raise UserError(f"{name}: {shown(labels[unknown[0]].item())} is no label of the training set")
    return places


def _weights(sample_weight: Any, examples: int) -> np.ndarray:
    try:
        weights = np.asarray(sample_weight, np.float64)
    except (TypeError, ValueError):
        raise UserError("sample_weight: no array of numbers") from None
    if weights.shape != (examples,):
        raise UserError(f"sample_weight: of shape {weights.shape}; one number an example is needed, ({examples},)")
    if not (np.isfinite(weights).all() and weights.min() >= 0):
        wrong = weights[~(np.isfinite(weights) & (weights >= 0))][0]
        raise UserError(f"sample_weight: {wrong} is not a finite number from 0 up")
    if not weights.any():
        raise UserError("sample_weight: every weight is zero; nothing would be learned from")
    return weights / weights.max()


def _rows(array: np.ndarray) -> np.ndarray:
    return array.reshape(len(array), int(np.prod(array.shape[1:])))


def _picture(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape if len(shape) == 2 or (len(shape) == 3 and shape[2] == 3) else ()


def _fingerprint(features: np.ndarray, labels: np.ndarray, names: tuple[str, ...], weights: Any) -> str:
    numbered = names == tuple(map(str, range(len(names)))) and labels.dtype == np.uint8
    if features.dtype == np.uint8 and numbered and not len(weights):
        return fingerprint(idx.digest(features), labels)
    sha256 = hashlib.sha256(repr((names, features.dtype.str, features.shape)).encode())
    for array in (features, labels, np.asarray(weights, np.float64)):
        sha256.update(np.ascontiguousarray(array).data)
    return sha256.hexdigest()
