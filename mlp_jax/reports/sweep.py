"""The page and pictures of a sweep, made from what it wrote into its workdir."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from mlp_jax.errors import is_number
from mlp_jax.files.workdir import read_config, read_if_there, read_lines, write_json
from mlp_jax.reports import insights, sweep_plots
from mlp_jax.reports.html import (
    Html,
    Json,
    Shown,
    bar,
    button,
    command_line,
    config_table,
    facts,
    number,
    percent,
    pre,
    seconds,
    spoken,
    table,
    tag,
    write_page,
)

IMPORTANCE = "importance.json"  # kept for a report that is written again without the study
COLORS = {"finished": "var(--good)", "pruned": "var(--grey)", "diverged": "var(--poor)", "failed": "#cc79a7"}


class _Sweep(NamedTuple):
    config: Json
    trials: list[dict[str, Any]]
    metric: str
    accuracy: bool  # whether the scores are shares of 1
    larger: bool  # whether a larger score is better


def _sweep(workdir: Path) -> _Sweep:
    config = read_config(workdir)
    trials = sorted(read_lines(workdir / "trials.jsonl"), key=lambda trial: trial["number"])
    asked = config.get("sweep", {}).get("metric", {})
    if insights.is_accuracy(trials):
        return _Sweep(config, trials, "validation accuracy", True, True)
    return _Sweep(config, trials, str(asked.get("name", "metric")), False, asked.get("goal") != "minimize")


def write_sweep_plots(workdir: str | Path, importance: Mapping[str, float | None]) -> None:
    """plots/history, parallel_coordinates, importance and separators.png, from trials.jsonl."""
    folder, sweep = Path(workdir) / "plots", _sweep(Path(workdir))
    sweep_plots.history(sweep.trials, sweep.metric, folder / "history.png", sweep.larger)
    coordinates = folder / "parallel_coordinates.png"
    sweep_plots.parallel_coordinates(sweep.trials, sweep.metric, coordinates, importance, sweep.larger)
    correlations = insights.correlations(sweep.trials)
    chances = insights.chances(sweep.trials, sweep.larger)
    sweep_plots.importance(correlations, importance, chances, sweep.metric, folder / "importance.png")
    sweep_plots.separators(sweep.trials, folder / "separators.png")


def write_sweep_report(workdir: str | Path, defaults: Json, importance: Mapping[str, float | None]) -> Path:
    """report.html of a sweep, from config.json, trials.jsonl and best.json; returns its path.

    `importance` maps a parameter to its share of 1 (empty: unknown). Raises UserError as `write_run_report` does.
    """
    workdir = Path(workdir)
    sweep, title = _sweep(workdir), workdir.resolve().name
    order = insights.score_order(sweep.trials, sweep.larger)
    axes = insights.axes(sweep.trials, sweep.metric, importance, order)
    best, again = read_if_there(workdir / "best.json"), f"{workdir}-again"
    own = "best/report.html" if (workdir / "best" / "report.html").exists() else ""  # the best one's page
    varying = insights.parameters(sweep.trials)[0]
    data = {
        "dots": {"history": _history(sweep)},
        **trial_data(sweep.trials, varying, {best["number"]: own} if own and best else {}, sweep.larger),
        "order": [round(float(place), 4) for place in order],
        "curves": curve_data({_curve_name(sweep.config): [trial.get("curve") for trial in sweep.trials]}),
    }
    data["axes"] = axis_data(axes, data["trials"]["columns"])
    body = [
        tag("h1", title),
        tag("p", _what_was_searched(sweep), class_="lead"),
        *_best_section(best, workdir, own, sweep.metric, defaults),
        *_history_section(sweep),
        *parallel_section(sweep.trials, axes, "; the more important a parameter, the nearer to the score"),
        *curve_section(data["curves"]),
        *_importance_section(sweep, importance),
        *_separator_section(sweep),
        *trial_section("All trials"),
        tag("h2", "How to reproduce it", id="reproduce"),
        tag("p", "config.json holds the whole search: in an empty folder it begins anew."),
        pre(
            *(
                shlex.join(words)
                for words in (
                    ("mkdir", "-p", again),
                    ("cp", str(workdir / "config.json"), again),
                    ("python", "main.py", f"--workdir={again}"),
                )
            )
        ),
        tag("h2", "Configuration", id="configuration"),
        tag("p", "What all runs share unless the sweep says otherwise."),
        config_table(sweep.config, defaults),
    ]
    write_json(workdir / IMPORTANCE, importance)
    return write_page(workdir / "report.html", f"{title} – sweep", body, data)


def _what_was_searched(sweep: _Sweep) -> str:
    count, method = len(sweep.trials), sweep.config.get("sweep", {}).get("method")
    text = f"{count:,} run{'' if count == 1 else 's'}"
    if method:
        text += f" by {spoken(method)} search"
    if sweep.trials:
        states = Counter(str(trial.get("status")) for trial in sweep.trials)
        text += f" ({', '.join(f'{number:,} {state}' for state, number in states.items())})"
    text += f", in search of the {'highest' if sweep.larger else 'lowest'} {sweep.metric}."
    spent = sum(trial.get("seconds") or 0 for trial in sweep.trials)
    return text + (f" Training them took {seconds(spent)} in all, added up over the runs." if spent else "")


def _best_section(best: Json, workdir: Path, own: str, metric: str, defaults: Json) -> list[Html]:
    head = tag("h2", "The best configuration", id="best")
    if not best:
        return [head, tag("p", "No run has finished yet.")]
    score = best.get("val/accuracy")
    tiles = {
        metric: number(best.get("metric")) if score is None else percent(score),
        f"run {best.get('number', '–')}": best.get("name", "–"),
    }
    again = [
        tag("p", "Trained on training and validation images together, then tested once:"),
        pre(shlex.join(["python", "main.py", "--mode=best", f"--workdir={workdir}"])),
    ]
    if own:
        again.append(tag("p", "That has been done: ", tag("a", "its page", href=own), "."))
    if isinstance(best.get("config"), Mapping):
        again += [tag("p", "Alone, as in the sweep:"), pre(command_line(best["config"], defaults))]
    parameters = facts({name: insights.text(value) for name, value in best.get("parameters", {}).items()})
    return [
        head,
        tag("ul", *(tag("li", tag("b", value), tag("span", name)) for name, value in tiles.items()), class_="tiles"),
        tag("div", parameters, tag("div", *again), class_="side"),
    ]


def _history(sweep: _Sweep) -> dict[str, Any]:
    """Every run's score by its number, one series of dots a status, and the best so far as a line."""
    series = []
    for status, color in COLORS.items():
        own = [trial for trial in sweep.trials if trial.get("status") == status]
        if own:
            series.append({
                "name": status, "color": color, "dots": True, "x": [trial["number"] for trial in own],
                "y": [insights.score(trial) for trial in own],
                "labels": [f"{trial['number']}: {trial.get('name', '')}" for trial in own],
            })  # fmt: skip
    scores = [(trial["number"], insights.score(trial)) for trial in sweep.trials if trial.get("status") == "finished"]
    finished = {place: score for place, score in scores if score is not None}
    if finished:
        best = list(accumulate(finished.values(), max if sweep.larger else min))
        x, y = [*finished, sweep.trials[-1]["number"]], [*best, best[-1]]
        series.append({"name": "best so far", "color": "currentColor", "dots": False, "x": x, "y": y})
    poor = sweep.accuracy and any(score < insights.POOR for score in finished.values())
    return {
        "xlabel": "run", "ylabel": sweep.metric, "percent": sweep.accuracy,
        "threshold": insights.POOR if poor else None,
        "log": not sweep.accuracy and insights.wide(list(finished.values())),
        "reason": f"{100 * insights.POOR:.0f} %: what ends below counts as poor, and is explained further down",
        "series": series,
    }  # fmt: skip


