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

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, LINE, PAPER = "#1f2933", "#5f6b7a", "#dfe4ea", "#ffffff"
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#b8bec7"
SERIES = (BLUE, ORANGE, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK, "#8c6d31", "#7b4ea3", "#7f7f7f")
DPI = 130


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
    width: float, height: float, rows: int = 1, columns: int = 1, **options: Any
) -> "tuple[Figure, list[Axes]]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor=PAPER)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)  # type: ignore[union-attr,call-arg]
    return figure, list(figure.subplots(rows, columns, squeeze=False, **options).ravel())


def save(figure: "Figure", path: str | Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=PAPER)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_bytes(Path(path), buffer.getvalue())


def plain(text: object, longest: int = 60) -> str:
    """Shortened, and safe from matplotlib's reading of dollar signs as mathematics."""
    text = str(text)
    return (text if len(text) <= longest else text[: longest - 1] + "…").replace("$", r"\$")


def dress(axes: "Axes", xlabel: str = "", ylabel: str = "", title: str = "", grid: str = "y") -> None:
    axes.set_xlabel(plain(xlabel), fontsize=11, color=INK)
    axes.set_ylabel(plain(ylabel), fontsize=11, color=INK)
    axes.set_title(plain(title, 120), fontsize=12.5, color=INK, loc="left", pad=10)
    axes.tick_params(labelsize=10, colors=MUTED, length=3, width=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=LINE, linewidth=0.8)  # type: ignore[arg-type]


def legend(axes: "Axes", **options: Any) -> None:
    axes.legend(frameon=False, fontsize=10, labelcolor=INK, handlelength=1.8, **options)


def percent(axis: Any) -> None:
    """Ticks of shares as percentages."""
    axis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")


def whole_numbers(axis: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, nbins=9, min_n_ticks=1))


