"""A study: claimed once, told once, found again after a kill, shared, and never quietly damaged."""

import hashlib
import itertools
import json
import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from configs import default
from mlp_jax.errors import UserError
from mlp_jax.sweeps import database, storage
from mlp_jax.sweeps import samplers as proposals
from mlp_jax.sweeps.dialect import parse
from mlp_jax.sweeps.space import Space
from mlp_jax.sweeps.study import Outcome, Study, Trial, open_study

SMALL = {
    "activation": {"values": ["relu", "tanh", "sigmoid"]},
    "batch_size": {"values": [16, 32]},
    "num_epochs": {"values": [1, 2, 3, 4]},
    "layers": {"values": [1, 2]},
}
HEAD: list[str] = []  # the version of the tables of the Optuna that is installed
EARLY = {"type": "hyperband", "min_iter": 1, "eta": 2}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the ten scripts that Optuna loads whenever a study is opened, to learn the version of its tables."""
    from optuna.storages._rdb.storage import _VersionManager

    original = _VersionManager.get_head_version

    def once(manager: object) -> str:
        if not HEAD:
            HEAD.append(original(manager))
        return HEAD[0]

    monkeypatch.setattr(_VersionManager, "get_head_version", once)


def space(method: str = "random", **sweep: object) -> Space:
    return parse({"method": method, "parameters": SMALL, "run_cap": 20, **sweep}, default.get_config())


def value(trial: Trial) -> float:
    """What a trial scores: some function of its parameters; one in nine diverges."""
    digest = hashlib.sha256(json.dumps(trial.overrides, sort_keys=True).encode()).digest()
    return math.nan if digest[0] % 9 == 0 else digest[1] / 255


def outcome(study: Study, trial: Trial) -> Outcome:
    """Trains it, so to speak: its metric comes nearer to its value with every epoch."""
    history: list[float] = []
    for epoch in range(1, trial.overrides["num_epochs"] + 1):
        history.append(value(trial) * epoch / 4)
        if study.should_stop(trial, history):
            return Outcome(history[-1], True, history, {"epochs": epoch})
    return Outcome(history[-1], False, history, {"epochs": len(history)})


def run(study: Study, batch: int = 4) -> Study:
    """To the end, as a sweep would."""
    while not study.finished():
        study.tell([(trial, outcome(study, trial)) for trial in study.ask(batch)])
    return study


def shared(path: Path) -> str:
    return f"sqlite:///{path / 'shared.db'}"


def make_silent(path: Path, seconds: float) -> None:
    """Moves every heartbeat into the past."""
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE trial_heartbeats SET heartbeat = datetime(heartbeat, '-{seconds} seconds')")
    connection.close()


# ---- one worker


@pytest.mark.parametrize("method", ["grid", "random", "bayes"])
def test_a_study_ends_with_as_many_different_trials_as_there_are(method: str, tmp_path: Path) -> None:
    study = run(open_study(space(method, run_cap=0), tmp_path), batch=7)
    rows = study.trials()
    assert [row["number"] for row in rows] == list(range(48))
    assert len({row["name"] for row in rows}) == 48
    assert len({json.dumps(row["parameters"]) for row in rows}) == 48
    assert study.ask(5) == []
    study.close()


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_run_cap_holds_and_may_grow(method: str, tmp_path: Path) -> None:
    study = run(open_study(space(method, run_cap=10), tmp_path))
    before = study.trials()
    assert len(before) == 10
    study.close()
    study = open_study(space(method, run_cap=13), tmp_path)
    assert study.trials() == before
    assert len(run(study).trials()) == 13
    assert study.trials()[:10] == before
    study.close()


def test_what_a_trial_and_a_row_hold(tmp_path: Path) -> None:
    study = open_study(space("grid"), tmp_path)
    trial, other = study.ask(2)
    assert trial.params == {"num_layers": 1, "batch_size": 16, "activation": "relu", "num_epochs": 1}
    assert trial.overrides == {"batch_size": 16, "activation": "relu", "num_epochs": 1, "hidden_sizes": (128,)}
    assert (trial.number, trial.name) == (0, "hl_1_bs_16_ac_relu_ep_1")
    assert study.trials() == []
    assert study.best() is None
    study.tell([(trial, Outcome(0.25, result={"seconds": 1.5, "loss": math.nan, "curve": [1.0, math.inf]}))])
    assert study.trials() == [
        {
            "number": 0,
            "name": "hl_1_bs_16_ac_relu_ep_1",
            "parameters": trial.params,
            "metric": 0.25,
            "status": "finished",
            "seconds": 1.5,
            "loss": None,
            "curve": [1.0, None],
        }
    ]
    study.tell([(other, Outcome(0.25))])
    assert study.best()["number"] == 0
    assert study.best()["config"] == trial.overrides
    assert study.ask(0) == []
    assert not study.finished()
    study.close()


def test_best_follows_the_goal(tmp_path: Path) -> None:
    study = open_study(space("grid", metric={"name": "val/loss", "goal": "minimize"}), tmp_path)
    study.tell(list(zip(study.ask(4), map(Outcome, (0.5, 0.1, math.inf, 0.1)), strict=True)))
    assert study.best()["number"] == 1
    study.close()


def test_a_diverged_trial_is_told_as_the_worst_and_never_as_failed(tmp_path: Path) -> None:
    import optuna

    study = open_study(space("grid"), tmp_path)
    first = study.ask(2)
    study.tell(list(zip(first, map(Outcome, (0.5, 0.3)), strict=True)))
    second = study.ask(3)
    study.tell(list(zip(second, map(Outcome, (math.nan, 0.4, -math.inf)), strict=True)))
    rows = study.trials()
    assert [(row["status"], row["metric"]) for row in rows[2:]] == [
        ("diverged", None),
        ("finished", 0.4),
        ("diverged", None),
    ]
    assert study.best()["number"] == 0
    study.close()
    stored = optuna.load_study(study_name="sweep", storage=f"sqlite:///{tmp_path}/study.db").trials
    assert [trial.value for trial in stored] == [0.5, 0.3, 0.3, 0.4, 0.3]
    assert {trial.state.name for trial in stored} == {"COMPLETE"}


def test_a_trial_that_was_ended_early_is_not_the_worst_of_its_batch(tmp_path: Path) -> None:
    study = open_study(space("grid"), tmp_path)
    outcomes = Outcome(0.5), Outcome(0.1, pruned=True), Outcome(math.nan)
    study.tell(list(zip(study.ask(3), outcomes, strict=True)))
    assert [row.value for row in study.storage.rows()] == [0.5, 0.1, 0.5]
    study.close()


def test_a_target_ends_the_study(tmp_path: Path) -> None:
    for number, (goal, values) in enumerate(
        (("maximize", (0.1, 0.9)), ("minimize", (0.9, 0.1)), ("maximize", (0.1, 0.5)), ("minimize", (0.9, 0.5)))
    ):
        search = space("grid", metric={"name": "val/accuracy", "goal": goal, "target": 0.5})
        study = open_study(search, tmp_path / str(number))
        for found in values:
            (trial,) = study.ask(1)
            study.tell([(trial, Outcome(found))])
        assert study.ask(1) == []
        assert study.finished()
        study.close()


def test_test_accuracy_is_out_of_reach_of_search_pruning_and_best(tmp_path: Path) -> None:
    found = []
    for name, sign in (("a", 1), ("b", -1), ("c", 0)):
        study = open_study(space("bayes", early_terminate=EARLY), tmp_path / name)
        while not study.finished():
            told = [(trial, outcome(study, trial)) for trial in study.ask(4)]
            accuracy = {t.number: (t.number * sign) % 20 / 20 if sign else None for t, _ in told}
            study.tell([(t, Outcome(o.value, o.pruned, o.history, o.result, accuracy[t.number])) for t, o in told])
        found.append((study.trials(), study.best(), study.importance()))
        wanted = {number: (number * sign) % 20 / 20 for number in range(20)} if sign else {}
        assert study.test_accuracies() == wanted
        study.close()
    assert found[0] == found[1] == found[2]
    assert "test" not in json.dumps(found[0])


def test_optuna_reads_what_is_written(tmp_path: Path) -> None:
    import optuna

    parameters = SMALL | {
        "lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2},
        "seed": {"distribution": "q_uniform", "min": 3, "max": 9, "q": 3},
        "dropout": {"distribution": "q_uniform", "min": 0.1, "max": 0.5, "q": 0.1},
    }
    search = space("random", parameters=parameters, early_terminate=EARLY, name="mine")
    study = run(open_study(search, tmp_path))
    rows = study.trials()
    study.ask(1)
    study.close()
    loaded = optuna.load_study(study_name="mine", storage=f"sqlite:///{tmp_path}/study.db")
    states = {"finished": "COMPLETE", "diverged": "COMPLETE", "pruned": "PRUNED"}
    assert {row["status"] for row in rows} == set(states)
    for trial, row in zip(loaded.trials, rows, strict=True):
        assert (trial.number, trial.params) == (row["number"], row["parameters"])
        assert trial.state.name == states[row["status"]]
        assert trial.user_attrs["name"] == row["name"]
        assert trial.datetime_complete >= trial.datetime_start
        if row["metric"] is not None:
            assert trial.value == row["metric"]
        assert set(trial.intermediate_values) <= {1, 2, 4}
    assert loaded.best_value == study_best(rows)
    assert loaded.trials[0].distributions["learning_rate"].log
    loaded.ask()  # and writes beside it


def study_best(rows: list[dict]) -> float:
    return max(row["metric"] for row in rows if row["status"] == "finished")


# ---- early_terminate


def test_stopping_does_not_depend_on_the_order_in_which_lanes_get_there(tmp_path: Path) -> None:
    results = []
    for name, order in (("a", 1), ("b", -1)):
        study = open_study(space("random", early_terminate=EARLY), tmp_path / name)
        while not study.finished():
            trials = study.ask(5)[::order]
            for trial in trials:  # each told as soon as it has ended
                study.tell([(trial, outcome(study, trial))])
        results.append(study.trials())
        study.close()
    assert results[0] == results[1]
    assert 2 <= sum(row["status"] == "pruned" for row in results[0]) <= 12


def test_what_is_kept_of_a_history_are_the_epochs_of_the_brackets(tmp_path: Path) -> None:
    study = open_study(space("grid", early_terminate=EARLY), tmp_path)
    (trial,) = study.ask(1)
    study.tell([(trial, Outcome(0.5, history=(0.1, 0.2, 0.3, math.nan, 0.5)))])
    (row,) = study.storage.rows()
    assert row.at_brackets == {1: 0.1, 2: 0.2}  # and 4, were it a number
    study.close()


def test_the_first_batch_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    study = open_study(space("grid", early_terminate=EARLY), tmp_path)
    assert not any(study.should_stop(trial, [0.0]) for trial in study.ask(3))
    study.close()


# ---- a study killed and started again


class Killed(BaseException):
    """What a kill looks like from within."""


def run_with_kills(search: Space, path: Path, kills: set[int]) -> list[dict]:
    """Runs to the end, but dies at the given steps (each ask and each tell of one trial is one), and starts again."""
    steps = itertools.count()

    def step() -> None:
        if next(steps) in kills:
            raise Killed

    while True:
        study = open_study(search, path, seed=7)
        try:
            while not study.finished():
                step()
                trials = study.ask(4)
                step()
                for trial in trials:
                    result = outcome(study, trial)
                    step()
                    study.tell([(trial, result)])
            return study.trials()
        except Killed:
            study.storage.engine.dispose()  # nothing else is said or written


@pytest.mark.parametrize("method", ["grid", "random", "bayes"])
def test_killed_anywhere_it_is_the_undisturbed_study(method: str, tmp_path: Path) -> None:
    search = space(method, early_terminate=EARLY, run_cap=14)
    undisturbed = run_with_kills(search, tmp_path / "undisturbed", set())
    assert len(undisturbed) == 14
    for attempt in range(2):
        kills = set(random.Random(attempt).sample(range(30), 6))
        assert run_with_kills(search, tmp_path / str(attempt), kills) == undisturbed
    assert run_with_kills(search, tmp_path / "all", set(range(1, 40, 3))) == undisturbed


def test_running_trials_come_back_before_new_ones_under_their_own_numbers(tmp_path: Path) -> None:
    study = open_study(space("bayes"), tmp_path)
    asked = study.ask(5)
    study.tell([(asked[1], Outcome(0.5))])
    study.storage.engine.dispose()
    study = open_study(space("bayes"), tmp_path)
    assert not study.finished()
    back = study.ask(3) + study.ask(3)
    assert [trial.number for trial in back] == [0, 2, 3, 4]
    assert [trial.params for trial in back] == [asked[n].params for n in (0, 2, 3, 4)]
    assert [trial.number for trial in study.ask(2)] == [5, 6]
    study.close()


def test_a_batch_is_claimed_at_once_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = open_study(space("random"), tmp_path)

    def die(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(study.storage, "_add_attributes", die)
    with pytest.raises(Killed):
        study.ask(4)
    study.storage.engine.dispose()
    study = open_study(space("random"), tmp_path)
    assert study.storage.running() == 0
    assert [trial.number for trial in study.ask(4)] == [0, 1, 2, 3]
    study.close()


WORKER = """
import sys
from pathlib import Path
from tests.sweeps.test_study import EARLY, open_study, run, space
study = open_study(space(sys.argv[2], early_terminate=EARLY), Path(sys.argv[1]), seed=7)
print("open", flush=True)
run(study)
study.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["random", "bayes"])
def test_kill_minus_nine_at_random_moments(method: str, tmp_path: Path) -> None:
    search = space(method, early_terminate=EARLY)
    undisturbed = run(open_study(search, tmp_path / "undisturbed", seed=7)).trials()
    chance = random.Random(0)
    path = tmp_path / "killed"
    command = [sys.executable, "-c", WORKER, str(path), method]
    for _ in range(8):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        time.sleep(chance.random() * 0.25)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    subprocess.run(command, check=True, capture_output=True)
    study = open_study(search, path, seed=7)
    assert study.trials() == undisturbed
    study.close()


