"""Pictures of a sweep as PNG files, from the rows of trials.jsonl; the style is that of plots."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlp_jax.reports import insights, plots
from mlp_jax.reports.insights import Trial
from mlp_jax.reports.plots import BLUE, DASHED, GREY, INK, MUTED, ORANGE, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def history(trials: Sequence[Trial], metric: str, path: str | Path, larger_is_better: bool = True) -> None:
    """The score of every run in the order of creation, and the best so far."""
    figure, (axes,) = plots.new_figure(9.6, 4.6)
    trials = sorted(trials, key=lambda trial: trial["number"])
    numbers = np.array([trial["number"] for trial in trials], float)
    scores = plots.floats([insights.score(trial) for trial in trials])
    size = 26 if len(trials) <= 500 else 7
    status = np.array([str(trial.get("status")) for trial in trials])
    finished, pruned = (np.flatnonzero((status == s) & np.isfinite(scores)) for s in ("finished", "pruned"))
    for own, color, label in ((finished, BLUE, "finished"), (pruned, GREY, "pruned")):
        if len(own):
            axes.scatter(numbers[own], scores[own], size, color, alpha=0.65, linewidth=0, label=label, zorder=3)
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
        plots.percent(axes.yaxis)
        if np.nanmin(scores[finished], initial=1) < insights.POOR:
            axes.axhline(insights.POOR, color=ORANGE, linewidth=1, linestyle=DASHED, zorder=1)
            plots.note(
                axes, "poor below\n65 %", (1, insights.POOR), (4, -3), xycoords=("axes fraction", "data"), color=ORANGE
            )
    plots.dress(axes, "run, in the order of creation", metric, f"{len(finished):,} finished runs of {len(trials):,}")
    if len(finished) or lost.any():
        plots.legend(axes, handlelength=1.8, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, borderaxespad=0.1)
    else:
        plots.message(axes, "no run has finished")
    plots.save(figure, path)


def parallel_coordinates(
    trials: Sequence[Trial],
    metric: str,
    path: str | Path | None,
    importance: Mapping[str, float | None],
    larger_is_better: bool = True,
) -> "Figure":
    """One line a run through the values of its parameters to its score; the most important parameter next to it."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LinearSegmentedColormap

    order = insights.score_order(trials, larger_is_better)
    columns = insights.axes(trials, metric, importance, order)
    if len(columns) < 2:
        figure, (axes,) = plots.new_figure(6, 1.5)
        plots.message(axes, "parallel coordinates need two runs that differ")
        return plots.save(figure, path)
    figure, (axes,) = plots.new_figure(max(6.0, 1.25 * len(columns)), 5.2)
    axes.axis("off")
    drawn = np.argsort(order, kind="stable")
    places = np.array([column.places for column in columns]).T[drawn]
    x = np.broadcast_to(np.arange(len(columns)), places.shape)
    alpha = float(np.clip(60 / len(trials), 0.06, 0.6))
    shades = LinearSegmentedColormap.from_list("score", [ORANGE, "#d9c3b0", "#b9cfdd", BLUE])(order[drawn])[:, :3]
    runs = LineCollection(list(np.stack([x, places], axis=-1)), colors=shades, linewidths=1.1, alpha=alpha)
    axes.add_collection(runs)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
    for place, column in enumerate(columns):
        axes.plot([place, place], [0, 1], color=MUTED, linewidth=1)
        weight = "bold" if place == len(columns) - 1 else "normal"
        name = "\n".join(textwrap.wrap(plain(column.name, 30), 13))
        plots.put_text(axes, place, 1.04, name, 10.5, va="bottom", weight=weight)
        for at, label in column.ticks:
            axes.plot([place - 0.03, place + 0.03], [at, at], color=MUTED, linewidth=1)
            plots.put_text(axes, place + 0.05, at, plain(label, 14), 9, ha="left", bbox=box)
    axes.set(xlim=(-0.3, len(columns) - 0.55), ylim=(-0.05, 1.03))
    plots.heading(axes, f"{len(trials):,} runs, from the worst (orange) to the best (blue)", pad=44)
    return plots.save(figure, path)


def _columns(axes: "Axes", names: Sequence[str], values: Sequence[float], colors: Sequence[str]) -> None:
    """Level bars, one a name, the first at the foot."""
    axes.barh(range(len(names)), values, color=colors, height=0.66)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", labelcolor=INK, length=0, labelsize=10.5)
    axes.margins(y=0.01)


def importance(
    correlations: Mapping[str, float | None],
    importances: Mapping[str, float | None],
    chances: Mapping[str, float],
    metric: str,
    path: str | Path,
) -> None:
    """Bars: the importance of every parameter (a share of 1), and its rank correlation with the score.

    The importance of a parameter that does not change the score beyond chance is grey.
    """
    rows = sorted(((n, v) for n, v in correlations.items() if v is not None), key=lambda row: row[1])
    shares = sorted(((n, v) for n, v in importances.items() if v), key=lambda row: row[1])
    figure, (left, right) = plots.new_figure(11.5, max(2.6, 1.2 + 0.3 * max(len(rows), len(shares))), 2)
    for axes, bars, title in (
        (left, shares, "Importance (grey: not beyond chance)"),
        (right, rows, f"Rank correlation with {metric}"),
    ):
        plots.dress(axes, "", "", title, grid="x")
        colors = [ORANGE if value < 0 else BLUE for _, value in bars]
        if axes is left:
            colors = [BLUE if chances.get(name, 1.0) < insights.CHANCE else GREY for name, _ in bars]
        _columns(axes, [plain(name, 34) for name, _ in bars], [value for _, value in bars], colors)
        if not bars:
            plots.message(axes, "too few finished runs to tell")
    if rows:
        right.axvline(0, color=MUTED, linewidth=1)
    plots.save(figure, path)


def separators(trials: Sequence[Trial], path: str | Path) -> None:
    """For every value of every parameter the share of its runs that are poor, against the share of all runs."""
    rows = insights.judged(trials)
    found = sorted(insights.separators(trials) if rows else [], key=lambda row: row.poor / row.runs)
    figure, (axes,) = plots.new_figure(9.0, max(2.8, 1.3 + 0.28 * len(found)))
    overall = float(np.mean([poor for _, poor in rows])) if rows else 0.0
    shares = [row.poor / row.runs for row in found]
    below = f"share of the runs below {100 * insights.POOR:.0f} % (or diverged)"
    plots.dress(axes, below, "", "What separates the poor runs", grid="x")
    colors = [{1: ORANGE, -1: BLUE, 0: GREY}[row.side] for row in found]
    _columns(axes, [plain(row.label, 40) for row in found], shares, colors)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
    for place, row in enumerate(found):
        said = f"{row.poor:,} of {row.runs:,}"
        plots.put_text(axes, shares[place] + 0.008, place, said, 9.5, MUTED, ha="left", bbox=box)
    plots.percent(axes.xaxis)
    axes.set_xlim(0, max([*shares, overall, 0.05]) * 1.18)
    if found:
        axes.axvline(overall, color=INK, linewidth=1.2, linestyle=DASHED)
        said = f"all runs: {100 * overall:.0f} %"
        plots.note(axes, said, (overall, 0), (5, 4), xycoords=("data", "axes fraction"), color=INK)
    else:
        plots.message(axes, "no parameter varies among the finished runs")
    plots.save(figure, path)