def _curve_name(config: Json) -> str:
    """What a trial's `curve` is: the metric where that is no accuracy, or where there is no validation."""
    name = str(config.get("sweep", {}).get("metric", {}).get("name", "metric"))
    return "validation accuracy" if name.endswith("accuracy") and config.get("val_fraction") else name


def _history_section(sweep: _Sweep) -> list[Html]:
    head = tag("h2", f"{sweep.metric.capitalize()} of every run, in the order of creation", id="history")
    if not any(trial.get("status") in COLORS for trial in sweep.trials):
        return [head, tag("p", "No run has finished yet.")]
    note = "Point at a dot for its run. What diverged or failed has no value and lies on the floor."
    return [head, tag("div", class_="chart tall", data_dots="history"), tag("p", note, class_="muted")]


def parallel_section(trials: Sequence[insights.Trial], axes: Sequence[insights.Axis], order: str) -> list[Html]:
    """Parallel coordinates of `axis_data(axes, …)`, with their tools; `order` says how the axes are sorted."""
    head = tag("h2", "Parallel coordinates", id="parallel")
    if len(axes) < 2:
        return [head, tag("p", "They need two runs that differ.")]
    fixed = ", ".join(f"{name} = {value}" for name, value in insights.parameters(trials)[1].items())
    explained = (
        f"One line a run{order}. Drag along an axis to keep the runs that pass there, on several axes if you like; "
        "click an axis to free it. Drag a name to move its axis, click log or linear to change its scale, point at a "
        "line for its run. The lines of one choice are spread by their score; the curves and the table follow."
    )
    return [
        head,
        tag("p", explained + (f" The same in all runs: {fixed}." if fixed else "")),
        tag("div", tag("output", "", id="brushed"), tag("span", "", id="summary", class_="muted"),
            button("clear", "Clear"), class_="tools"),
        tag("div", tag("label", "coloured by ", tag("select", id="by")), tag("span", id="ramp"),
            tag("details", tag("summary", "Axes"), id="axes", class_="chooser"), class_="tools"),
        tag("div", tag("div", class_="parallel", style=f"min-width:{5.4 * len(axes):.1f}rem"), class_="scroll"),
    ]  # fmt: skip


