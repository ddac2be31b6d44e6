"""Pictures as PNG files: plain arrays and JSON records in, one file out.

Blue is right or good, orange is wrong or poor; both stay apart for every kind of colour blindness (Okabe and Ito).
Figures are made without pyplot, so that nothing global is touched and any thread may draw.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlp_jax.files.workdir import write_bytes
from mlp_jax.metrics import chosen

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, LINE, PAPER = "#1f2933", "#5f6b7a", "#dfe4ea", "#ffffff"
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#b8bec7"
SERIES = (BLUE, ORANGE, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK, "#8c6d31", "#7b4ea3", "#7f7f7f")
DASHED = (0, (4, 3))
DPI = 130


class Mistakes(NamedTuple):
    """Wrong predictions, the most confident first: images uint8 (n, d), classes by number (n,)."""

    images: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray  # of the predicted class
    class_names: Sequence[str]
    image_shape: Sequence[int]


class Panel(NamedTuple):
    """One chart of `lines`: `groups` maps a label to (x, y), y of shape (points,) or (seeds, points)."""

    groups: Mapping[str, tuple[Sequence[float], Any]]
    xlabel: str
    ylabel: str
    title: str = ""
    log_x: bool = False
    log_y: bool = False
    percent: bool = False


# ---- files, figures, labels


def new_figure(
    width: float, height: float, columns: int = 1, rows: int = 1, **options: Any
) -> "tuple[Figure, list[Axes]]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor=PAPER)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)  # type: ignore[union-attr,call-arg]
    return figure, list(figure.subplots(rows, columns, squeeze=False, **options).ravel())


def save(figure: "Figure", path: str | Path | None) -> "Figure":
    """Writes a figure as a PNG file, where a path is given; the figure."""
    if path is not None:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", facecolor=PAPER)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(Path(path), buffer.getvalue())
    return figure


def plain(text: object, longest: int = 60) -> str:
    """Shortened, and safe from matplotlib's reading of dollar signs as mathematics."""
    text = str(text)
    return (text if len(text) <= longest else text[: longest - 1] + "…").replace("$", r"\$")


def heading(axes: "Axes", text: str, size: float = 12.5, pad: float = 10) -> None:
    axes.set_title(plain(text, 120), fontsize=size, color=INK, loc="left", pad=pad)


def dress(axes: "Axes", xlabel: str = "", ylabel: str = "", title: str = "", grid: str = "y") -> None:
    axes.set_xlabel(plain(xlabel), fontsize=11, color=INK)
    axes.set_ylabel(plain(ylabel), fontsize=11, color=INK)
    heading(axes, title)
    axes.tick_params(labelsize=10, colors=MUTED, length=3, width=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.set_axisbelow(True)
    axes.grid(axis=grid, color=LINE, linewidth=0.8)  # type: ignore[arg-type]


def put_text(axes: "Axes", x: float, y: float, text: str, size: float = 10, color: Any = INK, **options: Any) -> None:
    """Text with its middle at (x, y), or where `ha` and `va` have it."""
    axes.text(x, y, text, fontsize=size, color=color, **{"ha": "center", "va": "center", **options})


def message(axes: "Axes", text: str) -> None:
    """A sentence in place of a chart that has nothing to show."""
    axes.axis("off")
    put_text(axes, 0.5, 0.5, text, 12, MUTED, transform=axes.transAxes)


def note(axes: "Axes", text: str, at: tuple[float, float], shift: tuple[float, float], **options: Any) -> None:
    """Small text `shift` points away from the point `at`."""
    axes.annotate(text, at, xytext=shift, textcoords="offset points", fontsize=10, **options)


def legend(where: "Axes | Figure", size: float = 10, **options: Any) -> None:
    where.legend(frameon=False, fontsize=size, labelcolor=INK, **options)


def percent(axis: Any) -> None:
    """Ticks of shares as percentages."""
    axis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")


def whole_numbers(axis: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, nbins=9, min_n_ticks=1))


