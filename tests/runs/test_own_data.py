"""Runs on one's own arrays: the run on their files, tables without pictures, and data without a test set."""

import json
import re

import numpy as np
import pytest

from mlp_jax.data.arrays import from_arrays
from mlp_jax.errors import UserError
from mlp_jax.runs import run as runs
from mlp_jax.runs import saved
from mlp_jax.runs.config import from_json
from mlp_jax.sweeps import sweep
from tests.shared.idx_files import make_arrays
from tests.shared.runs import checkpoints, numbers_alone, trained
from tests.shared.training import same_bits, small_config

rng = np.random.default_rng(0)
Y = np.array(["fish", "bird", "cow"])[rng.permutation(np.arange(120) % 3)]
X = rng.normal(size=(120, 5)) + (Y == "cow")[:, None] - (Y == "fish")[:, None]
FIELDS = {"hidden_sizes": (8,), "num_epochs": 2, "dataset": "digits"}


@pytest.fixture
def run_on(tmp_path, monkeypatch):
    """Runs a config on a dataset of arrays; the workdir."""

    def run(dataset, name="run", **fields):
        monkeypatch.setattr(runs, "load_for", lambda *_: dataset)
        monkeypatch.setattr(saved, "load", lambda *_: dataset)
        runs.run(small_config(**(FIELDS | fields)), tmp_path / name)
        return tmp_path / name

    return run


def content(path):
    return json.loads(path.read_text())


@pytest.fixture
def no_pictures():
    with numbers_alone():
        yield


@pytest.mark.usefixtures("no_pictures")
def test_a_run_on_pixels_is_the_run_on_their_idx_files(tmp_path, run_on):
    arrays = make_arrays()
    files = trained(tmp_path / "files", arrays, num_epochs=2)
    ours = run_on(from_arrays(*arrays.values()), num_epochs=2, hidden_sizes=small_config().hidden_sizes)
    pairs = [(content(folder / "summary.json"), content(folder / "evaluation.json")) for folder in (files, ours)]
    for one, other in zip(*pairs, strict=True):
        own = {"dataset", "seconds", "compile_seconds"}
        assert {k: v for k, v in one.items() if k not in own} == {k: v for k, v in other.items() if k not in own}
    assert content(ours / "data.json")["fingerprint"] == content(files / "data.json")["fingerprint"]
    (one,), (other,) = ([*checkpoints(folder).values()] for folder in (files, ours))
    states = [saved.read(folder).params for folder in (files, ours)]
    assert same_bits(*states)
    assert one.name == other.name


@pytest.mark.parametrize(
    ("seeds", "val_fraction", "part", "count"), [(1, 0.25, "validation", 30), (2, 0.0, "train", 120)]
)
def test_without_a_test_set_there_is_no_test_figure_and_the_matrix_is_of_what_there_is(
    run_on, seeds, val_fraction, part, count
):
    folder = run_on(from_arrays(X, Y), val_fraction=val_fraction, seeds=seeds)
    summary, found = content(folder / "summary.json"), content(folder / "evaluation.json")
    assert summary["test/accuracy"] is summary["test/loss"] is None
    assert (found["split"], np.sum(found["matrix"])) == (part, count)
    if val_fraction and seeds == 1:
        assert found["accuracy"] == summary["val/accuracy"]
    assert sorted(path.name for path in (folder / "plots").iterdir()) == ["confusion_matrix.png", "curves.png"]
    page = (folder / "report.html").read_text()
    assert "It has not been tested." in page
    assert f"examples of the {part} set are right" in page
    assert "5–8–3" in page
    assert "images" not in re.sub("<(script|style).*?</\\1>", "", page, flags=re.DOTALL)


@pytest.mark.usefixtures("no_pictures")
def test_to_evaluate_without_a_test_set_is_one_line(run_on, capsys):
    folder = run_on(from_arrays(X, Y))
    config = from_json(folder / "config.json")
    with pytest.raises(
        UserError, match=r"^evaluate_split: 'test' is empty, since own_data has no test set; allowed: v"
    ):
        saved.evaluate_saved(config, folder)
    config.evaluate_split = "validation"
    assert saved.evaluate_saved(config, folder).accuracy == content(folder / "summary.json")["val/accuracy"]


@pytest.mark.usefixtures("no_pictures")
def test_rows_of_an_array_are_predicted_as_they_are(run_on, tmp_path, capsys):
    folder = run_on(from_arrays(X, Y, X[:60], Y[:60]), num_epochs=20, learning_rate=0.01)
    np.save(tmp_path / "x.npy", X[:60])
    np.save(tmp_path / "one.npy", X[0])
    config = from_json(folder / "config.json")
    names = [row["name"] for row in saved.predict(config, folder, (str(tmp_path / "x.npy"),))]
    assert np.mean(names == Y[:60]) == content(folder / "summary.json")["test/accuracy"] > 0.5
    (one,) = saved.predict(config, folder, (str(tmp_path / "one.npy"),))
    assert one["name"] == names[0]
    np.save(tmp_path / "x.npy", X[:, :4])
    for path, says in (("x.npy", "4 features an example; the training set has 5"), ("a.png", "rows of 5 numbers")):
        with pytest.raises(UserError, match=f"^--inputs: .*{says}"):
            saved.predict(config, folder, (str(tmp_path / path),))


@pytest.mark.usefixtures("no_pictures")
def test_what_does_not_fit_the_data_is_one_line_and_writes_nothing(run_on, tmp_path):
    table = from_arrays(X, Y)
    only = from_arrays(X, Y, sample_weight=Y == "cow")
    for fields, dataset, says in (
        ({"augment_shift": 1}, table, r"augment_shift: 1 is for grey pictures; own_data has features; allowed is 0"),
        ({"class_weight": (1, 2)}, table, r"class_weight: \(1, 2\) has 2 numbers; own_data has 3 classes"),
        ({"class_weight": (1, 0, 1)}, only, r"class_weight: \(1, 0, 1\) leaves no training example that counts"),
    ):
        with pytest.raises(UserError, match=f"^{says}$"):
            run_on(dataset, **fields)
        assert not (tmp_path / "run").exists()


def test_a_sweep_cannot_report_a_test_set_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "load_for", lambda *_: from_arrays(X, Y))
    space = {"method": "random", "report_test": True, "parameters": {"learning_rate": {"values": [0.1, 0.01]}}}
    with pytest.raises(UserError, match=r"^sweep.report_test: True asks for a test set, which own_data has not"):
        sweep.run(small_config(**FIELDS, sweep=space, storage=""), tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()