# ---- several workers on one study


def test_workers_share_a_study_and_no_trial_is_lost_or_done_twice(tmp_path: Path) -> None:
    for method in ("grid", "random", "bayes"):
        search = space(method, name=method)
        workers = [open_study(search, tmp_path / name, shared(tmp_path)) for name in "abc"]
        asked: list[int] = []
        while not all(study.finished() for study in workers):
            batches = [(study, study.ask(2)) for study in workers]
            for study, trials in batches:
                asked += [trial.number for trial in trials]
                study.tell([(trial, outcome(study, trial)) for trial in trials])
        assert sorted(asked) == list(range(20))
        rows = workers[0].trials()
        assert rows == workers[1].trials() == workers[2].trials()
        assert len({json.dumps(row["parameters"]) for row in rows}) == 20
        for study in workers:
            study.close()


def test_claims_made_meanwhile_are_not_repeated_by_bayes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (open_study(space("bayes", run_cap=48), tmp_path / name, shared(tmp_path)) for name in "ab")
    thought_out = proposals.bayes
    one.tell([(trial, outcome(one, trial)) for trial in one.ask(30)])

    def slow(*given: object) -> list[dict]:
        monkeypatch.setattr(proposals, "bayes", thought_out)
        theirs.extend(two.ask(12))
        return thought_out(*given)

    theirs: list[Trial] = []
    monkeypatch.setattr(proposals, "bayes", slow)
    mine = one.ask(12)
    assert len(theirs) == 12
    assert len(mine) == 6
    assert (
        len({json.dumps(t.params) for t in mine + theirs} | {json.dumps(r["parameters"]) for r in one.trials()}) == 48
    )
    one.close()
    two.close()


