"""The page and pictures of a run, and the page of many questions, made from what they wrote into their workdir."""

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from mlp_jax.errors import is_number
from mlp_jax.files.workdir import plain, read_config, read_if_there, read_lines
from mlp_jax.metrics import chosen
from mlp_jax.reports import insights, plots
from mlp_jax.reports.html import (
    Html,
    Json,
    bar,
    button,
    command_line,
    config_table,
    facts,
    number,
    percent,
    picture,
    pre,
    seconds,
    spoken,
    table,
    tag,
    tiny_png,
    write_page,
)

OF_CELL = 24  # mistakes kept of a cell of the confusion matrix; a cell has fewer unless a network is poor
PARTS = {"train": ("training", "var(--grey)"), "val": ("validation", "var(--good)")}


# ---- what a run writes for its pictures


class Predictions(NamedTuple):
    """Images, uint8 (n, d), with their `true` and `predicted` classes and the `probability` of the predicted one."""

    images: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray


def evaluation(
    split: str,
    class_names: Sequence[str],
    image_shape: Sequence[int],
    matrix: np.ndarray,
    scores: Mapping[str, Sequence[float]],
    predictions: Predictions,
    samples: tuple[np.ndarray, np.ndarray],
) -> dict[str, Any]:
    """The content of evaluation.json, from which every picture of images can be drawn again without the dataset.

    `matrix` (k, k) has true classes as rows; `scores` maps precision, recall and f1 to one number a class; `samples`
    are training images with their labels. Kept are 5 samples a class, the 20 most confident mistakes and the
    `OF_CELL` most confident of every cell. Without an `image_shape` there are no pictures: no samples, and mistakes
    without pixels.
    """
    images, true, predicted, probability = map(np.asarray, predictions)
    wrong = np.flatnonzero(true != predicted)
    mistakes, of_cell = [], Counter[tuple[int, int]]()
    for place, i in enumerate(wrong[np.argsort(-probability[wrong], kind="stable")]):
        cell = int(true[i]), int(predicted[i])
        of_cell[cell] += 1
        if place < 20 or of_cell[cell] <= OF_CELL:
            row = {"index": i, "true": cell[0], "predicted": cell[1], "probability": float(probability[i])}
            mistakes.append(row | ({"pixels": _packed(images[i])} if image_shape else {}))
    sample_images, labels = map(np.asarray, samples)
    shown = range(len(class_names)) if image_shape else ()
    chosen = [i for label in shown for i in np.flatnonzero(labels == label)[:5]]
    record = {
        "split": split,
        "class_names": list(map(str, class_names)),
        "image_shape": list(image_shape),
        "inputs": images.shape[1],
        "pixel_max": max(np.max(images, initial=0), np.max(sample_images, initial=0)),
        "matrix": np.asarray(matrix).astype(int).tolist(),
        "scores": {name: list(values) for name, values in scores.items()},
        "samples": [{"index": i, "label": labels[i], "pixels": _packed(sample_images[i])} for i in chosen],
        "mistakes": mistakes,
    }
    return dict(plain(record))


def _packed(pixels: np.ndarray) -> str:
    return base64.b64encode(np.asarray(pixels, np.uint8).tobytes()).decode()


def _unpacked(rows: Sequence[Json], shape: Sequence[int]) -> np.ndarray:
    """(n, d) uint8."""
    images = [np.frombuffer(base64.b64decode(row["pixels"]), np.uint8) for row in rows]
    return np.array(images, np.uint8).reshape(len(rows), int(np.prod(shape)))


def write_run_plots(workdir: str | Path) -> None:
    """plots/curves.png, and from evaluation.json samples, confusion_matrix, mistakes and mistakes_by_cell.png."""
    folder = Path(workdir) / "plots"
    plots.curves(read_lines(Path(workdir) / "metrics.jsonl"), folder / "curves.png")
    found = read_if_there(Path(workdir) / "evaluation.json")
    if not found:
        return
    names, shape, matrix = found["class_names"], found["image_shape"], np.array(found["matrix"])
    plots.confusion_matrix(matrix, names, folder / "confusion_matrix.png", subject=f"the {found['split']} set")
    if not shape:
        return
    samples, mistakes = found["samples"], found["mistakes"]
    labels = np.array([sample["label"] for sample in samples])
    plots.samples(_unpacked(samples, shape), labels, names, shape, folder / "samples.png")
    true, predicted, sure = ([m[key] for m in mistakes] for key in ("true", "predicted", "probability"))
    images = _unpacked(mistakes, shape)
    wrong = plots.Mistakes(images, np.array(true, int), np.array(predicted, int), plots.floats(sure), names, shape)
    plots.mistakes(wrong, folder / "mistakes.png")
    plots.confusion_images(matrix, wrong, folder / "mistakes_by_cell.png")


