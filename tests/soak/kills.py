"""kill -9 at uniformly drawn moments: a run, or a sweep, that is started again has to end with the undisturbed bits.

    python -m tests.soak.kills run --kills=100 --each=5 --folder=/tmp/kills
    python -m tests.soak.kills sweep --kills=50 --folder=/tmp/kills

Each workdir takes `--chain` kills, each at a moment drawn uniformly from what is left of the run's wall time; then it
runs to its end and is compared. Once the drawn kills are done, phases that were met less than `--each` times are
waited for. The phase of a kill is told by the files that it left. Started again in the same folder, the script goes on.
"""

import argparse
import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np

from tests.soak import runs

RUN = "--config=configs/adam.py --config.dataset=digits --config.schedule=constant --config.checkpoint_seconds=0.3"
SWEEP = "--config=tests/soak/small_sweep.py --config.sweep.method={method} --config.sweep.run_cap={trials}"
PHASES = {"run": ("start", "compile", "epoch", "checkpoint", "plots"), "sweep": ("start", "trials", "end")}
DEADLINE = 600  # seconds until a start that does not end counts as hung


def phase_of_run(folder: Path, began: int) -> str:
    """Where a run is that began at `began` (ns), by its files; each start writes config.json and metrics.jsonl anew."""
    if _changed(folder / "config.json") < began or _changed(folder / "metrics.jsonl") < began:
        return "start"
    if (folder / "summary.json").exists():
        return "end"
    if any((folder / "checkpoints").glob(".*.npz.tmp")):
        return "checkpoint"
    if _changed(folder / "evaluation.json") > began:
        return "plots"
    # A start sets the lines of metrics.jsonl back to those of the newest checkpoint; the first epoch adds one.
    newest = runs.newest_checkpoint(folder / "checkpoints")
    if newest is None or _changed(newest) < began:
        kept = len(json.loads(np.load(newest)["checkpoint.json"])["extra"]["records"]) if newest else 0
        if len((folder / "metrics.jsonl").read_bytes().splitlines()) <= kept:
            return "compile"
    return "epoch"


def phase_of_sweep(folder: Path, began: int) -> str:
    """start until this life has told a trial, trials, then the pictures and the page."""
    if _changed(folder / "plots" / "history.png") > began:
        return "end"
    return "trials" if _changed(folder / "trials.jsonl") > began else "start"


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


class Kind:
    """The command of a run or of a sweep, how it is compared, and where it can be met."""

    def __init__(self, name: str, epochs: int, trials: int) -> None:
        self.name = name
        text = f"{RUN} --config.num_epochs={epochs}" if name == "run" else SWEEP
        methods = ("random",) if name == "run" else ("random", "grid", "bayes")
        self.arguments = [text.format(method=method, trials=trials).split() for method in methods]
        self.figures = runs.figures_of_run if name == "run" else runs.figures_of_sweep
        self.phase = phase_of_run if name == "run" else phase_of_sweep

    def command(self, chain: int, folder: Path) -> list[str]:
        """The arguments for the chain of this number; a sweep's method alternates."""
        first, *rest = self.arguments[chain % len(self.arguments)]
        return [first.replace("=", f"={runs.ROOT}/", 1), *rest, f"--workdir={folder}"]


def undisturbed(kind: Kind, base: Path) -> list[dict]:
    """For each method: what an undisturbed run leaves, and its wall seconds."""
    found = []
    for number in range(len(kind.arguments)):
        folder = base / f"undisturbed-{kind.name}-{number}"
        kept = folder.with_suffix(".json")
        if not kept.exists():
            shutil.rmtree(folder, ignore_errors=True)
            began = time.monotonic()
            process = runs.start(kind.command(number, folder), base / "undisturbed.log", base / "cache")
            if process.wait(DEADLINE):
                raise SystemExit(f"the undisturbed run failed: {base / 'undisturbed.log'}")
            kept.write_text(json.dumps({"seconds": time.monotonic() - began, "figures": kind.figures(folder)}))
        found.append(json.loads(kept.read_text()))
    return found


