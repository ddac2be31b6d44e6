"""The pages, read back with Python's HTML parser: what they say, that nothing foreign runs, that nothing is fetched."""

import base64
import hashlib
import io
import json
import shlex

import numpy as np
import pytest
from PIL import Image

from mlp_jax import cli
from mlp_jax.errors import UserError
from mlp_jax.reports import html
from mlp_jax.reports.run import (
    OF_CELL,
    Predictions,
    Section,
    evaluation,
    hint_at_chance,
    write_questions_report,
    write_run_plots,
    write_run_report,
)
from mlp_jax.reports.sweep import write_sweep_plots, write_sweep_report
from mlp_jax.runs.config import complete, to_json
from tests.shared.pages import ATTACKS, attacked_run, attacked_sweep, parse
from tests.shared.synthetic_workdirs import (
    CLASSES,
    DEFAULTS,
    IMPORTANCE,
    predictions,
    records,
    run_workdir,
    sweep_workdir,
    trials,
    write_lines,
)

LOST = [row | {"status": "diverged", "metric": None, "val/accuracy": None} for row in trials(5)]


def rewrite(path, change):
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def run_page(folder, rows=None, **changes):
    run_workdir(folder, **changes)
    if rows is not None:
        write_lines(folder / "metrics.jsonl", rows)
    return parse(write_run_report(folder, DEFAULTS))


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    root = tmp_path_factory.mktemp("pages")
    section = Section(*[ATTACKS[0]] * 3, [ATTACKS[1]], [], [{ATTACKS[2]: ATTACKS[1], "accuracy": float("nan")}])
    return {
        "run": write_run_report(run_workdir(root / "run"), DEFAULTS),
        "attacked run": write_run_report(attacked_run(root / "attacked"), DEFAULTS),
        "sweep": write_sweep_report(sweep_workdir(root / "s", trials(60)), DEFAULTS, IMPORTANCE),
        "attacked sweep": write_sweep_report(attacked_sweep(root / "a"), DEFAULTS, IMPORTANCE | {ATTACKS[0]: 0.1}),
        "questions": write_questions_report(root / "q.html", ATTACKS[0], ATTACKS[1], [section], {"a": ATTACKS[0]}),
    }


@pytest.mark.parametrize("name", ["run", "attacked run", "sweep", "attacked sweep", "questions"])
def test_nothing_is_fetched_and_nothing_foreign_can_run(pages, name):
    parsed = parse(pages[name])
    (script,) = [element for element in parsed.all("script") if element["attrs"].get("type") != "application/json"]
    digest = base64.b64encode(hashlib.sha256(script["text"].encode()).digest()).decode()
    (policy,) = parsed.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert "default-src 'none'" in policy["attrs"]["content"]
    assert f"script-src 'sha256-{digest}';" in policy["attrs"]["content"]
    for element in parsed.elements:
        for key, value in element["attrs"].items():
            assert not key.startswith("on")
            assert key not in ("src", "href") or value.startswith(("data:image/png;base64,", "#"))
        assert element["tag"] not in ("link", "iframe", "object", "embed", "base", "b") or not element["attrs"]
    style = parsed.texts("style")[0]
    assert "@import" not in style
    assert "url(" not in style


def test_what_users_wrote_is_shown_as_they_wrote_it(pages):
    parsed = parse(pages["attacked run"])
    assert parsed.texts("td").count(ATTACKS[2]) == 1
    assert parsed.data()["confusion"]["names"][0] == ATTACKS[0] + "0"
    assert ATTACKS[0] in {row[-1] for row in parse(pages["attacked sweep"]).data()["trials"]["rows"]}
    assert parse(pages["questions"]).texts("h1") == [ATTACKS[0]]


def test_numbers_that_are_not_finite_become_dashes(tmp_path):
    assert [html.number(value, "accuracy") for value in (None, float("nan"), float("inf"))] == ["–"] * 3
    assert html.embedded_json({"a": [float("nan"), 1.5], "b": float("-inf")}) == '{"a":[null,1.5],"b":null}'
    assert html.embedded_json("</script>\u2028<!--&") == '"\\u003c/script\\u003e\\u2028\\u003c!--\\u0026"'
    rows = [{"epoch": 1, "train/loss": None, "val/loss": None, "val/accuracy": None}]
    assert run_page(tmp_path / "r", rows).data()["lines"] == {}


# ---- a run


