import gzip
import hashlib
import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlp_jax.data import download
from mlp_jax.data.datasets import PUBLISHED, Published, check_mirrored, load, load_test, split
from mlp_jax.errors import UserError
from tests.shared.idx_files import STEMS, file_name, make_arrays, write_idx_folder

ARRAYS = make_arrays()
MNIST1D = {
    "first": [-0.3320057, -0.4719104, -0.7786971, -1.0097408],
    "last": [0.4472329, 0.6598756, 0.8777343, 1.1931518],
}
FINGERPRINTS = {  # they are in checkpoints and in the records' files
    "fashion_mnist": "38831b7b377c44db3c5cc3b7802535a9dc25ac041019251663e7898dbbe606bd",
    "mnist": "02def62d38696cddf2715e05122f741fafee2c190e42772b91f7c0c2f6604c7e",
    "digits": "5433daf62dbb20108946963e45815949803880c6775359b4560a176365b97f91",
}


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    """No test downloads anything or touches the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "fetch", lambda *_: pytest.fail("a download was begun"))


@pytest.fixture
def offline(monkeypatch):
    def fetch(*_):
        raise download.Unreachable("the moon is in the way")

    monkeypatch.setattr(download, "fetch", fetch)


@pytest.fixture
def own(tmp_path):
    """Loads a folder of one's own, some of whose arrays are others, or absent where they are None."""

    def load_own(changed, gz=False):
        arrays = {stem: array for stem, array in (ARRAYS | changed).items() if array is not None}
        write_idx_folder(tmp_path / "own", arrays, gz=gz)
        return load(str(tmp_path / "own"), "", "")

    return load_own


def assert_is(dataset, arrays):
    for stem, ours in zip(STEMS, (dataset.train_images, dataset.train_labels, *load_test(dataset)), strict=True):
        np.testing.assert_array_equal(ours, arrays[stem].reshape(ours.shape), strict=True)


@pytest.mark.parametrize(("dot", "gz", "named_gz"), [("-", 0, 0), (".", 0, 0), ("-", 1, 1), (".", 1, 1), ("-", 0, 1)])
def test_a_folder_of_idx_files_in_each_naming(tmp_path, dot, gz, named_gz):
    arrays = make_arrays(classes=3)
    arrays["train-images"], arrays["t10k-images"] = arrays["train-images"][:, :, :4], arrays["t10k-images"][:, :, :4]
    write_idx_folder(tmp_path / "own", arrays, dot, gz)
    for stem in STEMS:  # a browser that unpacks what it downloads leaves the names as they were
        (tmp_path / "own" / file_name(stem, dot, gz)).rename(tmp_path / "own" / file_name(stem, dot, named_gz))
    dataset = load(str(tmp_path / "own"), "", "digits")
    assert_is(dataset, arrays)
    assert dataset.train_images.shape == (200, 24)
    assert dataset[3:6] == (("0", "1", "2"), (6, 4), 255)
    assert dataset.name == str(tmp_path / "own")


def test_other_images_under_the_same_labels_are_not_taken_for_those_decoded_before(own):
    arrays = make_arrays(1500, 20, side=28)
    assert_is(own(arrays, gz=True), arrays)
    others = arrays | {"train-images": 255 - arrays["train-images"]}
    assert_is(own(others, gz=True), others)


