"""What the soak scripts share: starting main.py, and what of a workdir has to be equal bit for bit."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TIMES = ("seconds", "compile_seconds")


def start(arguments: Iterable[str], log: Path, cache: Path | None) -> subprocess.Popen:
    """main.py in a process group of its own; `cache` is the user's cache folder, None compiles every program anew."""
    environment = {"MLP_JAX_DATA_DIR": str(log.parent / "data"), **os.environ}  # in every config, so the same for all
    environment |= {"JAX_PLATFORMS": "cpu", "WANDB_MODE": "offline"}
    environment |= {"XDG_CACHE_HOME": str(cache)} if cache else {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    with open(log, "ab") as out:
        return subprocess.Popen(
            [sys.executable, ROOT / "main.py", *arguments],
            cwd=log.parent,
            env=environment,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


def untimed(value: Any) -> Any:
    """JSON without its wall-clock figures."""
    if isinstance(value, dict):
        return {key: untimed(item) for key, item in value.items() if not key.startswith(TIMES)}
    return [untimed(item) for item in value] if isinstance(value, list) else value


def json_lines(path: Path) -> list[Any]:
    return [untimed(json.loads(line)) for line in path.read_text().splitlines()]


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest of a folder of checkpoints."""
    return max(folder.glob("[0-9]*.npz"), key=lambda path: int(path.stem), default=None)


def newest_arrays(checkpoints: Path) -> tuple[str, str]:
    """The step of the newest checkpoint and a sum of the bytes of its arrays."""
    newest = newest_checkpoint(checkpoints)
    assert newest is not None
    digest = hashlib.sha256()
    with zipfile.ZipFile(newest) as file:
        for name in file.namelist():
            if name.endswith(".npy"):
                digest.update(name.encode() + file.read(name))
    return newest.stem, digest.hexdigest()


def written_figures(folder: Path) -> dict[str, Any]:
    """metrics.jsonl and summary.json, times aside."""
    summary = untimed(json.loads((folder / "summary.json").read_text()))
    return {"metrics": json_lines(folder / "metrics.jsonl"), "summary": summary}


def figures_of_run(folder: Path) -> dict[str, Any]:
    """metrics.jsonl and summary.json, times aside, and the arrays of the newest checkpoint."""
    step, arrays = newest_arrays(folder / "checkpoints")
    return {**written_figures(folder), "checkpoint": step, "arrays": arrays}


def figures_of_sweep(folder: Path) -> dict[str, Any]:
    """trials.jsonl and best.json, times aside."""
    best = untimed(json.loads((folder / "best.json").read_text()))
    return {"trials": json_lines(folder / "trials.jsonl"), "best": best}


def machine() -> dict[str, Any]:
    """What a figure was measured on."""
    import jax

    from mlp_jax.runs.runtime import _commit, _processor, usable_cores

    return {"cores": usable_cores(), "processor": _processor(), "jax": jax.__version__, "commit": _commit()}


def report(result: dict[str, Any], output: str) -> None:
    """The result as JSON on stdout and, where asked for, in a file."""
    text = json.dumps(result, indent=2)
    print(text)
    if output:
        Path(output).write_text(text + "\n")