def test_claims_made_meanwhile_count_towards_the_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (open_study(space("bayes", run_cap=20), tmp_path / name, shared(tmp_path)) for name in "ab")
    one.tell([(trial, outcome(one, trial)) for trial in one.ask(10)])
    thought_out = proposals.bayes

    def slow(*given: object) -> list[dict]:
        monkeypatch.setattr(proposals, "bayes", thought_out)
        assert len(two.ask(6)) == 6
        return thought_out(*given)

    monkeypatch.setattr(proposals, "bayes", slow)
    assert [trial.number for trial in one.ask(8)] == [16, 17, 18, 19]
    one.close()
    two.close()


def test_no_more_is_thought_out_than_may_be_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[int] = []
    thought_out = proposals.bayes

    def counting(space: Space, seed: int, told: list, count: int, place: int) -> list[dict]:
        wanted.append(count)
        return thought_out(space, seed, told, count, place)

    monkeypatch.setattr(proposals, "bayes", counting)
    study = run(open_study(space("bayes", run_cap=6), tmp_path), batch=4)
    assert len(study.trials()) == 6
    assert wanted == [4, 2, 0]
    study.close()


def test_the_trials_of_a_dead_worker_are_taken_over_once_and_its_late_result_is_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    search = space("random", run_cap=5)
    dead, heir, third = (open_study(search, tmp_path / name, shared(tmp_path)) for name in "abc")
    lost = dead.ask(3)
    dead.tell([(lost[0], Outcome(0.1))])
    own = heir.ask(2)
    assert [trial.number for trial in own] == [3, 4]
    heir.tell([(trial, Outcome(0.2)) for trial in own])
    assert heir.ask(4) == []  # nothing new, and the other worker may be alive
    assert not heir.finished()
    make_silent(tmp_path / "shared.db", 100)
    taken = heir.ask(4)
    assert [(trial.number, trial.params) for trial in taken] == [(t.number, t.params) for t in lost[1:]]
    assert third.ask(4) == []
    dead.tell([(lost[1], Outcome(0.9)), (lost[2], Outcome(0.9))])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all("another worker took it over" in line for line in lines)
    heir.tell([(trial, Outcome(0.3)) for trial in taken])
    heir.tell([(taken[0], Outcome(0.3))])  # again, as after a broken connection: known, and no line
    assert capsys.readouterr().err == ""
    assert [row["metric"] for row in third.trials()] == [0.1, 0.3, 0.3, 0.2, 0.2]
    assert dead.ask(1) == heir.ask(1) == []
    assert dead.finished()
    assert heir.finished()
    for study in (dead, heir, third):
        study.close()