def test_the_run_page_says_what_was_trained(tmp_path):
    parsed = run_page(tmp_path / "r", hidden_sizes=(32, 16), optimizer="nadam", num_epochs=4)
    weights = 64 * 32 + 32 + 32 * 16 + 16 + 16 * 10 + 10
    said = ("64–32–16–10", f"{weights:,} parameters", "Fashion-MNIST", "4 epochs", "Nadam", "cross-entropy", "88.23 %")
    assert [part for part in said if part not in parsed.lead()] == []
    rows = [json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    best = max(rows, key=lambda row: row["val/accuracy"])["epoch"]
    assert f"after epoch {best}, the best on validation" in parsed.lead()
    lines = parsed.data()["lines"]
    assert list(lines) == ["loss", "accuracy"]
    assert lines["accuracy"]["mark"] == best
    assert lines["accuracy"]["series"][1]["y"] == [row["val/accuracy"] for row in rows]


def test_the_matrix_and_the_scores_are_those_of_the_run(pages):
    parsed = parse(pages["run"])
    matrix = np.array(json.loads((pages["run"].parent / "evaluation.json").read_text())["matrix"])
    shares = 100 * matrix / matrix.sum(axis=1, keepdims=True)
    cells = [e for e in parsed.all("td") if "data-row" in e["attrs"]]
    assert len(cells) == 100
    for cell in cells:
        at = int(cell["attrs"]["data-row"]), int(cell["attrs"]["data-column"])
        assert cell["text"] == (f"{matrix[at]}{shares[at]:.1f}" if matrix[at] else "")
    recall, precision = matrix[5, 5] / matrix[5].sum(), matrix[5, 5] / matrix[:, 5].sum()
    f1 = 2 / (1 / recall + 1 / precision)
    row = f"Sandal{100 * precision:.2f} %{100 * recall:.2f} %{100 * f1:.2f} %{matrix[5].sum()}"
    assert row in parsed.texts("tr")


@pytest.mark.parametrize("shape", [(8, 8), (64,), (4, 4, 3)])
def test_images_are_dark_on_white_and_colours_as_they_are(tmp_path, shape):
    folder = run_workdir(tmp_path / "r")
    pixels = np.random.default_rng(0).integers(0, 251, shape, dtype=np.uint8)
    packed = base64.b64encode(pixels.tobytes()).decode()
    sample = {"index": 0, "label": 3, "pixels": packed}
    mistake = {"index": 1, "true": 3, "predicted": 4, "probability": 0.5, "pixels": packed}
    change = {"image_shape": shape, "samples": [sample], "mistakes": [mistake], "pixel_max": 250}
    rewrite(folder / "evaluation.json", lambda found: found.update(change))
    parsed = parse(write_run_report(folder, DEFAULTS))
    bright = np.round(pixels * (255 / 250)).astype(int)
    for element in parsed.all("img"):
        data = element["attrs"]["src"].removeprefix("data:image/png;base64,")
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            np.testing.assert_array_equal(np.squeeze(image), bright if len(shape) == 3 else 255 - bright)
    assert [element["attrs"]["alt"] for element in parsed.all("img")] == ["image 1", "Dress"]


def test_fields_that_differ_from_the_defaults_come_first(tmp_path):
    parsed = run_page(tmp_path / "r", batch_size=64, hidden_sizes=(), wandb_entity="me")
    fields = [text for text in parsed.texts("th", scope="row") if text in DEFAULTS]
    (folded,) = parsed.texts("details")
    assert f"{len(DEFAULTS) - 3} fields" in folded
    assert "batch_size" not in folded
    assert set(fields[:3]) == {"batch_size", "hidden_sizes", "wandb_entity"}
    assert len(parsed.all("tr", **{"class": "differs"})) == 3
    assert len(set(fields)) == len(DEFAULTS)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hidden_sizes": (), "batch_size": 0, "stratified": True},
        {"hidden_sizes": (7, 3), "learning_rate": 1e-05, "activation": "tanh", "wandb_entity": "a b'c$(d)"},
    ],
)
def test_the_command_line_gives_the_config_back(changes):
    config = complete(changes)
    command = html.command_line(*(json.loads(to_json(fields)) for fields in (config, complete({}))))
    options = cli.parse(shlex.split(command)[1:])
    assert to_json(cli.resolve(options)) == to_json(config)
    assert command.count("--config.") == len(changes)


