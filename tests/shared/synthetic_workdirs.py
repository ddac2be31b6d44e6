"""Workdirs as a run or a sweep leaves them, drawn from a seed, so that pages can be tested without training."""

import json
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]

DEFAULTS: dict[str, Any] = {
    "dataset": "fashion_mnist", "data_dir": "data", "val_fraction": 0.1, "seed": 0, "seeds": 1,
    "hidden_sizes": (128, 128, 128), "activation": "relu", "init": "he", "dropout_rate": 0.0, "loss": "cross_entropy",
    "optimizer": "adam", "learning_rate": 1e-3, "batch_size": 32, "num_epochs": 10, "wandb_entity": "",
}  # fmt: skip

IMPORTANCE = {"weight_decay": 0.41, "activation": 0.3, "init": 0.2, "optimizer": 0.06, "learning_rate": 0.03}


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def records(epochs: int, validated: bool = True) -> list[dict[str, Any]]:
    rng = np.random.default_rng(epochs)
    rows = []
    for epoch in range(1, epochs + 1):
        row = {
            "epoch": epoch, "step": 1688 * epoch, "seconds": 0.61,
            "train/loss": 0.25 + 0.5 * np.exp(-epoch / 3), "train/accuracy": 0.91 - 0.2 * np.exp(-epoch / 3),
            "val/loss": 0.33 + 0.4 * np.exp(-epoch / 2) + 0.01 * rng.normal(),
            "val/accuracy": 0.885 - 0.12 * np.exp(-epoch / 2) + 0.004 * rng.normal(),
        }  # fmt: skip
        rows.append({k: (None if k.startswith("val/") and not validated else v) for k, v in row.items()})
    return rows


def predictions(count: int = 600, classes: int = 10, side: int = 8) -> dict[str, Any]:
    """Images whose bright row tells the class, and predictions that mix up neighbouring classes."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, classes, count)
    predicted = np.where(rng.random(count) < 0.85, true, (true + rng.integers(1, 3, count)) % classes)
    images = rng.integers(0, 60, (count, side, side), dtype=np.uint8)
    images[np.arange(count), true % side] = 250
    matrix = np.zeros((classes, classes), int)
    np.add.at(matrix, (true, predicted), 1)
    return {
        "images": images.reshape(count, -1), "true": true, "predicted": predicted,
        "probability": 0.5 + 0.5 * rng.random(count), "matrix": matrix, "image_shape": (side, side),
    }  # fmt: skip


def run_workdir(folder: Path, class_names: list[str] = CLASSES, **changes: Any) -> Path:
    """config.json, metrics.jsonl, summary.json and evaluation.json; `changes` go into the config."""
    from mlp_jax.reports.run import Predictions, evaluation

    folder.mkdir(parents=True, exist_ok=True)
    config = DEFAULTS | changes
    rows = records(config["num_epochs"], config["val_fraction"] > 0)
    found = predictions(classes=len(class_names))
    matrix = found["matrix"]
    recall, precision = np.diag(matrix) / matrix.sum(1), np.diag(matrix) / matrix.sum(0)
    scores = {"precision": precision, "recall": recall, "f1": 2 * precision * recall / (precision + recall)}
    said = Predictions(*(found[name] for name in Predictions._fields))
    samples = found["images"], found["true"]
    record = evaluation("test", class_names, found["image_shape"], matrix, scores, said, samples)
    best = max(rows, key=lambda row: row["val/accuracy"] or row["epoch"])
    summary = {
        "dataset": config["dataset"],
        "best_epoch": best["epoch"],
        "val/accuracy": best["val/accuracy"],
        "test/loss": 0.341,
        "test/accuracy": 0.8823,
        "seconds": 6.2,
        "compile_seconds": 1.1,
        "device": "cpu",
        "device_count": 1,
        "threads": 2,
        "versions": {"python": "3.11.2", "jax": "0.10.2", "numpy": "2.4.6"},
        "commit": "f7e95d8",
    }
    (folder / "config.json").write_text(json.dumps(config))
    write_lines(folder / "metrics.jsonl", rows)
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "evaluation.json").write_text(json.dumps(record))
    return folder


CHOICES: dict[str, list[Any]] = {
    "num_epochs": [5, 10], "num_layers": [3, 4, 5], "hidden_size": [32, 64, 128], "weight_decay": [0.0, 0.0005, 0.5],
    "learning_rate": [1e-3, 1e-4], "optimizer": ["sgd", "momentum", "nesterov", "rmsprop", "adam", "nadam"],
    "batch_size": [16, 32, 64], "init": ["random", "xavier"], "activation": ["sigmoid", "tanh", "relu"],
}  # fmt: skip


def trials(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Random trials of the assignment's grid: poor exactly where λ is 0.5 or a sigmoid starts from small weights."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        p = {name: values[rng.integers(len(values))] for name, values in CHOICES.items()}
        accuracy = 0.84 + 0.01 * np.log2(p["hidden_size"] / 32) + 0.01 * (p["num_epochs"] == 10) + 0.02 * rng.random()
        accuracy -= 0.08 * (p["optimizer"] == "sgd")
        if p["weight_decay"] == 0.5:
            accuracy = 0.1 + 0.5 * rng.random()
        if p["activation"] == "sigmoid" and p["init"] == "random":
            accuracy = 0.1 + 0.02 * rng.random()
        chance = rng.random()
        status = "diverged" if chance < 0.02 else "pruned" if chance < 0.07 else "finished"
        value = None if status == "diverged" else round(float(accuracy), 4)
        name = "hl_{num_layers}_sz_{hidden_size}_bs_{batch_size}_ac_{activation}_op_{optimizer}_lr_{learning_rate:g}"
        rows.append({
            "number": number, "name": name.format(**p), "parameters": p, "metric": value, "status": status,
            "val/accuracy": value, "num_epochs": p["num_epochs"], "seconds": round(float(rng.uniform(2, 9)), 2),
        })  # fmt: skip
    return rows


def sweep_workdir(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """config.json, trials.jsonl and best.json."""
    folder.mkdir(parents=True, exist_ok=True)
    sweep = {"method": "random", "metric": {"name": "val/accuracy", "goal": "maximize"}, "run_cap": len(rows)}
    (folder / "config.json").write_text(json.dumps(DEFAULTS | {"sweep": sweep}))
    write_lines(folder / "trials.jsonl", rows)
    finished = [row for row in rows if row["status"] == "finished"]
    if finished:
        best = max(finished, key=lambda row: row["metric"])
        config = DEFAULTS | {"optimizer": best["parameters"].get("optimizer", "adam")}
        (folder / "best.json").write_text(json.dumps(best | {"config": config}))
    return folder
