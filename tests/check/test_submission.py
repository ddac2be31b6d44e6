"""Submissions from end to end: right ones without a false alarm, planted mistakes by name, bad input in one line."""

import subprocess
import sys

import pytest

from mlp_jax.check import interactive
from mlp_jax.check.findings import FAILED, RIGHT, UNSURE, WRONG, Finding, Findings, as_table, exit_status
from mlp_jax.check.found import check_path
from mlp_jax.check.mistakes import MISTAKES
from tests.check.submissions import CONVENTIONS, PLAIN, fits, mutations, planted, sources, write

FORMS = ["class", *CONVENTIONS]
PAIRS = next(iter(CONVENTIONS))
MUTATIONS = mutations()


def names_of(findings):
    return {name for finding in findings for name in finding.mistakes}


def test_the_engine_needs_no_jax():
    code = "import sys, mlp_jax.check.found; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("form", FORMS)
def test_a_right_submission_is_right(tmp_path, form):
    found = check_path(write(tmp_path, sources(form)), seed=3)
    assert {finding.verdict for finding in found} == {RIGHT}, as_table(found)
    items = {finding.item for finding in found}
    assert {
        "forward",
        "cross_entropy",
        "mse",
        "gradients of cross_entropy",
        "gradients of mse",
        "weight decay",
    } <= items
    assert {"sgd", "momentum", "nesterov", "rmsprop", "adam", "nadam", "init xavier"} <= items


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_no_false_alarm_over_seeds(tmp_path, form):
    folder = write(tmp_path, sources(form))
    for seed in range(40):
        found = check_path(folder, seed)
        assert {finding.verdict for finding in found} == {RIGHT}, (seed, as_table(found))


def test_every_known_mistake_is_planted():
    assert set(MUTATIONS) == set(MISTAKES)


def wrongly_named(folder, mistake, form, item, edits):
    """What is amiss with the check of a submission that has this mistake; empty where nothing is."""
    files = planted(form, edits)
    assert files is not None, (mistake, form)
    found = check_path(write(folder, files))
    names = names_of(found)
    wrong = [finding for finding in found if finding.verdict in (WRONG, FAILED) or finding.mistakes]
    if not wrong:
        return "missed"
    return "" if names == {mistake} else f"unnamed: {as_table(wrong)}" if not names else f"named {names}"


# Every second mistake, each in one of the forms that it fits, the forms in turn.
def first_that_fits(mistake, forms):
    return next((form, *way) for form in forms for way in MUTATIONS[mistake] if fits(way[0], form))


SOME = {
    mistake: first_that_fits(mistake, FORMS[k % len(FORMS) :] + FORMS)
    for k, mistake in enumerate(sorted(MUTATIONS)[::2])
}


@pytest.mark.parametrize("mistake", SOME)
def test_a_planted_mistake_is_named(tmp_path, mistake):
    said = wrongly_named(tmp_path, mistake, *SOME[mistake])
    assert said == "" or (said.startswith("named") and mistake in said)  # another may be there with it


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_planted_mistakes_are_named(tmp_path, form):
    """At least 95 of 100 by their name, none by another, none missed."""
    results = {}
    for mistake, ways in MUTATIONS.items():
        for index, (item, edits) in enumerate(ways):
            if not fits(item, form):
                continue
            folder = tmp_path / f"{mistake}{index}"
            results[mistake, index] = wrongly_named(folder, mistake, form, item, edits)
    amiss = {key: said for key, said in results.items() if said}
    assert not [key for key, said in amiss.items() if said == "missed"]
    assert not [key for key, said in amiss.items() if said.startswith("named") and key[0] not in said], amiss
    assert len(amiss) <= 0.05 * len(results), amiss


