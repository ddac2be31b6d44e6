"""The command: exit statuses, the three files, what is not done twice, and one line for what makes no sense."""

import csv
import json
import shutil

import pytest

from mlp_jax import check, cli
from mlp_jax.check import marking, page
from mlp_jax.check.findings import FAILED, RIGHT, UNSURE, WRONG, Finding
from mlp_jax.check.mistakes import MISTAKES
from mlp_jax.errors import UserError
from tests.program.test_docs import ROOT, anchors
from tests.shared.pages import ATTACKS, parse

GOOD = "import numpy as np\n\n\ndef relu(z):\n    return np.maximum(z, 0)\n"
BAD = GOOD.replace("np.maximum", "np.minimum")


@pytest.fixture
def three(tmp_path):
    for name, text in {"good": GOOD, "bad": BAD, "empty": "x = 1\n"}.items():
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "net.py").write_text(text)
    return tmp_path / "in"


def main(*argv):
    return cli.main(["main.py", "--mode=check", *map(str, argv)])


def test_exit_statuses(three, capsys):
    for name, status in (("good", 0), ("bad", 1), ("empty", 2)):
        assert main("--inputs", three / name) == status
    out = capsys.readouterr().out
    assert "nothing was found that can be checked" in out
    assert {path.name for path in three.iterdir()} == {"good", "bad", "empty"}  # without --output nothing is written


def test_several_give_a_table_and_are_not_checked_twice(three, tmp_path, capsys, monkeypatch):
    output = tmp_path / "out"
    argv = ("--inputs", *sorted(three.iterdir()), f"--output={output}")
    assert main(*argv) == 1
    table = capsys.readouterr().out
    assert [line.split()[0] for line in table.splitlines()[1:4]] == ["bad", "empty", "good"]
    with open(output / "check.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["submission"], row["status"]) for row in rows] == [
        ("bad", "wrong"), ("empty", "nothing checked"), ("good", "right"),
    ]  # fmt: skip
    assert len(json.loads((output / "check.json").read_text())["submissions"]) == 3
    assert parse(output / "check.html").texts("h1") == ["3 submissions checked"]

    ran = []
    real = marking.submission
    monkeypatch.setattr(marking, "submission", lambda path, *rest: ran.append(path.name) or real(path, *rest))
    assert main(*argv) == 1
    assert ran == []
    (three / "bad" / "net.py").write_text(GOOD)
    shutil.copytree(three / "good", three / "new")
    assert main("--inputs", *sorted(three.iterdir()), f"--output={output}") == 0
    assert ran == []  # both have the content of one that is known
    (three / "bad" / "net.py").write_text(BAD + "\n")
    assert main(*argv) == 1
    assert ran == ["bad"]
    (output / "check.json").write_text("{")
    assert main(*argv) == 1
    assert sorted(ran[1:]) == ["bad", "empty", "good"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--mode=check"], "--inputs: --mode=check needs"),
        (["--mode=check", "--inputs=nowhere"], "'nowhere'"),
        (["--mode=check", "--inputs=file.py", "--output=file.py"], "file is in the way"),
        (["--mode=check", "--inputs=file.py", "--workdir=x"], "--workdir: --mode=check does not read it"),
        (["--mode=export", "--workdir=x"], "--output: --mode=export needs"),
        (["--mode=export", "--workdir=x", "--output=y.npy"], "holds no run"),
        (["--mode=evaluate", "--inputs=file.py"], "refused"),
        (["--mode=evaluate", "--inputs=a", "b"], "reads one best_model.npy"),
    ],
)
def test_what_makes_no_sense_is_one_line(tmp_path, monkeypatch, capsys, argv, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.py").write_text(GOOD)
    assert cli.main(["main.py", *argv]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert [path.name for path in tmp_path.iterdir()] == ["file.py"]


def test_in_python(three):
    found = check.submission(three / "bad")
    assert [finding.verdict for finding in found if finding.item == "relu"] == [WRONG]
    assert "wrong" in repr(found)
    with pytest.raises(UserError, match="no file or folder"):
        check.submission(three / "nothing")


def test_the_page_shows_every_text_as_text(tmp_path):
    name = next(iter(MISTAKES))
    findings = [
        Finding(
            ATTACKS[i % 4],
            verdict,
            *ATTACKS[:1],
            0.5,
            *ATTACKS[1:3],
            (name, ATTACKS[3]),
            ATTACKS[0],
            "backpropagation#dropout",
        )
        for i, verdict in enumerate((RIGHT, WRONG, UNSURE, FAILED))
    ]
    for checked in ([(ATTACKS[0], findings)], [(attack, findings) for attack in ATTACKS], [("none", [])]):
        shown = parse(page.write_check_page(tmp_path / "check.html", checked, "walls"))
        text = shown.texts("body")[0]
        assert len(shown.all("script")) == 2
        assert not checked[0][1] or all(attack in text for attack in ATTACKS[:1])
    assert (
        f"mend: {MISTAKES[name].mend}"
        in parse(page.write_check_page(tmp_path / "check.html", [("a", findings)], "walls")).texts("body")[0]
    )


def test_links_lead_to_headings_that_exist(tmp_path):
    pages = [ROOT / "docs" / name for name in ("backpropagation.md", "optimizers.md")]
    headings = set().union(*map(anchors, pages))
    assert set(page.EQUATIONS) <= headings
    finding = Finding("adam", WRONG, equation="optimizers#adam")
    shown = parse(page.write_check_page(tmp_path / "check.html", [("a", [finding])], ""))
    (link,) = [element["attrs"]["href"] for element in shown.all("a")]
    file, _, anchor = link.partition("#")
    assert (tmp_path / file).resolve() == pages[1]
    assert anchor in anchors(pages[1])


def test_a_pattern_that_no_shell_expanded_is_expanded(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text("import numpy as np\n\n\ndef tanh(z):\n    return np.tanh(z)\n")
    assert cli.main(["main.py", "--mode=check", "--inputs=*.py", "--output=out"]) == 0
    assert {"a.py", "b.py"} <= set(capsys.readouterr().out.split())