def _log_axis(axes: "Axes") -> None:
    """A logarithmic x axis with plain numbers at 1, 2 and 5, or, where they would run into each other, at decades."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def floats(values: Any) -> np.ndarray:
    """A float array in which None is NaN."""
    return np.asarray(values, dtype=object).astype(float)


def share(value: float) -> str:
    """A probability as a percentage that never rounds up to certainty."""
    if not np.isfinite(value):
        return "–"
    return f"{min(100 * value, 99.9):.1f}\u00a0%" if value < 1 else "100\u00a0%"


# ---- images


def _pictures(images: np.ndarray, chosen: Sequence[int] | np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Chosen ones of uint8 images (n, d), each (height, width) or (height, width, 3), where 1 is the brightest of all.

    Images of a single dimension become one row.
    """
    size = (1, *shape) if len(shape) == 1 else tuple(shape)
    pictures = images[chosen].reshape(len(chosen), *size) / float(np.max(images, initial=1))
    return pictures[..., 0] if len(size) == 3 and size[-1] == 1 else pictures


def _tile(axes: "Axes", picture: np.ndarray, x: float, y: float, size: float = 1.0) -> None:
    """The picture in the square of side `size` whose upper left corner is (x, y)."""
    from matplotlib.patches import Rectangle

    axes.imshow(picture, cmap="gray_r", vmin=0, vmax=1, extent=(x, x + size, y + size, y), interpolation="nearest")
    axes.add_patch(Rectangle((x, y), size, size, fill=False, edgecolor=LINE, linewidth=0.8, clip_on=False))


def _canvas(axes: "Axes", width: float, height: float, title: str) -> None:
    """An empty plane, y downwards, in which one unit is as wide as high."""
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    heading(axes, title)
    axes.axis("off")


