"""A study: each trial told once, found again after a kill, shared by workers, and never quietly damaged."""

import errno
import itertools
import json
import math
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.exc import OperationalError

from mlp_jax.errors import UserError
from mlp_jax.sweeps import journal
from mlp_jax.sweeps.space import Space
from mlp_jax.sweeps.study import Outcome, open_study
from tests.shared.studies import EARLY, SMALL, WIDE, curve, outcomes, run, space, start

METHODS = ("grid", "random", "bayes")


def shared(path: Path, scheme: str = "journal") -> str:
    return f"{scheme}:///{path / 'shared'}"


def workers(tmp_path: Path, search: Space, names: str, scheme: str = "journal") -> list:
    """One more worker a letter, each with its own workdir, on one study."""
    for name in names:
        (tmp_path / name).mkdir(exist_ok=True)
    return [open_study(search, tmp_path / name, shared(tmp_path, scheme), 7) for name in names]


@pytest.fixture
def clock(monkeypatch):
    """What a study takes for the time, in seconds."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


# ---- one worker


@pytest.mark.parametrize("method", METHODS)
def test_a_study_ends_with_as_many_different_trials_as_there_are(method, tmp_path):
    study = run(open_study(space(method, run_cap=0, batch=7), tmp_path))
    rows = study.trials()
    assert [row["number"] for row in rows] == list(range(48))
    assert len({row["name"] for row in rows}) == len({json.dumps(row["parameters"]) for row in rows}) == 48
    assert study.ask() == []


@pytest.mark.parametrize("early", [None, EARLY])
@pytest.mark.parametrize("method", METHODS)
def test_a_larger_cap_goes_on_to_what_it_would_have_been_from_the_start(method, early, tmp_path):
    for name, caps in (("raised", (10, 17)), ("whole", (17,))):
        (tmp_path / name).mkdir()
        for cap in caps:
            study = run(open_study(space(method, run_cap=cap, early_terminate=early), tmp_path / name))
            assert len(study.trials()) == cap
    again = open_study(space(method, run_cap=17, early_terminate=early), tmp_path / "raised")
    assert study.trials() == again.trials()


def test_what_a_trial_and_a_row_hold(tmp_path):
    study = open_study(space("grid", batch=2), tmp_path)
    trial, other = study.ask()
    assert trial.params == {"num_layers": 1, "batch_size": 16, "activation": "relu", "num_epochs": 1}
    assert study.trials() == []
    assert study.best() is None
    study.tell([(trial, Outcome(0.25, result={"seconds": 1.5, "loss": math.nan, "curve": (1.0, math.inf)}))])
    row = {"number": 0, "name": "hl_1_bs_16_ac_relu_ep_1", "parameters": trial.params, "metric": 0.25}
    row |= {"status": "finished", "seconds": 1.5, "loss": None, "curve": [1.0, None]}
    assert study.trials() == open_study(space("grid", batch=2), tmp_path).trials() == [row]
    study.tell([(other, Outcome(0.25))])
    config = {"batch_size": 16, "activation": "relu", "num_epochs": 1, "hidden_sizes": (128,)}
    assert study.best() == row | {"config": config}
    assert not study.finished()


def test_whole_numbers_on_a_logarithmic_scale_stay_whole(tmp_path):
    parameters = {"batch_size": {"distribution": "q_log_uniform_values", "min": 16, "max": 512, "q": 16}}
    study = open_study(space(parameters=parameters), tmp_path)
    study.tell([(trial, Outcome(0.5)) for trial in study.ask()])
    assert [type(row["parameters"]["batch_size"]) for row in study.trials()] == [int] * 4


def test_best_follows_the_goal_and_is_the_first_on_ties(tmp_path):
    study = open_study(space("grid", metric={"name": "val/loss", "goal": "minimize"}), tmp_path)
    told = zip(study.ask(), map(Outcome, (0.5, 0.1, math.inf, 0.1)), strict=True)
    study.tell(list(told)[::-1])
    assert study.best()["number"] == 1


@pytest.mark.parametrize(
    ("goal", "values"),
    [("maximize", (0.1, 0.9)), ("minimize", (0.9, 0.1)), ("maximize", (0.1, 0.5)), ("minimize", (0.9, 0.5))],
)
def test_a_target_ends_the_study(goal, values, tmp_path):
    metric = {"name": "val/accuracy", "goal": goal, "target": 0.5}
    study = open_study(space("grid", metric=metric, batch=1), tmp_path)
    for value in values:
        study.tell([(trial, Outcome(value)) for trial in study.ask()])
    assert study.ask() == []
    assert study.finished()


def test_optuna_reads_what_is_written_and_a_diverged_trial_has_the_worst_value(tmp_path):
    parameters = SMALL | {
        "lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2},
        "seed": {"distribution": "q_uniform", "min": 3, "max": 9, "q": 3},
        "dropout": {"distribution": "q_uniform", "min": 0.1, "max": 0.5, "q": 0.1},
    }
    study = open_study(space("random", parameters=parameters, early_terminate=EARLY, name="mine"), tmp_path)
    first = study.ask()
    outcomes = Outcome(0.5), Outcome(0.1, pruned=True), Outcome(-math.inf), Outcome(0.3)
    study.tell(list(zip(first, outcomes, strict=True)))
    rows = run(study).trials()
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    trials = optuna.load_study(study_name="mine", storage=storage).trials
    trials.sort(key=lambda trial: trial.user_attrs["index"])  # from the order in which they ended
    assert [trial.value for trial in trials[:4]] == [0.5, 0.1, 0.3, 0.3]
    states = {"finished": "COMPLETE", "diverged": "COMPLETE", "pruned": "PRUNED"}
    assert {row["status"] for row in rows} == set(states)
    for trial, row in zip(trials, rows, strict=True):
        assert (trial.user_attrs["index"], trial.params) == (row["number"], row["parameters"])
        assert trial.state.name == states[row["status"]]
        assert row["metric"] is None if row["status"] == "diverged" else row["metric"] == trial.value
        assert set(trial.intermediate_values) <= {1, 2, 4}


def test_test_accuracy_is_out_of_reach_of_search_pruning_and_best(tmp_path):
    found = []
    for name, sign in (("a", 1), ("b", -1), ("c", 0)):
        (tmp_path / name).mkdir()
        study = open_study(space("bayes", early_terminate=EARLY), tmp_path / name)
        while not study.finished():
            for trial, told in outcomes(study, study.ask()):
                accuracy = (trial.number * sign) % 20 / 20 if sign else None
                study.tell([(trial, replace(told, test_accuracy=accuracy))])
        found.append((study.trials(), study.best(), study.importance()))
        wanted = {number: (number * sign) % 20 / 20 for number in range(20)} if sign else {}
        assert study.test_accuracies() == wanted
    assert found[0] == found[1] == found[2]
    assert "test" not in json.dumps(found[0])


# ---- early_terminate


def test_stopping_does_not_depend_on_the_order_in_which_lanes_get_there(tmp_path):
    results = []
    for name, order in (("a", 1), ("b", -1)):
        (tmp_path / name).mkdir()
        study = open_study(space("bayes", early_terminate=EARLY), tmp_path / name)
        while not study.finished():
            for told in outcomes(study, study.ask()[::order])[::order]:
                study.tell([told])
        results.append(study.trials())
    assert results[0] == results[1]
    assert 2 <= sum(row["status"] == "pruned" for row in results[0]) <= 12


def test_a_trial_is_compared_at_the_brackets_with_those_of_lower_number(tmp_path):
    study = open_study(space("grid", early_terminate=EARLY), tmp_path)
    first = study.ask()
    assert study.to_stop(1, {0: [0.1], 1: [0.3], 2: [0.2], 3: [0.05]}) == {3}  # the median of those up to it
    study.tell([(trial, Outcome(0.5, history=(0.1, 0.2, 0.3, math.nan))) for trial in first])
    assert [trial.number for trial in study.ask()] == [4, 5, 6, 7]
    assert study.to_stop(1, {4: [0.05], 5: [0.15], 6: [0.1], 7: [0.01]}) == {4, 7}
    assert study.to_stop(2, {4: [0.05], 5: [0.15, 0.1], 6: [0.1, 0.25]}) == {5}  # those at their end are not asked
    assert study.to_stop(3, {4: [0.05, 0.1, 0.1]}) == set()  # no bracket
    assert study.to_stop(4, {4: [0.05, 0.1, 0.1, 0.1]}) == set()  # none of the others had a number there


def one_after_the_other(rows: list[dict]) -> list[str]:
    """The status of each trial by W&B's rule with eta 2 and brackets 1, 2, 4, every one trained after the last."""
    found, reached = [], {1: [], 2: [], 4: []}
    for row in rows:
        values, diverged = curve(row["parameters"])
        end = row["parameters"]["num_epochs"]
        for epoch in [epoch for epoch in reached if epoch <= len(values)]:
            reached[epoch].append(values[epoch - 1])
            place = sum(other > max(values[:epoch]) for other in reached[epoch])
            if epoch < end and place > len(reached[epoch]) // 2:
                found.append("pruned")
                break
        else:
            found.append("diverged" if diverged else "finished")
    return found


