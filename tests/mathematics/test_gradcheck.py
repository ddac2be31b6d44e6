"""The gradient check itself: it passes where the gradient is right, and above all fails where it is wrong."""

import types
from itertools import product

import jax.numpy as jnp
import numpy as np
import pytest

from configs.default import get_config
from mlp_jax import gradcheck, gradients, losses, model
from mlp_jax.hparams import split_config
from tests.shared.sign_flips import FLIPS, ROOT, Flip, flipped

TABLES = {"model.py": ("ACTIVATIONS", "NORMS"), "losses.py": ("LOSSES", "TERMS"), "gradients.py": ("GRADIENTS",)}


pytestmark = pytest.mark.usefixtures("x64")


def tiny(**fields):
    """Static and Hparams of a 3-2-2-2 net."""
    config = get_config()
    config.update({"hidden_sizes": (2, 2), "weight_decay": 1e-3, **fields})
    return split_config(config, 3, 2, 4)


def check(**fields):
    return gradcheck.check(*tiny(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        *({"activation": name} for name in ("relu", "gelu")),
        *(pytest.param({"activation": name}, marks=pytest.mark.slow) for name in model.ACTIVATIONS),
        {"activation": "relu", "norm": "layer", "label_smoothing": 0.3, "hidden_sizes": (5, 4)},
        {"activation": "relu", "noise": 0.3, "confidence_penalty": 0.2, "vat_weight": 0.7, "vat_xi": 1e-6},
    ],
    ids=str,
)
def test_right_gradients_pass(fields):
    rows = check(**fields)
    assert all(row.passed for row in rows), rows
    assert [(row.loss, row.dropout, row.l2) for row in rows] == [
        (loss, dropout, l2) for dropout in (True, False) for loss in losses.LOSSES for l2 in (True, False)
    ]


@pytest.mark.parametrize("flip", FLIPS, ids=lambda flip: flip.new)
def test_every_flipped_sign_is_noticed(flip: Flip, monkeypatch):
    real = {"model.py": model, "losses.py": losses, "gradients.py": gradients}[flip.file]
    module = types.ModuleType(f"mlp_jax.{flip.file.removesuffix('.py')}_with_a_flip")
    exec(compile(flipped(flip, (ROOT / "mlp_jax" / flip.file).read_text()), flip.file, "exec"), module.__dict__)
    for table in TABLES[flip.file]:
        for name, row in getattr(module, table).items():
            monkeypatch.setitem(getattr(real, table), name, row)
    sizes = {"hidden_sizes": (4, 4)} if flip.norm != "none" else {}  # of two neurons a norm leaves only signs
    fields = {"activation": flip.activation or "tanh", "norm": flip.norm, **({flip.term: 0.5} if flip.term else {})}
    failed = [row for row in check(**fields, **sizes) if not row.passed]
    assert failed
    # Both oracles saw it.
    assert max(row.autodiff for row in failed) > 1e-3
    assert max(row.differences for row in failed) > 1e-5


def test_flips_touch_every_activation_and_every_file():
    assert {flip.activation for flip in FLIPS if flip.activation} == set(model.ACTIVATIONS)
    assert {flip.file for flip in FLIPS} == set(TABLES)


def with_rows(monkeypatch, errors_of):
    """Lets `check` find one row an objective, with the errors that `errors_of` says of the activation."""

    def check(static, hparams):
        products = product(losses.LOSSES, (True, False), (True, False))
        return [gradcheck.Row(static.activation, *row, *errors_of(static.activation)) for row in products]

    monkeypatch.setattr(gradcheck, "check", check)


@pytest.mark.parametrize(("dataset", "inputs"), [("digits", 64), ("mnist", 784), ("/a/folder", 784)])
def test_the_report_marks_the_configs_own_combination_and_counts_rows(dataset, inputs, monkeypatch):
    with_rows(monkeypatch, lambda activation: (0.0, 0.0))
    config = get_config()
    config.update({"activation": "gelu", "loss": "mse", "dropout_rate": 0.5, "hidden_sizes": (7, 5)})
    config.update({"dataset": dataset, "noise": 0.1, "vat_weight": 1.0, "label_smoothing": 0.1})
    text, passed = gradcheck.report(config)
    lines = text.splitlines()
    assert passed
    assert lines[0].startswith(f"{inputs}-7-5-10,")
    assert lines[0].endswith(
        "-10, smoothed, noise, adversarial, float64, 4 examples; * marks the config's own combination"
    )
    assert len(lines) == 2 + 8 * 8 + 1
    (marked,) = [line for line in lines[1:] if line.startswith("*")]
    assert marked.split()[1:5] == ["gelu", "mse", "0.3", "-"]
    assert lines[-1].startswith("64 of 64 within 1e-12")


