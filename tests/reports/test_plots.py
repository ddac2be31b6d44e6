"""The pictures: what they say is compared with the data they were given, and no text is cut off or covered."""

from inspect import signature
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from mlp_jax.reports import insights, plots, sweep_plots
from mlp_jax.reports.plots import Panel, Ridge
from tests.shared.slow import fast
from tests.shared.synthetic_workdirs import CLASSES, IMPORTANCE, predictions, records, trials

LONG = ["A rather long class name of 40 characters", "$x$", "", *"abcdefg"]


@pytest.fixture
def figure_of(monkeypatch):
    """Calls a picture function and returns the figure it would save, its layout settled."""

    def call(function, *arguments):
        kept = []
        monkeypatch.setattr(plots, "save", lambda figure, path: kept.append(figure))
        names = [name for name in signature(function).parameters if name != "path"]
        function(path="unused", **dict(zip(names, arguments, strict=False)))
        (figure,) = kept
        FigureCanvasAgg(figure).draw()
        return figure

    return call


FOUND = predictions()
IMAGES, TRUE, MATRIX, SHAPE = (FOUND[key] for key in ("images", "true", "matrix", "image_shape"))


def mistakes(class_names=CLASSES, count=None):
    """Those of FOUND, the most confident first."""
    wrong = [i for i in np.argsort(-FOUND["probability"]) if TRUE[i] != FOUND["predicted"][i]][:count]
    arrays = (FOUND[key][wrong] for key in ("images", "true", "predicted", "probability"))
    return plots.Mistakes(*arrays, class_names, SHAPE)


MANY = trials(200)
SEEDS = {f"optimizer {i}": (range(1, 11), np.random.default_rng(i).random((3, 10))) for i in range(6)}
TWO = [Panel(SEEDS, "epoch", "accuracy", percent=True), Panel(SEEDS, "depth", "norm", "b", log_y=True)]
EQUAL = dict.fromkeys(insights.correlations(MANY), 0.3)
PICTURES = {
    "samples": (plots.samples, IMAGES, TRUE, LONG, SHAPE),
    "samples of five": (plots.samples, IMAGES, TRUE, LONG, SHAPE, 5),
    "mistakes": (plots.mistakes, mistakes()),
    "no mistakes": (plots.mistakes, mistakes(count=0)),
    "by cell": (plots.confusion_images, MATRIX, mistakes(LONG)),
    "matrix": (plots.confusion_matrix, MATRIX, LONG),
    "large matrix": (plots.confusion_matrix, MATRIX * 1000, CLASSES),
    "empty matrix": (plots.confusion_matrix, np.zeros((3, 3), int), CLASSES[:3]),
    "curves": (plots.curves, records(10)),
    "one epoch": (plots.curves, records(1)),
    "no validation": (plots.curves, records(30, validated=False)),
    "no epoch": (plots.curves, []),
    "lines": (plots.lines, TWO),
    "bars": (plots.bars, {name: {"one": (0.8, 0.01), "two": (0.9, 0.0)} for name in CLASSES}, "accuracy", "A title"),
    "columns": (plots.columns, LONG, {"kept": 9 * np.arange(10), "held out": np.arange(10)}, "images"),
    "ridges": (
        plots.ridges,
        [Ridge("ReLU, Adam, layer 1; % exactly 0", np.eye(10), ["100 %"] * 10, {0.5: "0"})] * 6,
        3,
        "activation",
    ),
    "scatter": (plots.scatter, [0.1, 0.9, None], [0.2, 0.8, 0.5], "training", "test", "Title"),
    "no scatter": (plots.scatter, [None], [0.5], "training", "test"),
    "history": (sweep_plots.history, MANY, "validation accuracy"),
    "parallel": (sweep_plots.parallel_coordinates, MANY, "validation accuracy", IMPORTANCE),
    "importance": (sweep_plots.importance, EQUAL, IMPORTANCE, {"init": 1e-9}, "validation accuracy"),
    "no importance": (sweep_plots.importance, {}, {}, {}, "validation accuracy"),
    "separators": (sweep_plots.separators, MANY),
    "history of none": (sweep_plots.history, [], "val/loss"),
    "parallel of one": (sweep_plots.parallel_coordinates, trials(1), "val/loss", IMPORTANCE),
    "separators of one": (sweep_plots.separators, trials(1)),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", fast(PICTURES, [*list(PICTURES)[::3], "parallel", "separators"]))
def test_no_text_is_cut_off_and_no_tick_labels_overlap(name, figure_of, monkeypatch):
    figure, boxes, draw = figure_of(*PICTURES[name]), {}, Text.draw

    def note(text, renderer):  # only of texts that are drawn: others have boxes too
        if text.get_visible() and text.get_text().strip():
            boxes[text] = text.get_window_extent(renderer)
        draw(text, renderer)

    monkeypatch.setattr(Text, "draw", note)
    figure.canvas.draw()
    assert boxes
    whole = figure.bbox.padded(1)
    for text, box in boxes.items():
        assert all(whole.contains(*corner) for corner in (box.min, box.max)), text
        assert text.get_fontsize() >= 7, text
    for axes in figure.axes:
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            level = [label for label in labels if label in boxes and label.get_rotation() == 0]
            assert not any(boxes[a].overlaps(boxes[b]) for a, b in pairwise(level)), level


@pytest.mark.filterwarnings("error")
def test_a_picture_is_written_whole_and_leaves_nothing_else(tmp_path):
    for name in ("matrix.png", "again.png"):
        plots.confusion_matrix(MATRIX, CLASSES, tmp_path / "plots" / name)
    again, matrix = sorted((tmp_path / "plots").iterdir())
    assert again.read_bytes() == matrix.read_bytes()
    with Image.open(matrix) as image:
        assert min(image.size) > 500
        assert len(image.convert("RGB").getcolors(1 << 20)) > 20


def test_every_class_is_shown_by_its_first_image(figure_of):
    (axes,) = figure_of(plots.samples, IMAGES, TRUE, CLASSES, SHAPE).axes
    for label, image in enumerate(axes.images):
        np.testing.assert_allclose(image.get_array().ravel() * 250, IMAGES[list(TRUE).index(label)], atol=1e-9)
    assert [text.get_text() for text in axes.texts] == CLASSES


@pytest.mark.parametrize(
    ("shape", "drawn"), [((12,), (1, 12)), ((3, 4), (3, 4)), ((12, 1, 1), (12, 1)), ((2, 2, 3), (2, 2, 3))]
)
def test_images_of_any_shape_are_drawn_and_a_class_may_have_none(shape, drawn, figure_of):
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 12)
    (axes,) = figure_of(plots.samples, pixels, np.array([0, 0]), ["a", "b"], shape, 5).axes
    assert [image.get_array().shape for image in axes.images] == [drawn, drawn]
    assert [text.get_text() for text in axes.texts] == ["a", "b", "none"]