# ---- the page of a run


def write_run_report(folder: str | Path, defaults: Json, summary: Json | None = None) -> Path:
    """report.html of a run, from config.json, metrics.jsonl, summary.json and evaluation.json; returns its path.

    Only config.json must be there; a `summary` given stands for summary.json. Of the config the fields that differ
    from `defaults` come first. Raises UserError, naming the file, for a workdir without a run or a file that is no
    JSON.
    """
    folder = Path(folder)
    config, summary = read_config(folder), summary or read_if_there(folder / "summary.json")
    records, found = read_lines(folder / "metrics.jsonl"), read_if_there(folder / "evaluation.json")
    title, data = folder.resolve().name, {"lines": _line_charts(records)}
    wanted, used = config.get("dataset"), summary.get("dataset", config.get("dataset"))
    body = [tag("h1", title), tag("p", _what_was_trained(config, records, summary, found), class_="lead")]
    if wanted != used:
        fallback = f"Trained on {spoken(used)}: {spoken(wanted)} could not be loaded."
        body.append(tag("p", fallback, class_="banner", role="alert"))
    hint = hint_at_chance(config, records, len(found["class_names"])) if found else ""
    if hint:
        body.append(tag("p", hint, class_="banner", role="alert"))
    body += [_tiles(records, summary, config), *_curves(data["lines"])]
    if "seeds" in summary:
        body += [tag("h2", "Every seed", id="seeds"), table([{"seed": row["seed"], **row} for row in summary["seeds"]])]
    if found:
        data["confusion"] = _confusion_data(found)
        body += _confusion_section(found, seeds="seeds" in summary) + _scores_section(found)
        body += _image_sections(found, data["confusion"]["mistakes"])
    same = "The same seed on the same kind of machine, with as many cores, gives the same figures."
    body += [
        tag("h2", "Configuration", id="configuration"),
        config_table(config, defaults),
        tag("h2", "How to reproduce it", id="reproduce"),
        pre(command_line(config, defaults)),
        tag("p", same, class_="muted"),
        tag("h2", "Machine and versions", id="machine"),
        _summary_table(summary) if summary else tag("p", "The run has not finished: there is no summary.json."),
    ]
    return write_page(folder / "report.html", f"{title} – run", body, data)


def _what_was_trained(config: Json, records: Sequence[Json], summary: Json, found: Json) -> str:
    sizes = hidden = tuple(config.get("hidden_sizes", ()))
    details = [spoken(config.get("activation"))] if hidden else []
    details.append(f"{spoken(config.get('init'))} initialisation")
    if found:
        sizes = (found.get("inputs", int(np.prod(found["image_shape"]))), *hidden, len(found["class_names"]))
        details.append(f"{sum(a * b + b for a, b in pairwise(sizes)):,} parameters")
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


def hint_at_chance(config: Json, records: Sequence[Json], classes: int) -> str:
    """What likely keeps a run from learning, by its config, where its best epoch is no better than guessing; else ''.

    Judged on validation, without it on the last epoch's training examples.
    """
    if not records or classes < 2:
        return ""
    best = chosen(records)
    part = "training" if best.get("val/accuracy") is None else "validation"
    reached: Any = best.get({"training": "train/accuracy", "validation": "val/accuracy"}[part])
    if not is_number(reached) or not insights.at_chance(reached, classes):
        return ""
    causes = _likely_causes(config)
    likely = f"Likely {'causes' if len(causes) > 1 else 'cause'}: {'; '.join(causes)}" if causes else _NO_CAUSE
    return f"This is no better than guessing among {classes} classes ({percent(reached)} on {part}). {likely}."


