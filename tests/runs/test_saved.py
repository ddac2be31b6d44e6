"""A saved run read back: the figures of the run again, other data, pictures; and what is no saved run."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from mlp_jax.errors import UserError
from mlp_jax.runs import run as experiment
from mlp_jax.runs import saved
from mlp_jax.runs.config import from_json
from tests.shared.idx_files import make_arrays, write_idx_folder
from tests.shared.training import small_config


def framed(**options: int) -> dict[str, np.ndarray]:
    """Pictures with a dark edge, as those of clothes and digits have: light on dark by their corners."""
    arrays = make_arrays(**options)
    return {
        name: np.pad(array, ((0, 0), (1, 1), (1, 1))) if "images" in name else array for name, array in arrays.items()
    }


@pytest.fixture(scope="module")
def arrays():
    given = framed(num_test=100)
    # A third of the test labels is wrong, so that there are mistakes to tell.
    given["t10k-labels"][::3] = (given["t10k-labels"][::3] + 1) % 4
    return given


@pytest.fixture(scope="module")
def finished(arrays, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    write_idx_folder(folder / "patterns", arrays)
    config = small_config(dataset=str(folder / "patterns"), hidden_sizes=(8,), batch_size=20, num_epochs=3, seed=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment.report, "write_run_plots", lambda folder: None)
        patch.setattr(experiment.report, "write_run_report", lambda *arguments: None)
        experiment.run(config, folder / "run")
    return folder / "run"


@pytest.fixture
def copied(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run")
    (folder / "sums.json").unlink()  # with it, no edited file is read at all
    return folder


def evaluate(folder, **fields):
    config = from_json(folder / "config.json")
    config.update(fields)
    return saved.evaluate(config, folder)


def classes_of(folder, images):
    """The network in float64 NumPy."""
    x = images.reshape(len(images), -1) / 255
    params = saved.read(folder).params
    for number, layer in enumerate(params, start=1):
        x = x @ np.float64(layer.w) + np.float64(layer.b)
        x = np.maximum(x, 0) if number < len(params) else x
    return x.argmax(axis=1)


def counts(labels, predicted, classes=4):
    matrix = np.zeros((classes, classes), int)
    np.add.at(matrix, (labels, predicted), 1)
    return matrix


def test_the_test_figures_are_those_of_the_run(finished, arrays, capsys):
    result = evaluate(finished)
    summary = json.loads((finished / "summary.json").read_text())
    assert result.accuracy == summary["test/accuracy"] < 1
    assert result.loss == summary["test/loss"]
    expected = counts(arrays["t10k-labels"], classes_of(finished, arrays["t10k-images"]))
    assert result.confusion.tolist() == expected.tolist()
    printed = capsys.readouterr().out
    assert f"100 examples, loss {result.loss:.4f}, accuracy {result.accuracy:.2%}" in printed
    written = json.loads((finished / "evaluation-patterns-test.json").read_text())
    assert (written["matrix"], written["count"]) == (expected.tolist(), 100)


def test_scores_are_those_of_scikit_learn(finished, arrays, capsys):
    from sklearn.metrics import precision_recall_fscore_support

    evaluate(finished)
    lines = capsys.readouterr().out.splitlines()
    labels, predicted = arrays["t10k-labels"], classes_of(finished, arrays["t10k-images"])
    each = np.array(precision_recall_fscore_support(labels, predicted, zero_division=0)[:3]).T
    macro = precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0)[:3]
    for line, expected in zip(lines[2:7], [*each, macro], strict=True):
        assert line.split()[1:] == [f"{value:.4f}" for value in expected]


def test_validation_is_the_rows_held_out_and_train_the_others(finished, arrays):
    validation, train = (evaluate(finished, evaluate_split=part) for part in ("validation", "train"))
    assert validation.accuracy == json.loads((finished / "summary.json").read_text())["val/accuracy"]
    assert (validation.confusion.sum(), train.confusion.sum()) == (20, 180)
    everything = counts(arrays["train-labels"], classes_of(finished, arrays["train-images"]))
    assert (validation.confusion + train.confusion).tolist() == everything.tolist()


def test_no_field_given_at_evaluation_moves_the_split(finished):
    """Else the rows called validation would be among those trained on."""
    plain = evaluate(finished, evaluate_split="validation")
    moved = evaluate(finished, evaluate_split="validation", seed=9, val_fraction=0.5, stratified=True)
    assert (moved.loss, moved.confusion.tolist()) == (plain.loss, plain.confusion.tolist())


def test_another_dataset_of_the_same_shape(finished, tmp_path, capsys):
    other = write_idx_folder(tmp_path / "other", framed(classes=3, num_test=30, seed=1))
    result = evaluate(finished, dataset=str(tmp_path / "other"))
    expected = counts(other["t10k-labels"], classes_of(finished, other["t10k-images"]))
    assert result.confusion.tolist() == expected.tolist()
    written = json.loads((finished / "evaluation-other-test.json").read_text())
    assert len(written["class_names"]) == len(written["matrix"]) == 4
    assert len(capsys.readouterr().out.split("rows true:\n")[1].splitlines()) == 4 + 1
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


def test_data_that_changed_since_has_no_rows_held_out(copied, tmp_path, arrays):
    config = json.loads((copied / "config.json").read_text())
    write_idx_folder(tmp_path / "changed", framed(seed=8))
    (copied / "config.json").write_text(json.dumps(config | {"dataset": str(tmp_path / "changed")}))
    card = json.loads((copied / "data.json").read_text())
    (copied / "data.json").write_text(json.dumps(card | {"dataset": str(tmp_path / "changed")}))
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
    predicted = np.array([row["class"] for row in rows])
    assert counts(arrays["t10k-labels"], predicted).tolist() == evaluation["matrix"]
    assert len(evaluation["mistakes"]) >= 10
    for mistake in evaluation["mistakes"]:
        row = rows[mistake["index"]]
        assert row["class"] == mistake["predicted"]
        assert row["probability"] == pytest.approx(mistake["probability"], rel=1e-6)


def test_prediction_says_the_same_in_a_table_and_in_json(finished, arrays, tmp_path, capsys):
    np.save(tmp_path / "five.npy", arrays["t10k-images"][:5])
    rows = saved.predict(from_json(finished / "config.json"), finished, (str(tmp_path / "five.npy"),))
    assert json.loads((finished / "predictions.json").read_text()) == rows
    assert [row["class"] for row in rows] == classes_of(finished, arrays["t10k-images"][:5]).tolist()
    for number, (row, line) in enumerate(zip(rows, capsys.readouterr().out.splitlines(), strict=True)):
        assert sum(row["probabilities"]) == pytest.approx(1)
        assert row["probability"] == max(row["probabilities"]) == row["probabilities"][row["class"]]
        name, label, _, probability = line.split()
        assert (name, label) == (f"{tmp_path}/five.npy[{number}]", str(row["class"]))
        assert probability == f"{row['probability']:.2%}"


def test_a_picture_that_cannot_be_read_changes_no_predictions(copied, tmp_path):
    (copied / "predictions.json").write_text("[]")
    with pytest.raises(UserError, match="is not there"):
        saved.predict(from_json(copied / "config.json"), copied, (str(tmp_path / "none.png"),))
    assert (copied / "predictions.json").read_text() == "[]"


def test_a_workdir_without_a_run(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match="holds no trained run"):
            saved.read(folder)


def test_a_run_that_has_no_checkpoint_yet(copied):
    shutil.rmtree(copied / "checkpoints")
    with pytest.raises(UserError, match="no checkpoint that can be read"):
        saved.read(copied)


def test_a_run_that_was_stopped_in_its_first_epoch(copied, monkeypatch):
    from mlp_jax.files import checkpoint

    real = checkpoint.restore

    def unfinished(*arguments):
        found = real(*arguments)
        best = found.state.best._replace(epoch=np.int32(0))
        return found._replace(state=found.state._replace(best=best))

    monkeypatch.setattr(checkpoint, "restore", unfinished)
    with pytest.raises(UserError, match="not finished an epoch"):
        saved.read(copied)


def test_an_older_checkpoint_does_not_stand_for_the_one_that_was_tested(copied, capsys):
    newest = max((copied / "checkpoints").iterdir(), key=lambda path: int(path.name))
    shutil.copytree(newest, copied / "checkpoints" / "99999")  # not of this step, so damaged
    with pytest.raises(UserError, match="has lost its last checkpoint"):
        saved.read(copied)
    (copied / "summary.json").unlink()  # a run under way goes on from the older one
    assert saved.read(copied).static


def test_a_damaged_checkpoint_is_named_and_not_used(copied, capsys):
    file = max((copied / "checkpoints").rglob("arrays/**/*"), key=lambda path: path.is_file() and path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="no checkpoint that can be read"):
        saved.read(copied)
    assert "damaged checkpoint not used" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": 36},
        {"inputs": "many"},
        {"train_examples": None},
        {"train_examples": 1e400},
        {"class_names": ["a"]},
        {"class_names": 4},
        {"image_shape": [8]},
        {"image_shape": [16, 8]},
        {"image_shape": None},
        {"scale": 0},
        {"scale": "bright"},
        {"fingerprint": "another"},
    ],
    ids=str,
)
def test_an_edited_data_card(change, copied):
    card = json.loads((copied / "data.json").read_text())
    (copied / "data.json").write_text(json.dumps(card | change))
    with pytest.raises(UserError):
        saved.read(copied)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", "\x00"])
def test_a_data_card_that_is_none(content, copied):
    (copied / "data.json").write_text(content)
    with pytest.raises(UserError, match=r"data\.json"):
        saved.read(copied)


@pytest.mark.parametrize("content", [None, "", "[]", '{"hidden_sizes": 3}', '{"hidden_sizes": [9]}'])
def test_a_config_that_is_none(content, copied):
    (copied / "config.json").unlink()
    if content is not None:
        (copied / "config.json").write_text(content)
    with pytest.raises(UserError):
        saved.read(copied)


@pytest.mark.parametrize("name", ["config.json", "data.json"])
def test_an_edited_file_is_refused_by_its_sum(name, finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run")
    text = (folder / name).read_text()
    (folder / name).write_text(text.replace("255", "254") if name == "data.json" else text.replace("0.001", "0.002"))
    assert (folder / name).read_text() != text
    with pytest.raises(UserError, match=f"{name}: is damaged or was edited.*sums.json"):
        evaluate(folder)


@pytest.mark.parametrize(
    "change", [{"dataset": 3}, {"dataset": {}}, {"train_examples": 0}, {"class_names": [None, None]}, {"scale": 0.5}]
)
def test_a_forged_card_is_named(copied, change):
    card = json.loads((copied / "data.json").read_text())
    (copied / "sums.json").unlink(missing_ok=True)
    (copied / "data.json").write_text(json.dumps(card | change))
    (field,) = change
    with pytest.raises(UserError, match=rf"data\.json: not as a run wrote it: {field} is "):
        saved.read(copied)