def test_a_worker_is_dead_after_a_minute_and_its_trials_come_before_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, heir = (open_study(space("random"), tmp_path / name, shared(tmp_path)) for name in "ab")
    looks: list[float] = []
    take_over = heir.storage.take_over
    monkeypatch.setattr(heir.storage, "take_over", lambda count, s: looks.append(s) or take_over(count, s))
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    dead.ask(2)
    make_silent(tmp_path / "shared.db", 55)
    assert [trial.number for trial in heir.ask(1)] == [2]
    make_silent(tmp_path / "shared.db", 8)
    assert [trial.number for trial in heir.ask(1)] == [3]
    assert looks == [60]  # no second look within a beat
    clock[0] += 16
    assert [trial.number for trial in heir.ask(9)] == [0, 1]
    assert looks == [60, 60]
    for study in (dead, heir):
        study.close()


def test_a_worker_started_again_takes_up_its_own_trials_at_once(tmp_path: Path) -> None:
    study = open_study(space("random"), tmp_path / "a", shared(tmp_path))
    asked = study.ask(3)
    other = open_study(space("random"), tmp_path / "b", shared(tmp_path))
    assert [trial.number for trial in other.ask(2)] == [3, 4]
    study.storage.close()
    again = open_study(space("random"), tmp_path / "a", shared(tmp_path))
    assert [trial.number for trial in again.ask(9)] == [trial.number for trial in asked]
    assert [trial.number for trial in again.ask(1)] == [5]
    for study in (again, other):
        study.close()