def _importance_section(sweep: _Sweep, importance: Mapping[str, float | None]) -> list[Html]:
    shares = {name: value for name, value in importance.items() if value is not None}
    shares = dict(sorted(shares.items(), key=lambda row: -row[1])) if any(shares.values()) else {}
    known = {name: value for name, value in insights.correlations(sweep.trials).items() if value is not None}
    known = dict(sorted(known.items(), key=lambda row: -abs(row[1])))
    chances = insights.chances(sweep.trials, sweep.larger)
    left = []
    for name, value in shares.items():
        p = chances.get(name, 1.0)
        kind = "" if p < insights.CHANCE else "grey"
        weight = Shown(value, bar(value, kind, 9))
        left.append({"parameter": name, "importance": weight, "chance": Shown(p, Html(f"{p:.1g}"))})
    right = []
    for name, value in known.items():
        shown = bar(value, "" if (value > 0) == sweep.larger else "poor", 7, f"{value:+.2f}".replace("-", "−"))
        right.append({"parameter": name, "correlation": Shown(value, shown)})
    meaning = (
        "Each parameter's share in what a random forest explains of the differences between all scores (fANOVA); the "
        "shares add up to 100 % even where nothing matters. Chance: how often values that do not matter would differ "
        "as much (Kruskal and Wallis, times the number of parameters); grey is above 1 %."
    )
    kind = "Spearman's, over finished runs; of a choice: having it or not. Orange: does worse."
    halves = (
        _half("Importance of every hyperparameter", left, meaning),
        _half(f"Rank correlation with {sweep.metric}", right, kind),
    )
    said = [tag("p", insights.certainty(sweep.trials, sweep.larger))] if left else []
    return [tag("h2", "Importance and correlation", id="importance"), *said, tag("div", *halves, class_="side")]


def _half(title: str, rows: Sequence[Json], note: str) -> Html:
    shown = [table(rows), tag("p", note, class_="muted")] if rows else [tag("p", "Too few finished runs to tell.")]
    return tag("div", tag("h3", title), *shown)