ADAPTIVE = ("rmsprop", "adam", "nadam")  # their updates have the size of the learning rate, whatever the gradient's
_NO_CAUSE = "Try another learning_rate, another init, or fewer hidden layers"


def _likely_causes(config: Json) -> list[str]:
    """Fields whose values are known to keep a network from learning, each with what to try."""
    depth, init, activation = len(config["hidden_sizes"]), config["init"], config["activation"]
    rate, decay = config["learning_rate"], config.get("weight_decay", 0)
    low, usual, high = (1e-5, 0.001, 0.02) if config["optimizer"] in ADAPTIVE else (1e-3, 0.05, 0.5)
    better = "he" if activation == "relu" else "xavier"
    causes = []
    if depth and init == "zeros":
        causes.append(f"init=zeros gives all units of a layer the same gradient (try {better})")
    if depth > 1 and init == "random":
        small = f"init=random with init_scale={config.get('init_scale', 0.01):g}"
        causes.append(f"{small} lets what passes through {depth} hidden layers fade (try {better})")
    if decay >= 0.05 and not config.get("decoupled_weight_decay"):
        causes.append(f"weight_decay={decay:g} holds the weights near zero (try 0.0005)")
    if rate >= high or rate <= low:
        size = "large" if rate >= high else "small"
        causes.append(f"learning_rate={rate:g} is {size} for {spoken(config['optimizer'])} (try {usual:g})")
    if depth > 3 and activation == "sigmoid":
        causes.append(f"gradients fade through {depth} layers of sigmoid (try fewer, or relu)")
    elif depth > 8 and config.get("norm", "none") == "none":
        causes.append(f"{depth} hidden layers are many for a plain network (try 3)")
    return causes


def _mean_sd(summary: Json, name: str) -> str:
    sd = summary.get(f"{name}/sd")
    return percent(summary.get(name)) if sd is None else f"{100 * summary[name]:.2f} ± {percent(sd)}"


def _tiles(records: Sequence[Json], summary: Json, config: Json) -> Html:
    best = plots.best_epoch(records)
    best_of = f", epoch {best} of {len(records)}" if best else ""
    compiling = summary.get("compile_seconds")
    seeds = f"{len(summary['seeds'])} seeds from" if "seeds" in summary else "seed"
    tiles = [
        (_mean_sd(summary, "test/accuracy"), "test accuracy"),
        (_mean_sd(summary, "val/accuracy"), f"validation accuracy{best_of}"),
        (seconds(summary.get("seconds")), "training" + (f", and {seconds(compiling)} compiling" if compiling else "")),
        (summary.get("device", "–"), f"device; {seeds} {config.get('seed', '–')}"),
    ]
    return tag("ul", *(tag("li", tag("b", value), tag("span", label)) for value, label in tiles), class_="tiles")


def _line_charts(records: Sequence[Json]) -> dict[str, Any]:
    """Loss and accuracy first, then whatever else was logged, one chart a name, one line a part or layer."""
    columns = _columns(records)
    charts: dict[str, list[dict[str, Any]]] = {"loss": [], "accuracy": []}
    for column, values in columns.items():
        if column in ("epoch", "step", "seconds") or column.endswith("/sd"):
            continue
        first, _, last = column.rpartition("/")
        title, part = (last, first) if last in ("loss", "accuracy") else (first or last, last)
        lines = charts.setdefault(title, [])
        own = f"layer {part}" if part.isdecimal() else part, plots.SERIES[len(lines) % len(plots.SERIES)]
        name, color = PARTS.get(part, own)
        lines.append({"name": name, "color": color, "y": values, "sd": columns.get(f"{column}/sd", [])})
    return {
        title: {
            "xlabel": "epoch",
            "ylabel": title.removeprefix("probes/").replace("_", " "),
            "percent": title == "accuracy",
            "x": [record["epoch"] for record in records],
            "mark": plots.best_epoch(records),
            "series": lines,
        }
        for title, lines in charts.items()
        if any(is_number(value) for line in lines for value in line["y"])
    }


