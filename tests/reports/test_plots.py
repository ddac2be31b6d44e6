"""The pictures: what they say is compared with the data they were given, and no text is cut off or covered."""

import json
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from mlp_jax.reports import insights, plots, sweep_plots
from tests.shared.slow import fast
from tests.shared.synthetic_workdirs import CLASSES, IMPORTANCE, predictions, records, trials

LONG = ["A rather long class name of 40 characters", "$x$", "", *"abcdefg"]


@pytest.fixture
def figure_of(monkeypatch):
    """Calls a picture function and returns the figure it would save, with `drawn`: the texts that can be seen."""

    def call(function, *arguments, **options):
        kept, drawn = [], []
        for module in (plots, sweep_plots):
            monkeypatch.setattr(module, "save", lambda figure, path: kept.append(figure))
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        bound = dict(zip([name for name in names if name != "path"], arguments, strict=False))
        function(path="unused", **bound, **options)
        (figure,) = kept
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # settles the layout
        draw = Text.draw

        def note(text, renderer):
            if text.get_visible() and text.get_text().strip():
                drawn.append((text, text.get_window_extent(renderer)))
            draw(text, renderer)

        with monkeypatch.context() as patch:
            patch.setattr(Text, "draw", note)
            canvas.draw()
        figure.drawn = drawn
        return figure

    return call


def wrong_ones(class_names=CLASSES):
    found = predictions(classes=len(class_names))
    keys = ("images", "true", "predicted", "probability")
    return [found[key] for key in keys], found


def every_picture():
    (images, true, predicted, probability), found = wrong_ones()
    shape, matrix = found["image_shape"], found["matrix"]
    x = list(range(1, 11))
    seeds = {f"optimizer {i}": (x, np.random.default_rng(i).random((3, 10))) for i in range(6)}
    two = [plots.Panel(seeds, "epoch", "accuracy", percent=True), plots.Panel(seeds, "depth", "norm", "b", log_y=True)]
    bars = {name: {"one": (0.8, 0.01), "two": (0.9, 0.0)} for name in CLASSES}
    many = trials(200)
    chosen = dict.fromkeys(insights.correlations(many), 0.3)
    return {
        "samples": (plots.samples, images, true, LONG, shape),
        "samples of five": (plots.samples, images, true, LONG, shape, 5),
        "mistakes": (plots.mistakes, images, true, predicted, probability, CLASSES, shape),
        "no mistakes": (plots.mistakes, images, true, true, probability, CLASSES, shape),
        "by cell": (plots.confusion_images, matrix, images, true, predicted, probability, LONG, shape),
        "matrix": (plots.confusion_matrix, matrix, LONG),
        "large matrix": (plots.confusion_matrix, matrix * 1000, CLASSES),
        "empty matrix": (plots.confusion_matrix, np.zeros((3, 3), int), CLASSES[:3]),
        "curves": (plots.curves, records(10)),
        "one epoch": (plots.curves, records(1)),
        "no validation": (plots.curves, records(30, validated=False)),
        "no epoch": (plots.curves, []),
        "lines": (plots.lines, two),
        "bars": (plots.bars, bars, "accuracy", "A title", True),
        "scatter": (plots.scatter, [0.1, 0.9, None], [0.2, 0.8, 0.5], "training", "test", "Title"),
        "no scatter": (plots.scatter, [None], [0.5], "training", "test"),
        "history": (sweep_plots.history, many, "validation accuracy"),
        "parallel": (sweep_plots.parallel_coordinates, many, "validation accuracy"),
        "importance": (sweep_plots.importance, chosen, IMPORTANCE, "validation accuracy"),
        "no importance": (sweep_plots.importance, {}, {}, "validation accuracy"),
        "separators": (sweep_plots.separators, many),
        "history of none": (sweep_plots.history, [], "val/loss"),
        "parallel of one": (sweep_plots.parallel_coordinates, trials(1), "val/loss"),
        "separators of one": (sweep_plots.separators, trials(1)),
    }


PICTURES = every_picture()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", fast(PICTURES, list(PICTURES)[::3]))
def test_no_text_is_cut_off_and_no_tick_labels_overlap(name, figure_of):
    function, *arguments = PICTURES[name]
    options = {"importance": IMPORTANCE} if function is sweep_plots.parallel_coordinates else {}
    figure = figure_of(function, *arguments, **options)
    width, height = figure.canvas.get_width_height()
    boxes = dict(figure.drawn)
    assert boxes
    for text, box in boxes.items():
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= width + 1, text
        assert box.y1 <= height + 1, text
        assert text.get_fontsize() >= 7, text
    for axes in figure.axes:
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            level = [label for label in labels if label in boxes and label.get_rotation() == 0]
            assert not any(boxes[a].overlaps(boxes[b]) for a, b in pairwise(level)), level