def test_curves_show_the_logged_values_and_mark_the_first_best_epoch(figure_of):
    rows = records(6)
    rows[1]["val/accuracy"] = rows[4]["val/accuracy"] = 0.97
    rows[3]["val/loss"] = None
    figure = figure_of(plots.curves, rows)
    assert plots.best_epoch(rows) == 2
    for axes, name in zip(figure.axes, ("loss", "accuracy"), strict=True):
        drawn = {line.get_label(): line for line in axes.lines}
        for part, label in (("train", "training"), ("val", "validation")):
            expected = np.array([row[f"{part}/{name}"] for row in rows], float)
            np.testing.assert_array_equal(drawn[label].get_ydata(), expected)
        assert [line for line in axes.lines if list(line.get_xdata()) == [2, 2]]
        assert "best epoch, 2" in axes.get_title(loc="left")
    assert "97.00 %" in figure.axes[1].get_title(loc="left")


def test_without_validation_there_is_one_curve_and_no_mark(figure_of):
    figure = figure_of(plots.curves, [{k: v for k, v in row.items() if "val/" not in k} for row in records(3)])
    assert [[line.get_label() for line in axes.lines] for axes in figure.axes] == [["training"], ["training"]]


def test_the_matrix_shows_every_count_where_it_belongs(figure_of):
    matrix = np.array([[7, 1, 0], [2, 0, 5], [0, 0, 0]])
    axes, bars = figure_of(plots.confusion_matrix, matrix, ["a", "b", "c"]).axes
    shown = {(round(t.get_position()[1]), round(t.get_position()[0])): int(t.get_text()) for t in axes.texts}
    assert shown == {(0, 0): 7, (0, 1): 1, (1, 0): 2, (1, 2): 5}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]
    assert axes.yaxis_inverted()
    assert [text.get_text() for text in bars.texts] == ["87.5 %", "0.0 %", "–"]
    assert axes.get_title(loc="left") == "7 of 15 images of the test set right (46.67 %)"


def test_text_on_the_matrix_is_legible():
    def luminance(rgb):
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in rgb]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    for count in range(0, 1001, 10):
        colors = plots.confusion_colors(np.array([[count, 1000 - count], [1000 - count, count]]))
        for rgb in colors.reshape(-1, 3):
            ink = plots.ink_on(rgb)
            text = luminance([int(ink[i : i + 2], 16) / 255 for i in (1, 3, 5)])
            light, dark = sorted([luminance(rgb), text], reverse=True)
            assert (light + 0.05) / (dark + 0.05) > 3.4, count  # WCAG asks 3 of large text


def test_the_first_20_mistakes_stand_under_their_classes(figure_of):
    found = mistakes()
    expected = []
    for place in range(20):
        share = min(99.9, 100 * found.probability[place])
        expected += [CLASSES[found.true[place]], f"as {CLASSES[found.predicted[place]]}, {share:.1f}\u00a0%"]
    assert [text.get_text() for text in figure_of(plots.mistakes, found).axes[0].texts] == expected