def test_the_heart_beats_from_ask_on_for_trials_that_are_held(tmp_path: Path) -> None:
    study = open_study(space("random"), tmp_path / "a", shared(tmp_path), heartbeat_seconds=0.05)
    trials = study.ask(2)
    make_silent(tmp_path / "shared.db", 1000)
    heir = open_study(space("random"), tmp_path / "b", shared(tmp_path))
    deadline = time.monotonic() + 20
    with sqlite3.connect(tmp_path / "shared.db") as connection:
        query = "SELECT count(*) FROM trial_heartbeats WHERE heartbeat > datetime('now', '-500 seconds')"
        while connection.execute(query).fetchone()[0] < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
    connection.close()
    assert heir.storage.take_over(5, 500.0) == []
    study.tell([(trials[0], Outcome(0.5))])
    assert list(study.storage.held.values()) == [1]
    study.close()
    assert not study.storage._beating.is_alive()
    heir.close()


def test_a_beat_does_not_keep_alive_what_another_worker_took_over(tmp_path: Path) -> None:
    slow, heir, third = (open_study(space("random"), tmp_path / name, shared(tmp_path)) for name in "abc")
    slow.ask(1)
    make_silent(tmp_path / "shared.db", 100)
    assert len(heir.ask(1)) == 1
    make_silent(tmp_path / "shared.db", 100)
    slow.storage.beat_once()
    assert len(third.storage.take_over(1, 60.0)) == 1
    for study in (slow, heir, third):
        study.close()