@pytest.mark.filterwarnings("error")
def test_a_picture_is_written_whole_and_leaves_nothing_else(tmp_path):
    matrix = wrong_ones()[1]["matrix"]
    plots.confusion_matrix(matrix, CLASSES, tmp_path / "plots" / "matrix.png")
    plots.confusion_matrix(matrix, CLASSES, tmp_path / "plots" / "again.png")
    files = sorted((tmp_path / "plots").iterdir())
    assert [file.name for file in files] == ["again.png", "matrix.png"]
    assert files[0].read_bytes() == files[1].read_bytes()
    with Image.open(files[1]) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert min(pixels.shape[:2]) > 500
    assert len(np.unique(pixels[::4, ::4].reshape(-1, 3), axis=0)) > 20


def test_every_class_is_shown_by_its_first_image(figure_of):
    (images, true, *_), found = wrong_ones()
    figure = figure_of(plots.samples, images, true, CLASSES, found["image_shape"])
    shown = [np.asarray(image.get_array()) * 250 for image in figure.axes[0].images]
    for label, image in enumerate(shown):
        first = next(pixels for pixels, other in zip(images, true, strict=True) if other == label)
        np.testing.assert_allclose(image.ravel(), first, atol=1e-9)
    assert [text.get_text() for text in figure.axes[0].texts] == CLASSES


def test_a_class_without_images_is_said_to_have_none(figure_of):
    figure = figure_of(plots.samples, np.zeros((2, 4), np.uint8), np.array([0, 0]), ["a", "b"], (2, 2), 5)
    assert [text.get_text() for text in figure.axes[0].texts] == ["a", "b", "none"]
    assert len(figure.axes[0].images) == 2


def test_images_of_any_shape_are_drawn(figure_of):
    for shape in ((12,), (3, 4), (12, 1, 1), (2, 2, 3)):
        figure = figure_of(plots.samples, np.arange(12, dtype=np.uint8)[None], np.array([0]), ["a"], shape)
        expected = {(12,): (1, 12), (12, 1, 1): (12, 1)}.get(shape, shape)
        assert figure.axes[0].images[0].get_array().shape == expected


def test_curves_show_the_logged_values_and_mark_the_first_best_epoch(figure_of):
    rows = records(6)
    rows[1]["val/accuracy"] = rows[4]["val/accuracy"] = 0.97
    rows[3]["val/loss"] = None
    figure = figure_of(plots.curves, rows)
    assert plots.best_epoch(rows) == 2
    for axes, name in zip(figure.axes, ("loss", "accuracy"), strict=True):
        drawn = {line.get_label(): line for line in axes.lines}
        for part, label in (("train", "training"), ("val", "validation")):
            expected = [np.nan if row[f"{part}/{name}"] is None else row[f"{part}/{name}"] for row in rows]
            np.testing.assert_array_equal(drawn[label].get_ydata(), expected)
        assert [line for line in axes.lines if list(line.get_xdata()) == [2, 2]]
        assert "best epoch, 2" in axes.get_title(loc="left")
    assert "97.00 %" in figure.axes[1].get_title(loc="left")


def test_without_validation_there_is_one_curve_and_no_mark(figure_of):
    rows = [{k: v for k, v in row.items() if not k.startswith("val/")} for row in records(3)]
    assert plots.best_epoch(rows) is None
    figure = figure_of(plots.curves, rows)
    assert [[line.get_label() for line in axes.lines] for axes in figure.axes] == [["training"], ["training"]]


def test_the_matrix_shows_every_count_where_it_belongs(figure_of):
    matrix = np.array([[7, 1, 0], [2, 0, 5], [0, 0, 0]])
    figure = figure_of(plots.confusion_matrix, matrix, ["a", "b", "c"])
    axes, bars = figure.axes
    shown = {(round(t.get_position()[1]), round(t.get_position()[0])): int(t.get_text()) for t in axes.texts}
    assert shown == {(0, 0): 7, (0, 1): 1, (1, 0): 2, (1, 2): 5}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]
    assert axes.yaxis_inverted()
    assert [text.get_text() for text in bars.texts] == ["87.5 %", "0.0 %", "–"]
    assert "7 of 15" in axes.get_title(loc="left")
    assert "46.67 %" in axes.get_title(loc="left")


def test_text_on_the_matrix_is_legible():
    def luminance(rgb):
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in rgb]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    shares = np.linspace(0, 1, 101)
    for share in shares:
        count = round(1000 * share)
        colors = plots.confusion_colors(np.array([[count, 1000 - count], [1000 - count, count]]))
        for rgb in colors.reshape(-1, 3):
            ink = plots.ink_on(rgb)
            text = luminance([int(ink[i : i + 2], 16) / 255 for i in (1, 3, 5)])
            light, dark = sorted([luminance(rgb), text], reverse=True)
            assert (light + 0.05) / (dark + 0.05) > 3.4, share  # WCAG asks 3 of large text


