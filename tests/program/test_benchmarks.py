"""The benchmarks' arithmetic: what is reached, what fell, the FLOPs of a step. No timings."""

import os
import re
from itertools import product

import numpy as np
import pytest

from benchmarks import measure, reach, records, results, sweep, sweep_peers
from benchmarks.jobs import Job
from configs import sweep_random
from mlp_jax.data import datasets
from mlp_jax.sweeps.dialect import parse
from mlp_jax.sweeps.study import open_study


@pytest.mark.parametrize(
    ("value", "more", "aim", "expected"),
    [
        (2.2, True, 2.2, "reached"),
        (1.1, True, 2.2, "falls short by 50%"),
        (700, False, 700, "reached"),
        (1050, False, 700, "falls short by 50%"),
        (None, True, 1, "not measured"),
    ],
)
def test_a_verdict_is_computed_from_the_figure(value, more, aim, expected):
    assert reach.verdict(value, more, aim) == expected


def test_a_busy_machine_is_not_judged():
    # A share of a peak that was itself measured under load would otherwise look like a success.
    result = {"machine": {"cores": 2, "load": "14.6"}, "batch 32": {"ours": {"share_of_peak": 0.82}}}
    row = next(line for line in reach.table(result) if "batch 32 | ≥ 0.35" in line)
    assert "0.82" in row
    assert "not judged" in row
    idle = result | {"machine": {"cores": 2, "load": "0.4"}}
    assert "reached" in next(line for line in reach.table(idle) if "batch 32 | ≥ 0.35" in line)
    assert reach.fallen(result, idle) == ["Nothing is compared: one of the two results is of a busy machine."]


def test_only_a_fall_of_more_than_a_fifth_is_told():
    keras = "Optuna with Keras 3 on JAX"

    def result(ratio, megabytes, start):
        rows = {keras: {"times_ours": ratio}, sweep.OURS: {"peak_mb": megabytes}}
        return {"sweep": rows, "start-up": {"warm": start}}

    assert reach.fallen(result(1.5, 1300, 9), result(2.0, 1000, 1)) == [
        f"sweep: {keras}: times_ours fell by 25%: 2 before, 1.5 now",
        f"sweep: {sweep.OURS}: peak_mb fell by 23%: 1e+03 before, 1.3e+03 now",
    ]
    assert not reach.fallen(result(1.7, 1200, 1), result(2.0, 1000, 1))


def test_the_peak_is_the_better_of_a_look_before_and_one_after(monkeypatch):
    looks = iter([100.0, 80.0, 80.0, 160.0])
    monkeypatch.setattr(measure, "peak", lambda: next(looks))
    for share in (0.4, 0.25):
        rows = measure.beside_peak(lambda: {"ours": {"gflops": 40.0}, "a peer": {"absent": "not installed"}})
        assert rows["ours"]["share_of_peak"] == share
        assert rows["a peer"] == {"absent": "not installed"}


def test_a_step_s_useful_flops_are_those_counted_by_hand():
    # Forward and weight gradients over all layers, input gradients over all but the first.
    layers = [(784, 128), (128, 128), (128, 128), (128, 10)]
    by_hand = sum(2 * 32 * a * b * (2 if a == 784 else 3) for a, b in layers)
    assert Job(32, 32).flops == by_hand
    assert np.isclose(by_hand, 19.4e6, rtol=0.01)


def test_the_sweep_s_trials_are_those_that_our_own_study_hands_out(tmp_path):
    config = sweep_random.get_config()
    space, chosen = sweep.trials(60)
    study = open_study(parse(config.sweep.to_dict(), config), tmp_path, "", config.seed)
    assert [trial.params for trial in study.ask(2)] == chosen
    study.close()
    grid = set(product(*space.values()))
    assert len(grid) == 11_664
    assert len({tuple(params[field] for field in space) for params in chosen} & grid) == 60


def test_a_peer_s_worker_trains_those_trials_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None, raising=False)
    got = []

    class Peer:
        def __init__(self, trial, inputs):
            got.append(trial)

        def fit(self, training, validation, epochs):
            assert training[0].max() == 1
            assert len(validation[1]) == 2
            return [0.5 + 0.01 * len(got), *[0.1] * (epochs - 1)]

    np.savez(
        tmp_path / "data.npz", np.full((4, 9), 255, np.uint8), np.zeros(4), np.zeros((2, 9), np.uint8), np.zeros(2)
    )
    study = sweep.enqueue(tmp_path, 5)
    sweep_peers.work(Peer, tmp_path, 0)
    assert got == sweep.trials(5)[1]
    assert [trial.value for trial in study.trials if trial.value is not None] == [0.51, 0.52, 0.53, 0.54, 0.55]


