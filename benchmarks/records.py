"""Keeps what RESULTS.md is made of: figures of finished runs as results/NAME.json, and their learning curves.

python -m benchmarks.records keep NAME WORKDIR         # a run or a sweep
python -m benchmarks.records board                     # the tables of RESULTS.md, of what is kept
python -m benchmarks.records ablate NAME FOLDER [FIELD[=VALUE][+FIELD…] …]
                                                       # configs/NAME.py without its ingredients, on validation
python -m benchmarks.records curves NAME …             # results/curves.png, of kept runs with validation
python -m benchmarks.records permute DATASET FILE.npz  # its images, the pixels of all in one random order
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import results
from configs import default
from mlp_jax.data import datasets
from mlp_jax.reports.plots import Panel, lines
from mlp_jax.runs.config import load

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"

PAGE = ROOT / "RESULTS.md"
BOARD = "<!-- written by python -m benchmarks.records board -->"
OTHERS = "<!-- other seeds: written by python -m benchmarks.records board -->"


class Entry(NamedTuple):
    """What a record is of, and what it is held to; accuracies in percent."""

    constraint: str
    goal: float | None
    known: str
    kept: str = ""  # whose figures these are, where not its own
    figure: str = "test/accuracy"


RECORDS = {
    "pi_mnist": Entry("MNIST, plain MLP, pixels in any order", 99.36, "99.36 %, with a decoder 99.43 %"),
    "pi_mnist_plain": Entry("MNIST, plain MLP, pixels in any order, no adversary", 99.10, "99.06 %"),
    "pi_fashion": Entry("Fashion-MNIST, plain MLP, pixels in any order", 91.0, "none published"),
    "best_grid": Entry("Fashion-MNIST, at most 5 × 128, no distortions", 90.3, "88.9 %"),
    "best_small": Entry("Fashion-MNIST, at most 5 × 128, distortions", 90.8, "88.9 %"),
    "best_fashion": Entry("Fashion-MNIST, plain MLP, distortions", 91.6, "90.2 %"),
    "best_fashion_ensemble": Entry(
        "its nets together", 91.9, "none published", "best_fashion", "test/ensemble_accuracy"
    ),
    "best_mnist_small": Entry("MNIST, at most 5 × 128, distortions", 99.0, "none published"),
    "best_mnist": Entry("MNIST, plain MLP, distortions", 99.65, "99.65 %"),
    "speedrun": Entry("Fashion-MNIST, at least 88.08 % in the least time", 88.08, "none published"),
    "seed_best": Entry("the source system's own configuration", None, "88.08 % is reported"),
}

# What a recipe consists of, as far as its own config differs from the default there.
INGREDIENTS = (
    *("activation", "norm", "dropout_rate", "label_smoothing", "weight_decay", "ema_decay", "schedule"),
    *("noise", "input_dropout_rate", "max_norm", "vat_weight", "confidence_penalty", "optimizer"),
    *(field for field in default.get_config() if field.startswith("augment_")),
)


def keep(name: str, workdir: Path) -> None:
    """Everything that differs from the default config, the summary with each seed's figures, and the epochs."""
    config = json.loads((workdir / "config.json").read_text())
    config["dataset"] = Path(config["dataset"]).name
    before = json.loads(default.get_config().to_json())
    changed = {field: value for field, value in config.items() if value != before.get(field) and field != "data_dir"}
    content: dict[str, Any] = {"config": changed}
    if (workdir / "trials.jsonl").exists():
        content["trials"] = _rows(workdir / "trials.jsonl")
    else:
        content["summary"] = json.loads((workdir / "summary.json").read_text()) | {"dataset": config["dataset"]}
        content["epochs"] = _rows(workdir / "metrics.jsonl")
    _write(name, content)


