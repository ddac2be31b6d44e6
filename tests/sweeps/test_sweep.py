"""A sweep from its dictionary to its files: trials are runs, nothing is lost, the test set stays out of reach."""

import json
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from mlp_jax.errors import UserError
from mlp_jax.files import progress, workdir
from mlp_jax.lanes.population import Member
from mlp_jax.runs import run as runs
from mlp_jax.runs.config import check
from mlp_jax.sweeps import sweep
from mlp_jax.sweeps.samplers import Trial
from tests.shared.idx_files import make_arrays, write_idx_folder
from tests.shared.training import small_config

TIMES = ("seconds", "compile_seconds")


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    monkeypatch.setattr(sweep, "_draw", lambda *arguments: None)
    for name in ("write_run_plots", "write_run_report"):
        monkeypatch.setattr(runs.report, name, lambda *arguments: None)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "patterns"
    write_idx_folder(folder)
    return folder


def config_for(data: Path, method: str = "random", cap: int = 6, **fields) -> ConfigDict:
    """A search over learning rate, optimizer and epochs of a small net."""
    parameters = {
        "learning_rate": {"values": [0.003, 0.01, 0.03]},
        "optimizer": {"values": ["SGD", "adam"]},
        "epochs": {"values": [1, 3]},
    }
    search = {"method": method, "metric": {"name": "val_accuracy", "goal": "maximize"}, "parameters": parameters}
    own = small_config(dataset=str(data), hidden_sizes=(8,), batch_size=20, mesh="lanes:2")
    config = ConfigDict({**own.to_dict(), "sweep": {**search, "run_cap": cap}, "storage": ""})
    for name, value in fields.items():
        (config.sweep if name in ("early_terminate", "report_test", "batch") else config)[name] = value
    return config


def trials(folder: Path) -> list[dict]:
    rows = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if not name.startswith(TIMES)} for row in rows]