@pytest.mark.parametrize("batch", [1, 4, 0])
@pytest.mark.parametrize("method", ["grid", "random"])
def test_trials_are_stopped_as_one_after_the_other_whatever_the_size_of_a_batch(method, batch, tmp_path):
    rows = run(open_study(space(method, early_terminate=EARLY, batch=batch, run_cap=0), tmp_path)).trials()
    statuses = [row["status"] for row in rows]
    assert statuses == one_after_the_other(rows)
    assert set(statuses) == {"finished", "pruned", "diverged"}


def test_trials_of_one_batch_of_a_bayesian_search_stop_each_other(tmp_path):
    rows = run(open_study(space("bayes", early_terminate=EARLY, batch=20), tmp_path)).trials()
    assert [row["status"] for row in rows] == one_after_the_other(rows)


def test_whoever_takes_a_batch_over_decides_as_the_dead_worker_would_have(tmp_path, clock):
    dead, other = workers(tmp_path, space(early_terminate=EARLY, run_cap=8), "ab")
    theirs, lost = other.ask(), dead.ask()
    expected = outcomes(dead, lost)
    dead.tell(expected[:1])
    other.tell([(trial, Outcome(0.9, history=[0.9] * 4)) for trial in theirs])  # what the dead worker never saw
    assert other.ask() == []
    clock[0] += 61
    again = outcomes(other, other.ask())
    assert [told for told in again if told[0].number != expected[0][0].number] == expected[1:]