@pytest.mark.slow
def test_processes_that_begin_at_the_same_moment_share_a_file(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.sweeps.test_study import *;"
        "study = open_study(space('random', run_cap=40), Path(sys.argv[1]), sys.argv[2]); done = []\n"
        "while not study.finished():\n"
        "    trials = study.ask(1); done += [t.number for t in trials]\n"
        "    study.tell([(t, outcome(study, t)) for t in trials])\n"
        "print(done); study.close()"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / str(i)), shared(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for i in range(4)
    ]
    done = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    assert sorted(itertools.chain(*done)) == list(range(40))


# ---- what makes no sense, and what is damaged


def one_line(caught: pytest.ExceptionInfo, *words: str) -> None:
    assert len(str(caught.value).splitlines()) == 1
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("change", "seed", "config", "words"),
    [
        ({"method": "grid"}, 0, "", "another method;"),
        ({"parameters": SMALL | {"activation": {"values": ["relu"]}}}, 0, "", "another parameters, fixed parameters;"),
        ({"metric": {"name": "val/loss"}}, 0, "", "another metric;"),
        ({"early_terminate": EARLY}, 0, "", "another early_terminate;"),
        ({}, 1, "", "another seed;"),
        ({}, 0, "other data", "another config;"),
    ],
)
def test_a_study_of_another_search_is_refused(change: dict, seed: int, config: str, words: str, tmp_path: Path) -> None:
    open_study(space("random"), tmp_path).close()
    with pytest.raises(UserError) as caught:
        open_study(
            parse({"method": "random", "parameters": SMALL, "run_cap": 20} | change, default.get_config()),
            tmp_path,
            "",
            seed,
            config,
        )
    one_line(caught, words, "study.db", "--workdir")


def test_several_studies_live_in_one_database_by_name(tmp_path: Path) -> None:
    one = run(open_study(space("random", name="one"), tmp_path / "a", shared(tmp_path)))
    two = run(open_study(space("grid", name="two"), tmp_path / "b", shared(tmp_path)))
    assert [row["number"] for row in one.trials()] == [row["number"] for row in two.trials()] == list(range(20))
    one.close()
    two.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://root:hunter2@host/db", ["storage", "mysql", "sqlite, postgresql"]),
        ("hunter2", ["storage", "is not one of"]),
        ("sqlite://", ["names no file"]),
        ("sqlite:///:memory:", ["names no file"]),
        ("sqlite:////no/such/folder/study.db", ["unable to open"]),
        ("postgresql://user:hunter2@127.0.0.1:1/db", ["cannot be reached", "127.0.0.1"]),
        ("postgresql://127.0.0.1:1/db?password=hunter2", ["cannot be reached"]),
        ("postgresql://user:hunter2@host:port/db", ["is not a URL", "postgresql://user"]),
    ],
)
def test_a_database_that_cannot_be_opened_is_named_without_its_password(
    url: str, words: list[str], tmp_path: Path
) -> None:
    begun = time.monotonic()
    with pytest.raises(UserError) as caught:
        open_study(space(), tmp_path, url)
    one_line(caught, *words)
    assert time.monotonic() - begun < 30
    if url != "hunter2":
        assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_a_server_that_accepts_and_stays_silent_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    monkeypatch.setattr(database, "CONNECT_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(UserError) as caught:
        open_study(space(), tmp_path, f"postgresql://me:hunter2@127.0.0.1:{server.getsockname()[1]}/db")
    one_line(caught, "cannot be reached", "timeout")


def test_without_its_driver_postgresql_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UserError) as caught:
        open_study(space(), tmp_path, "postgresql://127.0.0.1/db")
    one_line(caught, "psycopg[binary]")