def test_each_cell_shows_its_most_confident_mistake_and_their_number(figure_of):
    found = mistakes()
    (axes,) = figure_of(plots.confusion_images, MATRIX, found).axes
    for picture in axes.images:
        left, _, bottom, top = picture.get_extent()
        cell = (found.true == int(min(bottom, top))) & (found.predicted == int(left))
        pixels = np.asarray(picture.get_array()).ravel() * 250
        np.testing.assert_allclose(pixels, found.images[cell.argmax()], atol=1e-9)
    assert len(axes.images) == len(set(zip(found.true, found.predicted, strict=True)))
    assert sum(int(text.get_text()) for text in axes.texts) == MATRIX.sum()


def test_bands_are_mean_and_sd_over_the_seeds(figure_of):
    seeds = np.array([[1.0, 2.0, None], [3.0, 2.0, 5.0], [5.0, 2.0, 7.0]], object)
    panel = Panel({"a": ([1, 2, 3], seeds), "b": ([1, 2, 3], [1, 1, 1])}, "x", "y")
    (axes,) = figure_of(plots.lines, [panel]).axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [3, 2, 6])
    (band,) = axes.collections
    edges = band.get_paths()[0].vertices
    for place, (mean, sd) in enumerate([(3, 2), (2, 0), (6, 2**0.5)], 1):
        ys = edges[edges[:, 0] == place][:, 1]
        assert (min(ys), max(ys)) == pytest.approx((mean - sd, mean + sd))
    assert [line.get_color() for line in axes.lines] == list(plots.SERIES[:2])


def test_the_best_so_far_never_falls_and_ends_at_the_best(figure_of):
    rows = trials(80)
    values = [row["metric"] for row in rows if row["status"] == "finished"]
    for larger, best in ((True, max), (False, min)):
        (axes,) = figure_of(sweep_plots.history, rows, "a metric", larger).axes
        (line,) = [line for line in axes.lines if line.get_label() == "best so far"]
        assert list(line.get_ydata()) == [best(values[: i + 1]) for i in range(len(values))] + [best(values)]


def test_dots_are_means_with_whiskers_of_one_deviation(figure_of):
    groups = {"here": {"test": (0.8, 0.02), "validation": (0.9, 0.0)}, "there": {"validation": (0.7, 0.1)}}
    axes = figure_of(plots.bars, groups, "accuracy", "A title").axes[0]
    test, validation = axes.containers
    assert list(test.lines[0].get_ydata()) == [0.8]
    assert list(validation.lines[0].get_ydata()) == [0.9, 0.7]
    assert np.ptp(test.lines[2][0].get_segments()[0][:, 1]) == pytest.approx(0.04)
    assert all(abs(x - place) < 0.5 for place, x in enumerate(validation.lines[0].get_xdata()))
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["here", "there"]
    assert all(tick.get_text().endswith(" %") for tick in axes.get_yticklabels())


def test_columns_begin_at_0_and_stand_on_top_of_each_other(figure_of):
    axes = figure_of(plots.columns, ["a", "b"], {"kept": np.array([3, 5]), "held out": np.array([2, 2])}, "n").axes[0]
    kept, held_out = axes.containers
    assert [(bar.get_y(), bar.get_height()) for bar in (*kept, *held_out)] == [(0, 3), (0, 5), (3, 2), (5, 2)]
    (even,) = axes.lines
    assert list(even.get_ydata()) == [6, 6]


def test_a_ridge_rises_above_its_epoch_by_the_root_of_its_share(figure_of):
    found = Ridge("layer 1", np.array([[0.64, 0.36], [0.0, 1.0], [0.0, 0.0]]), ["a", "b", "c"], {0: "0"})
    axes = figure_of(plots.ridges, [found], 1, "activation").axes[0]
    tops = [np.ptp(area.get_paths()[0].vertices[:, 1]) for area in axes.collections]
    np.testing.assert_allclose(tops, [0.9 * 0.8, 0.9, 0])
    assert [axes.yaxis_inverted(), *axes.get_yticks()] == [True, 1, 2, 3]


def test_a_run_without_a_figure_has_no_dot(figure_of):
    axes = figure_of(plots.scatter, [0.5, None, 0.9], [0.4, 0.3, 0.8], "training", "test").axes[0]
    (dots,) = axes.collections
    np.testing.assert_allclose(dots.get_offsets(), [(0.5, 0.4), (0.9, 0.8)])
    (diagonal,) = axes.lines
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata())
    (said,) = figure_of(plots.scatter, [None], [0.5], "training", "test").axes[0].texts
    assert said.get_text() == "no finished run"


def test_a_logarithmic_axis_has_plain_numbers(figure_of):
    panel = Panel({"a": ([1, 2, 10], [0.1, 0.2, 0.3])}, "batch size", "accuracy", log_x=True)
    axes = figure_of(plots.lines, [panel]).axes[0]
    assert axes.get_xscale() == "log"
    assert {"1", "2", "5", "10"} <= {tick.get_text() for tick in axes.get_xticklabels()}
