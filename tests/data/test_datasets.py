import gzip
import hashlib
import os
from collections import Counter
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlp_jax.data import datasets as data
from mlp_jax.data import download
from mlp_jax.errors import UserError
from tests.shared.idx_files import STEMS, file_name, make_arrays, write_idx_folder


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    """No test downloads anything or touches the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "fetch", lambda *_: pytest.fail("a download was begun"))


def unreachable(*_):
    raise download.Unreachable("the moon is in the way")


def assert_is(dataset, arrays):
    images, labels = data.load_test(dataset)
    for ours, theirs in [(dataset.train_images, arrays["train-images"]), (images, arrays["t10k-images"])]:
        assert ours.dtype == np.uint8
        np.testing.assert_array_equal(ours, theirs.reshape(len(theirs), -1))
    for ours, theirs in [(dataset.train_labels, arrays["train-labels"]), (labels, arrays["t10k-labels"])]:
        assert ours.dtype == np.uint8
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("gz", [False, True])
def test_a_folder_of_idx_files_in_each_naming(tmp_path, dot, gz):
    arrays = make_arrays(classes=3)
    arrays["train-images"], arrays["t10k-images"] = arrays["train-images"][:, :, :4], arrays["t10k-images"][:, :, :4]
    write_idx_folder(tmp_path / "own", arrays, dot, gz)
    dataset = data.load(str(tmp_path / "own"), "", "digits")
    assert_is(dataset, arrays)
    assert dataset.name == str(tmp_path / "own")
    assert dataset.image_shape == (6, 4)
    assert dataset.class_names == ("0", "1", "2")
    assert dataset.scale == 255


def test_other_images_under_the_same_labels_are_not_taken_for_those_decoded_before(tmp_path):
    arrays = write_idx_folder(tmp_path / "own", make_arrays(1500, 20, side=28), gz=True)
    assert_is(data.load(str(tmp_path / "own"), "", ""), arrays)
    arrays["train-images"] = 255 - arrays["train-images"]
    write_idx_folder(tmp_path / "own", arrays, gz=True)
    assert_is(data.load(str(tmp_path / "own"), "", ""), arrays)


def test_content_decides_what_is_compressed_not_the_name(tmp_path):
    arrays = write_idx_folder(tmp_path)
    for stem in STEMS:  # as a browser leaves them that unpacks what it downloads
        (tmp_path / file_name(stem)).rename(tmp_path / file_name(stem, gz=True))
    assert_is(data.load(str(tmp_path), "", ""), arrays)


def test_a_large_folder_is_decompressed_once(tmp_path, monkeypatch):
    arrays = write_idx_folder(tmp_path / "own", make_arrays(1500, 20, side=28), gz=True)
    first = data.load(str(tmp_path / "own"), "", "")
    (copy,) = (tmp_path / "cache" / "mlp_jax" / "decoded").iterdir()
    size = copy.stat().st_size
    again = data.load(str(tmp_path / "own"), "", "")
    assert size >= arrays["train-images"].nbytes
    assert first.fingerprint == again.fingerprint
    assert_is(again, arrays)


def rewrite(folder, **changed):
    write_idx_folder(folder, make_arrays() | {stem.replace("_", "-"): array for stem, array in changed.items()})


TRAIN = make_arrays()
BAD_FOLDERS = {
    "lacks train-labels-idx1-ubyte": lambda at: (at / "train-labels-idx1-ubyte").unlink(),
    "lacks t10k-images-idx3-ubyte": lambda at: (at / "t10k-images-idx3-ubyte").unlink(),
    "train-images-idx3-ubyte: .*cut short": lambda at: os.truncate(at / "train-images-idx3-ubyte", 1000),
    "t10k-images-idx3-ubyte: .*cut short": lambda at: os.truncate(at / "t10k-images-idx3-ubyte", 1000),
    "t10k-labels-idx1-ubyte: .*cut short": lambda at: os.truncate(at / "t10k-labels-idx1-ubyte", 57),
    "t10k-labels-idx1-ubyte: 3 dimensions": lambda at: rewrite(at, t10k_labels=TRAIN["t10k-images"]),
    "200 images, but 199 labels in train-labels": lambda at: rewrite(at, train_labels=TRAIN["train-labels"][1:]),
    "50 images, but 49 labels in t10k-labels": lambda at: rewrite(at, t10k_labels=TRAIN["t10k-labels"][1:]),
    r"t10k-images-idx3-ubyte: images of \(6, 5\)": lambda at: rewrite(at, t10k_images=TRAIN["t10k-images"][:, :, 1:]),
    "train-labels-idx1-ubyte: every label is 0": lambda at: rewrite(at, train_labels=np.zeros(200, np.uint8)),
    "train-images-idx3-ubyte: empty": lambda at: rewrite(at, train_images=TRAIN["train-images"][:0]),
}


@pytest.mark.parametrize("says", BAD_FOLDERS)
def test_a_bad_folder_is_one_line_before_training(tmp_path, says):
    write_idx_folder(tmp_path)
    BAD_FOLDERS[says](tmp_path)
    with pytest.raises(UserError, match=says) as error:
        data.load(str(tmp_path), "", "digits")
    assert "\n" not in str(error.value)


def test_test_labels_are_only_looked_at_by_load_test(tmp_path):
    labels = TRAIN["t10k-labels"].copy()
    labels[[7, 20]] = 4, 9  # the training set has classes 0 to 3
    rewrite(tmp_path, t10k_labels=labels)
    dataset = data.load(str(tmp_path), "", "")
    with pytest.raises(UserError, match="t10k-labels-idx1-ubyte: label 4 of example 7; labels must be below 4"):
        data.load_test(dataset)


def test_a_test_set_that_changed_meanwhile_is_checked_again(tmp_path):
    write_idx_folder(tmp_path)
    dataset = data.load(str(tmp_path), "", "")
    rewrite(tmp_path, t10k_images=TRAIN["t10k-images"][1:])
    with pytest.raises(UserError, match="49 images, but 50 labels"):
        data.load_test(dataset)


def test_the_fingerprint_is_of_the_training_arrays_alone(tmp_path):
    def fingerprint(folder, gz=False, **changed):
        changed = {stem.replace("_", "-"): array for stem, array in changed.items()}
        write_idx_folder(tmp_path / folder, make_arrays() | changed, gz=gz)
        return data.load(str(tmp_path / folder), "", "").fingerprint

    images, labels = TRAIN["train-images"].copy(), TRAIN["train-labels"].copy()
    images[3, 3, 3] ^= 1
    labels[[0, 1]] = (labels[[0, 1]] + 1) % 4
    wide = {stem: TRAIN[stem.replace("_", "-")].reshape(-1, 4, 9) for stem in ("train_images", "t10k_images")}
    same = fingerprint("a")
    assert same == fingerprint("b", gz=True)
    assert same == fingerprint("c", t10k_images=255 - TRAIN["t10k-images"], t10k_labels=TRAIN["t10k-labels"][::-1])
    others = {fingerprint("d", train_images=images), fingerprint("e", train_labels=labels), fingerprint("f", **wide)}
    assert len(others | {same}) == 4


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A published dataset of ten classes, and the data_dir that has its archives."""
    arrays = write_idx_folder(tmp_path / "data" / "mnist", make_arrays(classes=10), gz=True)
    files = [file_name(stem, gz=True) for stem in STEMS]
    sums = {file: hashlib.sha256((tmp_path / "data" / "mnist" / file).read_bytes()).hexdigest() for file in files}
    row = data.Published("http://nowhere.invalid/", 1000, sums, tuple("abcdefghij"))
    monkeypatch.setitem(data.PUBLISHED, "mnist", row)
    return arrays, tmp_path / "data"


