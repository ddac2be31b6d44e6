"""Losses and their derivatives against hand-worked numbers, SciPy and the written-out softmax Jacobian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import special

from mlp_jax.losses import LOSSES, TERMS, l2_penalty, smooth

LN = np.log
pytestmark = pytest.mark.usefixtures("x64")


def one_hot(labels, classes):
    return np.eye(classes)[np.asarray(labels)]


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
    logits, targets = jnp.asarray([LN(probabilities)], jnp.float32), jnp.asarray([target], jnp.float32)
    np.testing.assert_allclose(LOSSES[loss].value(logits, targets), [value], rtol=1e-6)
    np.testing.assert_allclose(LOSSES[loss].delta(logits, targets), [delta], rtol=1e-5, atol=1e-7)


def random_case(classes=5, batch=200, soft=False):
    rng = np.random.default_rng(classes)
    logits = rng.normal(size=(batch, classes)) * rng.choice([0.1, 1, 10], size=(batch, 1))
    targets = rng.dirichlet(np.ones(classes), batch) if soft else one_hot(rng.integers(classes, size=batch), classes)
    return logits, targets


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_values_are_scipys_and_deltas_the_product_with_the_whole_softmax_jacobian(name, soft):
    logits, targets = random_case(soft=soft)
    p = special.softmax(logits, axis=1)
    jacobian = np.stack([np.diag(row) - np.outer(row, row) for row in p])  # ∂p_k/∂z_j
    value, by_p = {
        "cross_entropy": (-(targets * special.log_softmax(logits, axis=1)).sum(axis=1), -targets / p),
        "mse": (((p - targets) ** 2).mean(axis=1), 2 * (p - targets) / p.shape[1]),
    }[name]
    z, y, loss = jnp.asarray(logits), jnp.asarray(targets), LOSSES[name]
    np.testing.assert_allclose(loss.value(z, y), value, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(loss.delta(z, y), np.einsum("nkj,nk->nj", jacobian, by_p), rtol=1e-9, atol=1e-13)
    by_jax = jax.grad(lambda z: loss.value(z, y).sum())(z)
    np.testing.assert_allclose(loss.delta(z, y), by_jax, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", TERMS)
def test_terms_are_scipys_and_their_deltas_central_differences(name):
    logits, _ = random_case()
    believed = random_case()[0][::-1]
    q = special.softmax(believed, axis=1)

    def written(z):
        p = special.softmax(z, axis=1)
        return {"confidence": -special.entr(p), "divergence": special.rel_entr(q, p)}[name].sum(axis=1)

    z, other, h = jnp.asarray(logits), jnp.asarray(believed), 1e-5
    np.testing.assert_allclose(TERMS[name].value(z, other), written(logits), rtol=1e-9, atol=1e-12)
    numeric = [(written(logits + h * d) - written(logits - h * d)) / (2 * h) for d in np.eye(5)]
    np.testing.assert_allclose(TERMS[name].delta(z, other), np.stack(numeric, axis=1), rtol=1e-6, atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(
    arrays(np.float64, (3, 4), elements=st.floats(-50, 50, allow_subnormal=False)),
    st.floats(-1e3, 1e3),
    st.permutations(range(4)),
)
def test_bounds_symmetry_and_shift_invariance(logits, shift, order):
    z, y = jnp.asarray(logits), jnp.asarray(one_hot([0, 3, 1], 4))
    permuted = jnp.asarray(logits[:, order]), y[:, np.array(order)]
    for name, loss in LOSSES.items():
        value, delta = np.asarray(loss.value(z, y)), np.asarray(loss.delta(z, y))
        assert (value >= 0).all()
        assert (value <= {"cross_entropy": 100 + LN(4), "mse": 2 / 4}[name]).all()
        # A shift of all logits changes nothing, so the derivative sums to zero.
        np.testing.assert_allclose(delta.sum(axis=1), 0, atol=1e-14)
        np.testing.assert_allclose(loss.delta(*permuted), delta[:, order], atol=1e-14)
        np.testing.assert_allclose(loss.value(z + shift, y), value, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(loss.delta(z + shift, y), delta, rtol=1e-9, atol=1e-9)


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
    z, y = jnp.asarray(np.clip(logits, -8, 8)).astype(dtype), jnp.asarray(targets)
    for part in LOSSES[loss]:
        low = part(z, y.astype(dtype)).astype(jnp.float64)
        np.testing.assert_allclose(low, part(z.astype(jnp.float64), y), rtol=40 * eps, atol=40 * eps)


def test_l2_penalty_by_hand():
    weights = [jnp.asarray([[1.0, -2.0], [3.0, 0.0]]), jnp.asarray([[2.0]])]
    assert l2_penalty(weights, jnp.float64(0.1)) == pytest.approx(0.1 / 2 * (1 + 4 + 9 + 4))
    gradient = jax.grad(lambda w: l2_penalty(w, jnp.float64(0.1)))(weights)
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, 0.1 * w, rtol=1e-6), gradient, weights)


def test_smoothing_mixes_in_the_loss_against_the_uniform_distribution():
    """Cross-entropy is linear in the target; mse's minimum over all p is the smoothed target itself."""
    logits, labels = random_case(batch=6)
    targets = smooth(jnp.asarray(labels), jnp.float64(0.2))
    np.testing.assert_allclose(targets, 0.8 * labels + 0.04)
    log_p = special.log_softmax(logits, axis=1)
    wanted = -0.8 * (labels * log_p).sum(axis=1) - 0.2 * log_p.mean(axis=1)
    np.testing.assert_allclose(LOSSES["cross_entropy"].value(jnp.asarray(logits), targets), wanted, rtol=1e-12)
    for loss in LOSSES.values():
        np.testing.assert_allclose(loss.delta(jnp.log(targets), targets), np.zeros((6, 5)), atol=1e-14)


@pytest.mark.parametrize("name", LOSSES)
def test_the_classes_are_the_last_axis_whatever_stands_before_it(name):
    flat = tuple(jnp.asarray(a) for a in random_case(batch=12, soft=True))
    lanes = tuple(a.reshape(3, 4, 5) for a in flat)
    for part in LOSSES[name]:
        together = part(*lanes)
        np.testing.assert_allclose(together.reshape(12, *together.shape[2:]), part(*flat), rtol=1e-12, atol=1e-15)