# ---- a study killed and started again


def run_with_kills(search: Space, path: Path, kills: set[int]) -> list[dict]:
    """Runs to the end, but dies at the given steps (each ask and each tell of one trial is one), and starts again."""
    path.mkdir()
    steps = itertools.count()
    while True:
        study = open_study(search, path, seed=7)
        while not study.finished() and next(steps) not in kills:
            for told in outcomes(study, study.ask()):
                if next(steps) in kills:
                    break
                study.tell([told])
            else:
                continue
            break
        if study.finished():
            return study.trials()


@pytest.mark.parametrize("method", METHODS)
def test_killed_anywhere_it_is_the_undisturbed_study(method, tmp_path):
    search = space(method, early_terminate=EARLY, run_cap=14)
    undisturbed = run_with_kills(search, tmp_path / "undisturbed", set())
    assert len(undisturbed) == 14
    kills = set(random.Random(0).sample(range(30), 6))
    assert run_with_kills(search, tmp_path / "some", kills) == undisturbed
    assert run_with_kills(search, tmp_path / "all", set(range(1, 60, 3))) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_kill_minus_nine_at_random_moments(method, tmp_path):
    sweep = {"method": method, "early_terminate": EARLY}
    (tmp_path / "undisturbed").mkdir()
    undisturbed = run(open_study(space(**sweep), tmp_path / "undisturbed", seed=7)).trials()
    for attempt in range(8):
        process = start(tmp_path / "killed", "", 0.01, **sweep)
        process.stdout.readline()
        time.sleep(random.Random(attempt).random() * 0.25)
        process.kill()
        process.communicate()
    start(tmp_path / "killed", "", 0.0, **sweep).communicate()
    assert open_study(space(**sweep), tmp_path / "killed", seed=7).trials() == undisturbed


