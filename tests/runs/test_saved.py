"""A saved run read back: the figures of the run again, other data, pictures; and what is no saved run."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from mlp_jax.errors import UserError
from mlp_jax.runs import run as runs
from mlp_jax.runs import saved
from mlp_jax.runs.config import from_json
from tests.shared.idx_files import make_arrays, write_idx_folder
from tests.shared.runs import Killed, at_each_record, edit, flip_a_bit, trained


def framed(**options: int) -> dict[str, np.ndarray]:
    """Pictures with a dark edge, as those of clothes and digits have: light on dark by their corners."""
    edge = {"images": ((0, 0), (1, 1), (1, 1)), "labels": ((0, 0),)}
    return {name: np.pad(array, edge[name[-6:]]) for name, array in make_arrays(**options).items()}


@pytest.fixture(scope="module")
def arrays():
    given = framed(num_test=100)
    # A third of the test labels is wrong, so that there are mistakes to tell.
    given["t10k-labels"][::3] = (given["t10k-labels"][::3] + 1) % 4
    return given


@pytest.fixture(scope="module")
def finished(arrays, tmp_path_factory):
    fields = {"hidden_sizes": (8,), "batch_size": 20, "num_epochs": 3, "seed": 3, "checkpoint_seconds": 0.0}
    return trained(tmp_path_factory.mktemp("saved"), arrays, **fields)


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def evaluate(folder, **fields):
    config = from_json(folder / "config.json")
    config.update(fields)
    return saved.evaluate_saved(config, folder)


def logits_of(folder, images):
    """The network in float64 NumPy."""
    x = images.reshape(len(images), -1) / 255
    *hidden, last = saved.read(folder).params
    for layer in hidden:
        x = np.maximum(x @ np.float64(layer.w) + np.float64(layer.b), 0)
    return x @ np.float64(last.w) + np.float64(last.b)


def counts(labels, predicted, classes=4):
    matrix = np.zeros((classes, classes), int)
    np.add.at(matrix, (labels, predicted), 1)
    return matrix.tolist()


def test_the_test_figures_are_of_the_saved_network_over_every_example(finished, arrays, capsys):
    result = evaluate(finished)
    logits, labels = logits_of(finished, arrays["t10k-images"]), arrays["t10k-labels"]
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(100), labels]
    summary = json.loads((finished / "summary.json").read_text())
    assert result.accuracy == summary["test/accuracy"] == (logits.argmax(1) == labels).mean() < 1
    assert result.loss == summary["test/loss"] == pytest.approx(losses.mean(), rel=1e-5)
    assert result.confusion.tolist() == counts(labels, logits.argmax(1))
    printed = capsys.readouterr().out
    assert f"100 examples, loss {result.loss:.4f}, accuracy {result.accuracy:.2%}" in printed
    written = json.loads((finished / "evaluation-patterns-test.json").read_text())
    assert (written["matrix"], written["count"]) == (result.confusion.tolist(), 100)


def test_scores_are_those_of_scikit_learn(finished, arrays, capsys):
    from sklearn.metrics import precision_recall_fscore_support

    evaluate(finished)
    lines = capsys.readouterr().out.splitlines()
    labels, predicted = arrays["t10k-labels"], logits_of(finished, arrays["t10k-images"]).argmax(1)
    each = np.array(precision_recall_fscore_support(labels, predicted, zero_division=0)[:3]).T
    macro = precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0)[:3]
    for line, expected in zip(lines[2:7], [*each, macro], strict=True):
        assert line.split()[1:] == [f"{value:.4f}" for value in expected]


def test_validation_is_the_rows_held_out_and_train_the_others_whatever_fields_are_given(finished, arrays):
    given = {"seed": 9, "val_fraction": 0.5, "stratified": True}
    validation, train = (evaluate(finished, evaluate_split=part, **given) for part in ("validation", "train"))
    assert validation.accuracy == json.loads((finished / "summary.json").read_text())["val/accuracy"]
    assert (validation.confusion.sum(), train.confusion.sum()) == (20, 180)
    everything = counts(arrays["train-labels"], logits_of(finished, arrays["train-images"]).argmax(1))
    assert (validation.confusion + train.confusion).tolist() == everything


def test_without_validation_there_are_no_rows_held_out(tmp_path):
    folder = trained(tmp_path, hidden_sizes=(8,), num_epochs=1, val_fraction=0.0)
    with pytest.raises(UserError, match="'validation' is empty"):
        evaluate(folder, evaluate_split="validation")


def test_another_dataset_of_the_same_shape(finished, tmp_path, capsys):
    other = write_idx_folder(tmp_path / "other", framed(classes=3, num_test=30, seed=1))
    result = evaluate(finished, dataset=str(tmp_path / "other"))
    assert result.confusion.tolist() == counts(
        other["t10k-labels"], logits_of(finished, other["t10k-images"]).argmax(1)
    )
    written = json.loads((finished / "evaluation-other-test.json").read_text())
    assert len(written["class_names"]) == len(written["matrix"]) == 4
    said, matrix = capsys.readouterr().out.split("rows true:\n")
    assert f"patterns, not on {tmp_path / 'other'}" in said
    assert len(matrix.splitlines()) == 4 + 1
    validation = evaluate(finished, dataset=str(tmp_path / "other"), evaluate_split="validation")
    assert validation.confusion.sum() == 20


@pytest.mark.parametrize(
    ("options", "message"), [({"side": 4}, "images of 36 pixels.*takes 64"), ({"classes": 5}, "5 classes.*knows 4")]
)
def test_a_dataset_that_does_not_fit(options, message, finished, tmp_path):
    write_idx_folder(tmp_path / "misfit", framed(**options))
    with pytest.raises(UserError, match=message):
        evaluate(finished, dataset=str(tmp_path / "misfit"))
    assert not list(finished.glob("evaluation-misfit*"))


def test_data_that_changed_since_has_no_rows_held_out(copied, tmp_path):
    write_idx_folder(tmp_path / "changed", framed(seed=8))
    for name in ("config.json", "data.json"):
        edit(copied / name, dataset=str(tmp_path / "changed"))
    for part in ("validation", "train"):
        with pytest.raises(UserError, match="has changed since the run"):
            evaluate(copied, evaluate_split=part)
    assert evaluate(copied).confusion.sum() == 50


def test_exported_pictures_get_the_classes_that_evaluation_gave_them(finished, arrays, tmp_path):
    for number, image in enumerate(arrays["t10k-images"]):
        Image.fromarray(image).save(tmp_path / f"{number:03}.png")
    rows = saved.predict(from_json(finished / "config.json"), finished, (f"{tmp_path}/*.png",))
    evaluate(finished)
    evaluation = json.loads((finished / "evaluation-patterns-test.json").read_text())
    assert counts(arrays["t10k-labels"], [row["class"] for row in rows]) == evaluation["matrix"]
    assert len(evaluation["mistakes"]) >= 10
    for mistake in evaluation["mistakes"]:
        row = rows[mistake["index"]]
        assert row["class"] == mistake["predicted"]
        assert row["probability"] == pytest.approx(mistake["probability"], rel=1e-6)


def test_prediction_says_the_same_in_a_table_and_in_json(finished, arrays, tmp_path, capsys):
    np.save(tmp_path / "five.npy", arrays["t10k-images"][:5])
    rows = saved.predict(from_json(finished / "config.json"), finished, (str(tmp_path / "five.npy"),))
    assert json.loads((finished / "predictions.json").read_text()) == rows
    assert [row["class"] for row in rows] == logits_of(finished, arrays["t10k-images"][:5]).argmax(1).tolist()
    for number, (row, line) in enumerate(zip(rows, capsys.readouterr().out.splitlines(), strict=True)):
        assert sum(row["probabilities"]) == pytest.approx(1)
        assert row["probability"] == max(row["probabilities"]) == row["probabilities"][row["class"]]
        assert line.split() == [
            f"{tmp_path}/five.npy[{number}]", str(row["class"]), row["name"], f"{row['probability']:.2%}"
        ]  # fmt: skip


def test_a_picture_that_cannot_be_read_changes_no_predictions(copied, tmp_path):
    (copied / "predictions.json").write_text("[]")
    with pytest.raises(UserError, match="is not there"):
        saved.predict(from_json(copied / "config.json"), copied, (str(tmp_path / "none.png"),))
    assert (copied / "predictions.json").read_text() == "[]"


def test_a_workdir_without_a_run(copied, tmp_path):
    (copied / "config.json").unlink()
    for folder, message in ((tmp_path / "none", "holds no trained run"), (copied, "config.json: cannot be read")):
        with pytest.raises(UserError, match=message):
            saved.read(folder)


@pytest.mark.usefixtures("no_pictures")
def test_a_run_that_was_stopped_in_its_first_epoch(copied, tmp_path, monkeypatch):
    config = from_json(copied / "config.json")
    config.steps_per_call = 4

    def die(epoch):
        raise Killed

    at_each_record(monkeypatch, die)
    with pytest.raises(Killed):
        runs.run(config, tmp_path / "stopped")
    with pytest.raises(UserError, match="not finished an epoch"):
        saved.read(tmp_path / "stopped")


def test_an_older_checkpoint_does_not_stand_for_the_one_that_was_tested(copied, capsys):
    flip_a_bit(copied)
    with pytest.raises(UserError, match="has lost its last checkpoint"):
        saved.read(copied)
    (copied / "summary.json").unlink()  # a run under way goes on from the older one
    assert saved.read(copied).static
    assert "damaged checkpoint not used" in capsys.readouterr().err
    shutil.rmtree(copied / "checkpoints")
    with pytest.raises(UserError, match="no checkpoint that can be read"):
        saved.read(copied)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("dataset", value) for value in (3, "")),
        *(("inputs", value) for value in (36, "many")),
        *(("train_examples", value) for value in (None, 0)),
        *(("class_names", value) for value in (["a"], 4, [None, None])),
        *(("image_shape", value) for value in ([8], [16, 8], None)),
        *(("scale", value) for value in (0, 0.5)),
    ],
)
def test_a_forged_card_is_named(field, value, copied):
    edit(copied / "data.json", **{field: value})
    with pytest.raises(UserError, match=r"data\.json: not as a run wrote it: "):
        saved.read(copied)


@pytest.mark.parametrize(("name", "change", "message"), [
    ("config.json", {"hidden_sizes": [9]}, "where .* is needed"),
    ("data.json", {"fingerprint": "another"}, "written with another data"),
])  # fmt: skip
def test_a_checkpoint_of_another_net_or_other_data_is_refused(name, change, message, copied):
    edit(copied / name, **change)
    with pytest.raises(UserError, match=f"{message}.*resume=never"):
        saved.read(copied)


@pytest.mark.parametrize(("name", "old", "new"), [("config.json", "0.001", "0.002"), ("data.json", "255", "254")])
def test_an_edited_file_is_refused_by_its_sum(name, old, new, copied):
    text = (copied / name).read_text()
    (copied / name).write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=f"{name}: is damaged or was edited"):
        evaluate(copied)
