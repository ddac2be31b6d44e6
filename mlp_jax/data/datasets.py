"""Datasets by their names, and the split into training and validation."""

import gzip
import os
import re
import sys
import textwrap
import zipfile
import zlib
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlp_jax.data import download, idx, mnist1d
from mlp_jax.data.arrays import OWN, Dataset, fingerprint, from_arrays
from mlp_jax.errors import UserError, not_one_of


class Published(NamedTuple):
    """Where archives lie, as tensorflow-datasets registers them, and what their labels mean."""

    url: str
    num_bytes: int
    sha256: dict[str, str]
    class_names: tuple[str, ...]


# Images and labels of the training set, then of the test set.
STEMS = (("train-images", "idx3"), ("train-labels", "idx1"), ("t10k-images", "idx3"), ("t10k-labels", "idx1"))

_CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_NUMERALS = tuple("0123456789")
PUBLISHED = {
    "fashion_mnist": Published(
        url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        num_bytes=30_878_645,
        sha256={
            "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
        class_names=_CLOTHES,
    ),
    "mnist": Published(
        url="https://storage.googleapis.com/cvdf-datasets/mnist/",
        num_bytes=11_594_722,
        sha256={
            "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
        class_names=_NUMERALS,
    ),
    "kmnist": Published(
        url="http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        num_bytes=21_240_888,
        sha256={
            "train-images-idx3-ubyte.gz": "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "train-labels-idx1-ubyte.gz": "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "t10k-images-idx3-ubyte.gz": "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "t10k-labels-idx1-ubyte.gz": "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        },
        class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    ),
}
NAMES = (*PUBLISHED, "digits", "mnist1d")
ALLOWED = (*NAMES, "a folder of four IDX files", "an .npz file")


def load(name: str, data_dir: str, fallback: str) -> Dataset:
    """The dataset of that name, or, where it cannot be loaded, the fallback, with a banner on stderr.

    `name` is one of NAMES, a folder of four IDX files, or an .npz file. `data_dir`/`name` is read where it holds the
    archives, and is where they are downloaded to where it does not. Of the test set only the files' structure is
    checked. Raises UserError for anything that is not exactly what it should be, and, with fallback '', for
    archives that cannot be downloaded.
    """
    _check_name("dataset", name)
    if fallback:
        _check_name("fallback_dataset", fallback)
    if name == "digits":
        return _digits()
    if name == "mnist1d":
        x, y = mnist1d.generate()
        return from_arrays(*_in_two(x, y, np.arange(len(y)) >= mnist1d.TRAIN), name=name)
    if name not in PUBLISHED:
        return _npz(name) if name.endswith(".npz") else _user_folder(name)
    data_dir = os.path.expanduser(data_dir)
    if os.path.exists(data_dir) and not os.path.isdir(data_dir):
        raise UserError(f"data_dir: {data_dir!r} is a file, not a folder with one sub-folder a dataset")
    published, folder = PUBLISHED[name], Path(data_dir) / name
    missing = [file for file in published.sha256 if not os.path.lexists(folder / file)]
    try:
        if missing:
            download.fetch(name, published.url, missing, published.num_bytes, folder)
    except download.Unreachable as reason:
        if fallback in ("", name):
            raise UserError(f"dataset: {name} cannot be loaded: {reason}. {_how_to_get(name, folder)}") from reason
        print(_banner(name, fallback, str(reason), folder), file=sys.stderr, flush=True)
        return load(fallback, data_dir, "")
    return _published(name, folder)


def load_test(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The test images and labels, for the one evaluation at the end of a run; no rows where there is no test set."""
    return dataset.read_test()


def check_mirrored(name: str) -> None:
    """Raises UserError where a mirrored image is no longer of its class: for augment_flip."""
    if name in ("mnist", "kmnist", "digits"):
        raise UserError(
            f"augment_flip: True is not allowed on {name}, where a mirrored image is of no class; only False"
        )


def split(
    labels: np.ndarray, val_fraction: float, stratified: bool, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and of the validation examples: int32, sorted, disjoint, together all of them.

    Validation gets round(val_fraction·n) examples drawn without replacement; `stratified` draws from class c
    its share n_c/n of them, rounded by largest remainder (the smaller class number first on ties), so that the
    total stays. Raises UserError where a fraction above 0 leaves one side empty.
    """
    if not 0 <= val_fraction < 1:
        raise UserError(f"val_fraction: {val_fraction!r} is not in [0, 1)")
    n = len(labels)
    size = round(val_fraction * n)
    if val_fraction > 0 and not 0 < size < n:
        empty = "validation" if size == 0 else "training"
        raise UserError(f"val_fraction: {val_fraction!r} of {n} examples leaves none for {empty}")
    order = generator.permutation(n)
    is_val = np.zeros(n, bool)
    if stratified:
        for label, quota in zip(*_quotas(labels, size), strict=True):
            is_val[order[labels[order] == label][:quota]] = True
    else:
        is_val[order[:size]] = True
    return np.flatnonzero(~is_val).astype(np.int32), np.flatnonzero(is_val).astype(np.int32)


def _quotas(labels: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The classes there are, and how many of `size` examples each contributes, by largest remainder."""
    classes, counts = np.unique(labels, return_counts=True)
    quotas, remainders = np.divmod(counts.astype(np.int64) * size, len(labels))
    quotas[np.argsort(-remainders, kind="stable")[: size - quotas.sum()]] += 1
    return classes, quotas


def _check_name(field: str, name: str) -> None:
    if name == OWN:
        raise UserError(f"{field}: {name!r} was given in Python and is in no file; there again, as data=(x, y)")
    path = os.path.expanduser(name)
    if name in NAMES or os.path.isdir(path):
        return
    if name.endswith(".npz"):
        if os.path.isfile(path):
            return
        raise UserError(f"{field}: {name!r}: there is no such file")
    if os.path.dirname(name):
        wrong = "is a file, not a folder" if os.path.exists(path) else "there is no such folder"
        raise UserError(f"{field}: {name!r}: {wrong} of four IDX files")
    raise not_one_of(field, name, ALLOWED)


def _published(name: str, folder: Path) -> Dataset:
    published = PUBLISHED[name]
    paths = [folder / file for file in published.sha256]
    for path, sha256 in zip(paths, published.sha256.values(), strict=True):
        if (found := idx.file_sha256(path)) != sha256:
            raise UserError(
                f"{path}: damaged, or another file: its SHA-256 begins with {found[:12]}, that of the "
                f"published archive with {sha256[:12]}; remove it to have it downloaded again"
            )
    return _from_files(name, paths, published.sha256[paths[0].name], published.class_names)


def _user_folder(name: str) -> Dataset:
    paths = [_find(Path(os.path.expanduser(name)), *stem) for stem in STEMS]
    dataset = _from_files(name, paths, idx.file_sha256(paths[0]), None)
    _read_test(paths[2:], dataset.image_shape, classes=256)  # the structure alone: a byte of any value is below 256
    return dataset


def _npz(name: str) -> Dataset:
    """x_train and y_train of an .npz file, with its x_test and y_test; without them a fifth of each class tests."""
    try:
        with np.load(os.path.expanduser(name), allow_pickle=False) as file:
            lacking = [key for key in ("x_train", "y_train") if key not in file.files]
            if lacking:
                there = ", ".join(map(str, file.files)) or "nothing"
                raise UserError(f"it lacks {lacking[0]}; there is {there}; needed are x_train, y_train, x_test, y_test")
            x, y = file["x_train"], file["y_train"]
            x_test, y_test = (file[key] if key in file.files else None for key in ("x_test", "y_test"))
        if x_test is None and y_test is None and x.shape[:1] == y.shape:
            x, y, x_test, y_test = _in_two(x, y, _every_fifth(y))
        return from_arrays(x, y, x_test, y_test, name=name)
    except UserError as error:
        text = re.sub("^([xy]):", r"\1_train:", str(error))
        raise UserError(f"dataset: {name!r}: {text}") from error
    except (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"dataset: {name!r} is no .npz file that can be read: {why}") from error


def _in_two(x: np.ndarray, y: np.ndarray, is_test: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The arrays that `from_arrays` takes, of one array of examples and one of labels."""
    return x[~is_test], y[~is_test], x[is_test], y[is_test]


def _every_fifth(labels: np.ndarray) -> np.ndarray:
    """Whether an example is the fifth, tenth … of its class, (n,)."""
    is_test = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        is_test[np.flatnonzero(labels == label)[4::5]] = True
    return is_test


def _find(folder: Path, stem: str, kind: str) -> Path:
    names = [f"{stem}{dot}{kind}-ubyte{gz}" for gz in ("", ".gz") for dot in "-."]
    for name in names:
        if os.path.lexists(folder / name):
            return folder / name
    raise UserError(f"dataset: {str(folder)!r} lacks {names[0]} (or {names[1]}, either with or without .gz)")


def _from_files(name: str, paths: list[Path], images_sha256: str, class_names: tuple[str, ...] | None) -> Dataset:
    """The dataset of four IDX files. Without names, the classes are called by their numbers."""
    images, images_digest = idx.decode_images(paths[0], images_sha256, _copies_folder())
    labels = idx.decode(paths[1], 1)
    if class_names is None:
        counts = np.bincount(labels)
        class_names = tuple(map(str, range(len(counts))))
        if len(counts) < 2:
            raise UserError(f"{paths[1]}: every label is 0; at least two classes are needed")
        if empty := [name for name, count in zip(class_names, counts, strict=True) if not count]:
            shown = ", ".join(empty[:10]) + (", …" if len(empty) > 10 else "")
            line = f"{paths[1]}: no example has label {shown}; labels count from 0, so the network gets {len(counts)}"
            print(f"{line} outputs, {len(empty)} of them for classes without examples", file=sys.stderr)
    _, height, width = images.shape
    _check(paths, images, labels, (height, width), len(class_names))
    return Dataset(
        name=name,
        train_images=images.reshape(len(images), -1),
        train_labels=labels,
        class_names=class_names,
        image_shape=(height, width),
        scale=255,
        fingerprint=fingerprint(images_digest, labels),
        read_test=partial(_read_test, paths[2:], (height, width), len(class_names)),
    )


def _read_test(paths: list[Path], image_shape: tuple[int, ...], classes: int) -> tuple[np.ndarray, np.ndarray]:
    images, labels = idx.decode(paths[0], 3), idx.decode(paths[1], 1)
    _check(paths, images, labels, image_shape, classes)
    return images.reshape(len(images), -1), labels


def _check(
    paths: list[Path], images: np.ndarray, labels: np.ndarray, image_shape: tuple[int, ...], classes: int
) -> None:
    if images.shape[1:] != image_shape:
        shape = images.shape[1:]
        raise UserError(f"{paths[0]}: images of {shape} pixels; those of the training set have {image_shape}")
    if len(images) != len(labels):
        raise UserError(f"{paths[0]}: {len(images)} images, but {len(labels)} labels in {paths[1].name}")
    if labels.max() >= classes:
        first = int(np.argmax(labels >= classes))
        raise UserError(f"{paths[1]}: label {labels[first]} of example {first}; labels must be below {classes}")


def _digits() -> Dataset:
    """1,797 digits, 8×8 pixels of 0 to 16; they have no test set, so every fifth of each class is it.

    The test part of "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak 1998, UCI Machine Learning
    Repository, doi.org/10.24432/C50P49, licence CC BY 4.0; the file is scikit-learn's copy of it.
    """
    images, labels = _digits_part(test=False)
    return Dataset(
        name="digits",
        train_images=images,
        train_labels=labels,
        class_names=_NUMERALS,
        image_shape=(8, 8),
        scale=16,
        fingerprint=fingerprint(idx.digest(images.reshape(-1, 8, 8)), labels),
        read_test=partial(_digits_part, test=True),
    )


def _digits_part(test: bool) -> tuple[np.ndarray, np.ndarray]:
    with gzip.open(Path(__file__).with_name("digits.csv.gz"), "rt") as lines:  # a line has 64 pixels and the label
        table = np.loadtxt(lines, dtype=np.uint8, delimiter=",")
    images, labels = table[:, :64], table[:, 64]
    # The file is ordered by writer. Its end would be a test on writers that validation never meets: a kernel SVM
    # reaches 94 % there, and the epoch that validation chooses is the wrong one.
    is_test = _every_fifth(labels)
    return images[is_test == test], labels[is_test == test]


def _copies_folder() -> Path:
    return Path(os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")) / "mlp_jax" / "decoded"


def _how_to_get(name: str, folder: Path) -> str:
    files = ", ".join(PUBLISHED[name].sha256)
    return f"Put {files} into {folder}, or set MLP_JAX_DATA_DIR to a folder that has them in {name}/"


def _banner(name: str, fallback: str, reason: str, folder: Path) -> str:
    paragraphs = (
        f"{name.upper()} CANNOT BE LOADED: TRAINING ON {fallback.upper()} INSTEAD",
        f"Why: {reason}.",
        f"To train on {name}: connect this machine and start again. Without a network: {_how_to_get(name, folder)}.",
        f"--config.dataset={fallback} asks for {fallback}; --config.fallback_dataset= makes this an error.",
    )
    width = 96
    wrapped = [[*textwrap.wrap(text, width - 6, break_on_hyphens=False), ""] for text in paragraphs]
    box = [f"## {line:<{width - 6}} ##" for paragraph in [[""], *wrapped] for line in paragraph]
    return "\n".join(["", "#" * width, *box, "#" * width, ""])