def test_a_line_cut_off_anywhere_counts_as_nothing(tmp_path):
    study = run(open_study(space("random", run_cap=6), tmp_path))
    undisturbed, path = study.trials(), tmp_path / "study.journal"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for cut in random.Random(0).sample(range(1, len(lines[-1]) + 1), 12):
        path.write_bytes(whole[:-cut])
        assert len(open_study(space("random", run_cap=6), tmp_path).trials()) == 5
        assert run(open_study(space("random", run_cap=6), tmp_path)).trials() == undisturbed
        assert len(path.read_bytes().splitlines()) == len(lines)


# ---- several workers on one study


@pytest.mark.parametrize(
    ("method", "scheme"), [("grid", "journal"), ("random", "journal"), ("bayes", "journal"), ("bayes", "sqlite")]
)
def test_workers_share_a_study_and_no_trial_is_lost_or_done_twice(method, scheme, tmp_path):
    several = workers(tmp_path, space(method), "abc", scheme)
    asked = []
    while not all(study.finished() for study in several):
        batches = [(study, study.ask()) for study in several]
        for study, trials in batches:
            asked += [trial.number for trial in trials]
            study.tell(outcomes(study, trials))
    assert sorted(asked) == list(range(20))
    rows = several[0].trials()
    assert rows == several[1].trials() == several[2].trials()
    assert len({json.dumps(row["parameters"]) for row in rows}) == 20


def test_several_studies_live_in_one_journal_by_name(tmp_path):
    (one,), (two,) = workers(tmp_path, space(name="one"), "a"), workers(tmp_path, space("grid", name="two"), "b")
    for study in (run(one), run(two)):
        assert [row["number"] for row in study.trials()] == list(range(20))


def test_a_dead_workers_batch_is_done_again_by_one_other_and_its_late_result_is_dropped(tmp_path, capsys, clock):
    dead, heir, third = workers(tmp_path, space("bayes", run_cap=6), "abc")
    lost = dead.ask()
    dead.tell([(lost[0], Outcome(0.1))])
    heir.tell([(trial, Outcome(0.2)) for trial in heir.ask()])
    assert heir.ask() == third.ask() == []  # nothing new, and the other worker may be alive
    clock[0] += 59
    assert heir.ask() == []
    assert not heir.finished()
    clock[0] += 2
    taken = heir.ask()
    assert taken == lost[1:]
    assert third.ask() == []
    dead.tell([(lost[1], Outcome(0.9))])  # not so dead
    heir.tell([(trial, Outcome(0.3)) for trial in taken])
    dead.tell([(lost[2], Outcome(0.9))])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all("another worker took it over" in line for line in lines)
    assert third.ask() == dead.ask() == []
    assert third.finished()
    assert [row["metric"] for row in third.trials()] == [0.1, 0.9, 0.3, 0.3, 0.2, 0.2]


def test_of_two_idle_workers_that_see_a_dead_one_at_once_one_has_its_batch(tmp_path, clock, monkeypatch):
    dead, one, two = workers(tmp_path, space("random", run_cap=4), "abc")
    lost = dead.ask()
    assert one.ask() == two.ask() == []
    clock[0] += 61
    look = two._left_behind

    def both() -> int | None:
        found = look()
        theirs.extend(one.ask())
        return found

    theirs: list = []
    monkeypatch.setattr(two, "_left_behind", both)
    assert two.ask() == []
    assert theirs == lost


