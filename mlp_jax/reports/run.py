"""Pages and pictures of runs, sweeps and experiments, made from what they wrote into their workdir and nothing else."""

import base64
import json
import shlex
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.files.workdir import read_config, read_if_there, read_lines, write_bytes
from mlp_jax.reports import plots
from mlp_jax.reports.html import Html, finite, join, number, page, picture, table, tag, tiny_png

Json = Mapping[str, Any]

NAMES = {
    "relu": "ReLU", "gelu": "GELU", "elu": "ELU", "leaky_relu": "leaky ReLU", "sgd": "SGD", "rmsprop": "RMSprop",
    "adam": "Adam", "nadam": "Nadam", "nesterov": "Nesterov momentum", "cross_entropy": "cross-entropy",
    "mse": "squared error", "fashion_mnist": "Fashion-MNIST", "mnist": "MNIST", "xavier": "Xavier", "he": "He",
    "bayes": "Bayesian",
}  # fmt: skip


PARTS = {"train": "training", "val": "validation"}


class Section(NamedTuple):
    """One experiment of a bound report; `pictures` are PNG files, the rows of `table` share their keys."""

    title: str
    question: str
    command: str
    sentences: Sequence[str]
    pictures: Sequence[Path]
    table: Sequence[Mapping[str, Any]]


# ---- what a run writes for its pictures


def evaluation(
    split: str,
    class_names: Sequence[str],
    image_shape: Sequence[int],
    matrix: np.ndarray,
    scores: Mapping[str, Sequence[float]],
    images: np.ndarray,
    true: np.ndarray,
    predicted: np.ndarray,
    probability: np.ndarray,
    sample_images: np.ndarray,
    sample_labels: np.ndarray,
) -> dict[str, Any]:
    """The content of evaluation.json, from which every picture of images can be drawn again without the dataset.

    `matrix` (k, k) has true classes as rows; `scores` maps precision, recall and f1 to one number a class; `images`
    uint8 (n, d) with their `true` and `predicted` classes and the `probability` of the predicted one; the samples are
    training images. Kept are 5 samples a class, the 20 most confident mistakes and the 3 most confident of every cell.
    """
    true, predicted, probability = np.asarray(true), np.asarray(predicted), np.asarray(probability, float)
    wrong = np.flatnonzero(true != predicted)
    wrong = wrong[np.argsort(-probability[wrong], kind="stable")]
    kept, of_cell = [], {}  # type: list[dict[str, Any]], dict[tuple[int, int], int]
    for place, index in enumerate(wrong):
        cell = (int(true[index]), int(predicted[index]))
        of_cell[cell] = of_cell.get(cell, 0) + 1
        if place < 20 or of_cell[cell] <= 3:
            kept.append(
                {
                    "index": int(index), "true": cell[0], "predicted": cell[1],
                    "probability": float(probability[index]), "pixels": _packed(images[index]),
                }
            )  # fmt: skip
    labels = np.asarray(sample_labels)
    chosen = [int(index) for label in range(len(class_names)) for index in np.flatnonzero(labels == label)[:5]]
    samples = [{"index": i, "label": int(labels[i]), "pixels": _packed(sample_images[i])} for i in chosen]
    record = {
        "split": split,
        "class_names": [str(name) for name in class_names],
        "image_shape": [int(size) for size in image_shape],
        "pixel_max": int(max(np.max(images, initial=0), np.max(sample_images, initial=0))),
        "matrix": np.asarray(matrix).astype(int).tolist(),
        "scores": {name: [float(value) for value in values] for name, values in scores.items()},
        "samples": samples,
        "mistakes": kept,
    }
    return dict(finite(record))


def _packed(pixels: np.ndarray) -> str:
    return base64.b64encode(np.asarray(pixels, np.uint8).tobytes()).decode()


def _unpacked(rows: Sequence[Json], shape: Sequence[int]) -> np.ndarray:
    """(n, d) uint8."""
    images = [np.frombuffer(base64.b64decode(row["pixels"]), np.uint8) for row in rows]
    return np.array(images, np.uint8).reshape(len(rows), int(np.prod(shape)))


# ---- a run


