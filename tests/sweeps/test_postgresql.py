"""Workers on one PostgreSQL: none lost, none twice, the dead replaced. Needs the server (Debian's postgresql)."""

import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.workers import postgresql, server_programs
from mlp_jax.errors import UserError
from mlp_jax.sweeps.study import Outcome, open_study
from tests.sweeps.test_study import EARLY, outcome, run, space

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a fresh server on a free port; its processes end with the tests."""
    if not server_programs():
        pytest.skip("no PostgreSQL server: apt-get install postgresql")
    with postgresql(150) as url:
        yield url


WORKER = """
import json, sys, time
from pathlib import Path
from tests.sweeps.test_study import Outcome, open_study, outcome, space
path, url, method, name, cap, batch, pause, heartbeat = sys.argv[1:]
parameters = json.loads((Path(path).parent / "space.json").read_text())
search = space(method, name=name, run_cap=int(cap), parameters=parameters)
begun = time.time()
study = open_study(search, Path(path), url, heartbeat_seconds=float(heartbeat))
opened, done, clock = time.time(), [], {"ask": 0.0, "tell": 0.0}
print("open", flush=True)
while not study.finished():
    t = time.time(); trials = study.ask(int(batch)); clock["ask"] += time.time() - t
    if not trials:
        time.sleep(0.2)
        continue
    time.sleep(float(pause))
    told = [(trial, Outcome(trial.number / 1000)) for trial in trials]
    t = time.time(); study.tell(told); clock["tell"] += time.time() - t
    done += [trial.number for trial in trials]
print(json.dumps({"done": done, "seconds": time.time() - opened, "open": opened - begun, **clock}), flush=True)
study.close()
"""
WIDE = {
    "activation": {"values": ["relu", "tanh", "sigmoid"]},
    "batch_size": {"values": [16, 32, 64, 128]},
    "num_epochs": {"min": 1, "max": 20},
    "layers": {"values": [1, 2, 3]},
    "seed": {"min": 1, "max": 1000},
}


def start(
    path: Path, url: str, method: str, name: str, cap: int, batch: int, pause: float, heartbeat: float
) -> subprocess.Popen:
    path.parent.mkdir(exist_ok=True)
    (path.parent / "space.json").write_text(json.dumps(WIDE))
    arguments = [str(path), url, method, name, str(cap), str(batch), str(pause), str(heartbeat)]
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("method", ["grid", "random", "bayes"])
def test_one_worker_killed_anywhere_is_the_same_study_as_on_sqlite(method: str, server: str, tmp_path: Path) -> None:
    search = space(method, name=f"killed {method}", early_terminate=EARLY)
    undisturbed = run(open_study(search, tmp_path / "sqlite", seed=7)).trials()
    path, chance = tmp_path / "postgresql", random.Random(0)
    while True:
        study = open_study(search, path, server, seed=7)
        while not study.finished():
            trials = study.ask(4)
            if chance.random() < 0.3:
                break
            kept = trials[: chance.randrange(5)]
            study.tell([(trial, outcome(study, trial)) for trial in kept])
            if len(kept) < len(trials):
                break
        else:
            break
        study.storage.close()
    assert study.trials() == undisturbed
    study.close()


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_of_four_workers_two_are_killed_and_nothing_is_lost_or_done_twice(
    method: str, server: str, tmp_path: Path
) -> None:
    cap = 60
    workers = [start(tmp_path / "w" / str(i), server, method, f"four {method}", cap, 3, 0.3, 0.5) for i in range(4)]
    for worker in workers:
        assert worker.stdout.readline() == "open\n", worker.stderr.read()
    time.sleep(0.8)
    for worker in workers[:2]:
        worker.kill()
        worker.communicate()
    reports = [json.loads(worker.communicate(timeout=120)[0]) for worker in workers[2:]]
    study = open_study(space(method, name=f"four {method}", run_cap=cap, parameters=WIDE), tmp_path / "look", server)
    rows = study.trials()
    assert [row["number"] for row in rows] == list(range(cap))
    assert len({json.dumps(row["parameters"]) for row in rows}) == cap
    assert all(row["metric"] == row["number"] / 1000 for row in rows)
    done = Counter(itertools.chain(*(report["done"] for report in reports)))
    assert max(done.values()) == 1
    assert len(done) < cap  # the killed ones had told some
    study.close()


def test_sixty_four_workers_share_a_study(server: str, tmp_path: Path) -> None:
    cap = int(os.environ.get("MLP_JAX_TRIALS", "1280"))
    count = int(os.environ.get("MLP_JAX_WORKERS", "64"))
    workers = [start(tmp_path / "w" / str(i), server, "random", "sixty-four", cap, 2, 1.0, 15) for i in range(count)]
    reports = []
    for worker in workers:
        out, err = worker.communicate(timeout=500)
        assert worker.returncode == 0, err
        reports.append(json.loads(out.splitlines()[-1]))
    done = Counter(itertools.chain(*(report["done"] for report in reports)))
    assert sorted(done) == list(range(cap))
    assert max(done.values()) == 1
    calls = sum(len(report["done"]) for report in reports) / 2
    ask, tell = (sum(report[key] for report in reports) / calls for key in ("ask", "tell"))
    longest = max(report["seconds"] for report in reports)
    print(f"\n{count} workers, {cap} trials: {longest:.1f} s; ask {1e3 * ask:.0f} ms, tell {1e3 * tell:.0f} ms")


def test_a_server_that_goes_away_is_said_in_a_line(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlp_jax.sweeps import storage

    study = open_study(space("random", name="away"), tmp_path, server)
    trials = study.ask(2)
    monkeypatch.setattr(storage, "PAUSES", (0.0,))
    bind, engine = study.storage.engine.url, study.storage.engine
    import sqlalchemy

    study.storage.engine = sqlalchemy.create_engine(bind.set(port=1))
    with pytest.raises(UserError, match="storage: postgresql://me@"):
        study.tell([(trial, Outcome(0.5)) for trial in trials])
    study.storage.engine = engine
    study.tell([(trial, Outcome(0.5)) for trial in trials])
    assert [row["metric"] for row in study.trials()] == [0.5, 0.5]
    study.close()