def test_a_workdir_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as caught:
        open_study(space(), tmp_path / "file" / "below")
    one_line(caught, "--workdir", "Not a directory")
    with pytest.raises(UserError) as caught:
        open_study(space(), tmp_path / "file")
    one_line(caught, "--workdir")
    (tmp_path / "a" / "worker").mkdir(parents=True)
    with pytest.raises(UserError) as caught:
        open_study(space(), tmp_path / "a", shared(tmp_path))
    one_line(caught, "worker cannot be kept")


def test_a_workdir_of_any_name_will_do(tmp_path: Path) -> None:
    path = tmp_path / "a {b} %41?#'é;"
    run(open_study(space(), path)).close()
    assert [file.name for file in path.iterdir()] == ["study.db"]
    study = open_study(space(), path)
    assert len(study.trials()) == 20
    study.close()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(UserError) as caught:
        open_study(space(), tmp_path)
    one_line(caught, "study.db", "not a database")


def test_tables_of_another_version_of_optuna(tmp_path: Path) -> None:
    open_study(space(), tmp_path).close()
    with sqlite3.connect(tmp_path / "study.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v9.9.9'")
    connection.close()
    with pytest.raises(UserError) as caught:
        open_study(space(), tmp_path)
    one_line(caught, "study.db", "optuna")


def flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def after_a_flip(tmp_path: Path, flips: int, seed: int) -> int:
    """Flips a bit of a half-finished study and goes on, many times; the number of times that it was refused."""
    search = space("bayes", run_cap=12)
    study = open_study(search, tmp_path / "whole")
    study.tell([(trial, outcome(study, trial)) for trial in study.ask(4)])
    study.tell([(trial, outcome(study, trial)) for trial in study.ask(4)[:2]])
    study.storage.close()
    whole = (tmp_path / "whole" / "study.db").read_bytes()
    undisturbed = run(open_study(search, tmp_path / "whole")).trials()
    chance = random.Random(seed)
    messages: list[str] = []
    (tmp_path / "flipped").mkdir()
    for _ in range(flips):
        for file in (tmp_path / "flipped").iterdir():
            file.unlink()
        (tmp_path / "flipped" / "study.db").write_bytes(whole)
        flip(tmp_path / "flipped" / "study.db", chance)
        try:
            study = open_study(search, tmp_path / "flipped")
            try:
                assert run(study).trials() == undisturbed
            finally:
                study.close()
        except UserError as error:
            messages.append(str(error))
    assert all(len(message.splitlines()) == 1 and "study.db" in message for message in messages)
    return len(messages)


def test_a_flipped_bit_never_gives_other_numbers(tmp_path: Path) -> None:
    after_a_flip(tmp_path, 12, seed=0)