def test_archives_that_are_there_are_used_as_they_are(published):
    arrays, data_dir = published
    before = {path: path.stat().st_mtime_ns for path in data_dir.rglob("*")}
    dataset = data.load("mnist", str(data_dir), "digits")
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
        data.load("mnist", str(published[1]), "digits")


def test_only_missing_archives_are_downloaded(published, monkeypatch):
    arrays, data_dir = published
    (kept := data_dir / "mnist" / "t10k-labels-idx1-ubyte.gz").rename(data_dir / "aside")
    asked = []

    def fetch(name, url, files, num_bytes, folder):
        asked.append((name, url, list(files), num_bytes, folder))
        (data_dir / "aside").rename(kept)

    monkeypatch.setattr(download, "fetch", fetch)
    assert_is(data.load("mnist", str(data_dir), "digits"), arrays)
    assert asked == [("mnist", "http://nowhere.invalid/", [kept.name], 1000, data_dir / "mnist")]


def test_what_a_download_left_is_checked(published, monkeypatch):
    (published[1] / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    monkeypatch.setattr(download, "fetch", lambda *job: (job[4] / "t10k-labels-idx1-ubyte.gz").write_bytes(b"login"))
    with pytest.raises(UserError, match="damaged, or another file"):
        data.load("mnist", str(published[1]), "digits")


def test_a_label_without_a_class_is_an_error(published, monkeypatch):
    row = data.PUBLISHED["mnist"]
    monkeypatch.setitem(data.PUBLISHED, "mnist", row._replace(class_names=row.class_names[:9]))
    with pytest.raises(UserError, match=r"train-labels-idx1-ubyte.gz: label 9 of example \d+; labels must be below 9"):
        data.load("mnist", str(published[1]), "")


def test_a_data_dir_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"data_dir: .*is a file"):
        data.load("mnist", str(tmp_path / "file"), "digits")


