"""The assignment's 18 flags: every one changes the config that is trained, in every spelling; mistakes are one line."""

import subprocess
import sys
from pathlib import Path

import pytest

import train
from mlp_jax.errors import UserError, as_flag
from train import FLAGS, to_config

VALUES = {
    "wandb_project": "other",
    "wandb_entity": "me",
    "dataset": "mnist",
    "num_epochs": 3,
    "batch_size": 16,
    "loss": "mean_squared_error",
    "optimizer": "nag",
    "learning_rate": 0.25,
    "momentum": 0.5,
    "beta": 0.25,
    "beta1": 0.25,
    "beta2": 0.5,
    "eps": 0.125,
    "weight_decay": 0.5,
    "init": "random",
    "num_layers": 2,
    "hidden_size": 7,
    "activation": "tanh",
}


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag[0])
@pytest.mark.parametrize("form", ["{short} {value}", "{long}={value}", "-{name} {value}", "-{name}={value}"])
def test_every_flag_changes_the_config(flag, form):
    short, long, field, _, _ = flag
    text = form.format(short=short, long=long, name=long[2:], value=VALUES[field])
    config, plain = to_config(text.split()), to_config([])
    assert config != plain
    changed = {name for name in config if config[name] != plain[name]}
    names = {"num_layers": "hidden_sizes", "hidden_size": "hidden_sizes"}
    assert changed - {"tracker"} == {names.get(field, field)}
    if field not in names and field not in ("loss", "optimizer"):
        assert config[field] == VALUES[field]


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ("-w_i Xavier", "init", "xavier"),
        ("-w_i xavier", "init", "xavier"),
        ("-a ReLU", "activation", "relu"),
        ("-a RELU", "activation", "relu"),
        ("-o nag", "optimizer", "nesterov"),
        ("-o nesterov", "optimizer", "nesterov"),
        ("-o NADAM", "optimizer", "nadam"),
        ("-l mse", "loss", "mse"),
        ("-l mean_squared_error", "loss", "mse"),
        ("-wd 0.5", "weight_decay", 0.5),
        ("-lr 1e-2", "learning_rate", 0.01),
        ("-sz 64", "hidden_sizes", (64, 64, 64)),
        ("-nhl 2 -sz 64", "hidden_sizes", (64, 64)),
        ("-sz 64 32", "hidden_sizes", (64, 32)),
        ("-nhl 2 -sz 64,32", "hidden_sizes", (64, 32)),
        ("-nhl 0", "hidden_sizes", ()),
        ("-d fmnist", "dataset", "fashion_mnist"),
        ("-wp p", "tracker", "wandb"),
        ("-we e", "tracker", "wandb"),
        ("", "tracker", "none"),
    ],
)
def test_the_spellings_people_use(given, field, value):
    assert to_config(given.split())[field] == value


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("-o adamw", "-o 'adamw' nag, rmsprop"),
        ("-a relue", "-a did you mean ReLU"),
        ("-a relux", "-a 'relux' did you mean ReLU?"),
        ("--epoch 3", "--epoch did you mean --epochs?"),
        ("-b many", "-b many whole number"),
        ("-e 0", "-e 0 whole number from 1"),
        ("-lr -1", "-lr above 0"),
        ("-d fashoin_mnist --epochs", "--epochs expected one argument"),
        ("-m 1.5", "-m 1.5"),
        ("-nhl three", "-nhl 'three'"),
        ("-nhl ²", "-nhl '²'"),
        ("-nhl " + 5000 * "9", "-nhl '999 1000"),
        ("-nhl -1", "-nhl"),
        ("-sz 0", "-sz '0'"),
        ("-sz 64 32 -nhl 3", "-sz 2 widths -nhl 3"),
        ("--learnig_rate=1", "--learnig_rate did you mean --learning_rate?"),
        ("stray", "stray"),
        ("-beta1 1", "-beta1"),
        ("-w_i orthogonal", "-w_i 'orthogonal' Xavier"),
        ("-l hinge", "-l 'hinge' mean_squared_error"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_flag(given, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train.main(given.split()) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("train.py: ")
    assert error.count("\n") == 1
    for word in words.split(" "):
        assert word in error, error
    assert list(tmp_path.iterdir()) == []


def test_help_shows_defaults_and_choices():
    script = Path(train.__file__)
    done = subprocess.run([sys.executable, str(script), "--help"], capture_output=True, text=True, check=True)
    assert len(FLAGS) == 18
    for short, long, _, default, _ in FLAGS:
        assert [word for word in (short, long, as_flag(default)) if word not in done.stdout] == []
    assert "sgd, momentum, nag, rmsprop, adam, nadam, muon" in " ".join(done.stdout.split())


def test_a_depth_between_odd_blanks_is_read():
    assert to_config(["-nhl", "\x1c2"])["hidden_sizes"] == (128, 128)


@pytest.mark.parametrize("depth", ["²", "-1", "9" * 5000])
def test_a_depth_that_is_none_is_refused(depth):
    with pytest.raises(UserError, match="-nhl"):
        to_config([f"-nhl={depth}"])
