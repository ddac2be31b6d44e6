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
        losses = {name for name in a if name.endswith("loss")}  # none of a trial that diverged
        assert a == b | {name: pytest.approx(b[name], rel=1e-5) for name in losses & b.keys()}


def test_the_same_trials_and_best_in_a_program_a_batch_size(data, tmp_path):
    bests = [sweep.run(searching(data, lanes), tmp_path / lanes) for lanes in ("queue", "mixed")]
    assert_same_trials(tmp_path / "mixed", tmp_path / "queue")
    assert bests[0]["name"] == bests[1]["name"]
    assert summary(tmp_path / "mixed").items() >= {"trials": 8, "programs": 2, "device_count": 8}.items()
    assert summary(tmp_path / "queue")["programs"] == 8
    assert summary(tmp_path / "mixed")["seconds"] > summary(tmp_path / "mixed")["compile_seconds"] > 0


class _Killed(BaseException):
    pass


def killed(config, folder, monkeypatch, call: int) -> None:
    """A sweep that tells each trial by itself, and dies as it writes what the `call`-th left."""
    write, told = workdir.write_jsonl, []

    def dying(path, rows):
        told.append(len(rows))
        if len(told) == call:
            raise _Killed
        write(path, rows)

    with monkeypatch.context() as patched:
        patched.setattr(sweep, "TELL_SECONDS", 0.0)
        patched.setattr(workdir, "write_jsonl", dying)
        with pytest.raises(_Killed):
            sweep.run(config, folder)


def test_a_mixed_sweep_that_dies_goes_on(data, tmp_path, monkeypatch):
    """What was told is kept, the rest is trained again; the summary counts both starts."""
    config = searching(data, "mixed")
    sweep.run(config, tmp_path / "whole")
    killed(config, tmp_path / "broken", monkeypatch, 3)
    assert summary(tmp_path / "broken")["trials"] == 2
    before = summary(tmp_path / "broken")["seconds"]
    sweep.run(config, tmp_path / "broken")
    assert_same_trials(tmp_path / "broken", tmp_path / "whole")
    assert summary(tmp_path / "broken")["trials"] == 8
    assert summary(tmp_path / "broken")["seconds"] > before
    sweep.run(config, tmp_path / "broken")
    assert_same_trials(tmp_path / "broken", tmp_path / "whole")


def of_every_end(data, lanes: str):
    """Trials that go on to the end, stop early, are ended at a bracket, or diverge; three at a time."""
    early = {"type": "hyperband", "min_iter": 1, "eta": 2}
    config = config_for(data, "grid", 9, early_terminate=early, batch=3, num_epochs=5, early_stopping=2, lanes=lanes)
    config.sweep.parameters = {
        "hidden_size": {"values": [32, 24, 16]},
        "learning_rate": {"values": [0.01, 1e-7, 1e25]},
    }
    return config


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sweep, "_draw", lambda *arguments: None)
        best = sweep.run(of_every_end(data, "queue"), folder)
    return folder, best["name"]


@pytest.mark.slow
def test_the_trials_of_the_queue_end_in_every_way(whole):
    """Or the tests below would compare nothing."""
    rows = trials(whole[0])
    assert {row["status"] for row in rows} == {"finished", "pruned", "diverged"}
    assert {row["num_epochs"] for row in rows if row["status"] == "finished"} >= {5}
    assert any(row["num_epochs"] < 5 for row in rows if row["status"] == "finished")


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [("", "mixed"), ("mixed", "queue"), ("queue", "mixed")])
@pytest.mark.parametrize("call", [2, 5])
def test_trials_end_as_in_the_queue_whatever_trains_them(call, first, then, whole, data, tmp_path, monkeypatch):
    """Also where a sweep dies under one way and goes on under the other."""
    if first:
        killed(of_every_end(data, first), tmp_path, monkeypatch, call)
    best = sweep.run(of_every_end(data, then), tmp_path)
    assert_same_trials(tmp_path, whole[0])
    assert best["name"] == whole[1]


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
