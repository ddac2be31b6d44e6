"""Studies for tests: a small space, what a trial scores, and a worker, which can be a process of its own."""

import hashlib
import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from configs import default
from mlp_jax.sweeps import study as studies
from mlp_jax.sweeps.dialect import parse
from mlp_jax.sweeps.samplers import Trial
from mlp_jax.sweeps.space import Space
from mlp_jax.sweeps.study import Outcome, Study, open_study

SMALL = {
    "activation": {"values": ["relu", "tanh", "sigmoid"]},
    "batch_size": {"values": [16, 32]},
    "num_epochs": {"values": [1, 2, 3, 4]},
    "layers": {"values": [1, 2]},
}
WIDE = SMALL | {"seed": {"min": 1, "max": 1000}}
EARLY = {"type": "hyperband", "min_iter": 1, "eta": 2}


def space(method: str = "random", **sweep: object) -> Space:
    """48 configurations, of which 20 are to be tried in batches of 4."""
    given = {"method": method, "parameters": SMALL, "run_cap": 20, "batch": 4}
    return parse(given | sweep, default.get_config())


def curve(params: dict) -> tuple[list[float], bool]:
    """A metric that follows from the parameters and comes nearer to its last value each epoch; one in nine diverges.

    Returns it, up to the last epoch before it diverged, and whether it did.
    """
    digest = hashlib.sha256(json.dumps(params, sort_keys=True).encode()).digest()
    sound = digest[2] % params["num_epochs"] if digest[0] % 9 == 0 else params["num_epochs"]
    return [digest[1] / 255 * epoch / 4 for epoch in range(1, sound + 1)], sound < params["num_epochs"]


def outcomes(study: Study, trials: Sequence[Trial]) -> list[tuple[Trial, Outcome]]:
    """What comes of trials of a batch, epoch by epoch, as a sweep trains them."""
    active, ended, histories = list(trials), [], {}
    for epoch in range(1, 5):
        for trial in list(active):
            values, diverged = curve(trial.params)
            histories[trial.number] = history = values[:epoch]
            if epoch > len(values) or (epoch == len(values) and not diverged):
                active.remove(trial)
                value = math.nan if diverged else history[-1]
                ended.append((trial, Outcome(value, False, history, {"epochs": len(history)})))
        for trial in [trial for trial in active if trial.number in study.to_stop(epoch, histories)]:
            active.remove(trial)
            history = histories[trial.number]
            ended.append((trial, Outcome(history[-1], True, history, {"epochs": epoch})))
    return ended


def run(study: Study, pause: float = 0.0) -> Study:
    """To the end, as a sweep would; a trial takes `pause` seconds."""
    while not study.finished():
        for told in outcomes(study, study.ask()):
            time.sleep(pause)
            study.tell([told])
        if pause:
            time.sleep(0.05)
    return study


def start(path: Path, url: str, pause: float, patience: float = 60.0, **sweep: object) -> subprocess.Popen:
    """A worker in a process of its own. It says `open` once it has opened its study."""
    path.mkdir(parents=True, exist_ok=True)
    arguments = [str(path), url, str(pause), str(patience), json.dumps(sweep)]
    return subprocess.Popen([sys.executable, "-m", __name__, *arguments], stdout=subprocess.PIPE, text=True)


if __name__ == "__main__":
    path, url, pause, patience, sweep = sys.argv[1:]
    studies.LEAST_PATIENCE = float(patience)
    worker = open_study(space(**json.loads(sweep)), Path(path), url, seed=7)
    print("open", flush=True)
    run(worker, float(pause)).close()