def test_a_sweep_says_how_far_it_is_before_its_first_trial_ends(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    sweep.run(config_for(data, "grid", 12), tmp_path / "sweep")
    assert capsys.readouterr().err.startswith("0/12 trials: epoch 1 · train ")


def test_every_trial_is_the_run_of_its_config_alone(data, tmp_path, capsys):
    config = config_for(data, "grid", 12)
    best = sweep.run(config, tmp_path / "sweep")
    assert "training on" in capsys.readouterr().out
    assert sweep.run(config, tmp_path / "sweep") == best
    assert "training on" not in capsys.readouterr().out  # a finished sweep has nothing to train
    rows = trials(tmp_path / "sweep")
    assert len(rows) == 12
    assert len({row["name"] for row in rows}) == 12
    for row in [*rows[:4], next(r for r in rows if r["number"] == best["number"])]:
        own = {"learning_rate", "optimizer", "num_epochs"} & set(row["parameters"])
        assert len(own) == 3
        alone = sweep.trial_config(config, row["parameters"])
        alone.mesh = "lanes:1"
        summary = runs.run(alone, tmp_path / row["name"])
        assert summary["val/accuracy"] == row["metric"] == row["val/accuracy"]
        assert summary["best_epoch"] == row["best_epoch"]
        records = [json.loads(line) for line in (tmp_path / row["name"] / "metrics.jsonl").read_text().splitlines()]
        assert records[row["best_epoch"] - 1]["val/loss"] == row["val/loss"]
    assert best["metric"] == max(row["metric"] for row in rows)


def test_trials_that_differ_only_in_epochs_share_a_training_unless_the_schedule_depends_on_them(data):
    space = sweep.parse(config_for(data).sweep.to_dict(), config_for(data), check)
    asked = [Trial(n, {"num_epochs": epochs}) for n, epochs in enumerate((1, 3, 2))]
    shared = sweep._trainings(config_for(data), space, asked)
    assert [(one.members[0].config.num_epochs, len(one.trials)) for one in shared] == [(3, 3)]
    cosine = sweep._trainings(config_for(data, schedule="cosine"), space, asked)
    assert [(one.members[0].config.num_epochs, len(one.trials)) for one in cosine] == [(1, 1), (3, 1), (2, 1)]


class _Killed(BaseException):
    pass


EARLY = {"type": "hyperband", "min_iter": 1, "eta": 2}
SLOW_DEATHS = [pytest.param("random", call, {}, marks=pytest.mark.slow) for call in (1, 4)]
SLOW_DEATHS += [pytest.param("random", call, EARLY, marks=pytest.mark.slow) for call in (1, 3, 4)]


@pytest.mark.parametrize(("method", "call", "early"), [*SLOW_DEATHS, ("bayes", 3, {})])
def test_a_sweep_that_dies_and_goes_on_is_the_undisturbed_one(method, call, early, data, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "TELL_SECONDS", 0.0)
    config = config_for(data, method, batch=6 if early else 3, early_terminate=early)
    sweep.run(config, tmp_path / "whole")
    write, calls = workdir.write_jsonl, []

    def dying(path, rows):
        calls.append(len(rows))
        if len(calls) == call:
            raise _Killed
        write(path, rows)

    monkeypatch.setattr(workdir, "write_jsonl", dying)
    with pytest.raises(_Killed):
        sweep.run(config, tmp_path / "broken")
    sweep.run(config, tmp_path / "broken")
    assert trials(tmp_path / "broken") == trials(tmp_path / "whole")
    assert len(trials(tmp_path / "whole")) == 6


def test_the_test_set_is_out_of_reach_of_a_sweep(data, tmp_path):
    permuted = make_arrays()
    permuted["t10k-labels"] = np.random.default_rng(5).permutation(permuted["t10k-labels"])
    for name, arrays in (("plain", make_arrays()), ("permuted", permuted)):
        write_idx_folder(tmp_path / "patterns", arrays)
        sweep.run(config_for(tmp_path / "patterns", report_test=name == "permuted"), tmp_path / name / "sweep")
    plain, other = trials(tmp_path / "plain/sweep"), trials(tmp_path / "permuted/sweep")
    assert all("test/accuracy" not in row for row in plain)
    assert all(0 <= row.pop("test/accuracy") <= 1 for row in other)
    assert plain == other
    bests = []
    for name in ("plain", "permuted"):
        best = json.loads((tmp_path / name / "sweep/best.json").read_text())
        assert "test/accuracy" not in best
        bests.append({key: value for key, value in best.items() if key != "seconds"})
    assert bests[0] == bests[1]


def test_a_diverged_trial_is_marked_and_never_best(data, tmp_path):
    config = config_for(data, "grid", 6)
    config.sweep.parameters = {"learning_rate": {"values": [1e25, 0.01]}, "optimizer": {"values": ["sgd"]}}
    sweep.run(config, tmp_path / "sweep")
    rows = {row["parameters"]["learning_rate"]: row for row in trials(tmp_path / "sweep")}
    assert rows[1e25]["status"] == "diverged"
    assert rows[1e25]["metric"] is None
    assert json.loads((tmp_path / "sweep/best.json").read_text())["parameters"]["learning_rate"] == 0.01


@pytest.mark.parametrize("batch", [0, 2])
def test_early_termination_ends_poor_trials_at_a_bracket(batch, data, tmp_path, capsys):
    early = {"type": "hyperband", "min_iter": 2, "eta": 2}
    config = config_for(data, "grid", 5, early_terminate=early, batch=batch, num_epochs=3, hidden_sizes=(32,))
    config.sweep.parameters = {"learning_rate": {"values": [0.03, 0.02, 1e-7, 0.025, 1e-6]}}
    sweep.run(config, tmp_path / "sweep")
    rows = {row["parameters"]["learning_rate"]: row for row in trials(tmp_path / "sweep")}
    assert {rate: row["status"] == "pruned" for rate, row in rows.items()} == {rate: rate < 0.01 for rate in rows}
    assert {rate: row["num_epochs"] for rate, row in rows.items()} == {rate: 2 if rate < 0.01 else 3 for rate in rows}
    assert all(len(row["curve"]) == row["num_epochs"] for row in rows.values())
    said = capsys.readouterr().out.splitlines()[-1]
    assert "; 2 of 5 trials stopped early; see " in said
    assert said.endswith(str(tmp_path / "sweep" / "report.html"))


def test_a_curve_is_the_validation_accuracies_or_the_loss_that_is_the_metric(data, tmp_path):
    config = config_for(data, "grid", 1)
    config.sweep.parameters = {"learning_rate": {"values": [0.01, 0.03]}}
    names = {"train/accuracy": "val/accuracy", "val/loss": "val/loss"}
    for number, (metric, logged) in enumerate(names.items()):
        config.sweep.metric = {"name": metric}
        sweep.run(config, tmp_path / f"sweep{number}")
        (row,) = trials(tmp_path / f"sweep{number}")
        alone = sweep.trial_config(config, row["parameters"] | {"mesh": "lanes:1"})
        runs.run(alone, tmp_path / f"run{number}")
        lines = (tmp_path / f"run{number}/metrics.jsonl").read_text().splitlines()
        assert row["curve"] == [json.loads(line)[logged] for line in lines]


def test_a_trial_that_shares_a_training_and_ends_before_it_diverges_has_finished(data):
    figures = dict.fromkeys(("train/loss", "train/accuracy", "val/loss", "val/accuracy"), 0.5)
    records = tuple({"epoch": epoch, "seconds": 0.1, **figures} for epoch in (1, 2))
    member = Member(config_for(data), None, records, diverged=True)
    space = sweep.parse(config_for(data).sweep.to_dict(), config_for(data), check)
    short, long = (sweep._outcome(space, [member], epochs, pruned=False) for epochs in (1, 3))
    assert (short.value, short.result["num_epochs"]) == (0.5, 1)
    assert not np.isfinite(long.value)
    assert long.history == long.result["curve"] == [0.5]  # up to the epoch before


def test_seeds_are_one_more_axis(data, tmp_path):
    config = config_for(data, "grid", 2, seeds=2)
    config.sweep.parameters = {"learning_rate": {"values": [0.003, 0.03]}}
    sweep.run(config, tmp_path / "sweep")
    for row in trials(tmp_path / "sweep"):
        singles = []
        for seed in (0, 1):
            alone = sweep.trial_config(config, {**row["parameters"], "seed": seed, "seeds": 1, "mesh": "lanes:1"})
            runs.run(alone, tmp_path / f"{row['name']}-{seed}")
            lines = (tmp_path / f"{row['name']}-{seed}/metrics.jsonl").read_text().splitlines()
            singles.append([json.loads(line)["val/accuracy"] for line in lines])
        assert row["metric"] == pytest.approx(np.max(np.mean(singles, axis=0)))


def test_the_best_is_trained_on_everything_for_the_epochs_that_validation_chose(data, tmp_path):
    config = config_for(data)
    best = sweep.run(config, tmp_path / "sweep")
    (tmp_path / "sweep/best").mkdir()
    (tmp_path / "sweep/best/report.html").touch()  # runs draw nothing here
    summary = sweep.best(config, tmp_path / "sweep")
    assert 'href="best/report.html"' in (tmp_path / "sweep/report.html").read_text(encoding="utf-8")
    final = json.loads((tmp_path / "sweep/best/config.json").read_text())
    assert final["val_fraction"] == 0
    assert final["num_epochs"] == best["best_epoch"]
    assert final["learning_rate"] == best["parameters"]["learning_rate"]
    assert summary["val/accuracy"] is None
    assert summary["best_epoch"] == best["best_epoch"]


def test_best_of_no_sweep_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"no best\.json"):
        sweep.best(small_config(), tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": {"learning_rat": {"values": [1]}}},
        {"parameters": {"learning_rate": {"min": 1.0, "max": 0.1}}},
        {"parameters": {"learning_rate": {"min": 0.1, "max": 1.0}}, "method": "grid"},
        {"metric": {"name": "val_f1", "goal": "maximize"}},
        {"parameters": {"optimizer": {"values": ["adamw"]}}},
    ],
)
def test_a_sweep_that_makes_no_sense_leaves_no_workdir(change, data, tmp_path):
    config = config_for(data)
    config.sweep = {**config.sweep.to_dict(), **change}
    with pytest.raises(UserError):
        sweep.run(config, tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


def test_the_work_left_of_a_sweep_counts_what_each_trial_costs():
    # Of ten trials two had ended before; of the eight left four are known, of which the dearest has been done.
    assert sweep._left(10, 2, [1.0, 1.0, 1.0, 5.0], 5.0) == pytest.approx(0.8 * (1 - 5 / 16))
    assert sweep._left(4, 0, [1.0, 3.0, 2.0, 2.0], 8.0) == 0
    assert sweep._left(None, 0, [1.0], 1.0) is None