def _write(name: str, content: Any) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def ablate(name: str, folder: Path, changes: list[str]) -> None:
    """Accuracy on validation after the last epoch, five seeds, of the recipe of configs/NAME.py and of the same with
    one change after the other, runs in `folder`: FIELD=VALUE, or FIELD set back to the default, several at once with +
    between them. Without a change every ingredient is set back in turn, and the rows are results/ablation_NAME.json;
    those of given changes go into results/ablation_NAME_added.json, beside what else is there."""
    recipe, before = load(ROOT / "configs" / f"{name}.py"), default.get_config()
    file = f"ablation_{name}_added" if changes else f"ablation_{name}"
    changes = changes or [field for field in INGREDIENTS if recipe[field] != before[field]]
    path = RESULTS / f"{file}.json"
    rows = {str(row["set"]): row for row in json.loads(path.read_text())} if path.exists() else {}
    for change in ("", *changes):
        pairs = [part.partition("=") for part in change.split("+") if part]
        values = {field: value or before.get(field) for field, _, value in pairs}
        workdir = folder / ("_".join(f"{field}_{value}" for field, value in values.items()) or name)
        command = [sys.executable, "main.py", f"--config=configs/{name}.py", "--config.val_fraction=0.1"]
        command += ["--config.seeds=5", f"--workdir={workdir.resolve()}"]
        command += [f"--config.{field}={value}" for field, value in values.items()]
        subprocess.run(command, cwd=ROOT, check=True)
        last = _rows(workdir / "metrics.jsonl")[-1]
        summary = json.loads((workdir / "summary.json").read_text())
        figures = {key: last[key] for key in ("epoch", "val/accuracy", "val/accuracy/sd", "train/accuracy")}
        rows[str(values)] = {"set": values, **figures, "commit": summary["commit"]}
    _write(file, list(rows.values()))
    for row in rows.values():
        said = ", ".join(f"{field} = {value}" for field, value in row["set"].items()) or name
        print(f"{said:25} {row['val/accuracy']:.2%} ± {row['val/accuracy/sd']:.2%}")


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


def board() -> None:
    """Writes the leaderboard and the table of other seeds into RESULTS.md."""
    rows = [
        "| config | constraint | known | goal | test | | seconds a seed | date | commit | device |",
        "|" + "---|" * 10,
    ]
    others = ["| config | seeds | first seeds | other seeds | apart | 3·sd·√(2/n) |", "|" + "---|" * 6]
    for name, entry in RECORDS.items():
        summary = _summary(entry.kept or name)
        if not summary:
            continue
        reached = 100 * summary[entry.figure]
        goal, verdict = "–", "–"
        if entry.goal is not None:
            short = entry.goal - reached
            goal, verdict = f"{entry.goal:.2f} %", "reached" if short <= 0 else f"{short:.2f} points short"
        commit = summary["commit"]
        date = subprocess.run(
            ["git", "log", "-1", "--format=%cs", commit], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.strip()
        figure = f"{reached:.2f} %" if entry.kept else f"**{_mean(summary)}**, {len(summary['seeds'])} seeds"
        rows.append(
            f"| `{name}` | {entry.constraint} | {entry.known} | {goal} | {figure} | {verdict} "
            f"| {summary['seconds']:,.{0 if summary['seconds'] > 10 else 1}f} | {date} | {commit[:7]} "
            f"| {summary['threads']} × {summary['device']} |"
        )
        if (other := _summary(f"{name}_others")) and not entry.kept:
            apart = 100 * abs(other[entry.figure] - summary[entry.figure])
            limit = 300 * summary[f"{entry.figure}/sd"] * (2 / len(summary["seeds"])) ** 0.5
            figures = f"{_mean(summary)} | {_mean(other)} | {apart:.2f} | {limit:.2f} |"
            others.append(f"| `{name}` | {len(other['seeds'])} | {figures}")
    results.insert(PAGE, BOARD, rows)
    results.insert(PAGE, OTHERS, others)


def _summary(name: str) -> dict[str, Any]:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text())["summary"] if path.exists() else {}


def _mean(summary: dict[str, Any]) -> str:
    return f"{100 * summary['test/accuracy']:.2f} ± {100 * summary['test/accuracy/sd']:.2f} %"


def permute(name: str, path: Path) -> None:
    """The dataset as an .npz file, pixels in one random order for all images: the same to what knows no geometry."""
    dataset = datasets.load(name, default.get_config().data_dir, "")
    images, labels = dataset.read_test()
    order = np.random.default_rng(0).permutation(dataset.train_images.shape[1])
    train, test = (rows[:, order].reshape(-1, *dataset.image_shape) for rows in (dataset.train_images, images))
    np.savez_compressed(path, x_train=train, y_train=dataset.train_labels, x_test=test, y_test=labels)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["keep", name, workdir]:
            keep(name, Path(workdir))
        case ["ablate", name, folder, *changes]:
            ablate(name, Path(folder), changes)
        case ["curves", *names] if names:
            curves(names)
        case ["board"]:
            board()
        case ["permute", name, path]:
            permute(name, Path(path))
        case _:
            sys.exit(__doc__)
