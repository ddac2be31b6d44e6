"""python -m benchmarks.workers: many workers on one PostgreSQL study, and what each trial costs the server.

    python -m benchmarks.workers [--workers=64] [--trials=1280] [--batch=2] [--pause=1] [--storage=URL] [--json=FILE]

Each worker is a process that asks a study for trials, sleeps `pause` seconds in place of a training, and tells; no
worker imports JAX. Without --storage a PostgreSQL server of its own is started on a free port and removed (Debian: apt
install postgresql). Exit status 1 where a trial was lost or counted twice.
"""

import argparse
import json
import multiprocessing
import os
import pwd
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median, quantiles
from typing import Any

PARAMETERS = {
    "activation": {"values": ["relu", "tanh", "sigmoid"]},
    "batch_size": {"values": [16, 32, 64, 128]},
    "optimizer": {"values": ["sgd", "momentum", "adam"]},
    "layers": {"values": [1, 2, 3]},
    "seed": {"min": 1, "max": 1_000_000},
}
READS = 5


def open_one(url: str, folder: Path, trials: int, batch: int) -> Any:
    """A study of the benchmark, as one more worker sees it."""
    from configs import default
    from mlp_jax.sweeps.dialect import parse
    from mlp_jax.sweeps.study import open_study

    folder.mkdir(parents=True, exist_ok=True)
    fields = {"method": "random", "name": "workers", "run_cap": trials, "batch": batch, "parameters": PARAMETERS}
    return open_study(parse(fields, default.get_config()), folder, url)


def work(url: str, folder: Path, trials: int, batch: int, pause: float, go: Any, reports: Any) -> None:
    """One worker's life: it opens the study, waits until all have, and reports what it did."""
    from mlp_jax.sweeps.study import Outcome

    study = open_one(url, folder, trials, batch)
    reports.put("open")
    go.wait()
    begun = resource.getrusage(resource.RUSAGE_SELF)
    done: list[int] = []
    asks, tells = [], []
    while not study.finished():
        start = time.perf_counter()
        asked = study.ask()
        asks.append(time.perf_counter() - start)
        if not asked:
            time.sleep(2.0)
            continue
        time.sleep(pause)
        start = time.perf_counter()
        study.tell([(trial, Outcome(trial.number / trials)) for trial in asked])
        tells.append(time.perf_counter() - start)
        done += [trial.number for trial in asked]
    study.close()
    used = resource.getrusage(resource.RUSAGE_SELF)
    memory = used.ru_maxrss / 1024
    cpu = used.ru_utime + used.ru_stime - begun.ru_utime - begun.ru_stime
    jax = "jax" in sys.modules
    reports.put({"done": done, "asks": asks, "tells": tells, "megabytes": memory, "cpu": cpu, "jax": jax})