def test_a_class_without_examples_is_named(own, capsys):
    own(ARRAYS)
    assert capsys.readouterr().err == ""
    own(ARRAYS | {name: ARRAYS[name] + np.uint8(1) for name in ("train-labels", "t10k-labels")})
    line = capsys.readouterr().err
    assert "train-labels-idx1-ubyte: no example has label 0; labels count from 0" in line
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("stem", "array", "says"),
    [
        ("t10k-labels", ARRAYS["t10k-images"], "t10k-labels-idx1-ubyte: 3 dimensions"),
        ("train-labels", ARRAYS["train-labels"][1:], "200 images, but 199 labels in train-labels"),
        ("t10k-labels", ARRAYS["t10k-labels"][1:], "50 images, but 49 labels in t10k-labels"),
        ("t10k-images", ARRAYS["t10k-images"][:, :, 1:], r"t10k-images-idx3-ubyte: images of \(6, 5\)"),
        ("train-labels", np.zeros(200, np.uint8), "train-labels-idx1-ubyte: every label is 0"),
        ("train-images", ARRAYS["train-images"][:0], "train-images-idx3-ubyte: empty"),
        ("train-labels", None, "lacks train-labels-idx1-ubyte"),
        ("t10k-images", None, "lacks t10k-images-idx3-ubyte"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_folder_is_one_line_before_training(own, stem, array, says):
    with pytest.raises(UserError, match=f"^[^\n]*{says}[^\n]*$"):
        own({stem: array})


def test_test_labels_are_only_looked_at_by_load_test_which_also_checks_sizes_again(own, tmp_path):
    labels = ARRAYS["t10k-labels"].copy()
    labels[[7, 20]] = 4, 9  # the training set has classes 0 to 3
    dataset = own({"t10k-labels": labels})
    with pytest.raises(UserError, match="t10k-labels-idx1-ubyte: label 4 of example 7; labels must be below 4"):
        load_test(dataset)
    write_idx_folder(tmp_path / "own", ARRAYS | {"t10k-images": ARRAYS["t10k-images"][1:]})
    with pytest.raises(UserError, match="49 images, but 50 labels"):
        load_test(dataset)


def test_the_fingerprint_is_of_the_training_arrays_alone(own):
    images, labels = ARRAYS["train-images"].copy(), ARRAYS["train-labels"].copy()
    images[3, 3, 3] ^= 1
    labels[[0, 1]] = (labels[[0, 1]] + 1) % 4
    wide = {stem: ARRAYS[stem].reshape(-1, 4, 9) for stem in ("train-images", "t10k-images")}
    test = {"t10k-images": 255 - ARRAYS["t10k-images"], "t10k-labels": ARRAYS["t10k-labels"][::-1]}
    same = {own({}).fingerprint, own({}, gz=True).fingerprint, own(test).fingerprint}
    others = {own(changed).fingerprint for changed in ({"train-images": images}, {"train-labels": labels}, wide)}
    assert len(same) == 1
    assert len(others | same) == 4


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A published dataset of ten classes, and the data_dir that has its archives."""
    arrays = write_idx_folder(tmp_path / "data" / "mnist", make_arrays(classes=10), gz=True)
    files = [tmp_path / "data" / "mnist" / file_name(stem, gz=True) for stem in STEMS]
    sums = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    monkeypatch.setitem(PUBLISHED, "mnist", Published("http://nowhere.invalid/", 1000, sums, tuple("abcdefghij")))
    return arrays, tmp_path / "data"


def test_archives_that_are_there_are_used_as_they_are(published, monkeypatch):
    arrays, data_dir = published
    before = {path: path.stat().st_mtime_ns for path in data_dir.rglob("*")}
    monkeypatch.setenv("HOME", str(data_dir.parent))
    dataset = load("mnist", "~/data", "digits")
    assert_is(dataset, arrays)
    assert (dataset.name, dataset.class_names) == ("mnist", tuple("abcdefghij"))
    assert before == {path: path.stat().st_mtime_ns for path in data_dir.rglob("*")}


@pytest.mark.parametrize("stem", STEMS)
def test_a_damaged_archive_is_named_and_nothing_else_is_trained_on(published, stem):
    path = published[1] / "mnist" / file_name(stem, gz=True)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path.name}: damaged, or another file"):
        load("mnist", str(published[1]), "digits")


def test_only_missing_archives_are_downloaded_and_they_are_checked(published, monkeypatch):
    arrays, data_dir = published
    asked, path = [], data_dir / "mnist" / "t10k-labels-idx1-ubyte.gz"
    contents = iter([path.read_bytes(), b"login"])

    def fetch(*job):
        asked.append(job)
        path.write_bytes(next(contents))

    monkeypatch.setattr(download, "fetch", fetch)
    path.unlink()
    assert_is(load("mnist", str(data_dir), "digits"), arrays)
    assert asked == [("mnist", "http://nowhere.invalid/", [path.name], 1000, data_dir / "mnist")]
    path.unlink()
    with pytest.raises(UserError, match="damaged, or another file"):
        load("mnist", str(data_dir), "digits")


def test_what_is_published_is_what_tensorflow_datasets_registers(tmp_path):
    import tensorflow_datasets

    for name, row in PUBLISHED.items():
        builder = tensorflow_datasets.builder(name, data_dir=tmp_path)
        registered = builder.url_infos
        assert {url: info.checksum for url, info in registered.items()} == {
            row.url + file: sha256 for file, sha256 in row.sha256.items()
        }
        assert sum(info.size for info in registered.values()) == row.num_bytes
        assert list(row.sha256) == [file_name(stem, gz=True) for stem in STEMS]
        assert tuple(builder.info.features["label"].names) == row.class_names


def test_the_fallback_is_said_loudly_and_named(tmp_path, offline, capsys):
    arrays = write_idx_folder(tmp_path / "own")
    assert load("fashion_mnist", str(tmp_path), "digits").name == "digits"
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert captured.out == ""
    assert len(lines) > 5
    assert {len(line) for line in lines} == {96}
    said = " ".join(captured.err.replace("#", " ").split())
    assert said.startswith("FASHION_MNIST CANNOT BE LOADED: TRAINING ON DIGITS INSTEAD Why: the moon is in the way.")
    assert "MLP_JAX_DATA_DIR" in said
    assert "train-images-idx3-ubyte.gz" in said
    assert_is(load("mnist", str(tmp_path), str(tmp_path / "own")), arrays)


@pytest.mark.parametrize("fallback", ["", "fashion_mnist"])
def test_without_a_fallback_it_is_an_error_that_says_how_to_get_the_data(tmp_path, offline, capsys, fallback):
    with pytest.raises(UserError) as error:
        load("fashion_mnist", str(tmp_path), fallback)
    assert capsys.readouterr().err == ""
    assert "\n" not in str(error.value)
    files = PUBLISHED["fashion_mnist"].sha256
    for part in ("the moon is in the way", "MLP_JAX_DATA_DIR", str(tmp_path / "fashion_mnist"), *files):
        assert part in str(error.value)
    with pytest.raises(UserError, match="dataset: mnist cannot be loaded"):  # a fallback that is as far away
        load("fashion_mnist", str(tmp_path), "mnist")


@pytest.mark.parametrize(
    ("name", "fallback", "says"),
    [
        ("mnist", "digits", "^data_dir: .*is a file"),
        ("fashon_mnist", "digits", r"^dataset: .*did you mean fashion_mnist\?"),
        ("nmist", "", r"^dataset: .*an .npz file; did you mean mnist\?"),
        ("", "", "^dataset: .*digits"),
        ("MNIST\0", "", "^dataset: "),
        ("x" * 5000, "", "^dataset: "),
        ("./nowhere", "digits", "^dataset: './nowhere': there is no such folder"),
        ("no\0where/", "digits", "^dataset: .*there is no such folder"),
        (__file__, "digits", "^dataset: .*is a file, not a folder"),
        ("digits", "digit", r"^fallback_dataset: 'digit' .*did you mean digits\?"),
    ],
)
def test_a_name_or_folder_that_is_none_is_one_line(name, fallback, says):
    with pytest.raises(UserError, match=says) as error:
        load(name, __file__, fallback)
    assert "\n" not in str(error.value)


def test_digits_are_all_of_scikit_learns_and_every_fifth_of_each_class_is_the_test_set(tmp_path):
    from sklearn.datasets import load_digits

    dataset, theirs = load("digits", str(tmp_path / "none"), ""), load_digits()
    test_images, test_labels = load_test(dataset)
    for label in range(10):
        of_class = theirs.data[theirs.target == label]
        in_test = np.arange(len(of_class)) % 5 == 4
        np.testing.assert_array_equal(dataset.train_images[dataset.train_labels == label], of_class[~in_test])
        np.testing.assert_array_equal(test_images[test_labels == label], of_class[in_test])
    assert (dataset.name, dataset.scale, dataset.image_shape) == ("digits", 16, (8, 8))
    assert dataset.train_images.max() == 16
    assert dataset.class_names == tuple(str(digit) for digit in theirs.target_names)
    assert list(tmp_path.iterdir()) == []
    arrays = (dataset.train_images.reshape(-1, 8, 8), dataset.train_labels, test_images.reshape(-1, 8, 8), test_labels)
    write_idx_folder(tmp_path, dict(zip(STEMS, arrays, strict=True)))
    assert load(str(tmp_path), "", "").fingerprint == dataset.fingerprint
    assert dataset.fingerprint == FINGERPRINTS["digits"]


@pytest.mark.parametrize("name", ["fashion_mnist", "mnist", "kmnist"])
def test_addresses_and_sums_are_those_that_tensorflow_datasets_registers(name):
    registry = Path(importlib.util.find_spec("tensorflow_datasets").origin).parent
    files = [*registry.glob(f"url_checksums/{name}.txt"), *registry.glob(f"**/{name}/checksums.tsv")]
    lines = [line.split() for file in files for line in file.read_text().splitlines()]
    registered = {url: (int(size), sha256) for url, size, sha256, *_ in lines}
    ours = PUBLISHED[name]
    assert sum(registered[ours.url + file][0] for file in ours.sha256) == ours.num_bytes
    assert {file: registered[ours.url + file][1] for file in ours.sha256} == ours.sha256


def test_mnist1d_is_the_published_one():
    """Values of mnist1d_data.pkl of github.com/greydanus/mnist1d, and statistics of all its 5,000 signals."""
    dataset = load("mnist1d", "", "")
    (test, test_labels), train = load_test(dataset), dataset.train_images
    assert (train.shape, test.shape, dataset.scale) == ((4000, 40), (1000, 40), 1)
    np.testing.assert_allclose(train[0, :4], MNIST1D["first"], atol=2e-6)
    np.testing.assert_allclose(test[-1, -4:], MNIST1D["last"], atol=2e-6)
    assert dataset.train_labels[:10].tolist() == [2, 6, 4, 5, 6, 6, 6, 0, 3, 1]
    assert np.bincount(dataset.train_labels).tolist() == [398, 396, 411, 394, 394, 402, 401, 404, 402, 398]
    assert np.bincount([*dataset.train_labels, *test_labels]).tolist() == [500] * 10
    signals = np.concatenate([train, test]).astype(float)
    found = [signals.mean(), signals.std(), abs(signals).mean(), (signals**3).mean(), (signals**4).mean()]
    np.testing.assert_allclose(found, [0, 1, 0.7415809, -0.0656305, 4.4016450], atol=1e-6)
    assert (signals[:, 1:] * signals[:, :-1]).mean() == pytest.approx(0.8147926, abs=1e-6)


@pytest.fixture
def npz(tmp_path):
    """Loads an .npz file of these arrays."""

    def load_npz(**arrays):
        np.savez(tmp_path / "own.npz", **arrays)
        return load(str(tmp_path / "own.npz"), "", "")

    return load_npz


def test_an_npz_file_is_its_four_arrays(npz):
    arrays = dict(zip(("x_train", "y_train", "x_test", "y_test"), ARRAYS.values(), strict=True))
    dataset = npz(**arrays, unrelated=np.zeros(3))
    assert_is(dataset, ARRAYS)
    assert dataset.image_shape == (6, 6)
    assert dataset.scale == 255


def test_an_npz_file_without_a_test_set_tests_on_every_fifth_of_each_class(npz):
    y = np.random.default_rng(0).permutation(np.repeat(["a", "b", "c"], [23, 10, 4]))
    x = np.arange(len(y), dtype=float)[:, None]
    dataset = npz(x_train=x, y_train=y)
    test, labels = load_test(dataset)
    for index, label in enumerate("abc"):
        rows = np.flatnonzero(y == label)
        np.testing.assert_array_equal(test[labels == index, 0], rows[4::5])
        np.testing.assert_array_equal(
            dataset.train_images[dataset.train_labels == index, 0], np.delete(rows, slice(4, None, 5))
        )


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": np.ones((2, 2))}, r"it lacks x_train; there is x; needed are x_train, y_train, x_test, y_test"),
        ({"x_train": np.ones((2, 2))}, "it lacks y_train"),
        ({"x_train": np.full((2, 2), np.nan), "y_train": [0, 1]}, "x_train: holds NaN"),
        ({"x_train": np.ones((2, 2)), "y_train": [1, 1]}, "y_train: all labels are of 1 class, 1"),
        (
            {"x_train": np.ones((2, 2)), "y_train": [0, 1], "x_test": np.ones((1, 3)), "y_test": [0]},
            "x_test: 3 features",
        ),
        ({"x_train": np.ones((2, 2)), "y_train": [0, 1], "x_test": np.ones((1, 2))}, "x_test: given without y_test"),
        ({"x_train": np.array([[{}], [{}]]), "y_train": [0, 1]}, "is no .npz file that can be read: Object arrays"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_npz_file_is_one_line(npz, arrays, says):
    with pytest.raises(UserError, match=f"^dataset: '[^\n]*own.npz':? {says}[^\n]*$"):
        npz(**arrays)


def test_a_file_that_is_no_npz_file_is_one_line(tmp_path):
    for content in (b"", b"PK\x03\x04 torn", b"nothing of the kind"):
        (tmp_path / "own.npz").write_bytes(content)
        with pytest.raises(UserError, match=r"^dataset: [^\n]*own.npz' is no .npz file that can be read: [^\n]*$"):
            load(str(tmp_path / "own.npz"), "", "")
    with pytest.raises(UserError, match=r"^dataset: 'other.npz': there is no such file$"):
        load("other.npz", "", "")


def test_figures_are_not_mirrored_and_clothes_are():
    for name in ("mnist", "kmnist", "digits"):
        with pytest.raises(UserError, match=f"^augment_flip: .*{name}"):
            check_mirrored(name)
    check_mirrored("fashion_mnist")
    check_mirrored("a/folder")


def parts(labels, fraction, stratified, seed=0):
    return split(np.asarray(labels, np.uint8), fraction, stratified, np.random.default_rng(seed))


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=80), st.floats(0, 0.99), st.booleans(), st.integers(0, 2**32 - 1)
)
@example([0, 0, 0, 1, 1, 1, 2], 0.5, True, 0)  # shares with remainders
def test_a_split_is_disjoint_covers_everything_and_has_the_size_asked_for(labels, fraction, stratified, seed):
    size = round(fraction * len(labels))
    if fraction > 0 and size in (0, len(labels)):
        with pytest.raises(UserError, match=f"leaves none for {'training' if size else 'validation'}"):
            parts(labels, fraction, stratified, seed)
        return
    train, val = parts(labels, fraction, stratified, seed)
    assert sorted([*train, *val]) == list(range(len(labels)))
    assert len(val) == size
    for part in (train, val):
        assert part.dtype == np.int32
        assert (np.diff(part) > 0).all()
    if stratified:  # largest remainder: every class within one of its share, and no unit better placed elsewhere
        counts, taken = Counter(labels), Counter(labels[i] for i in val)
        over = [taken[c] - counts[c] * size / len(labels) for c in counts]
        assert all(-1 < excess < 1 for excess in over)
        assert max(over) - min(over) <= 1 + 1e-9


def test_a_split_follows_from_the_generator_and_only_a_stratified_one_looks_at_labels():
    labels = np.arange(100) % 10
    for stratified in (False, True):
        same, again, other = (parts(labels, 0.3, stratified, seed)[1] for seed in (1, 1, 2))
        assert (same == again).all()
        assert (same != other).any()
    np.testing.assert_array_equal(parts(np.ones(100), 0.3, False)[1], parts(labels, 0.3, False)[1])


@pytest.mark.parametrize("stratified", [False, True])
def test_every_example_is_as_likely_to_be_held_out(stratified):
    labels = np.repeat([0, 1], [32, 8])  # both divide by 4, so that no class is rounded
    held_out = np.zeros(40)
    for seed in range(2000):
        held_out[parts(labels, 0.25, stratified, seed)[1]] += 1
    # 2,000 draws of probability ¼: a standard deviation of 19 around 500
    assert (abs(held_out - 500) < 5 * 19.4).all()


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan"), float("inf")])
def test_a_fraction_outside_its_range_is_an_error(fraction):
    with pytest.raises(UserError, match=r"val_fraction: .* is not in"):
        parts([0, 1, 0, 1], fraction, False)


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "mean"), [("fashion_mnist", 0.2860), ("mnist", 0.1307)])  # the published means
def test_the_real_archives(name, mean, data_dir):
    dataset = load(name, data_dir, "")
    images, labels = load_test(dataset)
    assert [dataset.train_images.shape, images.shape] == [(60_000, 784), (10_000, 784)]
    assert dataset.train_images.mean() / 255 == pytest.approx(mean, abs=5e-5)
    raw = gzip.decompress((Path(data_dir) / name / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    np.testing.assert_array_equal(images.ravel(), np.frombuffer(raw, np.uint8))
    assert (np.bincount(labels, minlength=10) > 800).all()
    again = load(name, data_dir, "")
    assert again.fingerprint == dataset.fingerprint == FINGERPRINTS[name]
    np.testing.assert_array_equal(again.train_images, dataset.train_images)