def test_patience_grows_with_how_long_trials_take(tmp_path, clock):
    dead, heir = workers(tmp_path, space("random", run_cap=8), "ab")
    dead.ask()
    trials = heir.ask()
    clock[0] += 100
    heir.tell([(trial, Outcome(0.2)) for trial in trials])
    assert heir.ask() == []
    clock[0] += 299
    assert heir.ask() == []
    clock[0] += 2
    assert [trial.number for trial in heir.ask()] == [0, 1, 2, 3]


def test_a_worker_started_again_goes_on_with_its_own_batch_at_once(tmp_path):
    study, other = workers(tmp_path, space("bayes"), "ab")
    asked = study.ask()
    assert [trial.number for trial in other.ask()] == [4, 5, 6, 7]
    (again,) = workers(tmp_path, space("bayes"), "a")
    assert again.ask() == asked


def test_bayes_does_not_propose_what_another_worker_is_training(tmp_path):
    one, two = workers(tmp_path, space("bayes", run_cap=48, batch=24), "ab")
    proposed = [json.dumps(trial.params) for study in (one, two) for trial in study.ask()]
    assert len(set(proposed)) == 48


@pytest.mark.slow
def test_of_eight_processes_that_share_a_journal_three_are_killed_and_nothing_is_lost(tmp_path):
    sweep = {"method": "random", "run_cap": 120, "parameters": WIDE}
    processes = [start(tmp_path / str(i), shared(tmp_path), 0.05, 1.0, **sweep) for i in range(8)]
    for process in processes:
        process.stdout.readline()
    time.sleep(0.5)
    for process in processes[:3]:
        process.kill()
    for process in processes:
        process.communicate(timeout=120)
    (study,) = workers(tmp_path, space(**sweep), "a")
    rows = study.trials()
    assert [row["number"] for row in rows] == list(range(120))
    assert len({json.dumps(row["parameters"]) for row in rows}) == 120


# ---- what makes no sense, and what is damaged


def refused(*words: str, **arguments: object) -> None:
    """open_study says in one line what is wrong, and keeps the password for itself."""
    with pytest.raises(UserError) as caught:
        open_study(**arguments)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert all(word in message for word in words), message
    assert "hunter2" not in message
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("change", "given", "words"),
    [
        ({"method": "grid"}, {}, "another method;"),
        ({"parameters": SMALL | {"activation": {"values": ["relu"]}}}, {}, "another parameters, fixed parameters;"),
        ({"metric": {"name": "val/loss"}}, {}, "another metric;"),
        ({"early_terminate": EARLY}, {}, "another early_terminate;"),
        ({"batch": 5}, {}, "another batch;"),
        ({}, {"seed": 1}, "another seed;"),
        ({}, {"config": "other data"}, "another config;"),
    ],
)
def test_a_study_of_another_search_is_refused(change, given, words, tmp_path):
    open_study(space(), tmp_path).close()
    refused(words, "study.journal", "--workdir", **{"space": space(**change), "workdir": tmp_path} | given)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://root:hunter2@host/db", ["storage", "mysql", "journal, sqlite, postgresql"]),
        ("nothing", ["storage", "is not one of"]),
        ("journal:///", ["names no file", "journal:///study.journal"]),
        ("journal://study.journal", ["names no file"]),
        ("sqlite:///:memory:", ["names no file"]),
        ("sqlite:////no/such/folder/study.db", ["no folder /no/such/folder"]),
        ("journal:////no/such/folder/study.journal", ["no folder /no/such/folder"]),
        ("postgresql://user:hunter2@127.0.0.1:1/db", ["cannot be reached", "127.0.0.1"]),
        ("postgresql://127.0.0.1:1/db?password=hunter2", ["cannot be reached"]),
        ("postgresql://user:hunter2@host:port/db", ["is not a URL", "postgresql://user"]),
    ],
)
def test_a_storage_that_cannot_be_opened_is_named_without_its_password(url, words, tmp_path):
    begun = time.monotonic()
    refused(*words, space=space(), workdir=tmp_path, storage=url)
    assert time.monotonic() - begun < 30


