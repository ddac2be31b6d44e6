"""Losses and their derivatives against hand-worked numbers, SciPy and the written-out softmax Jacobian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import special

from mlp_jax.losses import LOSSES, l2_penalty, smooth

LN = np.log


def one_hot(labels, classes):
    return np.eye(classes)[np.asarray(labels)]


def logits_of(probabilities):
    return jnp.asarray(LN(np.asarray(probabilities)), jnp.float32)


@pytest.mark.parametrize(
    ("loss", "probabilities", "target", "value", "delta"),
    [
        ("cross_entropy", [0.5, 0.5], [1, 0], LN(2), [-0.5, 0.5]),
        ("cross_entropy", [0.75, 0.25], [1, 0], LN(4 / 3), [-0.25, 0.25]),
        ("cross_entropy", [0.75, 0.25], [0, 1], LN(4), [0.75, -0.75]),
        ("cross_entropy", [0.1] * 10, [1] + [0] * 9, LN(10), [-0.9] + [0.1] * 9),
        # soft targets: −½ln ¼ − ½ln ¾
        ("cross_entropy", [0.25, 0.75], [0.5, 0.5], 0.5 * LN(16 / 3), [-0.25, 0.25]),
        # mse: mean over the classes; for two classes ∂ℓ/∂z = ±2p₁p₂(p₁ − y₁)
        ("mse", [0.5, 0.5], [1, 0], 0.25, [-0.25, 0.25]),
        ("mse", [0.75, 0.25], [1, 0], 0.0625, [-0.09375, 0.09375]),
        ("mse", [0.1] * 10, [1] + [0] * 9, (0.81 + 9 * 0.01) / 10, [-0.018] + [0.002] * 9),
    ],
)
def test_worked_by_hand(loss, probabilities, target, value, delta):
    logits, targets = logits_of([probabilities]), jnp.asarray([target], jnp.float32)
    np.testing.assert_allclose(LOSSES[loss].value(logits, targets), [value], rtol=1e-6)
    np.testing.assert_allclose(LOSSES[loss].delta(logits, targets), [delta], rtol=1e-5, atol=1e-7)


def test_every_loss_has_an_oracle_here():
    assert set(LOSSES) == {"cross_entropy", "mse"}


def random_case(classes=5, batch=200, soft=False):
    rng = np.random.default_rng(classes)
    logits = rng.normal(size=(batch, classes)) * rng.choice([0.1, 1, 10], size=(batch, 1))
    targets = rng.dirichlet(np.ones(classes), batch) if soft else one_hot(rng.integers(classes, size=batch), classes)
    return logits, targets


@pytest.mark.parametrize("soft", [False, True])
def test_against_scipy_in_float64(soft):
    logits, targets = random_case(soft=soft)
    with jax.enable_x64(True):
        z, y = jnp.asarray(logits), jnp.asarray(targets)
        cross_entropy = -(targets * special.log_softmax(logits, axis=1)).sum(axis=1)
        np.testing.assert_allclose(LOSSES["cross_entropy"].value(z, y), cross_entropy, rtol=1e-13, atol=1e-15)
        mse = ((special.softmax(logits, axis=1) - targets) ** 2).mean(axis=1)
        np.testing.assert_allclose(LOSSES["mse"].value(z, y), mse, rtol=1e-12)


@pytest.mark.parametrize("soft", [False, True])
def test_delta_is_the_product_with_the_whole_softmax_jacobian(soft):
    logits, targets = random_case(soft=soft)
    p = special.softmax(logits, axis=1)
    jacobian = np.stack([np.diag(row) - np.outer(row, row) for row in p])  # ∂p_k/∂z_j
    by_p = {"cross_entropy": -targets / p, "mse": 2 * (p - targets) / p.shape[1]}
    with jax.enable_x64(True):
        z, y = jnp.asarray(logits), jnp.asarray(targets)
        for name, d in by_p.items():
            expected = np.einsum("nkj,nk->nj", jacobian, d)
            np.testing.assert_allclose(LOSSES[name].delta(z, y), expected, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("loss", LOSSES)
def test_delta_is_the_derivative_of_value(loss):
    logits, targets = random_case(soft=True)
    with jax.enable_x64(True):
        z, y = jnp.asarray(logits), jnp.asarray(targets)
        auto = jax.grad(lambda z: LOSSES[loss].value(z, y).sum())(z)
        np.testing.assert_allclose(LOSSES[loss].delta(z, y), auto, rtol=1e-12, atol=1e-15)


finite = st.floats(-50, 50, allow_subnormal=False)


@settings(max_examples=50, deadline=None)
@given(arrays(np.float64, (3, 4), elements=finite), st.floats(-1e3, 1e3))
def test_shift_invariance_of_softmax(logits, shift):
    targets = one_hot([0, 3, 1], 4)
    with jax.enable_x64(True):
        y = jnp.asarray(targets)
        for loss in LOSSES.values():
            for part in loss:
                here, moved = part(jnp.asarray(logits), y), part(jnp.asarray(logits + shift), y)
                np.testing.assert_allclose(here, moved, rtol=1e-9, atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(arrays(np.float64, (3, 4), elements=finite), st.permutations(range(4)))
def test_bounds_and_symmetry(logits, order):
    with jax.enable_x64(True):
        z, y = jnp.asarray(logits), jnp.asarray(one_hot([0, 3, 1], 4))
        for name, loss in LOSSES.items():
            value, delta = np.asarray(loss.value(z, y)), np.asarray(loss.delta(z, y))
            assert (value >= 0).all()
            assert (value <= {"cross_entropy": 100 + LN(4), "mse": 2 / 4}[name]).all()
            # A shift of all logits changes nothing, so the derivative sums to zero.
            np.testing.assert_allclose(delta.sum(axis=1), 0, atol=1e-14)
            np.testing.assert_allclose(
                loss.delta(jnp.asarray(logits[:, order]), jnp.asarray(np.asarray(y)[:, order])),
                delta[:, order],
                atol=1e-14,
            )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_logits_of_ten_thousand(dtype):
    logits = jnp.asarray([[1e4, -1e4, 0], [1e4, -1e4, 0], [-1e4, -1e4, 1e4]], dtype)
    targets = jnp.asarray(one_hot([0, 1, 2], 3), dtype)
    wrong = float(logits[0, 0].astype(jnp.float32) - logits[0, 1].astype(jnp.float32))
    expected = {
        "cross_entropy": ([0, wrong, 0], [[0, 0, 0], [1, -1, 0], [0, 0, 0]]),
        "mse": ([0, 2 / 3, 0], np.zeros((3, 3))),
    }
    for name, (value, delta) in expected.items():
        loss = LOSSES[name]
        assert loss.value(logits, targets).dtype == loss.delta(logits, targets).dtype == dtype
        np.testing.assert_allclose(loss.value(logits, targets).astype(jnp.float32), value, rtol=4e-3)
        np.testing.assert_array_equal(loss.delta(logits, targets).astype(jnp.float32), delta)
        auto = jax.grad(lambda z, loss=loss: loss.value(z, targets).astype(jnp.float32).sum())(logits)
        np.testing.assert_array_equal(auto.astype(jnp.float32), delta)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("dtype", "eps"), [("bfloat16", 2**-8), ("float32", 2**-24)])
def test_lower_precision_is_close_to_float64(loss, dtype, eps):
    logits, targets = random_case()
    logits = np.clip(logits, -8, 8)
    with jax.enable_x64(True):
        z, y = jnp.asarray(logits).astype(dtype), jnp.asarray(targets)
        for part in LOSSES[loss]:
            low = part(z, y.astype(dtype)).astype(jnp.float64)
            np.testing.assert_allclose(low, part(z.astype(jnp.float64), y), rtol=40 * eps, atol=40 * eps)


def test_l2_penalty_by_hand():
    weights = [jnp.asarray([[1.0, -2.0], [3.0, 0.0]]), jnp.asarray([[2.0]])]
    assert l2_penalty(weights, jnp.float32(0.1)) == pytest.approx(0.1 / 2 * (1 + 4 + 9 + 4))
    gradient = jax.grad(lambda w: l2_penalty(w, jnp.float32(0.1)))(weights)
    for g, w in zip(gradient, weights, strict=True):
        np.testing.assert_allclose(g, 0.1 * w, rtol=1e-6)


def test_smoothed_targets_by_hand():
    np.testing.assert_allclose(smooth(jnp.eye(4)[:1], jnp.float32(0.2)), [[0.85, 0.05, 0.05, 0.05]], rtol=1e-6)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_smoothing_mixes_in_the_loss_against_the_uniform_distribution(share):
    """Cross-entropy is linear in the target; mse's minimum over all p is the smoothed target itself."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 5))
    labels = one_hot(rng.integers(5, size=6), 5)
    targets = smooth(jnp.asarray(labels, jnp.float32), jnp.float32(share))
    log_p = np.log(special.softmax(logits, axis=1))
    wanted = -(1 - share) * (labels * log_p).sum(axis=1) - share * log_p.mean(axis=1)
    found = LOSSES["cross_entropy"].value(jnp.asarray(logits, jnp.float32), targets)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    for loss in LOSSES.values():
        np.testing.assert_allclose(loss.delta(jnp.log(targets), targets), np.zeros((6, 5)), atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_the_classes_are_the_last_axis_whatever_stands_before_it(name):
    logits, targets = (jnp.asarray(a.reshape(3, 4, 5), jnp.float32) for a in random_case(batch=12, soft=True))
    loss = LOSSES[name]
    for lane in range(3):
        alone = logits[lane], targets[lane]
        np.testing.assert_allclose(loss.value(logits, targets)[lane], loss.value(*alone), rtol=1e-5)
        np.testing.assert_allclose(loss.delta(logits, targets)[lane], loss.delta(*alone), rtol=1e-5, atol=1e-7)
