"""Runs and sweeps side by side: which fields differ, what is best, what the CSV and the links say."""

import csv
import json

import pytest

from mlp_jax import cli
from mlp_jax.errors import UserError
from mlp_jax.reports.compare import compare
from tests.shared.pages import ATTACKS, parse
from tests.shared.synthetic_workdirs import records, run_workdir, sweep_workdir, trials, write_lines


def with_accuracies(folder, val, test, **changes):
    """A run that reaches `val` in its second epoch of three."""
    run_workdir(folder, num_epochs=3, **changes)
    rows = [row | {"val/accuracy": value} for row, value in zip(records(3), (0.1, val, 0.2), strict=True)]
    write_lines(folder / "metrics.jsonl", rows)
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(summary | {"val/accuracy": val, "test/accuracy": test}))
    return folder


def table(page):
    """The rows of the page's table, by column, those alone that are shown at first."""
    found = page.data()["trials"]
    shown = [(place, column["name"]) for place, column in enumerate(found["columns"]) if not column["hidden"]]
    return [{name: row[place] for place, name in shown} for row in found["rows"]]


def test_the_table_has_the_fields_that_differ_and_the_best_on_validation_is_first(tmp_path):
    a = with_accuracies(tmp_path / "a", 0.7, 0.95, learning_rate=0.1, data_dir="here")
    b = with_accuracies(tmp_path / "b", 0.8, 0.75, optimizer="sgd", hidden_sizes=(8, 4), data_dir="there")
    page = parse(compare([a, b], tmp_path / "out"))
    first, second = table(page)
    differing = {"learning_rate", "optimizer", "hidden_sizes"}
    assert set(first) == {"run", "val/accuracy", "test/accuracy", "status"} | differing
    assert (first["run"], first["val/accuracy"], first["test/accuracy"]) == ("b", 0.8, 0.75)
    assert (first["hidden_sizes"], second["learning_rate"]) == ("8-4", 0.1)
    assert "The best on validation is b with 80.00 %" in page.lead()
    assert page.data()["curves"]["validation accuracy"]["all"] == [[0.1, 0.8, 0.2], [0.1, 0.7, 0.2]]
    reversed_page = parse(compare([with_accuracies(a, 0.9, 0.6), b], tmp_path / "again"))
    assert "The best on validation is a with 90.00 %" in reversed_page.lead()


def test_trials_stand_among_runs_with_the_fields_that_they_set(tmp_path):
    rows = [row | {"curve": [0.25, row["val/accuracy"] or 0.0]} for row in trials(5)]
    sweep, run = sweep_workdir(tmp_path / "s", rows), run_workdir(tmp_path / "r")
    page = parse(compare([sweep, run], tmp_path / "out"))
    assert "Validation loss, of 1 of 6 runs" in page.texts("h3")  # trials keep the curve of one figure
    by_name = {row["run"]: row for row in table(page)}
    assert set(by_name) == {"r", *(f"s #{number}" for number in range(5))}
    for row in rows:
        parameters, shown = row["parameters"], by_name[f"s #{row['number']}"]
        assert shown["hidden_sizes"] == "-".join([str(parameters["hidden_size"])] * parameters["num_layers"])
        assert shown["activation"] == parameters["activation"]
        assert shown["val/accuracy"] == row["val/accuracy"]
    assert by_name["r"]["activation"] == "relu"
    assert "num_layers" not in by_name["r"]
    order = [row["val/accuracy"] for row in table(page) if row["val/accuracy"] is not None]
    assert order == sorted(order, reverse=True)


