"""best_model.npy: written from a run, read from anybody; whatever else its pickle holds is refused unread."""

import json
import os
import pickle
from itertools import pairwise

import numpy as np
import pytest

from mlp_jax import cli
from mlp_jax.check import marking
from mlp_jax.check.findings import FAILED, RIGHT, UNSURE, WRONG
from mlp_jax.check.weights import check_weights
from mlp_jax.data.datasets import load, load_test
from mlp_jax.errors import UserError
from mlp_jax.runs import run as runs
from mlp_jax.runs.exported import read, read_arrays
from tests.shared.runs import numbers_alone
from tests.shared.training import small_config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run on the digits."""
    folder = tmp_path_factory.mktemp("run")
    with numbers_alone():
        runs.run(small_config(dataset="digits", num_epochs=3, hidden_sizes=(12, 9), activation="relu"), folder)
    return folder


def arrays(*sizes, seed=0, dtype=np.float64, flat=True):
    rng = np.random.default_rng(seed)
    result = {}
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        result[f"W{i}"] = rng.normal(size=(n_in, n_out)).astype(dtype)
        result[f"b{i}"] = rng.normal(size=n_out if flat else (1, n_out)).astype(dtype)
    return result


def save(folder, value, **config):
    path = folder / "best_model.npy"
    np.save(path, value, allow_pickle=True)
    if config:
        (folder / "best_config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f8", "<f2", "i4"])
def test_what_numpy_saved_is_read(tmp_path, dtype):
    saved = {
        **arrays(5, 4, 3, dtype=dtype),
        "fortran": np.asfortranarray(arrays(4, 6)["W0"]),
        "empty": np.zeros((0, 3)),
    }
    for name, value in read_arrays(save(tmp_path, saved)).items():
        np.testing.assert_array_equal(value, saved[name].astype(np.float64))


class Attack:
    def __reduce__(self):
        return os.system, ("touch owned",)


@pytest.mark.parametrize(
    "value",
    [
        {"W0": Attack()},
        Attack(),
        {"W0": np.array([Attack()], dtype=object)},
        {"W0": [[1.0]]},
        {"W0": np.array(["text"])},
        {"W0": np.zeros(3, dtype=[("a", "f8")])},
        [np.zeros(3)],
        np.zeros(3),
        {0: np.zeros(3)},
        {"W0": np.float64(1).dtype},
        {"W0": 1j * np.ones(2)},
    ],
)
def test_anything_else_is_refused(tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    path = save(tmp_path, value)
    with pytest.raises(UserError, match="refused: ") as refused:
        read_arrays(path)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("keep", [0, 5, 60, 200, -1])
def test_a_cut_file_is_refused(tmp_path, keep):
    path = save(tmp_path, arrays(5, 4, 3))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="refused: "):
        read_arrays(path)


def test_a_pickle_without_a_header_and_a_giant_index_are_refused(tmp_path):
    path = save(tmp_path, arrays(5, 4, 3))
    header = path.read_bytes()[:128]
    for content in (pickle.dumps(arrays(5, 4)), header + b"\x80\x04Nr\xff\xff\xff\x7f."):
        path.write_bytes(content)
        with pytest.raises(UserError, match="refused: "):
            read_arrays(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a | {"W1": np.ones((7, 3))}, "shapes do not follow"),
        (lambda a: a | {"b0": np.ones(9)}, "shapes do not follow"),
        (lambda a: a | {"W0": np.ones(5)}, r"W0 has the shape \(5,\)"),
        (lambda a: {k: v for k, v in a.items() if k != "b1"}, "no b1"),
        (lambda a: a | {"gamma": np.ones(3)}, "'gamma' is not"),
        (lambda a: a | {"W0": np.full((5, 4), np.nan)}, "not finite"),
        (lambda a: {}, "no W0"),
    ],
)
def test_weights_that_are_no_network_are_one_line(tmp_path, change, words):
    with pytest.raises(UserError, match=words):
        read(save(tmp_path, change(arrays(5, 4, 3)), activation="relu"))


def test_weights_are_turned_and_biases_flattened(tmp_path):
    given = arrays(5, 4, 3, flat=False)
    turned = {name: value.T if name[0] == "W" else value for name, value in given.items()}
    for saved, is_turned in ((given, False), (turned, True)):
        network = read(save(tmp_path, saved, activation="ReLU", hidden_size=[4]))
        assert (network.turned, network.sizes, network.config["activation"]) == (is_turned, (5, 4, 3), "relu")
        np.testing.assert_array_equal(network.layers[1][0], given["W1"])
    with pytest.raises(UserError, match=r"hidden layers have \(4,\) units; best_config.json says"):
        read(save(tmp_path, given, activation="relu", hidden_size=[6]))


def test_a_run_exported_is_the_same_network(run, tmp_path, capsys):
    """In NumPy, from the file alone, on the test set: the figures of summary.json and of --mode=evaluate."""
    path = tmp_path / "best_model.npy"
    assert cli.main(["main.py", "--mode=export", f"--workdir={run}", f"--output={path}"]) == 0
    assert capsys.readouterr().out == f"written to {path} and {tmp_path / 'best_config.json'}\n"
    stored = np.load(path, allow_pickle=True).item()
    config = json.loads((tmp_path / "best_config.json").read_text())
    assert config["hidden_size"] == [12, 9]
    assert config["num_layers"] == 2
    assert config["epochs"] == 3
    images, labels = load_test(load("digits", "", ""))
    h = images / 16
    for i in range(2):
        h = np.maximum(h @ stored[f"W{i}"] + stored[f"b{i}"], 0)
    accuracy = np.mean((h @ stored["W2"] + stored["b2"]).argmax(axis=1) == labels)
    assert config["activation"] == "relu"
    assert accuracy == pytest.approx(json.loads((run / "summary.json").read_text())["test/accuracy"])

    capsys.readouterr()
    assert cli.main(["main.py", "--mode=evaluate", f"--inputs={path}"]) == 0
    assert f"accuracy {accuracy:.2%}" in capsys.readouterr().out

    finding = check_weights(path, "")
    assert finding.verdict == RIGHT
    assert f"accuracy {accuracy:.4f}" in finding.note
    assert "pixels in [0, 1]" in finding.note
    assert cli.main(["main.py", "--mode=check", f"--inputs={path}"]) == 0


def test_the_scale_of_the_inputs_is_found_out(run, tmp_path):
    path = tmp_path / "best_model.npy"
    assert cli.main(["main.py", "--mode=export", f"--workdir={run}", f"--output={path}"]) == 0
    stored = np.load(path, allow_pickle=True).item()
    figure = check_weights(path, "").note.partition("test set")[2]
    stored["W0"] = stored["W0"] / 16
    np.save(path, stored)
    found = check_weights(path, "")
    assert "pixels in [0, 16]" in found.note
    assert found.note.partition("test set")[2] == figure


def test_untrained_weights_are_not_called_right(tmp_path):
    assert check_weights(save(tmp_path, arrays(64, 10, seed=3), dataset="digits"), "").verdict == UNSURE
    finding = check_weights(save(tmp_path, arrays(30, 5, 10), dataset="digits", activation="relu"), "")
    assert (finding.verdict, finding.expected) == (WRONG, "64 inputs and 10 outputs")
    finding = check_weights(save(tmp_path, arrays(64, 5, 10), dataset="digits", activation="swoosh"), "")
    assert finding.verdict == FAILED
    assert "'swoosh'" in finding.note


def test_a_pickle_in_a_submission_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path, {"W0": Attack()})
    (finding,) = marking.submission(tmp_path, 0, "").findings
    assert (finding.item, finding.verdict) == ("best_model.npy", FAILED)
    assert "posix.system" in finding.note or "nt.system" in finding.note
    assert not (tmp_path / "owned").exists()
