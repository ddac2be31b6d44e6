"""The pages and pictures of a sweep, made from what it wrote into its workdir."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.files.workdir import read_config, read_if_there, read_lines, write_bytes, write_json
from mlp_jax.reports import insights, plots, sweep_plots
from mlp_jax.reports.html import Html, Shown, join, number, page, table, tag
from mlp_jax.reports.run import Json, bar, command_line, config_table, percent, seconds, spoken

IMPORTANCE = "importance.json"  # kept for a report that is written again without the study


class _Sweep(NamedTuple):
    config: Json
    trials: list[dict[str, Any]]
    best: Json
    metric: str
    larger: bool
    importance: Mapping[str, float | None]


def _sweep(workdir: Path, importance: Mapping[str, float | None]) -> _Sweep:
    config, trials = read_config(workdir), read_lines(workdir / "trials.jsonl")
    asked = config.get("sweep", {}).get("metric", {})
    accuracy = insights.is_accuracy(trials)
    metric = "validation accuracy" if accuracy else str(asked.get("name", "metric"))
    larger = accuracy or asked.get("goal", "maximize") != "minimize"
    trials = sorted(trials, key=lambda trial: trial["number"])
    return _Sweep(config, trials, read_if_there(workdir / "best.json"), metric, larger, importance)


def write_sweep_plots(workdir: str | Path, importance: Mapping[str, float | None]) -> None:
    """plots/history, parallel_coordinates, importance and separators.png, from trials.jsonl."""
    folder, sweep = Path(workdir) / "plots", _sweep(Path(workdir), importance)
    sweep_plots.history(sweep.trials, sweep.metric, folder / "history.png", sweep.larger)
    coordinates = folder / "parallel_coordinates.png"
    sweep_plots.parallel_coordinates(sweep.trials, sweep.metric, coordinates, importance, sweep.larger)
    correlations = insights.correlations(sweep.trials)
    sweep_plots.importance(correlations, importance, sweep.metric, folder / "importance.png")
    sweep_plots.separators(sweep.trials, folder / "separators.png")


def write_sweep_report(
    workdir: str | Path, defaults: Json, importance: Mapping[str, float | None], command: str = ""
) -> Path:
    """report.html of a sweep, from config.json, trials.jsonl and best.json; returns its path.

    `importance` maps a parameter to its share of 1 (empty: unknown); `command` is what started the sweep. Raises
    UserError as `write_run_report` does.
    """
    workdir = Path(workdir)
    sweep = _sweep(workdir, importance)
    order = insights.score_order(sweep.trials, sweep.larger)
    axes = insights.axes(sweep.trials, sweep.metric, importance, order)
    data: dict[str, Any] = {"dots": {"history": _history(sweep)}, "trials": _trial_columns(sweep)}
    data["order"] = [round(float(place), 4) for place in order]
    data["axes"] = [axis._asdict() | {"places": [round(place, 4) for place in axis.places]} for axis in axes]
    title = workdir.resolve().name
    body = [
        tag("h1", title),
        tag("p", _what_was_searched(sweep), class_="lead"),
        *_best_section(sweep, defaults),
        tag("h2", f"{sweep.metric.capitalize()} of every run, in the order of creation", id="history"),
        _sweep_chart(sweep),
        *_parallel_section(sweep, axes),
        *_importance_section(sweep),
        *_separator_section(sweep),
        *_trials_section(sweep),
        tag("h2", "How to reproduce it", id="reproduce"),
        *([tag("pre", command)] if command else []),
        tag("p", "Or copy config.json into an empty folder and name that folder: it holds the whole search."),
        tag("pre", "python main.py --workdir=FOLDER"),
        tag("h2", "Configuration", id="configuration"),
        tag("p", "What all runs share unless the sweep says otherwise; what differs from the defaults first."),
        config_table(sweep.config, defaults),
    ]  # fmt: skip
    write_json(workdir / IMPORTANCE, importance)
    path = workdir / "report.html"
    write_bytes(path, page(f"{title} – sweep", *body, data=data).encode())
    return path


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _what_was_searched(sweep: _Sweep) -> str:
    states: dict[str, int] = {}
    for trial in sweep.trials:
        state = str(trial.get("status"))
        states[state] = states.get(state, 0) + 1
    parts = ", ".join(f"{count:,} {state}" for state, count in states.items())
    method = spoken(sweep.config.get("sweep", {}).get("method", ""))
    text = (
        f"{_count(len(sweep.trials), 'run')}{f' by {method} search' if method else ''}{f' ({parts})' if parts else ''}"
    )
    goal = "highest" if sweep.larger else "lowest"
    spent = sum(trial.get("seconds") or 0 for trial in sweep.trials)
    effort = f" Training them took {seconds(spent)} in all, added up over the runs." if spent else ""
    return f"{text}, in search of the {goal} {sweep.metric}.{effort}"


def _best_section(sweep: _Sweep, defaults: Json) -> list[Html]:
    best = sweep.best
    if not best:
        return [tag("h2", "The best configuration", id="best"), tag("p", "No run has finished yet.")]
    score = best.get("val/accuracy")
    shown = percent(score) if score is not None else number(best.get("metric"))
    rows = best.get("parameters", {})
    cells = [tag("tr", tag("th", name, scope="row"), tag("td", insights.text(value))) for name, value in rows.items()]
    again = [
        tag("p", "Trained on training and validation images together, then tested once:"),
        tag("pre", "python main.py --mode=best --workdir=THIS_FOLDER"),
    ]
    if isinstance(best.get("config"), Mapping):
        again += [tag("p", "Alone, as in the sweep:"), tag("pre", command_line(best["config"], defaults))]
    return [
        tag("h2", "The best configuration", id="best"),
        tag("ul", tag("li", tag("b", shown), tag("span", sweep.metric)),
            tag("li", tag("b", best.get("name", "–")), tag("span", f"run {best.get('number', '–')}")), class_="tiles"),
        tag("div", tag("table", tag("tbody", *cells)), tag("div", *again), class_="side"),
    ]  # fmt: skip


def _history(sweep: _Sweep) -> dict[str, Any]:
    series = []
    rows = [(trial, insights.score(trial)) for trial in sweep.trials]
    groups = (("finished", plots.BLUE), ("pruned", "#9aa3ae"), ("diverged", plots.ORANGE), ("failed", "#cc79a7"))
    for status, color in groups:
        own = [(trial, value) for trial, value in rows if trial.get("status") == status]
        if own:
            series.append({
                "name": status, "color": color, "dots": True, "x": [t["number"] for t, _ in own],
                "y": [value for _, value in own], "labels": [f"{t['number']}: {t.get('name', '')}" for t, _ in own],
            })  # fmt: skip
    finished = [(t["number"], value) for t, value in rows if t.get("status") == "finished" and value is not None]
    if finished:
        values = [value for _, value in finished]
        best = (np.maximum if sweep.larger else np.minimum).accumulate(values).tolist()
        x = [place for place, _ in finished] + [sweep.trials[-1]["number"]]
        series.append({"name": "best so far", "color": plots.INK, "dots": False, "x": x, "y": [*best, best[-1]]})
    accuracy = insights.is_accuracy(sweep.trials)
    poor = accuracy and any(value < insights.POOR for _, value in finished)
    return {
        "xlabel": "run", "ylabel": sweep.metric, "percent": accuracy,
        "threshold": insights.POOR if poor else None, "series": series,
    }  # fmt: skip


def _sweep_chart(sweep: _Sweep) -> Html:
    if not any(trial.get("status") in ("finished", "pruned", "diverged", "failed") for trial in sweep.trials):
        return tag("p", "No run has finished yet.")
    note = "Point at a dot for its run. What diverged or failed has no value and lies on the floor."
    return join([tag("div", class_="chart tall", data_dots="history"), tag("p", note, class_="muted")])


def _parallel_section(sweep: _Sweep, axes: Sequence[insights.Axis]) -> list[Html]:
    head = tag("h2", "Parallel coordinates", id="parallel")
    if len(axes) < 2:
        return [head, tag("p", "They need two runs that differ.")]
    fixed = ", ".join(f"{name} = {value}" for name, value in insights.parameters(sweep.trials)[1].items())
    explained = (
        "One line a run, from orange (worst) to blue (best); the more important a parameter, the nearer to the score. "
        "Drag along an axis to keep the runs that pass there, on several axes if you like; click an axis to free it. "
        "The lines of one choice are spread by their score, and the table below follows."
    )
    return [
        head,
        tag("p", explained + (f" The same in all runs: {fixed}." if fixed else "")),
        tag("div", tag("output", "", id="brushed"), tag("span", "", id="summary", class_="muted"),
            tag("button", "Clear", type="button", class_="button", id="clear"), class_="tools"),
        tag("div", tag("div", class_="parallel", style=f"min-width:{5.4 * len(axes):.1f}rem"), class_="scroll"),
    ]  # fmt: skip


def _importance_section(sweep: _Sweep) -> list[Html]:
    shares = sorted(
        ((name, value) for name, value in sweep.importance.items() if value is not None), key=lambda row: -row[1]
    )
    known = {name: value for name, value in insights.correlations(sweep.trials).items() if value is not None}
    left: list[Html] = [tag("h3", "Importance of every hyperparameter")]
    if any(value for _, value in shares):
        rows = [{"parameter": name, "importance": Shown(value, bar(value, scale=9))} for name, value in shares]
        left += [table(rows), tag("p", "Each parameter's share in explaining the differences.", class_="muted")]
    else:
        left.append(tag("p", "Too few finished runs to tell."))
    right: list[Html] = [tag("h3", f"Rank correlation with {sweep.metric}")]
    if known:
        ordered = sorted(known.items(), key=lambda row: -abs(row[1]))
        rows = [{"parameter": n, "correlation": Shown(value, _signed_bar(value, sweep))} for n, value in ordered]
        note = "Spearman's, over finished runs; of a choice: having it or not. Orange: does worse."
        right += [table(rows), tag("p", note, class_="muted")]
    else:
        right.append(tag("p", "Too few finished runs to tell."))
    head = tag("h2", "Importance and correlation", id="importance")
    return [head, tag("div", tag("div", *left), tag("div", *right), class_="side")]


def _signed_bar(value: float, sweep: _Sweep) -> Html:
    kind = "bar" if (value > 0) == sweep.larger else "bar poor"
    shown = tag("span", class_=kind, style=f"width:{7 * abs(value):.2f}rem")
    return join([shown, Html(f" {value:+.2f}".replace("-", "−"))])


def _separator_section(sweep: _Sweep) -> list[Html]:
    if not insights.is_accuracy(sweep.trials):
        return []
    found = insights.separators(sweep.trials)
    kinds = {1: "poor", 0: "grey", -1: ""}
    rows = [
        {"value": row.label, "runs": row.runs, "poor": row.poor,
         "share": Shown(row.poor / row.runs, bar(row.poor / row.runs, kinds[row.side], scale=9)),
         "chance": Shown(row.p, Html(f"{row.p:.1g}"))}
        for row in found
    ]  # fmt: skip
    note = (
        "Poor are runs below 65 % and those that diverged; pruned ones are left out. Chance: the probability that runs "
        "drawn at random differ as much (hypergeometric, times the number of rows); orange and blue are below 1 %."
    )
    return [
        tag("h2", "What separates the runs below 65 %", id="separators"),
        tag("p", insights.poor_sentences(sweep.trials)),
        *([table(rows), tag("p", note, class_="muted")] if rows else []),
    ]


def _trial_columns(sweep: _Sweep) -> dict[str, Any]:
    """The table of all trials: its columns, their raw values, and which of them is the score."""
    varying = insights.parameters(sweep.trials)[0]
    known = {"number", "name", "status", "metric", "val/accuracy", "parameters"}
    scalars = dict.fromkeys(k for t in sweep.trials for k, v in t.items() if isinstance(v, int | float | str))
    rest = [name for name in scalars if name not in known and name not in varying]
    score = "val/accuracy" if insights.is_accuracy(sweep.trials) else "metric"
    own = ["number", score, "status"]
    names = [*own, *varying, *rest, "name"]
    rows = []
    for trial in sweep.trials:
        parameters = [_raw(trial["parameters"].get(name)) for name in varying]
        others = [_raw(trial.get(name)) for name in (*rest, "name")]
        rows.append([trial.get(name) for name in own] + parameters + others)
    columns = []
    for place, name in enumerate(names):
        numeric = any(isinstance(row[place], int | float) for row in rows)
        columns.append({"name": "#" if place == 0 else name, "percent": name.endswith("accuracy"), "number": numeric})
    return {"columns": columns, "rows": rows, "score": 1, "larger": sweep.larger}


def _raw(value: Any) -> Any:
    """Numbers as they are, so that they sort as numbers; everything else as its text."""
    return (
        value
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        else insights.text(value)
    )


def _trials_section(sweep: _Sweep) -> list[Html]:
    tools = tag(
        "div", tag("span", "", id="listed", class_="muted"),
        tag("button", "List all", type="button", class_="button", id="more"), class_="tools",
    )  # fmt: skip
    return [
        tag("h2", "All trials", id="trials"),
        tag("p", "Click a head to sort by it, again to turn the order round; what is missing comes last."),
        tools,
        tag("div", tag("table", class_="trials"), class_="scroll"),
    ]