def _log_axis(axes: "Axes") -> None:
    """A logarithmic x axis with plain numbers at 1, 2 and 5, which do not run into each other within a decade."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def message(axes: "Axes", text: str) -> None:
    """A sentence in place of a chart that has nothing to show."""
    axes.axis("off")
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=12, color=MUTED)


def floats(values: Any) -> np.ndarray:
    """A float array in which None is NaN."""
    return np.asarray(values, dtype=object).astype(float)


# ---- images


def _image(pixels: np.ndarray, shape: Sequence[int], top: float) -> np.ndarray:
    """(d,) uint8 -> (height, width) or (height, width, 3) in 0 … 1; a single dimension becomes one row."""
    image = np.asarray(pixels, float).reshape((1, *shape) if len(shape) == 1 else tuple(shape)) / max(top, 1)
    return image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image


def _tile(axes: "Axes", image: np.ndarray, x: float, y: float, size: float = 1.0) -> None:
    """The image in the square of side `size` whose upper left corner is (x, y)."""
    from matplotlib.patches import Rectangle

    axes.imshow(image, cmap="gray_r", vmin=0, vmax=1, extent=(x, x + size, y + size, y), interpolation="nearest")
    axes.add_patch(Rectangle((x, y), size, size, fill=False, edgecolor=LINE, linewidth=0.8, clip_on=False))


def _canvas(axes: "Axes", width: float, height: float, title: str) -> None:
    """An empty plane, y downwards, in which one unit is as wide as high."""
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    axes.set_title(plain(title, 120), fontsize=12.5, color=INK, loc="left", pad=10)
    axes.axis("off")


def samples(
    images: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    image_shape: Sequence[int],
    path: str | Path,
    per_class: int = 1,
) -> None:
    """The first `per_class` images of every class under its name; images uint8 (n, d), labels (n,)."""
    top, gap = float(np.max(images, initial=1)), 0.42
    rows = [np.flatnonzero(np.asarray(labels) == label)[:per_class] for label in range(len(class_names))]
    if per_class == 1:
        columns = min(5, len(rows))
        height = -(-len(rows) // columns) * (1 + gap) - 0.1
        figure, (axes,) = new_figure(1.75 * columns + 0.3, 1.75 * height + 0.5)
        _canvas(axes, columns * 1.12 - 0.12, height, "One sample of every class")
        for label, chosen in enumerate(rows):
            x, y = (label % columns) * 1.12, (label // columns) * (1 + gap) + 0.3
            axes.text(
                x + 0.5, y - 0.06, plain(class_names[label], 16), ha="center", va="bottom", fontsize=11, color=INK
            )
            _place(axes, images, chosen, image_shape, top, x, y)
    else:
        height = len(rows) * 1.08
        figure, (axes,) = new_figure(0.85 * (per_class * 1.08 + 2.4), 0.85 * height + 0.6)
        _canvas(axes, per_class * 1.08 + 1.9, height, f"{per_class} samples of every class")
        for label, chosen in enumerate(rows):
            axes.text(
                1.8, label * 1.08 + 0.5, plain(class_names[label], 16), ha="right", va="center", fontsize=11, color=INK
            )
            _place(axes, images, chosen, image_shape, top, 1.9, label * 1.08)
    save(figure, path)


def _place(
    axes: "Axes", images: np.ndarray, chosen: np.ndarray, shape: Sequence[int], top: float, x: float, y: float
) -> None:
    if not len(chosen):
        axes.text(x + 0.5, y + 0.5, "none", ha="center", va="center", fontsize=10, color=MUTED)
    for column, index in enumerate(chosen):
        _tile(axes, _image(images[index], shape, top), x + column * 1.08, y)


def mistakes(
    images: np.ndarray,
    true: np.ndarray,
    predicted: np.ndarray,
    probability: np.ndarray,
    class_names: Sequence[str],
    image_shape: Sequence[int],
    path: str | Path,
    count: int = 20,
) -> None:
    """The wrong predictions of which the network was surest; `probability` (n,) is that of the predicted class."""
    true, predicted, probability = np.asarray(true), np.asarray(predicted), np.asarray(probability, float)
    wrong = np.flatnonzero(true != predicted)
    chosen = wrong[np.argsort(-probability[wrong], kind="stable")][:count]
    columns, gap = 5, 0.66
    height = max(1, -(-len(chosen) // columns)) * (1 + gap) - 0.18
    figure, (axes,) = new_figure(1.75 * columns + 0.6, 1.5 * height + 0.45)
    _canvas(
        axes,
        columns * 1.25 - 0.25,
        height,
        f"The {len(chosen)} most confident mistakes: the true class, and what it was taken for",
    )
    if not len(chosen):
        axes.set_title("")
        message(axes, "No mistakes")
    top = float(np.max(images, initial=1))
    for place, index in enumerate(chosen):
        x, y = (place % columns) * 1.25, (place // columns) * (1 + gap) + 0.46
        name, taken = (plain(class_names[int(label[index])], 16) for label in (true, predicted))
        axes.text(x + 0.5, y - 0.24, name, ha="center", va="bottom", fontsize=10.5, color=INK)
        sure = f"as {taken}, {share(probability[index])}"
        axes.text(x + 0.5, y - 0.05, sure, ha="center", va="bottom", fontsize=10, color=ORANGE)
        _tile(axes, _image(images[index], image_shape, top), x, y)
    save(figure, path)


def share(value: float) -> str:
    """A probability as a percentage that never rounds up to certainty."""
    if not np.isfinite(value):
        return "–"
    return f"{min(100 * value, 99.9):.1f}\u00a0%" if value < 1 else "100\u00a0%"


def confusion_images(
    matrix: np.ndarray,
    images: np.ndarray,
    true: np.ndarray,
    predicted: np.ndarray,
    probability: np.ndarray,
    class_names: Sequence[str],
    image_shape: Sequence[int],
    path: str | Path,
) -> None:
    """The confusion matrix with, in every cell off the diagonal, its most confident mistake and how many there are."""
    matrix = np.asarray(matrix)
    classes = len(class_names)
    side = 0.82 * classes
    figure, (axes,) = new_figure(side + 2.0, side + 1.9)
    _canvas(axes, classes, classes, "The most confident mistake of every cell, and their number")
    axes.axis("on")
    _class_axes(axes, class_names, offset=0.5)
    top = float(np.max(images, initial=1))
    order = np.argsort(-np.asarray(probability, float), kind="stable")
    first: dict[tuple[int, int], int] = {}
    for index in order:
        first.setdefault((int(true[index]), int(predicted[index])), int(index))
    for row in range(classes):
        for column in range(classes):
            count = int(matrix[row, column])
            if row == column:
                axes.text(column + 0.5, row + 0.5, f"{count}", ha="center", va="center", fontsize=11, color=BLUE)
            elif (row, column) in first:
                _tile(axes, _image(images[first[row, column]], image_shape, top), column + 0.14, row + 0.04, 0.72)
                axes.text(column + 0.5, row + 0.98, f"{count}", ha="center", va="bottom", fontsize=8, color=ORANGE)
    axes.set(xlim=(0, classes), ylim=(classes, 0))
    axes.hlines(range(1, classes), 0, classes, color=LINE, linewidth=0.6)
    axes.vlines(range(1, classes), 0, classes, color=LINE, linewidth=0.6)
    save(figure, path)


# ---- a run


def best_epoch(records: Sequence[Mapping[str, Any]]) -> int | None:
    """The epoch of the highest val/accuracy, the first on ties; None without validation, and for means over seeds."""
    if any("val/accuracy/sd" in record for record in records):
        return None  # every seed has its own
    validated = [record for record in records if record.get("val/accuracy") is not None]
    return max(validated, key=lambda record: record["val/accuracy"])["epoch"] if validated else None


def curves(records: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Loss and accuracy over the epochs of metrics.jsonl, training and validation, the best epoch marked."""
    figure, both = new_figure(10.4, 4.1, 1, 2)
    best = best_epoch(records)
    epochs = [record["epoch"] for record in records]
    for axes, name in zip(both, ("loss", "accuracy"), strict=True):
        for part, label, color in (("train", "training", GREY), ("val", "validation", BLUE)):
            values = floats([record.get(f"{part}/{name}") for record in records])
            if np.isfinite(values).any():
                marker = "o" if len(epochs) <= 20 else ""
                axes.plot(epochs, values, color=color, marker=marker, markersize=4.5, linewidth=2, label=label)
                sd = np.nan_to_num(floats([record.get(f"{part}/{name}/sd") for record in records]))
                if sd.any():
                    axes.fill_between(epochs, values - sd, values + sd, color=color, alpha=0.2, linewidth=0)
        title = name.capitalize()
        if best is not None:
            value = next(record for record in records if record["epoch"] == best).get(f"val/{name}")
            axes.axvline(best, color=ORANGE, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
            if value is not None:
                shown = f"{100 * value:.2f} %" if name == "accuracy" else f"{value:.4g}"
                title += f": {shown} at the best epoch, {best}"
        dress(axes, "epoch", name, title)
        whole_numbers(axes.xaxis)
        if name == "accuracy":
            percent(axes.yaxis)
        if axes.lines and any(not str(line.get_label()).startswith("_") for line in axes.lines):
            legend(axes)
        else:
            message(axes, "no finite value")
        if epochs:
            axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
    save(figure, path)


def mix(color: str, amount: np.ndarray) -> np.ndarray:
    """White at 0, `color` (#rrggbb) at 1; (…,) -> (…, 3) in 0 … 1."""
    return 1 + np.asarray(amount)[..., None] * (_rgb(color) - 1)


def _rgb(color: str) -> np.ndarray:
    return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def confusion_colors(matrix: np.ndarray) -> np.ndarray:
    """The colour of each cell, (k, k, 3), from its share of the row; a root makes rare mistakes visible."""
    totals = np.asarray(matrix, float).sum(axis=1, keepdims=True)
    share = np.asarray(matrix, float) / np.maximum(totals, 1)
    hits = np.eye(len(share), dtype=bool)[..., None]
    return np.where(hits, mix(BLUE, 0.1 + 0.9 * share**2), mix(ORANGE, np.minimum(1.0, np.sqrt(share / 0.4))))


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
    matrix = np.asarray(matrix)
    classes, total, right = len(matrix), int(matrix.sum()), int(np.trace(matrix))
    side = max(4.0, 0.66 * classes)
    figure, (axes, bars) = new_figure(side + 3.4, side + 1.4, 1, 2, width_ratios=(side, 1.6), sharey=True)
    colors = confusion_colors(matrix)
    axes.imshow(colors, aspect="auto")
    axes.set_xticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=PAPER, linewidth=2)
    _class_axes(axes, class_names)
    axes.tick_params(which="minor", length=0)
    largest = len(str(matrix.max(initial=0)))
    size = {1: 12, 2: 12, 3: 12, 4: 11, 5: 9}.get(largest, 7.5) if classes <= 30 else 7
    for row, column in np.argwhere(matrix > 0):
        color = ink_on(colors[row, column])
        weight = "bold" if row == column else "normal"
        axes.text(
            column, row, f"{matrix[row, column]}", ha="center", va="center", fontsize=size, color=color, weight=weight
        )
    accuracy = f" ({100 * right / total:.2f} %)" if total else ""
    axes.set_title(
        f"{right:,} of {total:,} images of {plain(subject)} right{accuracy}", fontsize=13, color=INK, loc="left", pad=12
    )

    totals = matrix.sum(axis=1)
    recall = np.divide(np.diag(matrix), totals, out=np.full(classes, np.nan), where=totals > 0)
    bars.barh(range(classes), np.nan_to_num(recall), color=BLUE, height=0.62, alpha=0.85)
    for row, value in enumerate(recall):
        shown = "–" if np.isnan(value) else f"{100 * value:.1f} %"
        inside = value > 0.45
        bars.text(
            value - 0.03 if inside else np.nan_to_num(value) + 0.03,
            row,
            shown,
            va="center",
            ha="right" if inside else "left",
            fontsize=10,
            color=PAPER if inside else INK,
        )
    bars.set_title("recall", fontsize=11, color=INK, loc="left", pad=12)
    bars.set(xlim=(0, 1), xticks=[])
    bars.tick_params(left=False, labelleft=False, which="both")
    bars.spines[:].set_visible(False)
    save(figure, path)


