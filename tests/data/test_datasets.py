import gzip
import hashlib
from collections import Counter
from importlib.machinery import ModuleSpec
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
        ("nmist", "", r"^dataset: .*a folder of four IDX files; did you mean mnist\?"),
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


@pytest.mark.parametrize("found", [None, ModuleSpec("sklearn", None)], ids=["absent", "a folder of that name"])
def test_digits_without_scikit_learn_say_what_to_install(monkeypatch, found):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found)
    with pytest.raises(UserError, match=r"^dataset: .*pip install scikit-learn$"):
        load("digits", "", "")


def test_figures_are_not_mirrored_and_clothes_are():
    for name in ("mnist", "digits"):
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