def _columns(records: Sequence[Json]) -> dict[str, list[Any]]:
    """Every logged name with its values over the records; a list, one number a layer, as name/1, name/2, …"""
    flat = []
    for record in records:
        row: dict[str, Any] = {}
        for name, value in record.items():
            row |= {f"{name}/{i}": v for i, v in enumerate(value, 1)} if isinstance(value, list) else {name: value}
        flat.append({name: value for name, value in row.items() if value is None or is_number(value)})
    return {name: [row.get(name) for row in flat] for name in dict.fromkeys(name for row in flat for name in row)}


def _curves(charts: Json) -> list[Html]:
    head = tag("h2", "Curves", id="curves")
    if not charts:
        return [head, tag("p", "No epoch has been logged yet.")]
    figures = [
        tag("div", tag("h3", chart["ylabel"].capitalize()), tag("div", class_="chart", data_lines=title))
        for title, chart in charts.items()
    ]
    note = "Training figures are means over the epoch as it was trained: dropout on, the weight-decay term in the loss."
    if any(any(line["sd"]) for chart in charts.values() for line in chart["series"]):
        note += " Lines are means over the seeds, bands ± sd."
    if any(chart["mark"] is not None for chart in charts.values()):
        note += " The dashed line marks the epoch that validation chose."
    return [head, tag("div", *figures, class_="side"), tag("p", note, class_="muted")]


# ---- its answers


def _image_uri(row: Json, found: Json) -> str:
    """Dark on white, as the static pictures."""
    shape = found["image_shape"]
    scaled = _unpacked([row], shape)[0].astype(float) * (255 / max(found["pixel_max"], 1))
    image = scaled.round().astype(np.uint8).reshape((1, *shape) if len(shape) == 1 else shape)
    return tiny_png(image if image.shape[2:] == (3,) else 255 - image.reshape(image.shape[:2]))


def _confusion_data(found: Json) -> dict[str, Any]:
    keys = ("index", "true", "predicted", "probability")
    drawn = bool(found["image_shape"])
    mistakes = [
        {key: m[key] for key in keys}
        | {"image": _image_uri(m, found) if drawn else "", "sure": plots.share(m["probability"])}
        for m in found["mistakes"]
    ]
    return {"names": found["class_names"], "matrix": found["matrix"], "mistakes": mistakes, "rows": _rows_are(found)}


def _rows_are(found: Json) -> str:
    return "images" if found["image_shape"] else "examples"


def _confusion_section(found: Json, seeds: bool) -> list[Html]:
    names, matrix = found["class_names"], np.array(found["matrix"])
    right, total, colors = int(np.trace(matrix)), int(matrix.sum()), plots.confusion_colors(matrix)
    upright = "upright" if all(len(name) <= 3 for name in names) else None
    heads = [tag("th", tag("span", name), scope="col", class_=upright) for name in names]
    corner = tag("th", tag("span", "true ↓  predicted →"), class_="corner")
    head = tag("tr", corner, *heads, tag("th", "recall", scope="col", class_="corner"))
    lines = []
    for row, (name, images) in enumerate(zip(names, matrix.sum(axis=1), strict=True)):
        cells = [_cell(matrix[row, column], images, colors[row, column], row, column) for column in range(len(names))]
        recall = bar(matrix[row, row] / images if images else None)
        lines.append(tag("tr", tag("th", name, scope="row"), *cells, tag("td", recall, class_="recall")))
    said = f"{right:,} of {total:,} {_rows_are(found)} of the {found['split']} set are right"
    said = f"{said} ({percent(right / total)})." if total else f"{said}."
    said = f"Of the first seed's network: {said}" if seeds else said
    hint = "Blue cells are right, orange ones wrong; point at a cell for its sentence, click it for its mistakes."
    return [
        tag("h2", "Confusion matrix", id="confusion"),
        tag("p", f"{said} {hint}"),
        tag("div", button("shares", "Show shares of the true class", aria_pressed="false"), class_="tools"),
        tag("div", tag("table", tag("thead", head), tag("tbody", *lines), class_="confusion"), class_="scroll"),
        tag("p", "", id="cell", aria_live="polite"),
        tag("ul", id="of-cell", class_="gallery"),
    ]