@pytest.mark.slow
def test_many_flipped_bits_never_give_other_numbers(tmp_path: Path) -> None:
    assert 10 < after_a_flip(tmp_path, 300, seed=1) < 290


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE trial_values SET value = value + 1e-9 WHERE trial_id = 2",
        "DELETE FROM trial_values WHERE trial_id = 2",
        "UPDATE trial_params SET param_value = 1 - param_value WHERE trial_id = 2 AND param_name = 'batch_size'",
        "UPDATE trial_params SET param_name = 'batch_sizf' WHERE trial_id = 2 AND param_name = 'batch_size'",
        "UPDATE trial_params SET param_value = 99 WHERE trial_id = 2 AND param_name = 'batch_size'",
        "UPDATE trial_user_attributes SET value_json = '\"diverged\"' WHERE trial_id = 2 AND key = 'status'",
        "UPDATE trial_user_attributes SET value_json = '{' WHERE trial_id = 2 AND key = 'result'",
        "UPDATE trial_intermediate_values SET step = 3 WHERE trial_id = 2",
        "UPDATE trials SET state = 'RUNNING' WHERE trial_id = 2",
        "UPDATE trials SET state = 'RUNNINH' WHERE trial_id = 2",
        "UPDATE trials SET number = 7 WHERE trial_id = 2",
        "DELETE FROM trials WHERE trial_id = 2",
    ],
)
def test_a_change_from_outside_is_noticed(change: str, tmp_path: Path) -> None:
    study = open_study(space("grid", early_terminate=EARLY), tmp_path)
    study.tell([(trial, Outcome(0.5, history=[0.5])) for trial in study.ask(4)])
    study.close()
    with sqlite3.connect(tmp_path / "study.db") as connection:
        connection.execute(change)
    connection.close()
    study = open_study(space("grid", early_terminate=EARLY), tmp_path)
    with pytest.raises(UserError) as caught:
        study.trials()
    one_line(caught, "study.db is damaged")
    study.close()


def test_a_full_disk_or_a_read_only_file_is_said_in_a_line(tmp_path: Path) -> None:
    study = open_study(space("random"), tmp_path)
    trials = study.ask(2)
    from sqlalchemy import event

    @event.listens_for(study.storage.engine, "begin")
    def full(connection: object) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count=1")

    study.storage.engine.dispose()
    with pytest.raises(UserError) as caught:
        study.tell([(trial, Outcome(0.5, result={"much": "x" * 300_000})) for trial in trials])
    one_line(caught, "study.db", "full")
    event.remove(study.storage.engine, "begin", full)
    study.close()
    study = open_study(space("random"), tmp_path)
    assert [trial.number for trial in study.ask(2)] == [0, 1]  # nothing half-written
    study.close()


def test_a_broken_connection_is_tried_again_and_then_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    study = open_study(space("random"), tmp_path)
    monkeypatch.setattr(study.storage.engine.dialect, "name", "postgresql")
    monkeypatch.setattr(storage, "PAUSES", (0.0, 0.0))
    begin, failures = study.storage.engine.begin, []

    def broken() -> object:
        if len(failures) < limit:
            failures.append(1)
            raise OperationalError(
                "statement with a secret", {}, Exception("server closed the connection\nunexpectedly")
            )
        return begin()

    monkeypatch.setattr(study.storage.engine, "begin", broken)
    limit = 2
    assert [trial.number for trial in study.ask(2)] == [0, 1]
    failures.clear()
    limit = 3
    with pytest.raises(UserError) as caught:
        study.ask(1)
    one_line(caught, "server closed the connection")
    assert "secret" not in str(caught.value)
    study.close()


def test_a_heart_that_cannot_beat_goes_on_trying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    beats: list[int] = []

    def beat_once() -> None:
        beats.append(1)
        raise OperationalError("", {}, Exception("away"))

    study = open_study(space("random"), tmp_path / "a", shared(tmp_path), heartbeat_seconds=0.01)
    monkeypatch.setattr(study.storage, "beat_once", beat_once)
    study.ask(1)
    study.ask(1)
    deadline = time.monotonic() + 20
    while len(beats) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(beats) >= 3
    study.close()


def test_importance_of_a_study(tmp_path: Path) -> None:
    study = open_study(space("random"), tmp_path)
    study.tell([(trial, Outcome(float(trial.params["num_epochs"]))) for trial in study.ask(20)])
    assert study.importance()["num_epochs"] > 0.8
    study.close()


def test_nothing_slow_is_imported_before_a_study_is_opened() -> None:
    slow = {"optuna", "sqlalchemy", "sklearn", "wandb", "jax"}
    code = f"import sys, mlp_jax.search, mlp_jax.dialect; print({slow} & set(sys.modules))"
    environment = os.environ | {"PYTHONPATH": "."}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.strip() == "set()"