def server_programs() -> list[Path]:
    """The folders of initdb and postgres on this machine, the newest version first."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    folders += [Path(path).resolve().parent for path in [shutil.which("initdb")] if path]
    return [folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()]


@contextmanager
def postgresql(connections: int) -> Iterator[str]:
    """The URL of a server of one's own, which forces every commit to the disk as servers do."""
    folders = server_programs()
    if not folders:
        sys.exit("no PostgreSQL server here (Debian: apt install postgresql), and no --storage=URL")
    home = tempfile.mkdtemp(prefix="mlp_jax_workers_", dir="/tmp")
    user: dict[str, Any] = {}
    if os.getuid() == 0:  # the server refuses to run as root
        user = {"user": "postgres" if "postgres" in {entry.pw_name for entry in pwd.getpwall()} else "nobody"}
        shutil.chown(home, user["user"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = f"{home}/data"
    initdb = [str(folders[0] / "initdb"), "-D", data, "-U", "me", "-A", "trust", "-E", "UTF8"]
    subprocess.run(initdb, check=True, capture_output=True, cwd="/tmp", **user)
    settings = (f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={home}")
    options = [part for setting in (*settings, f"max_connections={connections}") for part in ("-c", setting)]
    with open(f"{home}/log", "w") as log:
        command = [str(folders[0] / "postgres"), "-D", data, *options]
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/tmp", **user)
    try:
        for _ in range(600):
            ready = [str(folders[0] / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
            if subprocess.run(ready).returncode == 0:
                break
            time.sleep(0.1)
        yield f"postgresql://me@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        shutil.rmtree(home, ignore_errors=True)


def counters(url: str) -> dict[str, float]:
    """What the server has done so far: transactions, bytes of its log, bytes on its disk; {} of a file."""
    if not url.startswith("postgresql"):
        return {}
    import psycopg

    asked = (
        "SELECT (SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()), "
        "(SELECT pg_current_wal_lsn() - '0/0'::pg_lsn), pg_database_size(current_database())"
    )
    time.sleep(1.5)  # a server's statistics come a second late
    with psycopg.connect(url) as connection:
        row = connection.execute(asked).fetchone()
    return dict(zip(("transactions", "log_bytes", "disk_bytes"), map(float, row or ()), strict=True))


def difference(after: dict[str, float], before: dict[str, float], by: float) -> dict[str, float]:
    """What was done between two readings, for each of `by` things."""
    return {name: round((after[name] - before[name]) / by, 2) for name in after}


def measure(url: str, folder: Path, workers: int, trials: int, batch: int, pause: float) -> dict[str, Any]:
    """Runs the workers, then one more that reads the study."""
    open_one(url, folder / "first", trials, batch).close()
    # Forked, so that they share what they have imported: the machine is to serve the database, not to start Python.
    context = multiprocessing.get_context("fork")
    go, reports_of = context.Event(), context.SimpleQueue()
    running = [
        context.Process(target=work, args=(url, folder / str(i), trials, batch, pause, go, reports_of), daemon=True)
        for i in range(workers)
    ]
    for worker in running:
        worker.start()
    for _ in running:
        assert reports_of.get() == "open"
    before, start = counters(url), time.perf_counter()
    go.set()
    reports = [reports_of.get() for _ in running]
    seconds = time.perf_counter() - start
    for worker in running:
        worker.join()
    after = counters(url)
    done = Counter(number for report in reports for number in report["done"])
    reads = []
    for _ in range(READS):
        begun = time.perf_counter()
        study = open_one(url, folder / "last", trials, batch)
        stored = study.trials()
        study.close()
        reads.append((time.perf_counter() - begun) / max(1, len(stored)))
    asks, tells = (sorted(1e3 * value for report in reports for value in report[name]) for name in ("asks", "tells"))
    return {
        "workers": workers,
        "trials": trials,
        "batch": batch,
        "pause": pause,
        "seconds": round(seconds, 2),
        "trials_per_second": round(trials / seconds, 2),
        "lost": trials - len(stored),
        "twice": len(stored) - len({row["number"] for row in stored}),
        "trained_twice": done.total() - len(done),
        "ask_ms": [round(median(asks), 1), round(quantiles(asks, n=20)[-1], 1)],
        "tell_ms": [round(median(tells), 1), round(quantiles(tells, n=20)[-1], 1)],
        "of_a_trial": difference(after, before, trials),
        "read_ms_of_a_trial": round(1e3 * median(reads), 4),
        "worker_megabytes": round(max(report["megabytes"] for report in reports), 1),
        "worker_cpu_ms_of_a_trial": round(1e3 * sum(report["cpu"] for report in reports) / trials, 1),
        "workers_with_jax": sum(report["jax"] for report in reports),
    }


def main() -> None:
    """Prints the figures, as a table or into a file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--trials", type=int, default=1280)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--pause", type=float, default=1.0)
    parser.add_argument("--storage", default="")
    parser.add_argument("--json", default="")
    given = parser.parse_args()
    server = nullcontext(given.storage) if given.storage else postgresql(given.workers + 30)
    with server as url, tempfile.TemporaryDirectory() as folder:
        result = measure(url, Path(folder), given.workers, given.trials, given.batch, given.pause)
    for name, value in result.items():
        print(f"{name:26}{json.dumps(value)}")
    if given.json:
        Path(given.json).write_text(json.dumps(result, indent=2) + "\n")
    if result["lost"] or result["twice"]:
        sys.exit("a trial was lost or counted twice")


if __name__ == "__main__":
    main()