def _cell(count: int, images: int, rgb: np.ndarray, row: int, column: int) -> Html:
    shown = [
        tag("span", f"{count}" if count else "", class_="count"),
        tag("span", f"{100 * count / images:.1f}" if count else "", class_="share"),
    ]
    style = f"background:rgb({','.join(str(round(255 * v)) for v in rgb)});color:{plots.ink_on(rgb)}"
    kind = "cell" + (" some" if count else "") + (" hit" if row == column else "")
    return tag("td", *shown, class_=kind, style=style, tabindex=0, data_row=row, data_column=column)


def _scores_section(found: Json) -> list[Html]:
    scores = {name: found["scores"][name] for name in ("precision", "recall", "f1")}
    columns = {"class": found["class_names"], **scores, _rows_are(found): np.sum(found["matrix"], axis=1).tolist()}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    known = [[value for value in values if value is not None] for values in scores.values()]
    means = [percent(float(np.mean(values)) if values else None) for values in known]
    return [
        tag("h2", "Precision, recall and F1", id="scores"),
        tag("p", "Mean over the classes (macro): precision {}, recall {}, F1 {}.".format(*means)),
        table(rows),
    ]


def _image_sections(found: Json, mistakes: Sequence[Json]) -> list[Html]:
    names, drawn = found["class_names"], bool(found["image_shape"])
    worst = []
    for m in mistakes[:20]:
        taken = tag("span", f"as {names[m['predicted']]}, {m['sure']}", class_="taken")
        image = tag("img", src=m["image"], alt=f"image {m['index']}") if drawn else f"example {m['index']}: "
        worst.append(tag("li", image, names[m["true"]], tag("br"), taken))
    first = {sample["label"]: sample for sample in reversed(found["samples"])}
    samples = [
        tag("li", tag("img", src=_image_uri(first[label], found), alt=name), name)
        for label, name in enumerate(names)
        if label in first
    ]
    return [
        tag("h2", "Worst mistakes", id="mistakes"),
        tag("p", "The wrong answers that the network was surest of: the true class, and what it was taken for."),
        tag("ul", *worst, class_="gallery") if worst else tag("p", "No mistakes."),
        *([tag("h2", "Samples", id="samples"), tag("ul", *samples, class_="gallery")] if drawn else []),
    ]


def _summary_table(summary: Json) -> Html:
    flat: dict[str, Any] = {}
    for name, value in summary.items():
        flat |= {f"{name}.{key}": item for key, item in value.items()} if isinstance(value, Mapping) else {name: value}
    return facts({name: number(value, name) for name, value in flat.items() if name != "seeds"})  # they have a table


# ---- many questions


class Section(NamedTuple):
    """One question with its answer; `pictures` are PNG files, the rows of `table` share their keys.

    `links` are texts with the pages that they lead to, by their paths from this page's folder. `number` is what
    stands before the title, as in 2.10.
    """

    title: str
    question: str
    command: str
    sentences: Sequence[str]
    pictures: Sequence[Path]
    table: Sequence[Mapping[str, Any]]
    links: Sequence[tuple[str, str]] = ()
    number: str = ""

    @property
    def heading(self) -> str:
        return f"{self.number} {self.title}".strip()


def write_questions_report(path: str | Path, title: str, lead: str, sections: Sequence[Section], facts: Json) -> Path:
    """All questions on one page, with a list of contents; `facts` (budget, device, versions) come last."""
    entries = [tag("li", tag("a", section.heading, href=f"#s{place}")) for place, section in enumerate(sections, 1)]
    body = [tag("h1", title), tag("p", lead, class_="lead"), tag("nav", tag("ul", *entries))]
    for place, section in enumerate(sections, 1):
        body += [
            tag("h2", section.heading, id=f"s{place}"),
            tag("p", section.question, class_="muted"),
            tag("p", " ".join(section.sentences)),
            *(tag("p", tag("a", text, href=quote(page))) for text, page in section.links),
            *(picture(Path(file)) for file in section.pictures),
            *([table(section.table)] if section.table else []),
            *([pre(section.command)] if section.command else []),
        ]
    body += [tag("h2", "How it was made", id="facts"), _summary_table(facts)]
    return write_page(Path(path), title, body, {})
