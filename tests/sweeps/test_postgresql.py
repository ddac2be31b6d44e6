"""Workers on one PostgreSQL: none lost, none counted twice, the dead replaced. Needs Debian's postgresql."""

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from benchmarks.workers import measure, postgresql, server_programs
from mlp_jax.errors import UserError
from mlp_jax.sweeps import journal
from mlp_jax.sweeps.study import Outcome, open_study
from tests.shared.studies import EARLY, WIDE, outcomes, run, space, start

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a fresh server on a free port; its processes end with the tests."""
    if not server_programs():
        pytest.skip("no PostgreSQL server: apt-get install postgresql")
    with postgresql(150) as url:
        yield url


@pytest.mark.parametrize("method", ["grid", "random", "bayes"])
def test_one_worker_killed_anywhere_leaves_the_same_study_as_in_a_journal(method, server, tmp_path: Path):
    search = space(method, name=f"killed {method}", early_terminate=EARLY)
    undisturbed = run(open_study(search, tmp_path, seed=7)).trials()
    chance = random.Random(0)
    while not (study := open_study(search, tmp_path, server, seed=7)).finished():
        while trials := study.ask():
            told = outcomes(study, trials)[: chance.randrange(6)]
            study.tell(told)
            if len(told) < len(trials):
                break
        else:
            break
    assert study.trials() == undisturbed


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_of_eight_workers_that_begin_at_once_four_are_killed_and_nothing_is_lost(method, server, tmp_path: Path):
    sweep = {"method": method, "name": f"eight {method}", "run_cap": 60, "parameters": WIDE, "batch": 3}
    workers = [start(tmp_path / str(i), server, 0.2, 2.0, **sweep) for i in range(8)]
    for worker in workers:
        assert worker.stdout.readline() == "open\n"
    time.sleep(1)
    for worker in workers[:4]:
        worker.kill()
    for worker in workers:
        worker.communicate(timeout=200)
    assert [worker.returncode for worker in workers[4:]] == [0] * 4
    rows = open_study(space(**sweep), tmp_path / "0", server, seed=7).trials()
    assert [row["number"] for row in rows] == list(range(60))
    if method == "random":
        assert len({json.dumps(row["parameters"]) for row in rows}) == 60


def test_sixty_four_workers_share_a_study(server, tmp_path: Path):
    found = measure(server, tmp_path, workers=64, trials=640, batch=2, pause=1.0)
    assert found["lost"] == found["twice"] == 0


def test_a_server_that_goes_away_is_said_in_a_line(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(journal, "PAUSES", (0.0,))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # Optuna's own pauses
    if not server_programs():
        pytest.skip("no PostgreSQL server: apt-get install postgresql")
    with postgresql(20) as url:
        study = open_study(space(), tmp_path, url)
        trials = study.ask()
    with pytest.raises(UserError, match=r"^storage: postgresql://me@127.0.0.1.*refused"):
        study.tell([(trial, Outcome(0.5)) for trial in trials])
    assert optuna.logging.get_verbosity() == optuna.logging.WARNING