def test_a_server_that_accepts_and_stays_silent_is_not_waited_for(tmp_path, monkeypatch):
    import socket

    monkeypatch.setattr(journal, "CONNECT_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql://me:hunter2@127.0.0.1:{server.getsockname()[1]}/db"
        refused("cannot be reached", "timeout", space=space(), workdir=tmp_path, storage=url)


def test_without_its_driver_postgresql_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    refused("mlp-jax[postgresql]", space=space(), workdir=tmp_path, storage="postgresql://127.0.0.1/db")


def test_a_sweep_of_an_older_version_is_not_gone_on_with(tmp_path):
    (tmp_path / "study.db").write_bytes(b"")
    refused("older version", "another --workdir", space=space(), workdir=tmp_path)


def test_a_worker_whose_name_cannot_be_kept(tmp_path):
    (tmp_path / "worker").mkdir()
    refused("worker cannot be kept", space=space(), workdir=tmp_path, storage=shared(tmp_path))


def test_a_file_of_sqlite_that_is_none_or_of_another_optuna(tmp_path):
    (tmp_path / "none").write_bytes(b"no database at all" * 100)
    refused("none", "not a database", space=space(), workdir=tmp_path, storage=f"sqlite:///{tmp_path / 'none'}")
    workers(tmp_path, space(), "a", "sqlite")
    with sqlite3.connect(tmp_path / "shared") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v9.9.9'")
    connection.close()
    refused("shared", "optuna", space=space(), workdir=tmp_path, storage=shared(tmp_path, "sqlite"))


def after_flips(tmp_path: Path, flips: int, seed: int) -> int:
    """Flips a bit of a half-finished study and goes on, many times; the number of times that it was refused."""
    search = space("bayes", run_cap=12)
    whole = tmp_path / "whole"
    whole.mkdir()
    study = open_study(search, whole)
    study.tell(outcomes(study, study.ask()))
    study.tell(outcomes(study, study.ask())[:2])
    half = (whole / "study.journal").read_bytes()
    undisturbed = run(study).trials()
    chance, messages = random.Random(seed), []
    for number in range(flips):
        path = tmp_path / str(number)
        path.mkdir()
        flipped = bytearray(half)
        flipped[chance.randrange(len(half))] ^= 1 << chance.randrange(8)
        (path / "study.journal").write_bytes(flipped)
        try:
            assert run(open_study(search, path)).trials() == undisturbed
        except UserError as error:
            messages.append(str(error))
        shutil.rmtree(path)
    assert all(len(message.splitlines()) == 1 and "study.journal is damaged" in message for message in messages)
    return len(messages)


def test_a_flipped_bit_never_gives_other_numbers(tmp_path):
    assert after_flips(tmp_path, 100, seed=0) > 95  # what is left are flips of the last end of line


def test_a_full_disk_is_said_in_a_line_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(descriptor: int) -> None:
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - 10)
        raise OSError(errno.ENOSPC, "No space left on device")

    study = open_study(space(), tmp_path)
    trials = study.ask()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=r"study\.journal: no space left on device"):
            study.tell([(trials[0], Outcome(0.5))])
    assert open_study(space(), tmp_path).ask() == trials


def test_a_broken_connection_is_tried_again_and_then_said(monkeypatch):
    monkeypatch.setattr(journal, "PAUSES", (0.0, 0.0))
    broken = OperationalError("a statement with a secret", {}, Exception("server closed the connection\nunexpectedly"))
    storage = journal.Storage(optuna.storages.InMemoryStorage, "here")
    answers = iter([broken, broken, 7, broken, broken, broken])

    def work() -> int:
        if isinstance(answer := next(answers), Exception):
            raise answer
        return answer

    assert storage.attempt(work) == 7
    with pytest.raises(UserError, match=r"^storage: here: server closed the connection$"):
        storage.attempt(work)


def test_nothing_slow_is_imported_before_a_study_is_opened():
    slow = {"optuna", "sqlalchemy", "sklearn", "wandb", "jax"}
    code = f"import sys, mlp_jax.sweeps.study, mlp_jax.sweeps.dialect; print({slow} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
