"""train.py and inference.py of a submission: every flag that has no effect is named, and no other."""

import json

import numpy as np
import pytest

from mlp_jax.check import marking
from mlp_jax.check.findings import FAILED, RIGHT, UNSURE, WRONG
from tests.shared.submissions import write

LEARNING_RATE = "q -= args.learning_rate * g"


def findings(folder, **changes):
    found = marking.submission(write(folder / "theirs", **changes), 0, "").findings
    return {f.item: f for f in found if f.item.startswith(("train.py", "src/"))}


def not_right(found):
    return {item: (f.verdict, f.note or f.found) for item, f in found.items() if f.verdict != RIGHT}


def test_every_flag_of_a_right_program_has_an_effect(tmp_path):
    found = findings(tmp_path)
    assert not_right(found) == {}
    flags = ["-d", "-e", "-b", "-l", "-o", "-lr", "-m", "-wd", "-nhl", "-sz", "-a", "-w_i"]
    assert {f"train.py {flag}" for flag in flags} <= set(found)
    assert "momentum, nag, rmsprop, adam" in found["train.py -o"].note


@pytest.mark.parametrize(
    ("item", "old", "new"),
    [
        ("train.py -wd", "args.weight_decay * ws[l]", "0 * ws[l]"),
        ("train.py -lr", LEARNING_RATE, "q -= 0.01 * g"),
        ("train.py -m", "args.momentum * u + g\n", "0.9 * u + g\n"),
        ("train.py -a", '"relu": lambda a: 1.0 * (a > 0)}', '"relu": lambda a: 1 - a * a}\nF["relu"] = np.tanh'),
        ("train.py -o", 'g = g + args.momentum * u if args.optimizer == "nag" else u', "g = u"),
        ("train.py -b", "for epoch in", "args.batch_size = 32\n    for epoch in"),
        ("train.py -l", 'if args.loss == "mean_squared_error"', "if False"),
        ("train.py last line", 'print(f"Test accuracy: {accuracy:.4f}")', 'print("done")'),
    ],
)
def test_a_flag_without_effect_is_named(tmp_path, item, old, new):
    found = not_right(findings(tmp_path, train=(old, new)))
    assert set(found) == {item}
    assert found[item][0] == WRONG


def test_figures_are_compared_where_no_weights_are_saved(tmp_path):
    """The values of the flags themselves, which many programs print, are no effect."""
    old = "q -= args.learning_rate * g"
    found = not_right(findings(tmp_path, train=(old, "q -= 0.01 * g; args.model_save_path = 'w.txt.npz'")))
    assert "train.py -lr" in found


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("import wandb", "import torchvision_of_nobody", "torchvision_of_nobody"),
        ("    args = parse()\n", "    return\n", "without reading its flags"),
        ("    rng = np.random.default_rng()\n", "    raise ValueError('no data')\n", "no data"),
        (
            "    rng = np.random.default_rng()\n",
            "    import os; os._exit(0)\n",
            "it was at: src/train.py --model_save_path",
        ),
    ],
)
def test_what_cannot_be_run_is_one_line(tmp_path, old, new, words):
    found = not_right(findings(tmp_path, train=(old, new)))
    assert found["train.py"][0] == FAILED
    assert words in found["train.py"][1]


def test_missing_flags_and_words_are_named(tmp_path):
    old = 'p.add_argument("-wd", "--weight_decay", type=float, default=0.0)'
    assert (
        "there is no flag"
        in findings(tmp_path / "a", train=(old, "p.set_defaults(weight_decay=0)"))["train.py -wd"].note
    )
    found = findings(tmp_path / "b", train=('"nag", "rmsprop", "adam"]', '"rmsprop"]'))["train.py -o"]
    assert (found.verdict, found.note) == (FAILED, "it does not offer nesterov")


def test_without_a_seed_nothing_is_claimed(tmp_path):
    old = "rng = np.random.default_rng()"
    found = findings(tmp_path, train=(old, "import os; rng = np.random.default_rng(list(os.urandom(8)))"))
    assert found["train.py -lr"].verdict == UNSURE


def model(folder, scale=1.0):
    rng = np.random.default_rng(0)
    value = {
        "W0": scale * rng.normal(size=(784, 8)),
        "b0": np.zeros(8),
        "W1": rng.normal(size=(8, 10)),
        "b1": np.ones(10),
    }
    np.save(folder / "src" / "best_model.npy", value)
    config = {"activation": "tanh", "hidden_size": [8], "num_layers": 1, "dataset": "mnist"}
    (folder / "src" / "best_config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ("", "", RIGHT),
        ("{np.mean(guess == y):.4f}", "{100 * np.mean(guess == y):.1f} %", RIGHT),
        ("/ 255", "/ 1", RIGHT),
        ("guess = z.argmax(axis=1)", "guess = z.argmin(axis=1)", UNSURE),
        ("json.load", "json.loads", FAILED),
    ],
)
def test_figures_of_inference(tmp_path, old, new, verdict):
    folder = write(tmp_path / "theirs", inference=(old, new))
    (folder / "src" / "train.py").write_text(
        (folder / "src" / "train.py").read_text().replace("    args = parse", "    return")
    )
    model(folder)
    found = {f.item: f for f in marking.submission(folder, 0, str(tmp_path)).findings}
    assert found["src/inference.py"].verdict == verdict, found["src/inference.py"]