def write_run_plots(workdir: str | Path) -> None:
    """plots/curves.png, and from evaluation.json samples, confusion_matrix, mistakes and mistakes_by_cell.png."""
    folder = Path(workdir) / "plots"
    plots.curves(read_lines(Path(workdir) / "metrics.jsonl"), folder / "curves.png")
    found = read_if_there(Path(workdir) / "evaluation.json")
    if not found:
        return
    names, shape, matrix = found["class_names"], found["image_shape"], np.array(found["matrix"])
    samples, mistakes = found["samples"], found["mistakes"]
    plots.samples(
        _unpacked(samples, shape), np.array([s["label"] for s in samples]), names, shape, folder / "samples.png"
    )
    plots.confusion_matrix(matrix, names, folder / "confusion_matrix.png", subject=f"the {found['split']} set")
    images = _unpacked(mistakes, shape)
    true, predicted, sure = ([m[key] for m in mistakes] for key in ("true", "predicted", "probability"))
    wrong = plots.Mistakes(images, np.array(true, int), np.array(predicted, int), plots.floats(sure), names, shape)
    plots.mistakes(wrong, folder / "mistakes.png")
    plots.confusion_images(matrix, wrong, folder / "mistakes_by_cell.png")


def command_line(config: Json, defaults: Json) -> str:
    """The command that trains `config`: every field that differs from `defaults`, quoted for a shell; no paths."""
    differing = [name for name in _differing(config, defaults) if name in defaults and name != "data_dir"]
    return shlex.join(["python", "main.py", *(f"--config.{name}={_flag(config[name])}" for name in differing)])


