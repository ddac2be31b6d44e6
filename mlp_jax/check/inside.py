"""The process of a submission: `python -m mlp_jax.check.inside TASK` confines itself, then runs what the task names."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlp_jax.check import confine


def functions() -> Callable[..., None]:
    """The check of networks, gradients and optimizers, which runs in a submission's own process."""
    from mlp_jax.check.found import check_path

    def inside(copy: Path, tell: Callable[[dict[str, Any]], None], seed: int) -> None:
        for finding in check_path(copy, seed):
            tell(finding._asdict())

    return inside


def programs() -> Callable[..., None]:
    """The check of train.py and inference.py."""
    from mlp_jax.check.programs import inside

    return inside


JOBS = {"functions": functions, "programs": programs}


def main(task: dict[str, Any]) -> None:
    """Tells, a JSON object a line: the walls, what the job has to tell, and last of all the end."""
    word = sys.stdin.read()  # which marks what is told here from what a submission may write into the same file
    folder, package = Path(task["folder"]), Path(__file__).parents[1]
    with open(folder / "told", "a", encoding="utf-8") as told:

        def tell(record: dict[str, Any]) -> None:
            from mlp_jax.files.workdir import dumps

            told.write(word + dumps(record) + "\n")
            told.flush()

        others = [Path(path) for path in sys.path if path and Path(path).is_dir() and Path(path) != package.parent]
        walls = confine.enter(folder, [package, *others], task["seconds"])
        inside = JOBS[task["job"]]()
        memory = confine.limit_memory()
        tell({"walls": " · ".join(filter(None, (walls, memory)))})
        # What a submission imports is its own: not `train`, `tests` or `configs` of our checkout.
        if package.parent.name != "site-packages":
            sys.path[:] = [path for path in sys.path if Path(path) != package.parent]
        sys.argv = [task["copy"]]
        inside(Path(task["copy"]), tell, **task["arguments"])
        tell({"end": True})
    os._exit(0)  # nothing of the submission has a word after the end


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
