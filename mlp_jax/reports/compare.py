"""Runs and sweeps side by side: one page and a CSV, from the files in their workdirs."""

import csv
import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mlp_jax.errors import UserError, is_number
from mlp_jax.files.workdir import create, read_config, read_if_there, read_lines, write_bytes
from mlp_jax.metrics import chosen
from mlp_jax.reports import insights, plots
from mlp_jax.reports.html import Html, Json, percent, spoken, tag, write_page
from mlp_jax.reports.sweep import axis_data, curve_data, curve_section, parallel_section, trial_data, trial_section

FEW = 4  # so many runs need no parallel coordinates
PAGE, TABLE = "report.html", "compare.csv"
# Fields that say where and how a run is kept, not what it is.
ELSEWHERE = ("data_dir", "resume", "checkpoint_seconds", "storage", "sweep")
CURVES = {"val/accuracy": "validation accuracy", "val/loss": "validation loss", "train/loss": "training loss"}
COLORS = tuple(color for color in plots.SERIES if color != plots.INK)  # so many runs have a colour of their own


class _Entry(NamedTuple):
    """A run or a trial as a row of trials.jsonl has it, its curves by name, and the page that it is on."""

    row: dict[str, Any]
    curves: Mapping[str, Sequence[Any]]
    page: Path


def compare(folders: Sequence[str | Path], output: str | Path) -> Path:
    """Writes report.html and compare.csv into `output`; returns the page's path.

    Of `folders` each is the workdir of a run or of a sweep, whose trials are counted as runs; others are left out, and
    the page says so. The table has the config fields that differ and the figures; what is best is best on validation.
    Raises UserError where no folder holds a run, and for a file that is damaged.
    """
    given, output = list(dict.fromkeys(map(Path, folders))), Path(output)
    names = Counter(folder.resolve().name for folder in given)
    alone = {folder: folder.resolve().name for folder in given}
    of_folder = {f: _entries(f, name if names[name] == 1 else str(f)) for f, name in alone.items()}
    entries = [entry for found in of_folder.values() for entry in found]
    left_out = [str(folder) for folder, found in of_folder.items() if not found and not folder.is_file()]
    if not entries:
        raise UserError(f"--inputs: none of {_shortened([*map(str, given)])} holds a run or a sweep")
    rows = _differing([entry.row for entry in entries])
    places = sorted(range(len(rows)), key=lambda place: -_score(rows[place]))  # the best first
    rows = [rows[place] | {"number": number} for number, place in enumerate(places)]
    entries = [entries[place] for place in places]
    links = {
        row["number"]: _link(entry.page, output)
        for row, entry in zip(rows, entries, strict=True)
        if entry.page.exists()
    }
    create(output)
    order = insights.score_order(rows)
    varying = insights.parameters(rows)[0]
    axes = insights.axes(rows, "validation accuracy", {}, order)
    data = {
        **trial_data(rows, varying, links, larger=True, first="name"),
        "order": [round(float(place), 4) for place in order],
        "curves": curve_data({title: [entry.curves.get(name) for entry in entries] for name, title in CURVES.items()}),
    }
    data["axes"] = axis_data(axes, data["trials"]["columns"])
    if len(rows) <= len(COLORS):
        data["palette"] = COLORS[: len(rows)]
    body = [
        tag("h1", f"{len(rows)} runs compared" if len(rows) > 1 else "1 run"),
        tag("p", _lead(rows, varying), class_="lead"),
        *([tag("p", f"Left out, as they hold no run: {_shortened(left_out)}.", class_="muted")] if left_out else []),
        *_table(data["trials"]),
        *curve_section(data["curves"]),
        *(parallel_section(rows, axes, "") if len(rows) > FEW and len(axes) > 1 else []),
    ]
    write_bytes(output / TABLE, _csv(data["trials"]).encode())
    return write_page(output / PAGE, f"{len(rows)} runs compared", body, data)


def _entries(folder: Path, name: str) -> list[_Entry]:
    """The run or the trials that a folder holds; `name` is what it is called."""
    if not (folder / "config.json").exists():
        return []
    config, page = read_config(folder), folder / "report.html"
    if "sweep" in config:
        return [_trial(trial, config, name, page) for trial in read_lines(folder / "trials.jsonl")]
    return [] if "experiments" in config else [_run(folder, config, name, page)]