def test_mistakes_are_the_surest_wrong_ones_in_order(figure_of):
    arrays, found = wrong_ones()
    _, true, predicted, probability = arrays
    figure = figure_of(plots.mistakes, *arrays, CLASSES, found["image_shape"], count=7)
    wrong = [i for i in range(len(true)) if true[i] != predicted[i]]
    surest = sorted(wrong, key=lambda i: probability[i], reverse=True)[:7]
    expected = []
    for i in surest:
        percent = min(99.9, 100 * probability[i])
        expected += [CLASSES[true[i]], f"as {CLASSES[predicted[i]]}, {percent:.1f}\u00a0%"]
    assert [text.get_text() for text in figure.axes[0].texts] == expected


def test_each_cell_shows_its_surest_mistake_and_their_number(figure_of):
    (images, true, predicted, probability), found = wrong_ones()
    figure = figure_of(
        plots.confusion_images, found["matrix"], images, true, predicted, probability, CLASSES, found["image_shape"]
    )
    axes = figure.axes[0]
    for picture in axes.images:
        x0, _, y0, _ = picture.get_extent()[0], *picture.get_extent()[1:]
        column, row = int(x0), int(min(picture.get_extent()[2:]))
        cell = [i for i in range(len(true)) if true[i] == row and predicted[i] == column and row != column]
        surest = max(cell, key=lambda i: probability[i])
        np.testing.assert_allclose(np.asarray(picture.get_array()).ravel() * 250, images[surest], atol=1e-9)
        assert y0 is not None
    off = found["matrix"].copy()
    np.fill_diagonal(off, 0)
    assert len(axes.images) == np.count_nonzero(off)
    assert sum(int(t.get_text()) for t in axes.texts) == found["matrix"].sum()


def test_bands_are_mean_and_sd_over_the_seeds(figure_of):
    seeds = np.array([[1.0, 2.0, None], [3.0, 2.0, 5.0], [5.0, 2.0, 7.0]], object)
    figure = figure_of(plots.lines, [plots.Panel({"a": ([1, 2, 3], seeds), "b": ([1, 2, 3], [1, 1, 1])}, "x", "y")])
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [3, 2, 6])
    (band,) = axes.collections
    edges = band.get_paths()[0].vertices
    for place, (mean, sd) in enumerate([(3, 2), (2, 0), (6, 2**0.5)], 1):
        ys = edges[edges[:, 0] == place][:, 1]
        assert min(ys) == pytest.approx(mean - sd)
        assert max(ys) == pytest.approx(mean + sd)
    colors = [line.get_color() for line in axes.lines]
    assert colors == list(plots.SERIES[:2])


def test_the_best_so_far_never_falls_and_ends_at_the_best(figure_of):
    rows = trials(80)
    figure = figure_of(sweep_plots.history, rows, "validation accuracy")
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == "best so far"]
    values = [row["metric"] for row in rows if row["status"] == "finished"]
    assert list(line.get_ydata()) == [max(values[: i + 1]) for i in range(len(values))] + [max(values)]
    figure = figure_of(sweep_plots.history, rows, "loss", larger_is_better=False)
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == "best so far"]
    assert line.get_ydata()[-1] == min(values)


def test_thousands_of_trials_are_drawn(tmp_path):
    rows = json.loads(json.dumps(trials(1500)))
    sweep_plots.parallel_coordinates(rows, "validation accuracy", tmp_path / "p.png", IMPORTANCE)
    assert (tmp_path / "p.png").stat().st_size > 50_000


def test_dots_are_means_with_whiskers_of_one_deviation(figure_of):
    groups = {"here": {"test": (0.8, 0.02), "validation": (0.9, 0.0)}, "there": {"validation": (0.7, 0.1)}}
    axes = figure_of(plots.bars, groups, "accuracy", "A title", show_percent=True).axes[0]
    test, validation = axes.containers
    assert list(test.lines[0].get_ydata()) == [0.8]
    assert list(validation.lines[0].get_ydata()) == [0.9, 0.7]
    assert np.ptp(test.lines[2][0].get_segments()[0][:, 1]) == pytest.approx(0.04)
    assert all(abs(x - place) < 0.5 for place, x in enumerate(validation.lines[0].get_xdata()))
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["here", "there"]
    assert all(tick.get_text().endswith(" %") for tick in axes.get_yticklabels())


def test_a_run_without_a_figure_has_no_dot(figure_of):
    axes = figure_of(plots.scatter, [0.5, None, 0.9], [0.4, 0.3, 0.8], "training", "test").axes[0]
    (dots,) = axes.collections
    np.testing.assert_allclose(dots.get_offsets(), [(0.5, 0.4), (0.9, 0.8)])
    (diagonal,) = axes.lines
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata())
    (said,) = figure_of(plots.scatter, [None], [0.5], "training", "test").axes[0].texts
    assert said.get_text() == "no finished run"


def test_a_logarithmic_axis_has_plain_numbers(figure_of):
    panel = plots.Panel({"a": ([1, 2, 10], [0.1, 0.2, 0.3])}, "batch size", "accuracy", log_x=True)
    axes = figure_of(plots.lines, [panel], title="Above all").axes[0]
    assert axes.get_xscale() == "log"
    assert {"1", "2", "5", "10"} <= {tick.get_text() for tick in axes.get_xticklabels()}
    assert axes.figure.get_suptitle() == "Above all"