def samples(
    images: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    image_shape: Sequence[int],
    path: str | Path,
    per_class: int = 1,
) -> None:
    """The first `per_class` images of every class beside its name; images uint8 (n, d), labels (n,)."""
    classes, one = len(class_names), per_class == 1
    columns = min(5, classes) if one else 1
    if one:
        width, height = columns * 1.12 - 0.12, -(-classes // columns) * 1.42 - 0.1
        figure, (axes,) = new_figure(1.75 * columns + 0.3, 1.75 * height + 0.5)
        _canvas(axes, width, height, "One sample of every class")
    else:
        width, height = per_class * 1.08, classes * 1.08
        figure, (axes,) = new_figure(0.85 * (width + 2.4), 0.85 * height + 0.6)
        _canvas(axes, width + 1.9, height, f"{per_class} samples of every class")
    for label, name in enumerate(class_names):
        row, column = divmod(label, columns)
        if one:
            x, y = column * 1.12, row * 1.42 + 0.3
            put_text(axes, x + 0.5, y - 0.06, plain(name, 16), 11, va="bottom")
        else:
            x, y = 1.9, row * 1.08
            put_text(axes, x - 0.1, y + 0.5, plain(name, 16), 11, ha="right")
        chosen = np.flatnonzero(np.asarray(labels) == label)[:per_class]
        for place, picture in enumerate(_pictures(images, chosen, image_shape)):
            _tile(axes, picture, x + place * 1.08, y)
        if not len(chosen):
            put_text(axes, x + 0.5, y + 0.5, "none", color=MUTED)
    save(figure, path)


def mistakes(found: Mistakes, path: str | Path) -> None:
    """The most confident 20, each under its true class and what it was taken for."""
    count, columns, step = min(20, len(found.true)), 5, 1 + 0.66
    height = max(1, -(-count // columns)) * step - 0.18
    figure, (axes,) = new_figure(1.75 * columns + 0.6, 1.5 * height + 0.45)
    title = f"The {count} most confident mistakes: the true class, and what it was taken for"
    _canvas(axes, columns * 1.25 - 0.25, height, title if count else "")
    if not count:
        message(axes, "No mistakes")
    names = [plain(name, 16) for name in found.class_names]
    for place, picture in enumerate(_pictures(found.images, range(count), found.image_shape)):
        x, y = place % columns * 1.25, place // columns * step + 0.46
        taken = f"as {names[found.predicted[place]]}, {share(found.probability[place])}"
        put_text(axes, x + 0.5, y - 0.24, names[found.true[place]], 10.5, va="bottom")
        put_text(axes, x + 0.5, y - 0.05, taken, color=ORANGE, va="bottom")
        _tile(axes, picture, x, y)
    save(figure, path)


def confusion_images(matrix: np.ndarray, found: Mistakes, path: str | Path) -> None:
    """The confusion matrix with, in every cell off the diagonal, its most confident mistake and how many there are."""
    classes = len(found.class_names)
    figure, (axes,) = new_figure(0.82 * classes + 2.0, 0.82 * classes + 1.9)
    _canvas(axes, classes, classes, "The most confident mistake of every cell, and their number")
    axes.axis("on")
    _class_axes(axes, found.class_names, offset=0.5)
    first: dict[tuple[int, int], int] = {}
    for place, cell in enumerate(zip(found.true, found.predicted, strict=True)):
        first.setdefault(cell, place)
    pictures = _pictures(found.images, list(first.values()), found.image_shape)
    for (row, column), picture in zip(first, pictures, strict=True):
        _tile(axes, picture, column + 0.14, row + 0.04, 0.72)
        put_text(axes, column + 0.5, row + 0.98, str(matrix[row, column]), 8, ORANGE, va="bottom")
    for place, count in enumerate(np.diag(matrix)):
        put_text(axes, place + 0.5, place + 0.5, str(count), 11, BLUE)
    axes.hlines(range(1, classes), 0, classes, color=LINE, linewidth=0.6)
    axes.vlines(range(1, classes), 0, classes, color=LINE, linewidth=0.6)
    save(figure, path)


# ---- a run


def best_epoch(records: Sequence[Mapping[str, Any]]) -> int | None:
    """The epoch of the highest val/accuracy, the first on ties; None without validation, and for means over seeds."""
    if any("val/accuracy/sd" in record for record in records):
        return None  # every seed has its own
    validated = any(record.get("val/accuracy") is not None for record in records)
    return chosen(records)["epoch"] if validated else None


def curves(records: Sequence[Mapping[str, Any]], path: str | Path | None = None) -> "Figure":
    """Loss and accuracy over the epochs of metrics.jsonl, training and validation, the best epoch marked."""
    figure, both = new_figure(10.4, 4.1, 2)
    best = best_epoch(records)
    epochs = [record["epoch"] for record in records]
    marker = "o" if len(epochs) <= 20 else ""
    for axes, name in zip(both, ("loss", "accuracy"), strict=True):
        for part, label, color in (("train", "training", GREY), ("val", "validation", BLUE)):
            values = floats([record.get(f"{part}/{name}") for record in records])
            if np.isfinite(values).any():
                axes.plot(epochs, values, color=color, marker=marker, markersize=4.5, linewidth=2, label=label)
                sd = np.nan_to_num(floats([record.get(f"{part}/{name}/sd") for record in records]))
                if sd.any():
                    axes.fill_between(epochs, values - sd, values + sd, color=color, alpha=0.2, linewidth=0)
        empty, title = not axes.lines, name.capitalize()
        if best is not None:
            value = next(record for record in records if record["epoch"] == best).get(f"val/{name}")
            axes.axvline(best, color=ORANGE, linewidth=1.2, linestyle=DASHED, zorder=1)
            if value is not None:
                shown = f"{100 * value:.2f} %" if name == "accuracy" else f"{value:.4g}"
                title += f": {shown} at the best epoch, {best}"
        dress(axes, "epoch", name, title)
        whole_numbers(axes.xaxis)
        if name == "accuracy":
            percent(axes.yaxis)
        if empty:
            message(axes, "no finite value")
        else:
            legend(axes, handlelength=1.8)
        if epochs:
            axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
    return save(figure, path)


def _mix(color: str, amount: np.ndarray) -> np.ndarray:
    """White at 0, `color` (#rrggbb) at 1; (…,) -> (…, 3) in 0 … 1."""
    return 1 + np.asarray(amount)[..., None] * (_rgb(color) - 1)


def _rgb(color: str) -> np.ndarray:
    return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def confusion_colors(matrix: np.ndarray) -> np.ndarray:
    """The colour of each cell, (k, k, 3), from its share of the row; a root makes rare mistakes visible."""
    totals = np.asarray(matrix, float).sum(axis=1, keepdims=True)
    share = np.asarray(matrix, float) / np.maximum(totals, 1)
    hits = np.eye(len(share), dtype=bool)[..., None]
    return np.where(hits, _mix(BLUE, 0.1 + 0.9 * share**2), _mix(ORANGE, np.minimum(1.0, np.sqrt(share / 0.4))))


def ink_on(rgb: np.ndarray) -> str:
    """Dark or white, whichever contrasts more with this colour (WCAG 2.2, relative luminance)."""

    def luminance(channels: np.ndarray) -> float:
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    here = luminance(np.asarray(rgb)) + 0.05
    return INK if here / (luminance(_rgb(INK)) + 0.05) > 1.05 / here else PAPER


def _class_axes(axes: "Axes", class_names: Sequence[str], offset: float = 0.0) -> None:
    names = [plain(name, 16) for name in class_names]
    places = np.arange(len(names)) + offset
    axes.set_xticks(places, names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, names)
    axes.set_xlabel("predicted class", fontsize=12, color=INK, labelpad=8)
    axes.set_ylabel("true class", fontsize=12, color=INK, labelpad=8)
    axes.tick_params(labelsize=10.5, labelcolor=INK, length=0)
    axes.spines[:].set_visible(False)


def confusion_matrix(
    matrix: np.ndarray, class_names: Sequence[str], path: str | Path, subject: str = "the test set"
) -> None:
    """Counts of matrix (k, k), rows true, columns predicted, with the recall of every class; accuracy in the title."""
    classes, total, right = len(matrix), int(matrix.sum()), int(np.trace(matrix))
    side = max(4.0, 0.66 * classes)
    figure, (axes, bars) = new_figure(side + 3.4, side + 1.4, 2, width_ratios=(side, 1.6), sharey=True)
    colors = confusion_colors(matrix)
    axes.imshow(colors, aspect="auto")
    axes.set_xticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=PAPER, linewidth=2)
    _class_axes(axes, class_names)
    axes.tick_params(which="minor", length=0)
    digits = len(str(matrix.max(initial=0)))
    size = {1: 12, 2: 12, 3: 12, 4: 11, 5: 9}.get(digits, 7.5) if classes <= 30 else 7
    for row, column in np.argwhere(matrix > 0):
        weight = "bold" if row == column else "normal"
        put_text(axes, column, row, str(matrix[row, column]), size, ink_on(colors[row, column]), weight=weight)
    accuracy = f" ({100 * right / total:.2f} %)" if total else ""
    heading(axes, f"{right:,} of {total:,} images of {subject} right{accuracy}", 13, 12)

    totals = matrix.sum(axis=1)
    recall = np.divide(np.diag(matrix), totals, out=np.full(classes, np.nan), where=totals > 0)
    bars.barh(range(classes), np.nan_to_num(recall), color=BLUE, height=0.62, alpha=0.85)
    for row, value in enumerate(recall):
        if value > 0.45:
            put_text(bars, value - 0.03, row, f"{100 * value:.1f} %", color=PAPER, ha="right")
        else:
            shown = "–" if np.isnan(value) else f"{100 * value:.1f} %"
            put_text(bars, np.nan_to_num(value) + 0.03, row, shown, ha="left")
    heading(bars, "recall", 11, 12)
    bars.set(xlim=(0, 1), xticks=[])
    bars.tick_params(left=False, labelleft=False, which="both")
    bars.spines[:].set_visible(False)
    save(figure, path)


# ---- questions


def lines(panels: Sequence[Panel], path: str | Path) -> None:
    """Panels in pairs, one colour a label in all of them; several seeds give their mean in a band of ± sd.

    No figure is wider than a page, so that its letters stay as large as the page's.
    """
    labels = list(dict.fromkeys(label for panel in panels for label in panel.groups))
    columns, pairs = min(2, len(panels)), -(-len(panels) // 2)
    figure, every = new_figure((7.6, 11.2)[columns - 1], 4.0 * pairs + 0.3, columns, pairs)
    every, spare = every[: len(panels)], every[len(panels) :]
    for axes in spare:
        axes.axis("off")
    for axes, panel in zip(every, panels, strict=True):
        for label, (x, y) in panel.groups.items():
            place = labels.index(label)
            color, style = SERIES[place % len(SERIES)], "-" if place < len(SERIES) else "--"
            rows = np.ma.masked_invalid(np.atleast_2d(floats(y)))
            mean = rows.mean(axis=0).filled(np.nan)
            marker = "o" if len(mean) <= 12 else ""
            axes.plot(x, mean, style, color=color, linewidth=2, marker=marker, markersize=4.5, label=plain(label, 40))
            if len(rows) > 1:
                sd = rows.std(axis=0, ddof=1).filled(0)
                # A band that reaches 0 has no place on a log axis.
                low = np.maximum(mean - sd, mean / 100) if panel.log_y else mean - sd
                axes.fill_between(np.asarray(x, float), low, mean + sd, color=color, alpha=0.16, linewidth=0)
        if panel.log_x:
            _log_axis(axes)
        axes.set_yscale("log" if panel.log_y else "linear")
        dress(axes, panel.xlabel, panel.ylabel, panel.title)
        if panel.percent:
            percent(axes.yaxis)
        if not panel.log_x and all(float(value).is_integer() for x, _ in panel.groups.values() for value in x):
            whole_numbers(axes.xaxis)
    drawn = {text: handle for axes in every for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    if len(drawn) > 1:
        named = {"handles": list(drawn.values()), "labels": list(drawn)}
        if spare:
            legend(spare[0], 12, **named, loc="center")
        else:
            longest = max(map(len, drawn))
            legend(figure, 11, **named, loc="outside lower center", ncols=max(1, min(len(drawn), 90 // (longest + 8))))
    save(figure, path)


def _name_ticks(axes: "Axes", names: Sequence[str]) -> None:
    axes.set_xticks(range(len(names)), [plain(name, 24) for name in names])
    axes.tick_params(axis="x", labelsize=10.5, labelcolor=INK, length=0)
    axes.set_xlim(-0.6, len(names) - 0.4)
    if max(map(len, names), default=0) * len(names) > 70:
        for tick in axes.get_xticklabels():
            tick.set(rotation=30, ha="right", rotation_mode="anchor")


def bars(
    groups: Mapping[str, Mapping[str, tuple[float, float]]], path: str | Path, ylabel: str, title: str = ""
) -> None:
    """Mean ± sd (0: none) of shares as dots with whiskers; `groups` maps a place on the x axis to {label: (mean, sd)}.

    Dots, not columns: the axis need not begin at 0, so differences of a few parts in a thousand can be seen.
    """
    labels = list(dict.fromkeys(label for group in groups.values() for label in group))
    figure, (axes,) = new_figure(max(6.4, 1.0 + 0.9 * len(groups) * max(1, len(labels) / 2)), 4.4)
    for place, label in enumerate(labels):
        own = {i: group[label] for i, group in enumerate(groups.values()) if label in group}
        x = [i + (place - (len(labels) - 1) / 2) * 0.7 / len(labels) for i in own]
        mean, sd = floats(list(own.values())).T
        color = SERIES[place % len(SERIES)]
        axes.errorbar(x, mean, sd, fmt="o", color=color, markersize=7, capsize=4, linewidth=1.6, label=plain(label, 40))
    dress(axes, "", ylabel, title)
    _name_ticks(axes, list(groups))
    percent(axes.yaxis)
    if len(labels) > 1:
        legend(figure, 10.5, loc="outside right center")
    save(figure, path)


def columns(
    names: Sequence[str], parts: Mapping[str, np.ndarray], path: str | Path, label: str, title: str = ""
) -> None:
    """Counts of every class as columns from 0, the second part on top of the first."""
    figure, (axes,) = new_figure(max(6.4, 0.9 * len(names) + 1.6), 4.4)
    below = np.zeros(len(names))
    for (part, counts), color in zip(parts.items(), (BLUE, GREY), strict=True):
        axes.bar(range(len(names)), counts, 0.7, below, color=color, label=plain(part))
        below = below + counts
    axes.axhline(below.mean(), color=INK, linewidth=1.2, linestyle=DASHED, label="even share")
    dress(axes, "", label, title)
    _name_ticks(axes, names)
    legend(figure, 10.5, loc="outside lower center", ncols=len(parts) + 1)
    save(figure, path)


class Ridge(NamedTuple):
    """A chart of `ridges`: shares (rows, bins), a text beside each row, and texts on the x axis, a unit a bin."""

    title: str
    shares: np.ndarray
    notes: Sequence[str]
    ticks: Mapping[float, str]


def ridges(panels: Sequence[Ridge], across: int, xlabel: str, path: str | Path) -> None:
    """Distributions after every epoch, the first on top, `across` charts in a row; heights are roots of the shares."""
    down, most = -(-len(panels) // across), max(len(panel.shares) for panel in panels)
    figure, every = new_figure(11.2, (0.42 * most + 1.3) * down, across, down)
    for axes, panel in zip(every, panels, strict=True):
        heights = np.sqrt(panel.shares)
        heights = 0.9 * heights / max(heights.max(), 1e-9)
        for place, (row, text) in enumerate(zip(heights, panel.notes, strict=True), 1):
            axes.fill_between(range(len(row) + 1), place, place - np.append(row, 0), step="post", color=BLUE, lw=0)
            put_text(axes, 1.02, place - 0.1, text, 9.5, MUTED, transform=axes.get_yaxis_transform(), ha="left")
        dress(axes, xlabel if panel in panels[-across:] else "", "epoch" if axes in every[::across] else "", grid="x")
        heading(axes, panel.title, 10.5, 6)
        axes.set(xlim=(0, heights.shape[1]), ylim=(len(heights) + 0.1, 0), yticks=range(1, len(heights) + 1))
        axes.set_xticks(list(panel.ticks), list(panel.ticks.values()))
    save(figure, path)


def scatter(
    x: Sequence[float | None],
    y: Sequence[float | None],
    xlabel: str,
    ylabel: str,
    path: str | Path,
    title: str = "",
    apart: Sequence[bool] = (),
) -> None:
    """One dot a run with the diagonal x = y, both axes shares of 1 (training against test accuracy).

    Runs that `apart` marks have learned nothing: they are grey.
    """
    figure, (axes,) = new_figure(7.6, 6.0)
    both = np.column_stack([floats(x), floats(y)]).reshape(-1, 2)
    known = np.isfinite(both).all(axis=1)
    colors = np.where(np.array(apart, bool) if len(apart) else np.zeros(len(both), bool), GREY, BLUE)
    both, colors = both[known], colors[known]
    if len(both):
        ends = both.min() - 0.02, both.max() + 0.02
        axes.plot(ends, ends, color=GREY, linewidth=1.2, linestyle=DASHED, zorder=1)
        for color, label in ((BLUE, "above chance"), (GREY, "at chance")):
            own = both[colors == color]
            if len(own):
                axes.scatter(own[:, 0], own[:, 1], s=26, color=color, alpha=0.55, linewidth=0, label=label)
        if (colors == GREY).any():
            legend(axes, loc="upper left")
        note(axes, "equal", (ends[1], ends[1]), (-8, 0), ha="right", color=MUTED)
    else:
        message(axes, "no finished run")
    dress(axes, xlabel, ylabel, title, grid="both")
    percent(axes.xaxis)
    percent(axes.yaxis)
    save(figure, path)
