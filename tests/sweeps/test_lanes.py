"""A sweep of mixed lanes: the queue's trials, kills and best, in few programs."""

import json

import pytest

from mlp_jax.errors import UserError
from mlp_jax.files import workdir
from mlp_jax.sweeps import sweep
from tests.shared.idx_files import write_idx_folder
from tests.sweeps.test_sweep import config_for, trials


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    monkeypatch.setattr(sweep, "_draw", lambda *arguments: None)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "patterns"
    write_idx_folder(folder)
    return folder


def searching(data, lanes: str, **fields):
    """Nets of two depths and optimizers in batches of two sizes."""
    config = config_for(data, "grid", 8, lanes=lanes, num_epochs=2, **fields)
    config.sweep.parameters = {
        "num_layers": {"values": [1, 2]},
        "hidden_size": {"value": 8},
        "batch_size": {"values": [20, 30]},
        "optimizer": {"values": ["sgd", "adam"]},
    }
    return config


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def assert_same_trials(one, other):
    for a, b in zip(trials(one), trials(other), strict=True):
        assert {key: value for key, value in a.items() if not key.endswith("loss")} == {
            key: value for key, value in b.items() if not key.endswith("loss")
        }
        for name in ("train/loss", "val/loss"):
            assert a[name] == pytest.approx(b[name], rel=1e-5)


def test_the_same_trials_and_best_in_a_program_a_batch_size(data, tmp_path):
    bests = [sweep.run(searching(data, lanes), tmp_path / lanes) for lanes in ("queue", "mixed")]
    assert_same_trials(tmp_path / "mixed", tmp_path / "queue")
    assert bests[0]["name"] == bests[1]["name"]
    assert summary(tmp_path / "mixed").items() >= {"trials": 8, "programs": 2, "device_count": 8}.items()
    assert summary(tmp_path / "queue")["programs"] == 8
    assert summary(tmp_path / "mixed")["seconds"] > summary(tmp_path / "mixed")["compile_seconds"] > 0


class _Killed(BaseException):
    pass


def test_a_mixed_sweep_that_dies_goes_on(data, tmp_path, monkeypatch):
    """What was told is kept, the rest is trained again; the summary counts both starts."""
    monkeypatch.setattr(sweep, "TELL_SECONDS", 0.0)
    config = searching(data, "mixed")
    sweep.run(config, tmp_path / "whole")
    write, told = workdir.write_jsonl, []

    def dying(path, rows):
        told.append(len(rows))
        if len(rows) == 3:
            raise _Killed
        write(path, rows)

    monkeypatch.setattr(workdir, "write_jsonl", dying)
    with pytest.raises(_Killed):
        sweep.run(config, tmp_path / "broken")
    monkeypatch.setattr(workdir, "write_jsonl", write)
    assert summary(tmp_path / "broken")["trials"] == 2
    before = summary(tmp_path / "broken")["seconds"]
    sweep.run(config, tmp_path / "broken")
    assert_same_trials(tmp_path / "broken", tmp_path / "whole")
    assert summary(tmp_path / "broken")["trials"] == 8
    assert summary(tmp_path / "broken")["seconds"] > before
    sweep.run(config, tmp_path / "broken")
    assert_same_trials(tmp_path / "broken", tmp_path / "whole")


@pytest.mark.slow
def test_poor_trials_end_at_the_same_bracket_as_in_the_queue(data, tmp_path):
    early = {"type": "hyperband", "min_iter": 1, "eta": 2}
    for lanes in ("queue", "mixed"):
        config = config_for(data, "grid", 6, early_terminate=early, batch=2, num_epochs=3, lanes=lanes)
        config.sweep.parameters = {
            "hidden_size": {"values": [32, 16]},
            "learning_rate": {"values": [0.03, 1e-7, 1e-6]},
        }
        sweep.run(config, tmp_path / lanes)
    assert_same_trials(tmp_path / "mixed", tmp_path / "queue")
    assert "pruned" in {row["status"] for row in trials(tmp_path / "mixed")}


@pytest.mark.parametrize(
    ("parameter", "values"), [("dropout_rate", [0.0, 0.2]), ("dropout_rate", (0.0, 0.5)), ("norm", ["none", "layer"])]
)
def test_what_cannot_be_mixed_is_refused_before_anything_is_written(parameter, values, data, tmp_path):
    config = searching(data, "mixed")
    ends = {"min": values[0], "max": values[1]} if isinstance(values, tuple) else {"values": values}
    config.sweep.method = "random"
    config.sweep.parameters = {parameter: ends}
    with pytest.raises(UserError, match=f"^{parameter}: .* is not what lanes='mixed' can mix"):
        sweep.run(config, tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()
    config.lanes = "queue"
    sweep._check_lanes(config, sweep.parse(config.sweep.to_dict(), config))