def _flag(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "()"
    return str(value)


def _differing(config: Json, defaults: Json) -> list[str]:
    plain = json.loads(json.dumps(dict(defaults), default=list))
    return [name for name, value in config.items() if name not in plain or plain[name] != value]


def write_run_report(folder: str | Path, defaults: Json, summary: Json | None = None) -> Path:
    """report.html of a run, from config.json, metrics.jsonl, summary.json and evaluation.json; returns its path.

    Only config.json must be there; a `summary` given stands for summary.json. Of the config the fields that differ
    from `defaults` come first. Raises UserError, naming the file, for a workdir without a run or a file that is no
    JSON.
    """
    folder = Path(folder)
    config, summary = read_config(folder), summary or read_if_there(folder / "summary.json")
    records, found = read_lines(folder / "metrics.jsonl"), read_if_there(folder / "evaluation.json")
    data: dict[str, Any] = {"lines": _line_charts(records)}
    body = [
        tag("h1", folder.resolve().name),
        tag("p", _what_was_trained(config, records, summary, found), class_="lead"),
        *_banners(config, summary),
        _tiles(records, summary, config),
        tag("h2", "Curves", id="curves"),
        _charts(data["lines"]),
        tag("p", _curve_note(data["lines"]), class_="muted"),
    ]
    if "seeds" in summary:
        body += [tag("h2", "Every seed", id="seeds"), table([{"seed": row["seed"], **row} for row in summary["seeds"]])]
    if found:
        data["confusion"] = _confusion_data(found)
        body += _confusion_section(found, seeds="seeds" in summary) + _scores_section(found)
        body += _image_sections(found, data["confusion"])
    same = "The same seed on the same kind of machine, with as many cores, gives the same figures."
    body += [
        tag("h2", "Configuration", id="configuration"),
        config_table(config, defaults),
        tag("h2", "How to reproduce it", id="reproduce"),
        tag("pre", command_line(config, defaults)),
        tag("p", same, class_="muted"),
        tag("h2", "Machine and versions", id="machine"),
        _facts(summary),
    ]
    path = folder / "report.html"
    write_bytes(path, page(f"{folder.resolve().name} – run", *body, data=data).encode())
    return path


def spoken(value: Any) -> str:
    """A config's word as prose has it."""
    return NAMES.get(str(value), str(value))


def percent(value: Any) -> str:
    """A share of 1, or – where it is none."""
    return number(float(value), "accuracy") if isinstance(value, int | float) else "–"


def _what_was_trained(config: Json, records: Sequence[Json], summary: Json, found: Json) -> str:
    ends = (int(np.prod(found["image_shape"])), len(found["class_names"])) if found else ()
    hidden = tuple(config.get("hidden_sizes", ()))
    sizes = (ends[0], *hidden, ends[1]) if ends else hidden
    weights = sum(a * b + b for a, b in pairwise(sizes)) if ends else 0
    details = [spoken(config.get("activation"))] if hidden else []
    details += [f"{spoken(config.get('init'))} initialisation", *([f"{weights:,} parameters"] if weights else [])]
    shape = "–".join(map(str, sizes)) or "softmax regression"
    dataset = spoken(summary.get("dataset", config.get("dataset")))
    batch = config.get("batch_size")
    size = f"batches of {batch}" if batch else "the whole training set as one batch"
    seeds = f", {config['seeds']} seeds" if config.get("seeds", 1) > 1 else ""
    text = (
        f"A network {shape} ({', '.join(details)}), trained on {dataset} for {len(records)} epochs with "
        f"{spoken(config.get('optimizer'))} (learning rate {number(config.get('learning_rate'))}, {size}{seeds}) on "
        f"{spoken(config.get('loss'))}."
    )
    if summary.get("test/accuracy") is None:
        return f"{text} It has not been tested."
    tested = _mean_sd(summary, "test/accuracy")
    if "seeds" in summary:
        return f"{text} On the test set the {len(summary['seeds'])} networks are right in {tested} (mean ± sd)."
    chosen = "the last" if summary.get("val/accuracy") is None else "the best on validation"
    epoch = summary.get("best_epoch", len(records))
    return f"{text} The parameters after epoch {epoch}, {chosen}, get {tested} of the test set right."


def _mean_sd(summary: Json, name: str) -> str:
    sd = summary.get(f"{name}/sd")
    return percent(summary.get(name)) if sd is None else f"{100 * summary[name]:.2f} ± {100 * sd:.2f} %"


def _banners(config: Json, summary: Json) -> list[Html]:
    wanted, used = config.get("dataset"), summary.get("dataset", config.get("dataset"))
    if wanted == used:
        return []
    return [tag("p", f"Trained on {spoken(used)}: {spoken(wanted)} could not be had.", class_="banner", role="alert")]


def _tiles(records: Sequence[Json], summary: Json, config: Json) -> Html:
    best = plots.best_epoch(records)
    best_of = f", epoch {best} of {len(records)}" if best else ""
    compiling = summary.get("compile_seconds")
    seeds = f"{len(summary['seeds'])} seeds from" if "seeds" in summary else "seed"
    tiles = [
        (_mean_sd(summary, "test/accuracy"), "test accuracy"),
        (_mean_sd(summary, "val/accuracy"), f"validation accuracy{best_of}"),
        (seconds(summary.get("seconds")), "training" + (f", and {seconds(compiling)} compiling" if compiling else "")),
        (str(summary.get("device", "–")), f"device; {seeds} {config.get('seed', '–')}"),
    ]
    return tag("ul", *(tag("li", tag("b", value), tag("span", label)) for value, label in tiles), class_="tiles")


def seconds(value: Any) -> str:
    """A duration in the unit that suits it."""
    if not isinstance(value, int | float):
        return "–"
    return f"{value:.3g} s" if value < 100 else f"{value / 60:.1f} min" if value < 6000 else f"{value / 3600:.1f} h"


def _line_charts(records: Sequence[Json]) -> dict[str, Any]:
    """Loss and accuracy first, then whatever else was logged, one chart a name, one line a part or layer."""
    charts: dict[str, dict[str, list[Any]]] = {"loss": {}, "accuracy": {}}
    columns = _columns(records)
    deviations = {name.removesuffix("/sd"): values for name, values in columns.items() if name.endswith("/sd")}
    sd: dict[tuple[str, str], list[Any]] = {}
    for column, values in columns.items():
        if column.endswith("/sd") or column in ("epoch", "step", "seconds"):
            continue
        first, _, last = column.rpartition("/")
        title, part = (last, first) if last in ("loss", "accuracy") else (first or last, last)
        part = PARTS.get(part, f"layer {part}" if part.isdecimal() else part)
        charts.setdefault(title, {})[part] = values
        sd[title, part] = deviations.get(column, [])
    return {
        title: {
            "xlabel": "epoch",
            "ylabel": title.removeprefix("probes/").replace("_", " "),
            "percent": title == "accuracy",
            "x": [record["epoch"] for record in records],
            "mark": plots.best_epoch(records),
            "series": [
                {"name": part, "color": _color(part, place), "y": values, "sd": sd[title, part]}
                for place, (part, values) in enumerate(lines.items())
            ],
        }
        for title, lines in charts.items()
        if any(isinstance(value, int | float) for values in lines.values() for value in values)
    }


def _color(part: str, place: int) -> str:
    return {"training": "#9aa3ae", "validation": plots.BLUE}.get(part, plots.SERIES[place % len(plots.SERIES)])


def _columns(records: Sequence[Json]) -> dict[str, list[Any]]:
    """Every logged name with its values over the records; a list, one number a layer, as name/1, name/2, …"""
    flat = []
    for record in records:
        row: dict[str, Any] = {}
        for name, value in record.items():
            parts = {f"{name}/{i}": v for i, v in enumerate(value, 1)} if isinstance(value, list) else {name: value}
            row |= {k: v for k, v in parts.items() if v is None or isinstance(v, int | float)}
        flat.append(row)
    return {name: [row.get(name) for row in flat] for name in dict.fromkeys(name for row in flat for name in row)}


def _charts(lines: Json) -> Html:
    if not lines:
        return tag("p", "No epoch has been logged yet.")
    figures = [
        tag("div", tag("h3", chart["ylabel"].capitalize()), tag("div", class_="chart", data_lines=title))
        for title, chart in lines.items()
    ]
    return tag("div", *figures, class_="side")


def _curve_note(lines: Json) -> str:
    if not lines:
        return ""
    marked = any(chart["mark"] is not None for chart in lines.values())
    banded = any(any(series["sd"]) for chart in lines.values() for series in chart["series"])
    note = "Training figures are means over the epoch as it was trained: dropout on, the weight-decay term in the loss."
    note += " Lines are means over the seeds, bands ± sd." if banded else ""
    return f"{note} The dashed line marks the epoch that validation chose." if marked else note


def _image_uri(row: Json, found: Json) -> str:
    """Dark on white, as the static pictures."""
    shape = found["image_shape"]
    scaled = _unpacked([row], shape)[0].astype(float) * (255 / max(found["pixel_max"], 1))
    image = scaled.round().astype(np.uint8).reshape((1, *shape) if len(shape) == 1 else shape)
    if image.ndim == 3 and image.shape[-1] == 3:
        return tiny_png(image)
    return tiny_png(255 - image.reshape(image.shape[:2]))


def _confusion_data(found: Json) -> dict[str, Any]:
    keys = ("index", "true", "predicted", "probability")
    mistakes = [{k: m[k] for k in keys} | {"image": _image_uri(m, found)} for m in found["mistakes"]]
    for mistake in mistakes:
        mistake["sure"] = plots.share(mistake["probability"])
    return {"names": found["class_names"], "matrix": found["matrix"], "mistakes": mistakes}


def _confusion_section(found: Json, seeds: bool) -> list[Html]:
    names, matrix = found["class_names"], np.array(found["matrix"], int).reshape(len(found["class_names"]), -1)
    totals, right = matrix.sum(axis=1), int(np.trace(matrix))
    colors = plots.confusion_colors(matrix)
    upright = "upright" if all(len(name) <= 3 for name in names) else None
    heads = [tag("th", tag("span", name), scope="col", class_=upright) for name in names]
    corner = tag("th", tag("span", "true ↓  predicted →"), class_="corner")
    lines = []
    for row, name in enumerate(names):
        cells = [_cell(matrix, colors, row, column, totals[row]) for column in range(len(names))]
        recall = matrix[row, row] / totals[row] if totals[row] else None
        lines.append(tag("tr", tag("th", name, scope="row"), *cells, tag("td", bar(recall), class_="recall")))
    head = tag("thead", tag("tr", corner, *heads, tag("th", "recall", scope="col", class_="corner")))
    total = int(matrix.sum())
    share = f" ({percent(right / total)})" if total else ""
    of_first = "Of the first seed's network: " if seeds else ""
    shares = "Show shares of the true class"
    return [
        tag("h2", "Confusion matrix", id="confusion"),
        tag("p", f"{of_first}{right:,} of {total:,} images of the {found['split']} set are right{share}. Blue cells "
            "are right, orange ones wrong; point at a cell for its sentence, click it for its surest mistakes."),
        tag("div", tag("button", shares, type="button", class_="button", id="shares", aria_pressed="false"),
            class_="tools"),
        tag("div", tag("table", head, tag("tbody", *lines), class_="confusion"), class_="scroll"),
        tag("p", "", id="cell", aria_live="polite"),
        tag("ul", id="of-cell", class_="gallery"),
    ]  # fmt: skip


def _cell(matrix: np.ndarray, colors: np.ndarray, row: int, column: int, total: int) -> Html:
    count, rgb = int(matrix[row, column]), colors[row, column]
    shown = [tag("span", f"{count}" if count else "", class_="count")]
    shown.append(tag("span", f"{100 * count / total:.1f}" if count else "", class_="share"))
    style = f"background:rgb({','.join(str(round(255 * v)) for v in rgb)});color:{plots.ink_on(rgb)}"
    kind = "cell" + (" some" if count else "") + (" hit" if row == column else "")
    return tag("td", *shown, class_=kind, style=style, tabindex=0, data_row=row, data_column=column)


def bar(value: float | None, kind: str = "", scale: float = 5.0) -> Html:
    """A bar of `scale` rem for a share of 1, and the share in figures."""
    if value is None:
        return Html("–")
    bar = tag("span", class_=f"bar {kind}".strip(), style=f"width:{scale * abs(value):.2f}rem")
    return join([bar, Html(f" {100 * value:.1f} %")])


def _scores_section(found: Json) -> list[Html]:
    support = np.array(found["matrix"], int).reshape(len(found["class_names"]), -1).sum(axis=1)
    scores = {name: found["scores"][name] for name in ("precision", "recall", "f1")}
    rows = [
        {"class": name, **{key: values[i] for key, values in scores.items()}, "images": int(support[i])}
        for i, name in enumerate(found["class_names"])
    ]
    means = [percent(_mean(values)) for values in scores.values()]
    return [
        tag("h2", "Precision, recall and F1", id="scores"),
        tag("p", "Mean over the classes (macro): precision {}, recall {}, F1 {}.".format(*means)),
        table(rows),
    ]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _image_sections(found: Json, confusion: Json) -> list[Html]:
    names = found["class_names"]
    samples = []
    for label, name in enumerate(names):
        for sample in [s for s in found["samples"] if s["label"] == label][:1]:
            image = tag("img", src=_image_uri(sample, found), alt=name)
            samples.append(tag("li", image, name))
    worst = [
        tag("li", tag("img", src=m["image"], alt=f"image {m['index']}"), names[m["true"]], tag("br"),
            tag("span", f"as {names[m['predicted']]}, {m['sure']}", class_="taken"))
        for m in confusion["mistakes"][:20]
    ]  # fmt: skip
    return [
        tag("h2", "Worst mistakes", id="mistakes"),
        tag("p", "The wrong answers that the network was surest of: the true class, and what it was taken for."),
        tag("ul", *worst, class_="gallery") if worst else tag("p", "No mistakes."),
        tag("h2", "Samples", id="samples"),
        tag("ul", *samples, class_="gallery"),
    ]


def config_table(config: Json, defaults: Json) -> Html:
    differing = _differing(config, defaults)
    lines = []
    for name in [*differing, *(name for name in config if name not in differing)]:
        default = number(defaults.get(name)) if name in differing and name in defaults else ""
        cells = tag("th", name, scope="row"), tag("td", number(config[name])), tag("td", default)
        lines.append(tag("tr", *cells, class_="differs" if name in differing else None))
    heads = tag("tr", tag("th", "field"), tag("th", "value"), tag("th", "default, where it differs"))
    return tag("table", tag("thead", heads), tag("tbody", *lines))


def _facts(summary: Json) -> Html:
    if not summary:
        return tag("p", "The run has not finished: there is no summary.json.")
    flat: dict[str, Any] = {}
    for name, value in summary.items():
        flat |= {f"{name}.{key}": item for key, item in value.items()} if isinstance(value, Mapping) else {name: value}
    shown = {name: value for name, value in flat.items() if name != "seeds"}  # they have a table of their own
    lines = [tag("tr", tag("th", name, scope="row"), tag("td", number(value, name))) for name, value in shown.items()]
    return tag("table", tag("tbody", *lines))


# ---- many experiments


def write_bound_report(path: str | Path, title: str, lead: str, sections: Sequence[Section], facts: Json) -> Path:
    """All experiments on one page, with a list of contents; `facts` (budget, device, versions) come last."""
    entries = [tag("li", tag("a", section.title, href=f"#s{place}")) for place, section in enumerate(sections, 1)]
    body = [tag("h1", title), tag("p", lead, class_="lead"), tag("nav", tag("ol", *entries))]
    for place, section in enumerate(sections, 1):
        body += [
            tag("h2", f"{place}. {section.title}", id=f"s{place}"),
            tag("p", section.question, class_="muted"),
            tag("p", " ".join(section.sentences)),
            *(picture(Path(file)) for file in section.pictures),
            *([table(section.table)] if section.table else []),
            *([tag("pre", section.command)] if section.command else []),
        ]
    body += [tag("h2", "How it was made", id="facts"), _facts(facts)]
    path = Path(path)
    write_bytes(path, page(title, *body, data={}).encode())
    return path