def kill_once(kind: Kind, chain: int, folder: Path, after: float, target: str, cache: Path | None) -> tuple[str, float]:
    """Starts the command and kills it `after` seconds, or so long after its phase became `target`.

    Returns the phase of the kill ('ended' where the command was faster) and the seconds that it lived.
    """
    began, start = time.time_ns(), time.monotonic()
    process = runs.start(kind.command(chain, folder), folder.parent / f"{folder.name}.log", cache)
    try:
        at = None if target else start + after
        while process.poll() is None and (at is None or time.monotonic() < at):
            if time.monotonic() - start > DEADLINE:
                raise SystemExit(f"{folder}: hung")
            if at is None and kind.phase(folder, began) == target:
                at = time.monotonic() + after
            time.sleep(0.005)
        ended = process.poll() is not None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    lived = time.monotonic() - start
    if ended and process.returncode:
        raise SystemExit(f"{folder}: exit status {process.returncode}; see its log")
    return ("ended" if ended else kind.phase(folder, began)), lived


def one_chain(kind: Kind, chain: int, base: Path, kills: int, whole: dict, targets: list[str], seed: int) -> dict:
    """`kills` kills on one workdir, then its end, compared."""
    rng = random.Random(f"{seed}-{chain}")
    folder = base / f"{kind.name}-{chain}"
    shutil.rmtree(folder, ignore_errors=True)
    cache = base / "cache" if chain % 2 else None  # every other one compiles at each start
    phases: Counter[str] = Counter()
    left, lives = whole["seconds"], 0
    while phases.total() < kills and left > 1:
        target = targets[phases.total() % len(targets)] if targets else ""
        after = rng.uniform(0, {"compile": 1.0, "plots": 1.5, "checkpoint": 0.03}.get(target, 2.0) if target else left)
        before = len(runs.json_lines(folder / "metrics.jsonl")) if _whole_lines(folder) else 0
        phase, lived = kill_once(kind, chain, folder, after, target, cache)
        if phase == "ended":
            break
        phases[phase] += 1
        gained = (len(runs.json_lines(folder / "metrics.jsonl")) if _whole_lines(folder) else 0) - before
        left = left - max(0.0, lived - 5) if kind.name == "sweep" or gained > 0 else left
        lives += 1
    process = runs.start(kind.command(chain, folder), base / f"{folder.name}.log", cache)
    status = process.wait(DEADLINE)
    same = status == 0 and json.loads(json.dumps(kind.figures(folder))) == whole["figures"]
    if same:
        shutil.rmtree(folder)
        (base / f"{folder.name}.log").unlink()
    return {"chain": chain, "phases": dict(phases), "status": status, "same": same}


def _whole_lines(folder: Path) -> bool:
    path = folder / "metrics.jsonl"
    return path.exists() and path.read_bytes().endswith(b"\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=PHASES)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--each", type=int, default=0, help="least kills in each phase of a run")
    parser.add_argument("--chain", type=int, default=5, help="kills a workdir")
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--output", default="")
    options = parser.parse_args()
    base = options.folder.resolve()
    base.mkdir(parents=True, exist_ok=True)
    kind = Kind(options.kind, options.epochs, options.trials)
    whole = undisturbed(kind, base)
    done_path = base / f"{kind.name}.jsonl"
    done = [json.loads(line) for line in done_path.read_text().splitlines()] if done_path.exists() else []
    while True:
        phases = sum((Counter(chain["phases"]) for chain in done), Counter())
        drawn = options.kills - phases.total()
        missing = [name for name in PHASES[kind.name] if phases[name] < options.each for _ in range(options.each)]
        if drawn <= 0 and not missing:
            break
        kills = min(options.chain, drawn) if drawn > 0 else options.chain
        targets = [] if drawn > 0 else sorted(missing, key=PHASES[kind.name].index)
        chain = len(done)
        done.append(one_chain(kind, chain, base, kills, whole[chain % len(whole)], targets, options.seed))
        with open(done_path, "a") as file:
            file.write(json.dumps(done[-1]) + "\n")
        print(done[-1], flush=True)
    bad = [chain for chain in done if not chain["same"]]
    result = {
        "kills": phases.total(), "phases": dict(phases), "workdirs": len(done), "not_equal": bad,
        "seconds_of_undisturbed": [round(one["seconds"], 1) for one in whole], **runs.machine(),
    }  # fmt: skip
    runs.report(result, options.output)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