def test_data_dir_may_begin_with_a_tilde(published, monkeypatch):
    monkeypatch.setenv("HOME", str(published[1].parent))
    assert data.load("mnist", "~/data", "").name == "mnist"


def test_the_rows_are_what_tensorflow_datasets_registers(tmp_path):
    import tensorflow_datasets

    for name, row in data.PUBLISHED.items():
        builder = tensorflow_datasets.builder(name, data_dir=tmp_path)
        registered = builder.url_infos
        assert {url: info.checksum for url, info in registered.items()} == {
            row.url + file: sha256 for file, sha256 in row.sha256.items()
        }
        assert sum(info.size for info in registered.values()) == row.num_bytes
        assert list(row.sha256) == [file_name(stem, gz=True) for stem in STEMS]
        assert tuple(builder.info.features["label"].names) == row.class_names


def test_the_fallback_is_said_loudly_and_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(download, "fetch", unreachable)
    dataset = data.load("fashion_mnist", str(tmp_path), "digits")
    assert dataset.name == "digits"
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert captured.out == ""
    assert len(lines) > 5
    assert {len(line) for line in lines} == {96}
    said = " ".join(captured.err.replace("#", " ").split())
    assert "FASHION_MNIST CANNOT BE HAD: TRAINING ON DIGITS INSTEAD" in said
    for part in ("the moon is in the way", "MLP_JAX_DATA_DIR", "train-images-idx3-ubyte.gz"):
        assert part in said


@pytest.mark.parametrize("fallback", ["", "fashion_mnist"])
def test_without_a_fallback_it_is_an_error_that_says_how_to_get_the_data(tmp_path, monkeypatch, capsys, fallback):
    monkeypatch.setattr(download, "fetch", unreachable)
    with pytest.raises(UserError) as error:
        data.load("fashion_mnist", str(tmp_path), fallback)
    text = str(error.value)
    assert "\n" not in text
    assert capsys.readouterr().err == ""
    files = data.PUBLISHED["fashion_mnist"].sha256
    for part in ("the moon is in the way", "MLP_JAX_DATA_DIR", str(tmp_path / "fashion_mnist"), *files):
        assert part in text


def test_a_fallback_that_cannot_be_had_either_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "fetch", unreachable)
    with pytest.raises(UserError, match="mnist cannot be had"):
        data.load("fashion_mnist", str(tmp_path), "mnist")


def test_a_folder_of_ones_own_can_be_the_fallback(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "fetch", unreachable)
    arrays = write_idx_folder(tmp_path / "own")
    assert_is(data.load("mnist", str(tmp_path), str(tmp_path / "own")), arrays)