# ---- experiments


def lines(panels: Sequence[Panel], path: str | Path, title: str = "") -> None:
    """Panels side by side, one colour a label in all of them; several seeds give their mean in a band of ± sd."""
    labels = list(dict.fromkeys(label for panel in panels for label in panel.groups))
    figure, every = new_figure(max(7.6, 5.1 * len(panels)), 4.3 + (0.3 if title else 0), 1, len(panels))
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
                low = mean - sd
                if panel.log_y:
                    low = np.maximum(low, mean / 100)  # a band that reaches 0 has no place on a log axis
                axes.fill_between(np.asarray(x, float), low, mean + sd, color=color, alpha=0.16, linewidth=0)
        if panel.log_x:
            _log_axis(axes)
        axes.set_yscale("log" if panel.log_y else "linear")
        dress(axes, panel.xlabel, panel.ylabel, panel.title)
        if panel.percent:
            percent(axes.yaxis)
        if not panel.log_x and all(float(value).is_integer() for x, _ in panel.groups.values() for value in x):
            whole_numbers(axes.xaxis)
    handles = {text: handle for axes in every for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    if len(handles) > 1:
        figure.legend(
            handles.values(), handles.keys(), loc="outside right center", frameon=False, fontsize=10.5, labelcolor=INK
        )
    if title:
        figure.suptitle(plain(title, 120), fontsize=13.5, color=INK, x=0.015, ha="left")
    save(figure, path)


def bars(
    groups: Mapping[str, Mapping[str, tuple[float, float]]],
    path: str | Path,
    ylabel: str,
    title: str = "",
    show_percent: bool = False,
) -> None:
    """Mean ± sd (0: none) as dots with whiskers: `groups` maps a place on the x axis to {label: (mean, sd)}.

    Dots, not columns: the axis need not begin at 0, so differences of a few parts in a thousand can be seen.
    """
    labels = list(dict.fromkeys(label for group in groups.values() for label in group))
    figure, (axes,) = new_figure(max(6.4, 1.0 + 0.9 * len(groups) * max(1, len(labels) / 2)), 4.4)
    for place, label in enumerate(labels):
        x = [
            i + (place - (len(labels) - 1) / 2) * 0.7 / len(labels) for i, g in enumerate(groups.values()) if label in g
        ]
        mean, sd = floats([group[label] for group in groups.values() if label in group]).T
        color = SERIES[place % len(SERIES)]
        axes.errorbar(x, mean, sd, fmt="o", color=color, markersize=7, capsize=4, linewidth=1.6, label=plain(label, 40))
    dress(axes, "", ylabel, title)
    axes.set_xticks(range(len(groups)), [plain(name, 24) for name in groups])
    axes.tick_params(axis="x", labelsize=10.5, labelcolor=INK, length=0)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    if max((len(str(name)) for name in groups), default=0) * len(groups) > 70:
        axes.tick_params(axis="x", labelrotation=30)
        for tick in axes.get_xticklabels():
            tick.set(ha="right", rotation_mode="anchor")
    if show_percent:
        percent(axes.yaxis)
    if len(labels) > 1:
        figure.legend(loc="outside right center", frameon=False, fontsize=10.5, labelcolor=INK)
    save(figure, path)


def scatter(
    x: Sequence[float | None], y: Sequence[float | None], xlabel: str, ylabel: str, path: str | Path, title: str = ""
) -> None:
    """One dot a run with the diagonal x = y, both axes shares of 1 (training against test accuracy)."""
    figure, (axes,) = new_figure(6.2, 5.4)
    both = np.column_stack([floats(x), floats(y)]).reshape(-1, 2)
    both = both[np.isfinite(both).all(axis=1)]
    if len(both):
        ends = [both.min() - 0.02, both.max() + 0.02]
        axes.plot(ends, ends, color=GREY, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
        axes.scatter(both[:, 0], both[:, 1], s=26, color=BLUE, alpha=0.55, linewidth=0)
        axes.annotate(
            "equal",
            (ends[1], ends[1]),
            xytext=(-8, 0),
            textcoords="offset points",
            ha="right",
            fontsize=10,
            color=MUTED,
        )
    else:
        message(axes, "no finished run")
    dress(axes, xlabel, ylabel, title, grid="both")
    percent(axes.xaxis)
    percent(axes.yaxis)
    save(figure, path)
