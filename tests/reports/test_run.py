"""The pages, read back with Python's HTML parser: what they say, that nothing foreign runs, that nothing is fetched."""

import base64
import hashlib
import io
import json
import shlex
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

import main
from mlp_jax.errors import UserError
from mlp_jax.reports import html as page
from mlp_jax.reports import run as report
from mlp_jax.reports import sweep as sweep_report
from mlp_jax.runs.config import complete, to_json
from tests.shared import synthetic_workdirs as synthetic
from tests.shared.synthetic_workdirs import (
    CLASSES,
    DEFAULTS,
    IMPORTANCE,
    run_workdir,
    sweep_workdir,
    trials,
    write_lines,
)

ATTACKS = [
    "</script><script>hacked = 1</script>",
    "\"><img src=x onerror='hacked = 1'>",
    "<b onmouseover=hacked=1>&lt;{{7*7}}",
    "'); hacked = 1; ('",
]


class Parsed(HTMLParser):
    """Every element with its attributes and the text directly inside it."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "attrs": dict(attrs), "text": ""}
        self.elements.append(element)
        if tag not in page.VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open.pop()["tag"] == tag  # every element is closed, in order

    def handle_data(self, text):
        for element in self.open:
            element["text"] += text

    def all(self, tag, **attrs):
        wanted = attrs.items()
        return [e for e in self.elements if e["tag"] == tag and all(e["attrs"].get(k) == v for k, v in wanted)]

    def data(self):
        return json.loads(self.all("script", id="data")[0]["text"])


def parse(path):
    return Parsed(path.read_text(encoding="utf-8"))


def attacked_run(folder):
    names = [f"{attack}{i}" for i, attack in enumerate(ATTACKS * 3)][:10]
    return run_workdir(folder, names, optimizer=ATTACKS[0], dataset=ATTACKS[1], wandb_entity=ATTACKS[2])


def attacked_sweep(folder):
    rows = trials(12)
    for i, row in enumerate(rows):
        row["name"] = ATTACKS[i % 4]
        row["parameters"] |= {"activation": ATTACKS[i % 3], ATTACKS[3]: i % 2}
    return sweep_workdir(folder, rows)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    root = tmp_path_factory.mktemp("pages")
    importance = IMPORTANCE | {ATTACKS[0]: 0.1}
    section = report.Section(*[ATTACKS[0]] * 3, [ATTACKS[1]], [], [{ATTACKS[2]: ATTACKS[1], "accuracy": float("nan")}])
    return {
        "run": report.write_run_report(run_workdir(root / "run"), DEFAULTS),
        "attacked run": report.write_run_report(attacked_run(root / "attacked"), DEFAULTS),
        "sweep": sweep_report.write_sweep_report(sweep_workdir(root / "s", trials(60)), DEFAULTS, IMPORTANCE, "cmd"),
        "attacked sweep": sweep_report.write_sweep_report(attacked_sweep(root / "a"), DEFAULTS, importance, ATTACKS[0]),
        "bound": report.write_bound_report(root / "b.html", ATTACKS[0], ATTACKS[1], [section], {"a": ATTACKS[0]}),
    }


NAMES = ["run", "attacked run", "sweep", "attacked sweep", "bound"]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_fetched_and_nothing_foreign_can_run(pages, name):
    parsed = parse(pages[name])
    scripts = [element for element in parsed.all("script") if element["attrs"].get("type") != "application/json"]
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0]["text"].encode()).digest()).decode()
    (policy,) = parsed.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert "default-src 'none'" in policy["attrs"]["content"]
    assert f"script-src 'sha256-{digest}';" in policy["attrs"]["content"]
    for element in parsed.elements:
        for key, value in element["attrs"].items():
            assert not key.startswith("on")
            assert key not in ("src", "href") or value.startswith(("data:image/png;base64,", "#"))
        assert element["tag"] not in ("link", "iframe", "object", "embed", "base", "b") or not element["attrs"]
    style = parsed.all("style")[0]["text"]
    assert "@import" not in style
    assert "url(" not in style


def test_what_users_wrote_is_shown_as_they_wrote_it(pages):
    parsed = parse(pages["attacked run"])
    assert [cell["text"] for cell in parsed.all("td")].count(ATTACKS[2]) == 1
    assert parsed.data()["confusion"]["names"][0] == ATTACKS[0] + "0"
    parsed = parse(pages["attacked sweep"])
    assert ATTACKS[0] in {row[-1] for row in parsed.data()["trials"]["rows"]}
    assert {"text": ATTACKS[0], "tag": "pre", "attrs": {}} in parsed.elements
    assert parse(pages["bound"]).all("h1")[0]["text"] == ATTACKS[0]


def test_the_run_page_says_what_was_trained(tmp_path):
    folder = run_workdir(tmp_path / "r", hidden_sizes=(32, 16), optimizer="nadam", num_epochs=4)
    parsed = parse(report.write_run_report(folder, DEFAULTS))
    lead = parsed.all("p", **{"class": "lead"})[0]["text"]
    weights = 64 * 32 + 32 + 32 * 16 + 16 + 16 * 10 + 10
    for part in (
        "64–32–16–10",
        f"{weights:,} parameters",
        "Fashion-MNIST",
        "4 epochs",
        "Nadam",
        "cross-entropy",
        "88.23 %",
    ):
        assert part in lead
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    best = max(rows, key=lambda row: row["val/accuracy"])["epoch"]
    assert f"after epoch {best}, the best on validation" in lead
    lines = parsed.data()["lines"]
    assert list(lines) == ["loss", "accuracy"]
    assert lines["accuracy"]["mark"] == best
    assert lines["accuracy"]["series"][1]["y"] == [row["val/accuracy"] for row in rows]


def test_the_matrix_and_the_scores_are_those_of_the_run(pages):
    parsed = parse(pages["run"])
    found = json.loads((pages["run"].parent / "evaluation.json").read_text())
    matrix = np.array(found["matrix"])
    cells = {
        (int(e["attrs"]["data-row"]), int(e["attrs"]["data-column"])): e
        for e in parsed.all("td")
        if "data-row" in e["attrs"]
    }
    assert len(cells) == 100
    shares = 100 * matrix / matrix.sum(axis=1, keepdims=True)
    for (row, column), cell in cells.items():
        count = matrix[row, column]
        assert cell["text"] == (f"{count}{shares[row, column]:.1f}" if count else "")
    rows = [e["text"] for e in parsed.all("tr") if e["text"].startswith("Sandal")]
    recall = matrix[5, 5] / matrix[5].sum()
    precision = matrix[5, 5] / matrix[:, 5].sum()
    f1 = 2 / (1 / recall + 1 / precision)
    assert f"Sandal{100 * precision:.2f} %{100 * recall:.2f} %{100 * f1:.2f} %{matrix[5].sum()}" in rows


def test_fields_that_differ_from_the_defaults_come_first(tmp_path):
    folder = run_workdir(tmp_path / "r", batch_size=64, hidden_sizes=(), wandb_entity="me")
    parsed = parse(report.write_run_report(folder, DEFAULTS))
    fields = [e for e in parsed.all("th") if e["attrs"].get("scope") == "row" and e["text"] in DEFAULTS]
    assert {e["text"] for e in fields[:3]} == {"batch_size", "hidden_sizes", "wandb_entity"}
    assert len(parsed.all("tr", **{"class": "differs"})) == 3
    assert len({e["text"] for e in fields}) == len(DEFAULTS)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hidden_sizes": (), "batch_size": 0, "stratified": True},
        {"hidden_sizes": (7,), "learning_rate": 1e-05, "activation": "tanh", "wandb_entity": "a b'c$(d)"},
        {"decoupled_weight_decay": True, "mesh": "data:2", "fallback_dataset": "", "seed": 2**32 - 1},
    ],
)
def test_the_command_line_gives_the_config_back(changes):
    config = complete(changes)
    fields, defaults = (json.loads(to_json(c)) for c in (config, complete({})))
    command = report.command_line(fields, defaults)
    words = shlex.split(command)
    assert words[0] == "python"
    options = main.parse(words[1:])
    assert to_json(main.resolve(options)) == to_json(config)
    assert command.count("--config.") == len(changes)


def test_a_run_of_seeds_shows_means_bands_and_every_seed(tmp_path):
    folder = run_workdir(tmp_path / "r", seeds=2)
    rows = [row | {f"{name}/sd": 0.01 for name in row if "/" in name} for row in synthetic.records(3)]
    write_lines(folder / "metrics.jsonl", rows)
    seeds = [{"best_epoch": 1, "seed": seed, "test/accuracy": 0.8 + seed / 10} for seed in (0, 1)]
    summary = json.loads((folder / "summary.json").read_text())
    summary |= {"seeds": seeds, "test/accuracy": 0.85, "test/accuracy/sd": 0.0707, "val/accuracy/sd": 0.01}
    parsed = parse(report.write_run_report(folder, DEFAULTS, summary))
    assert "85.00 ± 7.07 %" in parsed.all("p", **{"class": "lead"})[0]["text"]
    lines = parsed.data()["lines"]
    assert list(lines) == ["loss", "accuracy"]
    assert [series["sd"] for series in lines["loss"]["series"]] == [[0.01] * 3] * 2
    assert lines["loss"]["mark"] is None
    assert "90.00 %" in [cell["text"] for cell in parsed.all("td")]


def test_probes_get_a_chart_each_with_a_line_a_layer(tmp_path):
    folder = run_workdir(tmp_path / "r")
    rows = [row | {"probes/grad_norm": [1.0, 2.0 * row["epoch"], None]} for row in synthetic.records(3)]
    write_lines(folder / "metrics.jsonl", rows)
    chart = parse(report.write_run_report(folder, DEFAULTS)).data()["lines"]["probes/grad_norm"]
    assert chart["ylabel"] == "grad norm"
    assert [(series["name"], series["y"]) for series in chart["series"]] == [
        ("layer 1", [1.0] * 3),
        ("layer 2", [2.0, 4.0, 6.0]),
        ("layer 3", [None] * 3),
    ]


def test_a_run_that_has_only_begun_has_a_page(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(DEFAULTS))
    report.write_run_plots(tmp_path)
    parsed = parse(report.write_run_report(tmp_path, DEFAULTS))
    text = " ".join(element["text"] for element in parsed.all("p"))
    assert "No epoch has been logged yet." in text
    assert "It has not been tested." in text
    assert (tmp_path / "plots" / "curves.png").exists()


def test_a_fallback_is_announced(tmp_path):
    folder = run_workdir(tmp_path / "r")
    summary = json.loads((folder / "summary.json").read_text()) | {"dataset": "digits"}
    (folder / "summary.json").write_text(json.dumps(summary))
    (banner,) = parse(report.write_run_report(folder, DEFAULTS)).all("p", role="alert")
    assert banner["text"] == "Trained on digits: Fashion-MNIST could not be had."


def test_numbers_that_are_not_finite_become_dashes(tmp_path):
    for value in (None, float("nan"), float("inf")):
        assert page.number(value, "accuracy") == "–"
    assert page.embedded_json({"a": [float("nan"), 1.5], "b": float("-inf")}) == '{"a":[null,1.5],"b":null}'
    assert page.embedded_json("</script>\u2028<!--&") == '"\\u003c/script\\u003e\\u2028\\u003c!--\\u0026"'
    folder = run_workdir(tmp_path / "r")
    write_lines(folder / "metrics.jsonl", [{"epoch": 1, "train/loss": None, "val/loss": None, "val/accuracy": None}])
    assert parse(report.write_run_report(folder, DEFAULTS)).data()["lines"] == {}


@pytest.mark.parametrize("name", ["config.json", "summary.json", "evaluation.json", "metrics.jsonl"])
@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe", b'{"a": NaN}'])
def test_a_damaged_file_is_named(tmp_path, name, content):
    folder = run_workdir(tmp_path / "r")
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=name):
        report.write_run_report(folder, DEFAULTS)
    assert not (folder / "report.html").exists()


def test_files_of_another_make_are_one_line(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        report.write(complete({}), tmp_path)
    folder = run_workdir(tmp_path / "r")
    (folder / "evaluation.json").write_text('{"matrix": [[1, 2]], "class_names": 3}')
    with pytest.raises(UserError, match="not as a run or a sweep wrote them"):
        report.write(complete({}), folder)
    folder = sweep_workdir(tmp_path / "s", trials(3))
    (folder / "trials.jsonl").write_text('{"number": 1}\n')
    with pytest.raises(UserError, match="not as a run or a sweep wrote them"):
        report.write({"sweep": {}}, folder)


def test_pictures_and_pages_are_written_again_from_the_files(tmp_path, capsys):
    folder = run_workdir(tmp_path / "r")
    report.write(complete({}), folder)
    names = {"curves", "samples", "confusion_matrix", "mistakes", "mistakes_by_cell"}
    assert {file.stem for file in (folder / "plots").iterdir()} == names
    folder = sweep_workdir(tmp_path / "s", trials(20))
    sweep_report.write_sweep_report(folder, DEFAULTS, IMPORTANCE)
    first = parse(folder / "report.html").data()
    (folder / "report.html").unlink()
    report.write({"sweep": {}}, folder)
    assert {file.stem for file in (folder / "plots").iterdir()} == {
        "history", "parallel_coordinates", "importance", "separators",
    }  # fmt: skip
    assert parse(folder / "report.html").data() == first
    assert capsys.readouterr().out.splitlines()[-1] == str(folder / "report.html")


# ---- evaluation.json


def test_an_evaluation_keeps_the_surest_mistakes_of_all_and_of_every_cell():
    found = synthetic.predictions(2000)
    scores = {name: np.full(10, np.nan) for name in ("precision", "recall", "f1")}
    record = report.evaluation(
        "test", CLASSES, scores=scores, sample_images=found["images"], sample_labels=found["true"], **found
    )
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["scores"]["recall"] == [None] * 10
    true, predicted, probability = found["true"], found["predicted"], found["probability"]
    wrong = sorted((i for i in range(2000) if true[i] != predicted[i]), key=lambda i: -probability[i])
    expected = set(wrong[:20])
    for cell in {(true[i], predicted[i]) for i in wrong}:
        expected |= set([i for i in wrong if (true[i], predicted[i]) == cell][:3])
    assert [m["index"] for m in record["mistakes"]] == [i for i in wrong if i in expected]
    for mistake in record["mistakes"][:5]:
        pixels = np.frombuffer(base64.b64decode(mistake["pixels"]), np.uint8)
        np.testing.assert_array_equal(pixels, found["images"][mistake["index"]])
    assert [s["label"] for s in record["samples"]] == [label for label in range(10) for _ in range(5)]


@pytest.mark.parametrize("shape", [(28, 28), (1, 7), (5, 3, 3)])
def test_tiny_pngs_are_png(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    kind, _, data = page.tiny_png(pixels).partition(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        image.verify()
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)


# ---- a sweep


def test_the_sweep_page_begins_with_the_best_configuration(pages):
    parsed = parse(pages["sweep"])
    best = max((row for row in trials(60) if row["status"] == "finished"), key=lambda row: row["metric"])
    headings = [element["text"] for element in parsed.all("h2")]
    assert headings[0] == "The best configuration"
    assert f"{100 * best['metric']:.2f} %" in [element["text"] for element in parsed.all("b")]
    assert best["name"] in [element["text"] for element in parsed.all("b")]
    rows = [element["text"] for element in parsed.all("tr")]
    for name, value in best["parameters"].items():
        assert (f"{name}{value:g}" if isinstance(value, float) else f"{name}{value}") in rows
    optimizer = best["parameters"]["optimizer"]
    alone = "python main.py" + ("" if optimizer == "adam" else f" --config.optimizer={optimizer}")
    assert [element["text"] for element in parsed.all("pre")][:2] == [
        "python main.py --mode=best --workdir=THIS_FOLDER",
        alone,
    ]


def test_the_sweep_page_holds_every_trial(pages):
    data = parse(pages["sweep"]).data()
    rows = trials(60)
    names = [column["name"] for column in data["trials"]["columns"]]
    assert names[:3] == ["#", "val/accuracy", "status"]
    assert set(rows[0]["parameters"]) <= set(names)
    for row, listed in zip(rows, data["trials"]["rows"], strict=True):
        shown = dict(zip(names, listed, strict=True))
        assert {name: shown[name] for name in row["parameters"]} == row["parameters"]
        assert (shown["#"], shown["val/accuracy"], shown["name"]) == (row["number"], row["val/accuracy"], row["name"])
    finished = next(series for series in data["dots"]["history"]["series"] if series["name"] == "finished")
    assert finished["y"] == [row["metric"] for row in rows if row["status"] == "finished"]
    assert len(data["order"]) == 60
    assert [axis["name"] for axis in data["axes"]][-2:] == ["weight_decay", "validation accuracy"]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_small_sweeps_have_a_page(tmp_path, count):
    folder = sweep_workdir(tmp_path / "s", trials(count))
    sweep_report.write_sweep_plots(folder, {})
    parsed = parse(sweep_report.write_sweep_report(folder, DEFAULTS, {}))
    assert f"{count} run" in parsed.all("p", **{"class": "lead"})[0]["text"]
    assert len(parsed.data()["trials"]["rows"]) == count


def test_a_sweep_in_which_all_diverged_has_a_page(tmp_path):
    rows = [row | {"status": "diverged", "metric": None, "val/accuracy": None} for row in trials(5)]
    folder = sweep_workdir(tmp_path / "s", rows)
    sweep_report.write_sweep_plots(folder, dict.fromkeys(IMPORTANCE, 0.0))
    parsed = parse(sweep_report.write_sweep_report(folder, DEFAULTS, dict.fromkeys(IMPORTANCE, 0.0)))
    text = " ".join(element["text"] for element in parsed.all("p"))
    assert "No run has finished yet." in text
    assert text.count("Too few finished runs to tell.") == 2


def test_a_sweep_for_the_lowest_loss(tmp_path):
    rows = [{k: v for k, v in row.items() if k != "val/accuracy"} for row in trials(30)]
    folder = sweep_workdir(tmp_path / "s", rows)
    config = json.loads((folder / "config.json").read_text())
    config["sweep"]["metric"] = {"name": "val/loss", "goal": "minimize"}
    (folder / "config.json").write_text(json.dumps(config))
    parsed = parse(sweep_report.write_sweep_report(folder, DEFAULTS, IMPORTANCE))
    data = parsed.data()
    best_so_far = data["dots"]["history"]["series"][-1]
    assert best_so_far["y"][-1] == min(row["metric"] for row in rows if row["status"] == "finished")
    assert not data["trials"]["larger"]
    lowest = min(range(30), key=lambda i: rows[i]["metric"] if rows[i]["metric"] is not None else 9)
    assert data["order"][lowest] == 1
    assert "lowest val/loss" in parsed.all("p", **{"class": "lead"})[0]["text"]
    assert not any("65 %" in element["text"] for element in parsed.all("h2"))


def test_thousands_of_trials_make_a_page_of_moderate_size(tmp_path):
    path = sweep_report.write_sweep_report(sweep_workdir(tmp_path / "s", trials(5832)), DEFAULTS, IMPORTANCE)
    assert path.stat().st_size < 3_000_000
    assert len(parse(path).all("td")) < 1000  # the browser lists the trials, a hundred at a time


# ---- many experiments


def test_a_bound_report_has_every_section_with_its_pictures_and_numbers(tmp_path):
    Image.new("RGB", (3, 2), (1, 2, 3)).save(tmp_path / "race.png")
    sections = [
        report.Section("Race", "Which?", "make race", ["One.", "Two."], [tmp_path / "race.png"], [{"a": 1, "b": 0.5}]),
        report.Section("Loss", "Why?", "", ["Three."], [], []),
    ]
    path = report.write_bound_report(tmp_path / "report.html", "All", "Budget: quick.", sections, {"n": 3})
    parsed = parse(path)
    assert [e["text"] for e in parsed.all("h2")] == ["1. Race", "2. Loss", "How it was made"]
    assert [e["attrs"]["href"] for e in parsed.all("a")] == ["#s1", "#s2"]
    (image,) = parsed.all("img")
    assert base64.b64decode(image["attrs"]["src"].partition(",")[2]) == (tmp_path / "race.png").read_bytes()
    assert "One. Two." in [e["text"] for e in parsed.all("p")]
    assert "10.5" in [e["text"] for e in parsed.all("tr")]
