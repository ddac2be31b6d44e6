"""Pictures of a sweep as PNG files, from the rows of trials.jsonl; the style is that of plots."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlp_jax.reports import insights
from mlp_jax.reports.insights import Trial
from mlp_jax.reports.plots import (
    BLUE,
    GREY,
    INK,
    MUTED,
    ORANGE,
    dress,
    floats,
    legend,
    message,
    new_figure,
    percent,
    plain,
    save,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def history(trials: Sequence[Trial], metric: str, path: str | Path, larger_is_better: bool = True) -> None:
    """The score of every run in the order of creation, and the best so far."""
    figure, (axes,) = new_figure(9.6, 4.6)
    trials = sorted(trials, key=lambda trial: trial["number"])
    numbers = np.array([trial["number"] for trial in trials], float)
    scores = floats([insights.score(trial) for trial in trials])
    size = 26 if len(trials) <= 500 else 7
    status = np.array([str(trial.get("status")) for trial in trials])
    for name, color, label in (("finished", BLUE, "finished"), ("pruned", GREY, "pruned")):
        chosen = (status == name) & np.isfinite(scores)
        if chosen.any():
            axes.scatter(
                numbers[chosen], scores[chosen], s=size, color=color, alpha=0.65, linewidth=0, label=label, zorder=3
            )
    finished = np.flatnonzero((status == "finished") & np.isfinite(scores))
    if len(finished):
        best = (np.maximum if larger_is_better else np.minimum).accumulate(scores[finished])
        x = np.append(numbers[finished], numbers.max())
        axes.step(x, np.append(best, best[-1]), where="post", color=INK, linewidth=1.6, label="best so far", zorder=2)
    lost = np.isin(status, ["diverged", "failed"])
    if lost.any():
        axes.plot(
            numbers[lost], np.full(lost.sum(), 0.02), "x", color=ORANGE, markersize=7, markeredgewidth=1.8,
            transform=axes.get_xaxis_transform(), clip_on=False, label="diverged or failed",
        )  # fmt: skip
    if insights.is_accuracy(trials):
        percent(axes.yaxis)
        if np.nanmin(scores[finished], initial=1) < insights.POOR:
            axes.axhline(insights.POOR, color=ORANGE, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
            axes.annotate(
                "65 %",
                (1, insights.POOR),
                xycoords=("axes fraction", "data"),
                xytext=(4, -3),
                textcoords="offset points",
                fontsize=10,
                color=ORANGE,
            )
    dress(axes, "run, in the order of creation", metric, f"{len(finished):,} finished runs of {len(trials):,}")
    if len(finished) or lost.any():
        legend(axes, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, borderaxespad=0.1)
    else:
        message(axes, "no run has finished")
    save(figure, path)


def shades(order: np.ndarray) -> np.ndarray:
    """Orange for the worst runs, grey in the middle, blue for the best: (n,) in 0 … 1 -> (n, 3)."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("score", [ORANGE, "#d9c3b0", "#b9cfdd", BLUE])(order)[:, :3]


def parallel_coordinates(
    trials: Sequence[Trial],
    metric: str,
    path: str | Path,
    importance: Mapping[str, float | None],
    larger_is_better: bool = True,
) -> None:
    """One line a run through the values of its parameters to its score; the most important parameter next to it."""
    from matplotlib.collections import LineCollection

    order = insights.score_order(trials, larger_is_better)
    columns = insights.axes(trials, metric, importance, order)
    figure, (axes,) = new_figure(max(6.0, 1.25 * len(columns)), 5.2)
    if len(columns) < 2:
        message(axes, "parallel coordinates need two runs that differ")
        figure.set_size_inches(6, 1.5)
        save(figure, path)
        return
    axes.axis("off")
    drawn = np.argsort(order, kind="stable")
    places = np.array([column.places for column in columns]).T[drawn]
    x = np.broadcast_to(np.arange(len(columns)), places.shape)
    alpha = float(np.clip(60 / len(trials), 0.06, 0.6))
    axes.add_collection(
        LineCollection(list(np.stack([x, places], axis=-1)), colors=shades(order)[drawn], linewidths=1.1, alpha=alpha)
    )
    for place, column in enumerate(columns):
        _axis(axes, place, column, last=place == len(columns) - 1)
    axes.set(xlim=(-0.3, len(columns) - 0.55), ylim=(-0.05, 1.03))
    axes.set_title(
        f"{len(trials):,} runs, from the worst (orange) to the best (blue)",
        fontsize=12.5,
        color=INK,
        loc="left",
        pad=44,
    )
    save(figure, path)