def test_a_run_of_seeds_shows_means_bands_and_every_seed(tmp_path):
    folder = run_workdir(tmp_path / "r", seeds=2)
    rows = [row | {f"{name}/sd": 0.01 for name in row if "/" in name} for row in records(3)]
    write_lines(folder / "metrics.jsonl", rows)
    seeds = [{"best_epoch": 1, "seed": seed, "test/accuracy": 0.8 + seed / 10} for seed in (0, 1)]
    summary = json.loads((folder / "summary.json").read_text())
    summary |= {"seeds": seeds, "test/accuracy": 0.85, "test/accuracy/sd": 0.0707, "val/accuracy/sd": 0.01}
    parsed = parse(write_run_report(folder, DEFAULTS, summary))
    assert "85.00 ± 7.07 %" in parsed.lead()
    lines = parsed.data()["lines"]
    assert list(lines) == ["loss", "accuracy"]
    assert [series["sd"] for series in lines["loss"]["series"]] == [[0.01] * 3] * 2
    assert lines["loss"]["mark"] is None
    assert "90.00 %" in parsed.texts("td")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"init": "zeros"}, "init=zeros"),
        ({"init": "random", "activation": "sigmoid"}, "init=random"),
        ({"weight_decay": 0.5}, "weight_decay=0.5"),
        ({"learning_rate": 0.3}, "learning_rate=0.3 is large for Adam"),
        ({"learning_rate": 1e-6}, "learning_rate=1e-06 is small for Adam"),
        ({"optimizer": "sgd", "learning_rate": 5.0}, "learning_rate=5 is large for SGD"),
        ({"activation": "sigmoid", "hidden_sizes": (8,) * 5}, "5 layers of sigmoid"),
        ({"hidden_sizes": (8,) * 12}, "12 hidden layers"),
        ({}, "Try another learning_rate"),
    ],
)
def test_a_run_at_chance_names_the_likely_cause_and_a_good_one_nothing(changes, said):
    poor = [{"epoch": 1, "train/accuracy": 0.9, "val/accuracy": 0.11}]
    hint = hint_at_chance(DEFAULTS | changes, poor, 10)
    assert said in hint
    assert "11.00 % on validation" in hint
    assert hint.count("(try") == (0 if not changes else 1)
    assert hint_at_chance(DEFAULTS | changes, [poor[0] | {"val/accuracy": 0.5}], 10) == ""
    assert hint_at_chance(DEFAULTS | changes, [poor[0] | {"val/accuracy": None}], 10) == ""
    assert hint_at_chance(DEFAULTS | changes, [], 10) == ""


def test_the_page_of_a_run_at_chance_begins_with_the_hint(tmp_path):
    poor = [row | {"val/accuracy": 0.1} for row in records(3)]
    (banner,) = run_page(tmp_path / "r", poor, init="zeros").texts("p", role="alert")
    assert "init=zeros gives all units" in banner


def test_probes_get_a_chart_each_with_a_line_a_layer(tmp_path):
    rows = [row | {"probes/grad_norm": [1.0, 2.0 * row["epoch"], None]} for row in records(3)]
    chart = run_page(tmp_path / "r", rows).data()["lines"]["probes/grad_norm"]
    assert chart["ylabel"] == "grad norm"
    lines = {"layer 1": [1.0] * 3, "layer 2": [2.0, 4.0, 6.0], "layer 3": [None] * 3}
    assert {series["name"]: series["y"] for series in chart["series"]} == lines


def test_a_run_that_has_only_begun_has_a_page(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(DEFAULTS))
    write_run_plots(tmp_path)
    parsed = parse(write_run_report(tmp_path, DEFAULTS))
    assert "No epoch has been logged yet." in parsed.texts("p")
    assert "It has not been tested." in parsed.lead()
    assert (tmp_path / "plots" / "curves.png").exists()


def test_a_fallback_is_announced(tmp_path):
    folder = run_workdir(tmp_path / "r")
    rewrite(folder / "summary.json", lambda found: found.update(dataset="digits"))
    banner = parse(write_run_report(folder, DEFAULTS)).texts("p", role="alert")
    assert banner == ["Trained on digits: Fashion-MNIST could not be loaded."]


@pytest.mark.parametrize("name", ["config.json", "summary.json", "evaluation.json", "metrics.jsonl"])
def test_a_damaged_file_is_named(tmp_path, name):
    folder = run_workdir(tmp_path / "r")
    (folder / name).write_bytes(b'{"a": NaN}')
    with pytest.raises(UserError, match=name):
        write_run_report(folder, DEFAULTS)
    assert not (folder / "report.html").exists()