def test_pages_are_linked_from_where_the_page_lies_and_the_csv_has_every_row(tmp_path):
    names = ["a", "b c"]
    for name in names:
        run_workdir(tmp_path / "runs" / name, seed=len(name))
    (tmp_path / "runs" / "b c" / "report.html").write_text("")
    path = compare([tmp_path / "runs" / name for name in names], tmp_path / "out" / "deep")
    trials = parse(path).data()["trials"]
    (place,) = trials["links"]
    assert trials["rows"][int(place)][0] == "b c"
    assert trials["links"][place] == "../../runs/b%20c/report.html"
    with (path.parent / "compare.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["run"]: row["seed"] for row in rows} == {"a": "1", "b c": "3"}
    assert list(rows[0]) == [column["name"] for column in trials["columns"]]


def test_what_is_no_run_is_left_out_and_nothing_at_all_is_an_error(tmp_path):
    run_workdir(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    page = parse(compare([tmp_path / "a", tmp_path / "a", tmp_path / "empty"], tmp_path / "out"))
    assert [row["run"] for row in table(page)] == ["a"]
    assert any(text.startswith("Left out") and "empty" in text for text in page.texts("p"))
    with pytest.raises(UserError, match="empty holds a run"):
        compare([tmp_path / "empty"], tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_folders_of_one_name_are_told_apart(tmp_path):
    folders = [run_workdir(tmp_path / place / "a", seed=seed) for seed, place in enumerate("xy")]
    assert {row["run"] for row in table(parse(compare(folders, tmp_path / "out")))} == set(map(str, folders))


def test_runs_on_different_data_are_said_not_to_compare(tmp_path):
    folders = [run_workdir(tmp_path / name, dataset=name) for name in ("mnist", "digits")]
    assert "cannot be compared" in parse(compare(folders, tmp_path / "out")).lead()
    folders = [run_workdir(tmp_path / name, dataset="mnist") for name in ("x", "y")]
    assert "cannot be compared" not in parse(compare(folders, tmp_path / "out")).lead()


def test_an_unfinished_a_diverged_and_an_older_run_have_their_rows(tmp_path):
    begun, lost, old = (run_workdir(tmp_path / name) for name in ("begun", "lost", "old"))
    for folder in (begun, lost):
        (folder / "summary.json").unlink()
    write_lines(lost / "metrics.jsonl", [*records(2), {"epoch": 3, "train/loss": None, "val/accuracy": None}])
    config = json.loads((old / "config.json").read_text())
    del config["loss"]  # a field that it did not know
    (old / "config.json").write_text(json.dumps(config))
    (tmp_path / "empty run").mkdir()
    (tmp_path / "empty run" / "config.json").write_text((begun / "config.json").read_text())
    page = parse(compare([begun, lost, old, tmp_path / "empty run"], tmp_path / "out"))
    rows = {row["run"]: row for row in table(page)}
    status = {"begun": "unfinished", "lost": "diverged", "old": "finished", "empty run": "unfinished"}
    assert {name: row["status"] for name, row in rows.items()} == status
    assert "loss" not in rows["old"]
    assert rows["lost"]["val/accuracy"] is None


def test_names_of_users_are_text(tmp_path):
    run_workdir(tmp_path / "a", optimizer=ATTACKS[0])
    run_workdir(tmp_path / "<b onmouseover=hacked=1>", optimizer="sgd")
    page = parse(compare(tmp_path.iterdir(), tmp_path / "out"))
    assert not page.all("b")
    assert {row["optimizer"] for row in table(page)} == {ATTACKS[0], "sgd"}


def test_the_command_takes_patterns_and_refuses_fields(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        run_workdir(tmp_path / "runs" / name, seed=ord(name))
    assert cli.main(["main.py", "--mode=compare", "--inputs=runs/*", "--output=out"]) == 0
    assert capsys.readouterr().out.strip() == "out/report.html"
    assert {row["run"] for row in table(parse(tmp_path / "out" / "report.html"))} == {"a", "b"}
    assert cli.main(["main.py", "--mode=compare", "--inputs", "runs/a", "runs/b"]) == 0
    written = tmp_path / capsys.readouterr().out.strip()
    assert written.parent.name.startswith("compare-")
    for arguments, said in (
        ([], "--inputs"),
        (["--inputs=runs/*", "--config.seed=1"], "--config.seed"),
        (["--inputs=nothing/*"], "none of nothing"),
    ):
        assert cli.main(["main.py", "--mode=compare", *arguments]) == 2
        assert said in capsys.readouterr().err
