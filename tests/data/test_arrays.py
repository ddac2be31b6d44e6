"""Datasets of one's own arrays: what they are, and what is refused in one line."""

import numpy as np
import pytest

from mlp_jax.data.arrays import from_arrays
from mlp_jax.data.datasets import load, load_test
from mlp_jax.errors import UserError
from tests.shared.idx_files import make_arrays, write_idx_folder

X = np.arange(12.0).reshape(4, 3)
Y = [0, 1, 0, 1]


def test_pixels_are_the_dataset_of_the_same_arrays_as_idx_files(tmp_path):
    arrays = make_arrays()
    write_idx_folder(tmp_path / "own", arrays)
    files, ours = load(str(tmp_path / "own"), "", ""), from_arrays(*arrays.values())
    for name in ("class_names", "image_shape", "scale", "fingerprint"):
        assert getattr(ours, name) == getattr(files, name), name
    for one, other in zip(
        (ours.train_images, ours.train_labels, *load_test(ours)),
        (files.train_images, files.train_labels, *load_test(files)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other, strict=True)


@pytest.mark.parametrize("dtype", [bool, "i1", "i8", "u2", "f2", "f4", "f8", "g"])
def test_any_real_dtype_but_uint8_is_features_taken_as_they_are(dtype):
    values = np.random.default_rng(0).integers(0, 2, (6, 2, 5)).astype(dtype)
    dataset = from_arrays(values, [0, 1, 2, 0, 1, 2])
    assert dataset.scale == 1
    assert dataset.train_images.dtype == (np.float64 if dtype in ("f8", "g") else np.float32)
    np.testing.assert_array_equal(dataset.train_images, values.reshape(6, 10).astype(float))


def test_the_picture_of_an_example_is_its_shape_where_that_is_one():
    shapes = {(5,): (), (4, 5): (4, 5), (4, 5, 3): (4, 5, 3), (2, 3, 4): (), (2, 2, 2, 2): ()}
    for shape, picture in shapes.items():
        for dtype in (np.uint8, float):
            assert from_arrays(np.ones((2, *shape), dtype), [0, 1]).image_shape == picture


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([3, -1, 3, 7], [-1, 3, 7]),
        (["dog", "cat", "dog", "cat"], ["cat", "dog"]),
        (np.array(["b", "a", "b", "a"], object), ["a", "b"]),
        (np.array([3, 1, 3, 1], object), [1, 3]),
        ([1.0, 0.0, 1.0, 0.0], [0.0, 1.0]),
        ([True, False, True, True], [False, True]),
    ],
)
def test_classes_are_the_labels_that_occur_in_order(labels, classes):
    dataset = from_arrays(X, labels, X[:2], labels[:2])
    assert dataset.classes.tolist() == classes
    assert dataset.class_names == tuple(map(str, classes))
    assert dataset.classes[dataset.train_labels].tolist() == list(labels)
    assert dataset.classes[load_test(dataset)[1]].tolist() == list(labels[:2])


def test_more_than_256_classes():
    labels = np.random.default_rng(0).permutation(1000)
    dataset = from_arrays(np.ones((1000, 2)), labels)
    np.testing.assert_array_equal(dataset.train_labels, labels)


def test_without_a_test_set_there_are_no_rows():
    images, labels = load_test(from_arrays(X, Y))
    assert images.shape == (0, 3)
    assert labels.shape == (0,)


def test_whatever_decides_a_run_decides_the_fingerprint():
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 2, 2)
    datasets = [
        from_arrays(X, Y),
        from_arrays(X + 1, Y),
        from_arrays(X.astype(np.float32), Y),
        from_arrays(X, Y[::-1]),
        from_arrays(X, [0, 2, 0, 2]),
        from_arrays(X.reshape(4, 1, 3), Y),
        from_arrays(X, Y, sample_weight=[1, 2, 1, 1]),
        from_arrays(pixels, Y),
        from_arrays(pixels.reshape(4, 4), Y),
        from_arrays(pixels, [0, 2, 0, 2]),
        from_arrays(pixels, Y, sample_weight=[1, 2, 1, 1]),
    ]
    assert len({dataset.fingerprint for dataset in datasets}) == len(datasets)
    assert from_arrays(X, Y, X, Y, name="other").fingerprint == datasets[0].fingerprint


def test_the_arrays_are_neither_written_nor_to_be_written():
    x = X.copy()
    dataset = from_arrays(x, Y)
    assert not dataset.train_images.flags.writeable
    assert x.flags.writeable


BAD = {
    "x: holds NaN": {"x": np.where(X == 5, np.nan, X)},
    "x: holds NaN or infinity, first in row 1, column 2": {"x": np.where(X == 5, np.inf, X)},
    "x: holds NaN or infinity": {"x": np.where(X == 5, -np.inf, X)},
    "x: holds values beyond": {"x": np.where(X == 5, 1e300, X)},
    "x: empty": {"x": np.zeros((0, 3)), "y": []},
    "x: empty, of shape (4, 0)": {"x": np.zeros((4, 0))},
    "x: of shape (4,)": {"x": np.zeros(4)},
    "x: features of type complex128": {"x": X + 1j},
    "x: features of type <U1": {"x": [["a"], ["b"]]},
    "x: features of type object, as 'a' in row 0, column 1; allowed": {"x": np.array([[1, "a"]] * 4, object)},
    "y: 2 of the labels are missing, the first in row 1": {"y": np.array(["a", None, "b", np.nan], object)},
    "x: no array of numbers": {"x": [[1], [1, 2]]},
    "y: all labels are of 1 class, 1": {"y": [1, 1, 1, 1]},
    "y: 3 labels for 4 examples": {"y": [0, 1, 0]},
    "y: of shape (4, 2)": {"y": np.eye(4, 2)},
    "y: 0.5 is no whole number": {"y": [0, 0.5, 0, 1]},
    "y: nan is no whole number": {"y": [0, np.nan, 0, 1]},
    "y: labels of several types": {"y": np.array([0, "a", 0, 1], object)},
    "y: labels of type complex128": {"y": [0, 1j, 0, 1]},
    "x_test: given without y_test": {"x_test": X},
    "y_test: given without x_test": {"y_test": Y},
    "x_test: 2 features an example; the training set has 3": {"x_test": X[:, :2], "y_test": Y},
    "x_test: holds NaN": {"x_test": X * np.nan, "y_test": Y},
    "x_test: of uint8, x of float64": {"x_test": X.astype(np.uint8), "y_test": Y},
    "y_test: 2 is no label of the training set": {"x_test": X, "y_test": [0, 1, 2, 1]},
    "y_test: 'a' is no label of the training set": {"x_test": X, "y_test": ["a", "b", "a", "b"]},
    "y_test: 3 labels for 4 examples": {"x_test": X, "y_test": [0, 1, 0]},
    "sample_weight: -1.0 is not": {"sample_weight": [1, -1, 1, 1]},
    "sample_weight: nan is not": {"sample_weight": [1, np.nan, 1, 1]},
    "sample_weight: inf is not": {"sample_weight": [1, np.inf, 1, 1]},
    "sample_weight: every weight is zero": {"sample_weight": [0, 0, 0, 0]},
    "sample_weight: of shape (3,)": {"sample_weight": [1, 1, 1]},
    "sample_weight: no array": {"sample_weight": ["a", "b", "c", "d"]},
}


@pytest.mark.parametrize("message", BAD)
def test_what_is_wrong_is_one_line(message):
    with pytest.raises(UserError) as error:
        from_arrays(**({"x": X, "y": Y} | BAD[message]))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