def _axis(axes: "Axes", place: float, column: insights.Axis, last: bool) -> None:
    axes.plot([place, place], [0, 1], color=MUTED, linewidth=1)
    name = "\n".join(textwrap.wrap(plain(column.name, 30), 13))
    weight = "bold" if last else "normal"
    axes.text(place, 1.04, name, ha="center", va="bottom", fontsize=10.5, color=INK, weight=weight)
    for at, label in column.ticks:
        axes.plot([place - 0.03, place + 0.03], [at, at], color=MUTED, linewidth=1)
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
        axes.text(place + 0.05, at, plain(label, 14), va="center", fontsize=9, color=INK, bbox=box)


def importance(
    correlations: Mapping[str, float | None], importances: Mapping[str, float | None], metric: str, path: str | Path
) -> None:
    """Bars: the importance of every parameter (a share of 1), and its rank correlation with the score."""
    rows = [(name, value) for name, value in correlations.items() if value is not None]
    rows.sort(key=lambda row: row[1])
    shares = sorted(((name, value) for name, value in importances.items() if value), key=lambda row: row[1])
    figure, (left, right) = new_figure(11.5, max(2.6, 1.2 + 0.3 * max(len(rows), len(shares))), 1, 2)
    for axes, bars, title in (
        (left, shares, "Importance of every hyperparameter"),
        (right, rows, f"Rank correlation with {metric}"),
    ):
        values = [value for _, value in bars]
        colors = [ORANGE if value < 0 else BLUE for value in values]
        axes.barh(range(len(bars)), values, color=colors, height=0.66)
        dress(axes, "", "", title, grid="x")
        axes.set_yticks(range(len(bars)), [plain(name, 34) for name, _ in bars])
        axes.tick_params(axis="y", labelcolor=INK, length=0, labelsize=10.5)
        axes.margins(y=0.01)
        if not bars:
            axes.set_xticks([])
            message(axes, "too few finished runs to tell")
    if rows:
        right.axvline(0, color=MUTED, linewidth=1)
    save(figure, path)


def separators(trials: Sequence[Trial], path: str | Path) -> None:
    """For every value of every parameter the share of its runs that are poor, against the share of all runs."""
    rows = insights.judged(trials)
    found = insights.separators(trials) if rows else []
    found = sorted(found, key=lambda row: row.poor / row.runs)
    figure, (axes,) = new_figure(9.0, max(2.8, 1.3 + 0.28 * len(found)))
    overall = float(np.mean([poor for _, poor in rows])) if rows else 0.0
    share = [row.poor / row.runs for row in found]
    colors = [{1: ORANGE, -1: BLUE, 0: GREY}[row.side] for row in found]
    axes.barh(range(len(found)), share, color=colors, height=0.66)
    for place, row in enumerate(found):
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
        shown = f"{row.poor:,} of {row.runs:,}"
        axes.text(row.poor / row.runs + 0.008, place, shown, va="center", fontsize=9.5, color=MUTED, bbox=box)
    dress(
        axes,
        f"share of the runs below {100 * insights.POOR:.0f} % (or diverged)",
        "",
        "What separates the poor runs",
        grid="x",
    )
    axes.set_yticks(range(len(found)), [plain(row.label, 40) for row in found])
    axes.tick_params(axis="y", labelcolor=INK, length=0, labelsize=10.5)
    axes.margins(y=0.01)
    percent(axes.xaxis)
    axes.set_xlim(0, max([*share, overall, 0.05]) * 1.18)
    if found:
        axes.axvline(overall, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.annotate(
            f"all runs: {100 * overall:.0f} %",
            (overall, 0),
            xytext=(5, 4),
            textcoords="offset points",
            xycoords=("data", "axes fraction"),
            fontsize=10,
            color=INK,
        )
    else:
        message(axes, "no parameter varies among the finished runs")
    save(figure, path)