def _trial(trial: Json, config: Json, name: str, page: Path) -> _Entry:
    fixed = {key: said["value"] for key, said in config["sweep"].get("parameters", {}).items() if "value" in said}
    own = {key: value for key, value in fixed.items() if key in config} | trial["parameters"]
    if {"num_layers", "hidden_size"} & set(own):  # as the sweep itself reads them
        depth, width = len(config["hidden_sizes"]), next(iter(config["hidden_sizes"]), 0)
        own["hidden_sizes"] = [own.pop("hidden_size", width)] * own.pop("num_layers", depth)
    figures = {key: value for key, value in trial.items() if key not in ("parameters", "metric", "curve", "num_epochs")}
    row = {**figures, "name": f"{name} #{trial['number']}", "parameters": {**config, **own}}
    metric = str(config["sweep"].get("metric", {}).get("name", "val/accuracy"))
    return _Entry(row, {"val/accuracy" if metric.endswith("accuracy") else metric: trial.get("curve") or []}, page)


def _run(folder: Path, config: Json, name: str, page: Path) -> _Entry:
    records, summary = read_lines(folder / "metrics.jsonl"), read_if_there(folder / "summary.json")
    lost = bool(records) and records[-1].get("train/loss") is None
    best = chosen(records) if records else {}
    figures = ("val/accuracy", "val/accuracy/sd", "val/loss", "train/loss", "train/accuracy")
    tested = (
        "val/accuracy",
        "val/accuracy/sd",
        "test/accuracy",
        "test/accuracy/sd",
        "test/loss",
        "best_epoch",
        "compile_seconds",
        "device",
    )
    row = {
        "name": name,
        "status": "finished" if summary else "diverged" if lost else "unfinished",
        **{key: None if lost else best.get(key) for key in figures if key in best},
        **{key: summary[key] for key in tested if key in summary},
        "seconds": sum(record.get("seconds") or 0 for record in records),
        "parameters": {**config, "dataset": summary.get("dataset", config.get("dataset"))},
    }
    return _Entry(row, {key: [record.get(key) for record in records] for key in CURVES}, page)


def _differing(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with those parameters alone in which they differ; one that a row does not know is no difference."""
    names = dict.fromkeys(name for row in rows for name in row["parameters"] if name not in ELSEWHERE)
    known = {n: {insights.text(row["parameters"][n]) for row in rows if n in row["parameters"]} for n in names}
    varying = [name for name in names if len(known[name]) > 1]
    return [row | {"parameters": {name: row["parameters"].get(name) for name in varying}} for row in rows]


def _score(row: Json) -> float:
    value = insights.score(row)
    return -1.0 if value is None else value


def _link(page: Path, output: Path) -> str:
    return Path(os.path.relpath(page.resolve(), output.resolve())).as_posix()


def _lead(rows: Sequence[Json], varying: Sequence[str]) -> str:
    text = f"They differ in {', '.join(varying)}." if varying else "Their configs are the same."
    known = [row for row in rows if insights.score(row) is not None]
    if known:
        best = known[0]
        text += f" The best on validation is {best['name']} with {percent(_score(best))}"
        test = best.get("test/accuracy")
        text += (
            f"; on the test set, by which nothing is chosen here, it has {percent(test)}." if is_number(test) else "."
        )
    datasets = dict.fromkeys(spoken(row["parameters"]["dataset"]) for row in rows if "dataset" in row["parameters"])
    if len(datasets) > 1:
        text += f" Accuracies on different data ({', '.join(datasets)}) cannot be compared with each other."
    return text


def _table(trials: Json) -> list[Html]:
    note = tag("p", "The same rows, with all columns, are in compare.csv beside this page.", class_="muted")
    return [*trial_section("Fields that differ, and figures"), note]


def _shortened(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _csv(trials: Json) -> str:
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow([column["name"] for column in trials["columns"]])
    lines.writerows(trials["rows"])
    return text.getvalue()
