"""Keeps what RESULTS.md is made of: figures of finished runs as results/NAME.json, and their learning curves.

python -m benchmarks.records keep NAME WORKDIR     # a run or a sweep
python -m benchmarks.records curves NAME …         # results/curves.png, of kept runs with validation
"""

import json
import sys
from pathlib import Path
from typing import Any

from configs import default
from mlp_jax.plots import Panel, lines

RESULTS = Path(__file__).parent.parent / "results"


def keep(name: str, workdir: Path) -> None:
    """Everything that differs from the default config, the summary with each seed's figures, and the epochs."""
    config = json.loads((workdir / "config.json").read_text())
    before = json.loads(default.get_config().to_json())
    changed = {field: value for field, value in config.items() if value != before.get(field) and field != "data_dir"}
    content: dict[str, Any] = {"config": changed}
    if (workdir / "trials.jsonl").exists():
        content["trials"] = _rows(workdir / "trials.jsonl")
    else:
        content["summary"] = json.loads((workdir / "summary.json").read_text())
        content["epochs"] = _rows(workdir / "metrics.jsonl")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def curves(names: list[str]) -> None:
    """Accuracy on the training and the validation images after each epoch, the means over the seeds."""
    panels = []
    for part, title in (("train", "training images, as trained on"), ("val", "validation images")):
        groups = {}
        for name in names:
            epochs = json.loads((RESULTS / f"{name}.json").read_text())["epochs"]
            groups[name] = [row["epoch"] for row in epochs], [row[f"{part}/accuracy"] for row in epochs]
        panels.append(Panel(groups, "epoch", "accuracy", title, percent=True))
    lines(panels, RESULTS / "curves.png")


if __name__ == "__main__":
    if sys.argv[1] == "keep":
        keep(sys.argv[2], Path(sys.argv[3]))
    else:
        curves(sys.argv[2:])