def test_a_contestant_of_other_trials_is_not_set_beside_ours():
    ours = {"trials": 60, "examples": 60_000, "seconds": 100.0}
    keras, torch = (sweep.CONTESTANTS[who][0] for who in ("keras", "torch"))
    rows = {torch: ours | {"seconds": 650.0}, keras: ours | {"trials": 2}, sweep.OURS: ours}
    assert {name: row["times_ours"] for name, row in sweep.beside_ours(rows).items()} == {sweep.OURS: 1, torch: 6.5}


@pytest.mark.parametrize("name", results.BEGIN)
def test_the_pages_say_what_was_measured(name):
    """Every figure between the marks is of the JSON; where nothing was measured nothing stands there."""
    measured = results.read(results.ROOT / "benchmarks/results" / f"{name}.json")
    for page, expected in ((results.PAGE, results.lines), (results.README, lambda result: [results.headline(result)])):
        _, mark, rest = page.read_text().partition(results.BEGIN[name])
        if page == results.PAGE or name == "sweep":
            assert mark
            assert rest.partition(results.END)[0].strip() == ("\n".join(expected(measured)) if measured else "")


def test_readme_s_sentence_has_its_figures_from_the_rows():
    ours = {"trials": 60, "seconds": 120.0, "models_per_hour": 1800.0, "times_ours": 1.0}
    rows = {
        sweep.OURS: ours,
        "Optuna with PyTorch": ours | {"times_ours": 6.54},
        "Optuna with Keras": {"absent": "no keras"},
    }
    said = results.headline({"machine": {"cores": 2, "device": "cpu (X)"}, "sweep": rows}).replace("\n", " ")
    assert said.startswith("**1,800 models an hour** on 2 cores, cpu (X): 60 random trials")
    assert "in 2.0 minutes. The same takes Optuna with PyTorch 6.5 × as long (" in said


def test_every_image_is_permuted_the_same_way(tmp_path):
    records.permute("digits", tmp_path / "permuted.npz")
    before, after = (datasets.load(name, "", "") for name in ("digits", str(tmp_path / "permuted.npz")))
    assert after.image_shape == (8, 8)
    assert (after.train_labels == before.train_labels).all()
    images = [np.concatenate([d.train_images, d.read_test()[0]]) for d in (before, after)]
    columns = [{pixel.tobytes() for pixel in np.ascontiguousarray(each.T)} for each in images]
    assert columns[0] == columns[1]
    assert (images[0] != images[1]).any(axis=1).all()


def _row(mark, name):
    """The cells of a row of RESULTS.md; none where there is no such row."""
    part = records.PAGE.read_text().partition(mark)[2].partition(results.END)[0]
    rows = [line.split(" | ") for line in part.splitlines() if line.startswith(f"| `{name}` ")]
    assert len(rows) <= 1
    return rows[0] if rows else []


def _numbers(cell):
    return [float(number) for number in re.findall(r"[\d.]+", cell)]


def _seeds(name):
    """Test accuracies in percent as they are kept."""
    kept = results.read(records.RESULTS / f"{name}.json")
    return [100 * seed["test/accuracy"] for seed in kept["summary"]["seeds"]] if kept else []


@pytest.mark.parametrize("name", records.RECORDS)
def test_the_leaderboard_says_what_the_seeds_gave(name):
    """Mean and deviation are of the seeds in the file, and the verdict is on the mean."""
    entry, row, seeds = records.RECORDS[name], _row(records.BOARD, name), _seeds(records.RECORDS[name].kept or name)
    assert bool(row) == bool(seeds)
    if not row:
        return
    expected = [np.mean(seeds), np.std(seeds, ddof=1), len(seeds)]
    if entry.kept:
        summary = results.read(records.RESULTS / f"{entry.kept}.json")["summary"]
        expected = [100 * summary["test/ensemble_accuracy"]]
    assert _numbers(row[4]) == pytest.approx(expected, abs=0.00501)
    if entry.goal is None:
        assert row[5] == "–"
    elif expected[0] >= entry.goal:
        assert row[5] == "reached"
    else:
        assert row[5].endswith("points short")
        assert _numbers(row[5]) == pytest.approx([entry.goal - expected[0]], abs=0.00501)


@pytest.mark.parametrize("name", [name for name, entry in records.RECORDS.items() if not entry.kept])
def test_other_seeds_agree_as_the_page_says(name):
    """Means of n seeds are apart by at most 3·sd·√(2/n)."""
    row, seeds, others = _row(records.OTHERS, name), _seeds(name), _seeds(f"{name}_others")
    assert bool(row) == bool(others)
    if row:
        apart, allowed = abs(np.mean(seeds) - np.mean(others)), 3 * np.std(seeds, ddof=1) * np.sqrt(2 / len(seeds))
        assert _numbers(row[4] + " " + row[5]) == pytest.approx([apart, allowed], abs=0.00501)
        assert apart <= allowed