def test_two_planted_mistakes_are_named(tmp_path):
    edits = [*MUTATIONS["jacobian_diagonal"][0][1], *MUTATIONS["biases_divided_twice"][0][1]]
    found = check_path(write(tmp_path, planted(PAIRS, edits)))
    both = next(finding for finding in found if finding.item == "gradients of mse")
    assert set(both.mistakes) == {"jacobian_diagonal", "biases_divided_twice"}


BAD = {
    "does not import": ("import no_such_module\ndef forward(params, x): pass\n", FAILED, "no_such_module"),
    "no Python": ("def forward(:\n", FAILED, "cannot be read"),
    "raises at import": ("def forward(p, x): pass\nraise SystemExit('gone')\n", FAILED, "gone"),
    "raises": ("def forward(params, x):\n    raise KeyError('W9')\n", FAILED, "W9"),
    "wrong shape": ("def forward(params, x):\n    return x[:, :2]\n", FAILED, "no array of shape"),
    "asks": (
        "def forward(params, x, temperature_like_thing):\n    return x\n",
        UNSURE,
        "temperature_like_thing",
    ),
    "without backward": (
        "class NeuralNetwork:\n    def __init__(self, a):\n        self.layers = []\n"
        "    def forward(self, x):\n        return x\n",
        FAILED,
        "no backward",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(tmp_path, name):
    text, verdict, said = BAD[name]
    (tmp_path / "submission.py").write_text(text)
    found = check_path(tmp_path / "submission.py")
    assert any(finding.verdict == verdict and said in finding.item + finding.note for finding in found), as_table(found)
    assert all("\n" not in finding.note for finding in found)


def test_nothing_to_check(tmp_path):
    (tmp_path / "submission.py").write_text("x = 1\n")
    found = check_path(tmp_path)
    assert found == []
    assert exit_status(found) == 2


def test_other_names_and_orders_by_check(tmp_path):
    text = PLAIN + CONVENTIONS[PAIRS].replace("def gradients(params, x, y,", "def slopes(y, x, params,")
    text += '\nCHECK = {"gradients": "slopes(y, x, params)"}\n'
    (tmp_path / "submission.py").write_text(text)
    found = check_path(tmp_path)
    assert {finding.verdict for finding in found} == {RIGHT}, as_table(found)
    assert "gradients of mse" in {finding.item for finding in found}


def test_a_wrong_forward_pass_is_told_from_a_wrong_gradient(tmp_path):
    """Another activation, with its own right derivative: the gradient is that of its own forward pass."""
    edits = [("return np.tanh(z)", "return np.tanh(z) + 0.1 * z"), ("1 - np.tanh(z) ** 2", "1.1 - np.tanh(z) ** 2")]
    found = check_path(write(tmp_path, planted(PAIRS, edits)))
    verdicts = {finding.item: finding for finding in found}
    assert verdicts["forward (tanh)"].verdict == WRONG
    assert not verdicts["forward (tanh)"].mistakes
    own = [finding for finding in found if "your own forward pass" in finding.note]
    assert own
    assert all(finding.verdict == RIGHT for finding in own)


def test_python_calls():
    space: dict = {}
    exec(PLAIN + CONVENTIONS[PAIRS], space)
    found = interactive.gradients(space["gradients"], space["forward"])
    assert isinstance(found, Findings)
    assert {finding.verdict for finding in found} == {RIGHT}
    assert "gradients of mse" in str(found)
    summed = interactive.gradients(
        lambda params, x, y: [(len(x) * w, len(x) * b) for w, b in space["gradients"](params, x, y, "relu", "mse")]
    )
    assert [finding.verdict for finding in summed] == [UNSURE]
    assert "CHECK" in summed[0].note
    updated = interactive.optimizer(space["update"])
    assert [finding.verdict for finding in updated] == [RIGHT] * 6


def test_the_table_has_what_a_finding_says():
    text = as_table([Finding("adam", WRONG, "from update 1", 0.5, mistakes=("t_from_2",), note="a note")])
    assert all(part in text for part in ("adam", "wrong", "5.0e-01", "from update 1", "t_from_2", "a note"))
