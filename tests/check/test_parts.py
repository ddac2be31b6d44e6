"""Initialisers, dropout, splits and metrics as plain functions: what is right, and which mistake their numbers show."""

import pytest

from mlp_jax.check import interactive
from mlp_jax.check.findings import FAILED, RIGHT, UNSURE, WRONG, as_table
from mlp_jax.check.found import check_path

NORMAL = "np.random.randn(n_in, n_out)"
XAVIER = (
    "def xavier(n_in, n_out):\n    limit = np.sqrt({})\n    return np.random.uniform(-limit, limit, (n_in, n_out))\n"
)
DROPOUT = "def dropout(a, rate):\n    return a * (np.random.rand(*a.shape) {})\n"
SPLIT = "def train_val_split(x, y, fraction, seed):\n    order = np.random.default_rng(seed).permutation(len(x))\n{}"
PARTS = "    n = int(len(x) * fraction)\n    a, b = order[n:], order[:n]\n    return x[a], x[b], y[{}], y[b]\n"
CASES = {
    "xavier": (XAVIER.format("6 / (n_in + n_out)"), RIGHT, ()),
    "its normal form": (f"def xavier(n_in, n_out):\n    return {NORMAL} * np.sqrt(2 / (n_in + n_out))\n", UNSURE, None),
    "fan-in": (XAVIER.format("3 / n_in"), WRONG, ("xavier_fan_in",)),
    "fan-out": (XAVIER.format("3 / n_out"), WRONG, ("xavier_fan_out",)),
    "limit as deviation": (
        f"def xavier(n_in, n_out):\n    return {NORMAL} * np.sqrt(6 / (n_in + n_out))\n",
        WRONG,
        ("xavier_limit_as_deviation",),
    ),
    "no known one": (XAVIER.format("40 / n_in"), WRONG, ()),
    "he": (f"def he(n_in, n_out):\n    return {NORMAL} * np.sqrt(2 / n_in)\n", RIGHT, ()),
    "he by outputs": (f"def he(n_in, n_out):\n    return {NORMAL} * np.sqrt(2 / n_out)\n", WRONG, ("he_fan_out",)),
    "unscaled": (f"def he(n_in, n_out):\n    return {NORMAL}\n", WRONG, ("random_unscaled",)),
    "no array": ("def he(n_in, n_out):\n    return 1\n", UNSURE, ()),
    "dropout": (DROPOUT.format(">= rate) / (1 - rate"), RIGHT, ()),
    "dropout not scaled": (DROPOUT.format(">= rate"), WRONG, ("dropout_not_scaled",)),
    "dropout scaled by rate": (DROPOUT.format(">= rate) / (rate"), WRONG, ("dropout_divided_by_rate",)),
    "split": (SPLIT.format(PARTS.format("a")), RIGHT, ()),
    "labels apart": (SPLIT.format(PARTS.format("a[::-1]")), WRONG, ("split_labels_apart",)),
    "one thing": (SPLIT.format("    return x\n"), UNSURE, ()),
    "accuracy": ("def accuracy(y_true, y_pred):\n    return np.mean(y_true == y_pred)\n", RIGHT, ()),
    "accuracy of errors": ("def accuracy(y_true, y_pred):\n    return np.mean(y_true != y_pred)\n", WRONG, ()),
    "an accuracy that raises": ("def accuracy(y_true, y_pred):\n    raise KeyError('y')\n", UNSURE, ()),
}


@pytest.mark.parametrize("case", CASES)
def test_a_part_is_judged_by_its_numbers(tmp_path, case):
    text, verdict, mistakes = CASES[case]
    (tmp_path / "mine.py").write_text(f"import numpy as np\n\n\n{text}")
    (one,) = check_path(tmp_path / "mine.py")
    assert one.verdict == verdict, as_table([one])
    assert mistakes is None or one.mistakes == mistakes
    assert "\n" not in one.note


def test_a_network_that_is_no_network_is_one_line():
    for thing in (object, object()):
        found = interactive.network(thing)
        assert found
        assert {one.verdict for one in found} <= {FAILED, UNSURE}


LOGGED = """
import matplotlib.pyplot as plt
import numpy as np
import wandb
from keras.datasets import mnist
from tqdm import tqdm

with wandb.init(project="p") as run:
    if wandb.run:
        raise SystemExit
    for epoch in tqdm(range(2)):
        run.log({"epoch": epoch})
for row in wandb.Api().runs("p"):
    row["name"]
figure, axes = plt.figure(), plt.gca()
axes.plot([1, 2])
wandb.agent("id", lambda: None)
wandb.Table(columns=["a"]).add_data(1)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))
"""


def test_what_a_file_only_logs_with_is_no_obstacle(tmp_path):
    (tmp_path / "mine.py").write_text(LOGGED)
    (one,) = check_path(tmp_path / "mine.py")
    assert (one.item, one.verdict) == ("sigmoid", RIGHT), as_table([one])