@pytest.mark.parametrize(
    ("name", "fallback", "says"),
    [
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
def test_a_name_that_is_none(tmp_path, name, fallback, says):
    with pytest.raises(UserError, match=says) as error:
        data.load(name, str(tmp_path), fallback)
    assert "\n" not in str(error.value)


def test_digits_are_all_of_scikit_learns_and_every_fifth_of_each_class_is_the_test_set(tmp_path):
    from sklearn.datasets import load_digits

    dataset = data.load("digits", str(tmp_path), "")
    test_images, test_labels = data.load_test(dataset)
    theirs = load_digits()
    for label in range(10):
        of_class = theirs.data[theirs.target == label].astype(np.uint8)
        for number, image in enumerate(of_class):
            part, labels = (
                (test_images, test_labels) if number % 5 == 4 else (dataset.train_images, dataset.train_labels)
            )
            place = number // 5 if number % 5 == 4 else number - (number + 1) // 5
            np.testing.assert_array_equal(part[labels == label][place], image)
    assert len(dataset.train_labels) + len(test_labels) == 1797
    assert (dataset.name, dataset.scale, dataset.image_shape) == ("digits", 16, (8, 8))
    assert dataset.train_images.max() == 16
    assert dataset.class_names == tuple(str(digit) for digit in theirs.target_names)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("found", [None, ModuleSpec("sklearn", None)], ids=["absent", "a folder of that name"])
def test_digits_without_scikit_learn_say_what_to_install(monkeypatch, found):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found)
    with pytest.raises(UserError, match=r"^dataset: .*pip install scikit-learn$"):
        data.load("digits", "", "")


def test_figures_are_not_mirrored_and_clothes_are():
    for name in ("mnist", "digits"):
        with pytest.raises(UserError, match=f"^augment_flip: .*{name}"):
            data.check_mirrored(name)
    data.check_mirrored("fashion_mnist")
    data.check_mirrored("a/folder")


def test_digits_in_idx_files_have_the_same_fingerprint(tmp_path):
    dataset = data.load("digits", "", "")
    images, labels = data.load_test(dataset)
    arrays = (dataset.train_images.reshape(-1, 8, 8), dataset.train_labels, images.reshape(-1, 8, 8), labels)
    write_idx_folder(tmp_path, dict(zip(STEMS, arrays, strict=True)))
    assert data.load(str(tmp_path), "", "").fingerprint == dataset.fingerprint


def parts(labels, fraction, stratified, seed=0):
    return data.split(np.asarray(labels, np.uint8), fraction, stratified, np.random.default_rng(seed))


@settings(deadline=None)
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


def test_a_split_follows_from_the_generator_alone():
    labels = np.arange(100) % 10
    for stratified in (False, True):
        same, again, other = (parts(labels, 0.3, stratified, seed)[1] for seed in (1, 1, 2))
        assert (same == again).all()
        assert (same != other).any()


@pytest.mark.parametrize("stratified", [False, True])
def test_every_example_is_as_likely_to_be_held_out(stratified):
    labels = np.repeat([0, 1], [32, 8])  # both divide by 4, so that no class is rounded
    held_out = np.zeros(40)
    for seed in range(2000):
        held_out[parts(labels, 0.25, stratified, seed)[1]] += 1
    # 2,000 draws of probability ¼: a standard deviation of 19 around 500
    assert (abs(held_out - 500) < 5 * 19.4).all()


def test_a_plain_split_does_not_look_at_labels():
    ones, mixed = parts(np.ones(50), 0.2, False), parts(np.arange(50) % 7, 0.2, False)
    np.testing.assert_array_equal(ones[1], mixed[1])


def test_no_fraction_trains_on_everything():
    for stratified in (False, True):
        train, val = parts([3, 1, 2], 0.0, stratified)
        assert [list(train), list(val)] == [[0, 1, 2], []]
        assert train.dtype == val.dtype == np.int32


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5, float("nan"), float("inf")])
def test_a_fraction_outside_its_range_is_an_error(fraction):
    with pytest.raises(UserError, match=r"val_fraction: .* is not in"):
        parts([0, 1, 0, 1], fraction, False)


@pytest.mark.real_data
@pytest.mark.parametrize("name", list(data.PUBLISHED))
def test_the_real_archives(name, data_dir):
    dataset = data.load(name, data_dir, "")
    images, labels = data.load_test(dataset)
    assert [dataset.train_images.shape, images.shape] == [(60_000, 784), (10_000, 784)]
    counts = {"fashion_mnist": [6000] * 10, "mnist": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]}
    assert np.bincount(dataset.train_labels).tolist() == counts[name]
    # the means that are published for both: 0.2860 and 0.1307 of 255
    assert dataset.train_images.mean() / 255 == pytest.approx(
        {"fashion_mnist": 0.2860, "mnist": 0.1307}[name], abs=5e-5
    )
    raw = gzip.decompress((Path(data_dir) / name / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    np.testing.assert_array_equal(images.ravel(), np.frombuffer(raw, np.uint8))
    np.testing.assert_array_equal(np.bincount(labels) > 800, True)
    again = data.load(name, data_dir, "")
    assert again.fingerprint == dataset.fingerprint
    np.testing.assert_array_equal(again.train_images, dataset.train_images)