def _separator_section(sweep: _Sweep) -> list[Html]:
    if not sweep.accuracy:
        return []
    kinds = {1: "poor", 0: "grey", -1: ""}
    rows = [
        {"value": row.label, "runs": row.runs, "poor": row.poor,
         "share": Shown(row.poor / row.runs, bar(row.poor / row.runs, kinds[row.side], 9)),
         "chance": Shown(row.p, Html(f"{row.p:.1g}"))}
        for row in insights.separators(sweep.trials)
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


# ---- trials, of a sweep or put together from runs


def trial_data(
    trials: Sequence[insights.Trial],
    varying: Sequence[str],
    links: Mapping[int, str],
    larger: bool,
    first: str = "number",
) -> dict[str, Any]:
    """The table of all trials for the page's script: its columns, their raw values, which of them is the score.

    `links` maps the number of a trial to its page; `first` is the column that stays in sight, number or name. What is
    neither the score nor a parameter is hidden at first.
    """
    score = "val/accuracy" if insights.is_accuracy(trials) else "metric"
    scalars = dict.fromkeys(k for t in trials for k, v in t.items() if isinstance(v, int | float | str))
    shown = [first, score, *(["test/accuracy"] if "test/accuracy" in scalars else []), "status", *varying]
    last = "name" if first == "number" else "number"
    others = [name for name in scalars if name not in ("metric", "val/accuracy", last, *shown)]
    names = [*shown, *others, last]
    rows = [[_raw(trial["parameters"].get(name, trial.get(name))) for name in names] for trial in trials]
    columns = []
    for place, name in enumerate(names):
        numeric = any(is_number(row[place]) for row in rows)
        percent = name.endswith(("accuracy", "accuracy/sd"))
        called = {"number": "#", "name": "run" if first == "name" else "name"}.get(name, name)
        columns.append({"name": called, "percent": percent, "number": numeric, "hidden": place >= len(shown)})
    places = {trial["number"]: place for place, trial in enumerate(trials)}
    pages = {places[number]: quote(page) for number, page in links.items() if number in places}
    label = names.index("name")
    return {"trials": {"columns": columns, "rows": rows, "links": pages, "score": 1, "larger": larger, "label": label}}


def axis_data(axes: Sequence[insights.Axis], columns: Sequence[Json]) -> list[dict[str, Any]]:
    """The axes for the page's script, which places numbers itself by the table's columns; the last is the score."""
    of_name = {column["name"]: place for place, column in enumerate(columns)}
    found: list[dict[str, Any]] = []
    for axis in axes:
        if axis.band:
            places = [round(place, 4) for place in axis.places]
            found.append({"name": axis.name, "places": places, "ticks": axis.ticks, "band": axis.band})
        else:
            column = 1 if axis is axes[-1] else of_name[axis.name]
            numbers = {"column": column, "log": axis.log, "percent": columns[column]["percent"]}
            found.append({"name": axis.name, **numbers})
    return found


def curve_data(curves: Mapping[str, Sequence[Sequence[Any] | None]]) -> dict[str, Any]:
    """Title -> one list of numbers a trial, one an epoch; titles without any are left out."""
    found = {}
    for title, every in curves.items():
        known = [value for curve in every for value in curve or () if is_number(value)]
        percent = title.endswith("accuracy")
        if known:
            logarithmic = not percent and insights.wide(known)
            drawn = {"ylabel": title, "percent": percent, "log": logarithmic}
            found[title] = {**drawn, "all": [_rounded(curve) for curve in every]}
    return found


def _rounded(curve: Sequence[Any] | None) -> list[float | None] | None:
    return [float(f"{value:.4g}") if is_number(value) else None for value in curve] if curve else None


def curve_section(charts: Mapping[str, Any]) -> list[Html]:
    """The curves of `curve_data`, all trials of one title over each other."""
    if not charts:
        return []
    figures = []
    for title, chart in charts.items():
        drawn, total = sum(curve is not None for curve in chart["all"]), len(chart["all"])
        some = f", of {drawn:,} of {total:,} runs" if drawn < total else ""
        head = tag("h3", f"{title.capitalize()}{some}")
        figures.append(tag("div", head, tag("div", class_="chart tall", data_curves=title)))
    body = tag("div", *figures, class_="side") if len(figures) > 1 else figures[0]
    return [tag("h2", "Curves", id="curves"), body]


def trial_section(title: str) -> list[Html]:
    """The table of `trial_data` with its tools."""
    tools = (
        tag("span", "", id="listed", class_="muted"), button("more", "List all"), button("csv", "Download CSV"),
        tag("details", tag("summary", "Columns"), id="columns", class_="chooser"),
    )  # fmt: skip
    return [
        tag("h2", title, id="trials"),
        tag("p", "Click a head to sort by it, again to turn the order round; what is missing comes last."),
        tag("div", *tools, class_="tools"),
        tag("div", tag("table", class_="trials"), class_="scroll long"),
    ]


def _raw(value: Any) -> Any:
    """Numbers as they are, so that they sort as numbers; everything else as its text."""
    return value if value is None or is_number(value) else insights.text(value)