def test_files_of_another_make_are_one_line(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        cli.report(complete({}), tmp_path)
    folder = run_workdir(tmp_path / "r")
    (folder / "evaluation.json").write_text('{"matrix": [[1, 2]], "class_names": 3}')
    with pytest.raises(UserError, match="not as a run or a sweep wrote them"):
        cli.report(complete({}), folder)


def test_pictures_and_pages_are_written_again_from_the_files(tmp_path, capsys):
    folder = run_workdir(tmp_path / "r")
    cli.report(complete({}), folder)
    names = {"curves", "samples", "confusion_matrix", "mistakes", "mistakes_by_cell"}
    assert {file.stem for file in (folder / "plots").iterdir()} == names
    folder = sweep_workdir(tmp_path / "s", trials(20))
    first = write_sweep_report(folder, DEFAULTS, IMPORTANCE).read_text()
    cli.report({"sweep": {}}, folder)
    names = {"history", "parallel_coordinates", "importance", "separators"}
    assert {file.stem for file in (folder / "plots").iterdir()} == names
    again = parse(folder / "report.html")
    assert json.dumps(again.data(), separators=(",", ":"), ensure_ascii=False) in first
    assert capsys.readouterr().out.splitlines()[-1] == str(folder / "report.html")


def test_an_evaluation_keeps_the_surest_mistakes_of_all_and_of_every_cell():
    found = predictions(4000)
    images, true, predicted, probability = said = Predictions(*(found[name] for name in Predictions._fields))
    scores = {name: np.full(10, np.nan) for name in ("precision", "recall", "f1")}
    record = evaluation("test", CLASSES, found["image_shape"], found["matrix"], scores, said, (images, true))
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["scores"]["recall"] == [None] * 10
    wrong = sorted((i for i in range(4000) if true[i] != predicted[i]), key=lambda i: -probability[i])
    expected = set(wrong[:20])
    for cell in {(true[i], predicted[i]) for i in wrong}:
        expected |= set([i for i in wrong if (true[i], predicted[i]) == cell][:OF_CELL])
    assert max(np.sum((true == i) & (predicted == j)) for i in range(10) for j in range(10) if i != j) > OF_CELL
    assert [m["index"] for m in record["mistakes"]] == [i for i in wrong if i in expected]
    pixels = np.frombuffer(base64.b64decode(record["mistakes"][0]["pixels"]), np.uint8)
    np.testing.assert_array_equal(pixels, images[wrong[0]])
    assert [s["label"] for s in record["samples"]] == [label for label in range(10) for _ in range(5)]


# ---- a sweep


def test_the_sweep_page_begins_with_the_best_configuration(pages):
    parsed = parse(pages["sweep"])
    best = max((row for row in trials(60) if row["status"] == "finished"), key=lambda row: row["metric"])
    assert parsed.texts("h2")[0] == "The best configuration"
    assert parsed.texts("b") == [f"{100 * best['metric']:.2f} %", best["name"]]
    for name, value in best["parameters"].items():
        assert (f"{name}{value:g}" if isinstance(value, float) else f"{name}{value}") in parsed.texts("tr")
    optimizer = best["parameters"]["optimizer"]
    alone = "python main.py" + ("" if optimizer == "adam" else f" --config.optimizer={optimizer}")
    folder = shlex.quote(str(pages["sweep"].parent))
    assert parsed.texts("pre")[:2] == [f"python main.py --mode=best --workdir={folder}", alone]
    for element in parsed.all("pre"):  # a line breaks between arguments, so none is pasted in two pieces
        assert set(element["text"].split(" ")) <= set(parsed.texts("span"))


def test_the_sweep_page_holds_every_trial(pages):
    data, rows = parse(pages["sweep"]).data(), trials(60)
    names = [column["name"] for column in data["trials"]["columns"]]
    assert names[:3] == ["#", "val/accuracy", "status"]
    for row, listed in zip(rows, data["trials"]["rows"], strict=True):
        shown = dict(zip(names, listed, strict=True))
        assert {name: shown[name] for name in row["parameters"]} == row["parameters"]
        assert (shown["#"], shown["val/accuracy"], shown["name"]) == (row["number"], row["val/accuracy"], row["name"])
    finished = next(series for series in data["dots"]["history"]["series"] if series["name"] == "finished")
    assert finished["y"] == [row["metric"] for row in rows if row["status"] == "finished"]
    assert len(data["order"]) == 60
    assert [axis["name"] for axis in data["axes"]][-2:] == ["weight_decay", "validation accuracy"]
    assert names[data["axes"][-1]["column"]] == "val/accuracy"
    assert {name for name, column in zip(names, data["trials"]["columns"], strict=True) if column["hidden"]} == {
        "seconds", "name",
    }  # fmt: skip


def test_the_sweep_page_shows_the_curves_that_the_trials_have_and_the_page_of_the_best(tmp_path):
    rows = trials(6)
    rows[1]["curve"], rows[4]["curve"] = [0.25, 0.123456, None], [0.5]
    folder = sweep_workdir(tmp_path / "s", rows)
    data = parse(write_sweep_report(folder, DEFAULTS, IMPORTANCE)).data()
    assert data["curves"]["validation accuracy"]["all"] == [None, [0.25, 0.1235, None], None, None, [0.5], None]
    assert data["trials"]["links"] == {}
    (folder / "best").mkdir()
    (folder / "best" / "report.html").write_text("")
    parsed = parse(write_sweep_report(folder, DEFAULTS, IMPORTANCE))
    best = json.loads((folder / "best.json").read_text())["number"]
    assert parsed.data()["trials"]["links"] == {str(best): "best/report.html"}
    assert [element["attrs"]["href"] for element in parsed.all("a")] == ["best/report.html"]


def test_importance_says_how_sure_it_is(pages, tmp_path):
    assert "weight_decay" in next(text for text in parse(pages["sweep"]).texts("p") if "beyond chance" in text)
    rng = np.random.default_rng(0)
    rows = [row | {"status": "finished", "val/accuracy": rng.random(), "metric": 0.5} for row in trials(60)]
    noise = parse(write_sweep_report(sweep_workdir(tmp_path / "s", rows), DEFAULTS, IMPORTANCE))
    assert any(text.startswith("By itself no parameter changes the result") for text in noise.texts("p"))
    assert len(noise.all("span", **{"class": "bar grey"})) >= len(IMPORTANCE)


@pytest.mark.parametrize("rows", [*(trials(count) for count in (0, 1, 2)), LOST], ids=["0", "1", "2", "all diverged"])
def test_small_sweeps_have_a_page(tmp_path, rows):
    folder = sweep_workdir(tmp_path / "s", rows)
    write_sweep_plots(folder, dict.fromkeys(IMPORTANCE, 0.0))
    parsed = parse(write_sweep_report(folder, DEFAULTS, dict.fromkeys(IMPORTANCE, 0.0)))
    assert f"{len(rows)} run" in parsed.lead()
    assert len(parsed.data()["trials"]["rows"]) == len(rows)
    assert ("No run has finished yet." in parsed.texts("p")) == (len(rows) in (0, 5))
    assert parsed.texts("p").count("Too few finished runs to tell.") == 2


def test_a_sweep_for_the_lowest_loss(tmp_path):
    rows = [{k: v for k, v in row.items() if k != "val/accuracy"} for row in trials(30)]
    folder = sweep_workdir(tmp_path / "s", rows)
    metric = {"name": "val/loss", "goal": "minimize"}
    rewrite(folder / "config.json", lambda config: config["sweep"].update(metric=metric))
    parsed = parse(write_sweep_report(folder, DEFAULTS, IMPORTANCE))
    data = parsed.data()
    best_so_far = data["dots"]["history"]["series"][-1]
    assert best_so_far["y"][-1] == min(row["metric"] for row in rows if row["status"] == "finished")
    assert not data["trials"]["larger"]
    lowest = min(range(30), key=lambda i: rows[i]["metric"] if rows[i]["metric"] is not None else 9)
    assert data["order"][lowest] == 1
    assert "lowest val/loss" in parsed.lead()
    assert not any("65 %" in text for text in parsed.texts("h2"))


# ---- many questions


def test_the_page_of_questions_has_every_section_with_its_pictures_and_numbers(tmp_path):
    picture = tmp_path / "race.png"
    Image.new("RGB", (3, 2), (1, 2, 3)).save(picture)
    race = Section("Race", "Which?", "make race", ["One.", "Two."], [picture], [{"a": 1, "b": 0.5}], number="2.10")
    sections = [race, Section("Loss", "Why?", "", ["Three."], [], [])]
    parsed = parse(write_questions_report(tmp_path / "report.html", "All", "Budget: quick.", sections, {"n": 3}))
    assert parsed.texts("h2") == ["2.10 Race", "Loss", "How it was made"]
    assert [e["attrs"]["href"] for e in parsed.all("a")] == ["#s1", "#s2"]
    (image,) = parsed.all("img")
    assert base64.b64decode(image["attrs"]["src"].partition(",")[2]) == picture.read_bytes()
    assert "One. Two." in parsed.texts("p")
    assert "10.5" in parsed.texts("tr")
