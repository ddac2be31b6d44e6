"""The runs and the questions of ideas.md, and their pictures.

    python docs/pictures.py [SECTION …]     # from the repository's root; all sections without an argument

Each run is `python main.py FLAGS --workdir=runs/docs/SECTION/LABEL`; one that is finished is not trained again. The
questions of today's courses are sections by their names.
Pictures go to docs/images, figures to the terminal.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from PIL import Image  # noqa: E402

from mlp_jax.questions import IDEAS  # noqa: E402
from mlp_jax.reports.plots import Panel, lines  # noqa: E402

IMAGES, RUNS = ROOT / "docs/images", ROOT / "runs/docs"
SGD = "--config.optimizer=sgd --config.num_epochs=3"
DEEP = "--config.hidden_sizes=64,64,64,64,64 --config.num_epochs=3 --config.probes=True"
SHRUNK = 640  # pixels that the map of a million trainings is wide, which else takes a megabyte
FEW = "--config.val_fraction=0.9 --config.num_epochs=20 --config.seeds=3"

# section -> label -> flags
SECTIONS: dict[str, dict[str, str]] = {
    "first": {"adam": "--config=configs/adam.py --config.num_epochs=5"},
    "learning_rate": {
        f"η = {rate}": f"{SGD} --config.learning_rate={rate}" for rate in ("0.001", "0.01", "0.1", "0.5", "1")
    },
    "batch_size": {
        str(size or "all"): f"{SGD} --config.learning_rate=0.1 --config.batch_size={size}" for size in (8, 32, 512, 0)
    },
    "initialisation": {
        init: f"{SGD} --config.learning_rate=0.05 --config.init={init} --config.probes=True"
        for init in ("zeros", "random", "xavier", "he")
    },
    "depth": {
        name: f"{DEEP} --config.activation={name} --config.init={init}"
        for name, init in (("sigmoid", "xavier"), ("tanh", "xavier"), ("relu", "he"))
    },
    "regularisation": {
        "none": FEW,
        "dropout 0.3": f"{FEW} --config.dropout_rate=0.3",
        "L2, λ = 0.001": f"{FEW} --config.weight_decay=0.001",
        "decoupled, λ = 0.1": f"{FEW} --config.weight_decay=0.1 --config.decoupled_weight_decay=True",
    },
}
Records = list[dict[str, Any]]


def folder(section: str, label: str) -> Path:
    return RUNS / section / re.sub(r"[^A-Za-z0-9.]+", "_", label).strip("_")


def train(section: str, label: str) -> Records:
    workdir = folder(section, label)
    command = ["main.py", *SECTIONS[section][label].split(), f"--workdir={workdir.relative_to(ROOT)}"]
    print("python", *command, flush=True)
    if not (workdir / "summary.json").exists():
        subprocess.run([sys.executable, *command], cwd=ROOT, check=False)  # 1 from a run that diverges, which is shown
    check_data(workdir)
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def check_data(workdir: Path) -> None:
    if json.loads((workdir / "data.json").read_text())["dataset"] != "fashion_mnist":
        sys.exit(f"{workdir} was not trained on Fashion-MNIST: is MLP_JAX_DATA_DIR set?")


def mean_and_sd(records: Records, name: str) -> Any:
    """The values; of several seeds two rows with their mean and standard deviation, which is what `lines` draws."""
    if f"{name}/sd" not in records[0]:
        return [r[name] for r in records]
    return [[r[name] + sign * r[f"{name}/sd"] / 2**0.5 for r in records] for sign in (-1, 1)]


def over_epochs(runs: dict[str, Records], name: str, **options: Any) -> Panel:
    part, what = name.split("/")
    groups = {label: ([r["epoch"] for r in records], mean_and_sd(records, name)) for label, records in runs.items()}
    title = {"train": "training", "val": "validation", "probes": ""}[part]
    return Panel(groups, "epoch", f"{title} {what}", percent=what == "accuracy", **options)


def per_layer(runs: dict[str, Records], name: str, epoch: int, **options: Any) -> Panel:
    """A probe over the layers; a layer without gradient has no place on a log axis."""
    groups = {
        label: (list(range(1, len(values) + 1)), [value or None for value in values])
        for label, records in runs.items()
        for values in [records[epoch - 1][f"probes/{name}"]]
    }
    return Panel(groups, "layer", name.replace("grad_norm", "norm of the gradient"), **options)


def over_updates(runs: dict[str, Records]) -> Panel:
    groups = {
        label: ([r["step"] for r in records], [r["val/accuracy"] for r in records]) for label, records in runs.items()
    }
    return Panel(groups, "updates", "validation accuracy", log_x=True, percent=True)


def draw(section: str, runs: dict[str, Records]) -> None:
    path = IMAGES / f"{section}.png"
    if section == "first":
        for name in ("samples", "curves", "confusion_matrix"):
            shutil.copyfile(folder("first", "adam") / "plots" / f"{name}.png", IMAGES / f"first_{name}.png")
    elif section == "learning_rate":
        lines([over_epochs(runs, "train/loss", log_y=True), over_epochs(runs, "val/accuracy")], path)
    elif section == "batch_size":
        lines([over_epochs(runs, "val/accuracy"), over_updates(runs)], path)
    elif section == "initialisation":
        lines([over_epochs(runs, "val/accuracy"), per_layer(runs, "grad_norm", 1, log_y=True)], path)
    elif section == "depth":
        lines([per_layer(runs, "grad_norm", 1, log_y=True), over_epochs(runs, "val/accuracy")], path)
    else:
        lines([over_epochs(runs, "train/loss", log_y=True), over_epochs(runs, "val/loss")], path)


def ask(name: str) -> None:
    """Answers a question, whose sentences come to the terminal; of a picture too large for a page a smaller copy."""
    workdir = (RUNS / name).relative_to(ROOT)
    command = ["main.py", "--config=configs/assignment.py", f"--config.experiments={name}", f"--workdir={workdir}"]
    command.append("--config.dataset=fashion_mnist")
    print("python", *command, flush=True)
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
    check_data(ROOT / workdir)
    with Image.open(ROOT / workdir / "experiments" / name / f"{name}.png") as picture:
        page = picture.convert("RGB")
    if name == "trainability":
        page = page.resize((SHRUNK, page.height * SHRUNK // page.width), Image.Resampling.LANCZOS)
    page.quantize(128, dither=Image.Dither.NONE).save(IMAGES / f"{name}.png", optimize=True)


def main(sections: list[str]) -> None:
    for section in sections or (*SECTIONS, *IDEAS):
        if section in IDEAS:
            ask(section)
            continue
        runs = {label: train(section, label) for label in SECTIONS[section]}
        draw(section, runs)
        for label, records in runs.items():
            for record in records:
                print(f"{section:15}{label:20}", json.dumps({k: v for k, v in record.items() if k != "step"}))


if __name__ == "__main__":
    main(sys.argv[1:])