@pytest.mark.parametrize("errors", [(2e-12, 0.0), (0.0, 2e-7), (np.nan, 0.0), (0.0, np.nan), (np.inf, 0.0)])
def test_one_row_past_tolerance_fails_the_report(errors, monkeypatch):
    with_rows(monkeypatch, lambda activation: errors if activation == "gelu" else (0.0, 0.0))
    text, passed = gradcheck.report(get_config())
    assert not passed
    assert text.count("WRONG") == 8
    assert text.splitlines()[-1].startswith("56 of 64 ")


def test_a_crossed_kink_redraws_the_point(monkeypatch):
    drawn = []
    draw = gradcheck._draw

    def near_a_kink_at_first(static, hparams, dropout, rng):
        point = draw(static, hparams, dropout, rng)
        if len(drawn) < 2 * gradcheck.CANDIDATES:  # two attempts whose first pre-activation is exactly 0
            first = point.params[0]
            nearer = first.b.at[0].set(-(point.step.inputs[0] @ first.w[:, 0]))
            point = point._replace(params=(first._replace(b=nearer), *point.params[1:]))
        drawn.append(point)
        return point

    monkeypatch.setattr(gradcheck, "_draw", near_a_kink_at_first)
    assert all(row.passed for row in check(activation="relu"))
    # Three attempts with dropout, one without.
    assert len(drawn) == 4 * gradcheck.CANDIDATES


def test_probed_parameters():
    np.testing.assert_array_equal(gradcheck._probed_entries((3, 2, 2)), np.arange(14))
    sizes = (64, 30, 10)  # 1920 + 30 + 300 + 10 = 2260 parameters
    entries = gradcheck._probed_entries(sizes)
    biases = {*range(1920, 1950), *range(2250, 2260)}
    assert len(entries) == len(set(entries)) == 240
    assert biases < set(entries.tolist())
    assert 0 <= min(entries) <= max(entries) < 2260


def test_directions_are_different_unit_vectors_beyond_2000_parameters():
    # The product of d = (±1, …)/√n with a one-hot "gradient" is ±1/√n.
    static, hparams = tiny(precision="float64")
    static = static._replace(sizes=(64, 30, 10))
    point = gradcheck._draw(static, hparams, False, np.random.default_rng(0))
    n = 64 * 30 + 30 + 30 * 10 + 10
    gradient = jnp.zeros((1, n)).at[0, 7].set(1)
    entries = jnp.asarray([7, 8])
    products, quotients, _ = gradcheck._along_probes((static,), hparams, point, gradient, entries)
    assert len(products) == 2 + gradcheck.DIRECTIONS
    np.testing.assert_array_equal(products[:2, 0], [1, 0])
    np.testing.assert_allclose(np.abs(products[2:, 0]), n**-0.5, rtol=1e-12)
    assert len({float(value) for value in quotients[2:, 0]}) == gradcheck.DIRECTIONS


def test_relative_error():
    assert gradcheck.relative_error(np.array([3.0, 0.0]), np.array([0.0, 4.0])) == pytest.approx(5 / 7)
    assert gradcheck.relative_error(np.zeros(3), np.zeros(3)) == 0
    assert gradcheck.relative_error(np.zeros(3), np.full(3, 1e-100)) == 1
    assert np.isnan(gradcheck.relative_error(np.array([np.nan]), np.array([1.0])))


def test_a_gradient_that_is_not_finite_fails(monkeypatch):
    right = gradients.GRADIENTS["backprop"]

    def not_finite(*arguments):
        value, gradient = right(*arguments)
        return value, (*gradient[:-1], gradient[-1]._replace(b=gradient[-1].b * jnp.nan))

    monkeypatch.setitem(gradients.GRADIENTS, "backprop", not_finite)
    assert not any(row.passed for row in check(activation="tanh"))


@pytest.mark.slow
def test_the_default_config_passes():
    text, passed = gradcheck.report(get_config())
    assert passed, text
    assert "784-128-128-128-10" in text
