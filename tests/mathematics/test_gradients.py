"""The gradient by hand against autodiff, and both against differences of an objective written in NumPy."""

from itertools import pairwise, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from configs.default import get_config
from mlp_jax.gradients import GRADIENTS, objective
from mlp_jax.hparams import split_config
from mlp_jax.losses import LOSSES
from mlp_jax.model import ACTIVATIONS, Layer
from tests.mathematics.test_model import ORACLES
from tests.shared.slow import fast

INPUTS, WIDTH, CLASSES = 3, 4, 10
BATCHES = (1, 33)  # the ends: every size compiles its own operations


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


def case(activation, loss, dropout, decay, depth, batch, seed=0, precision="float64"):
    """static, hparams and the arguments of `objective`, in NumPy; the last row of a batch above one is a filler."""
    config = get_config()
    config.update({"activation": activation, "loss": loss, "weight_decay": decay, "precision": precision})
    config.hidden_sizes = (WIDTH,) * depth
    static, hparams = split_config(config, INPUTS, CLASSES, batch)
    rng = np.random.default_rng(seed)
    params = tuple(Layer(rng.normal(size=(a, b)) / a**0.5, rng.normal(size=b)) for a, b in pairwise(static.sizes))
    targets = np.eye(CLASSES)[rng.integers(CLASSES, size=batch)]
    real = np.ones(batch)
    real[-1] = batch == 1
    masks = tuple((rng.random((batch, WIDTH)) < 0.7) / 0.7 for _ in range(depth)) if dropout else ()
    return static, hparams, (params, rng.normal(size=(batch, INPUTS)), targets, real / real.sum(), masks)


def on_device(arguments, dtype="float64"):
    return jax.tree.map(lambda a: jnp.asarray(a, dtype), arguments)


def both(static, hparams, arguments):
    return [GRADIENTS[name](static, hparams, *arguments) for name in ("backprop", "autodiff")]


def leaf_errors(hand, auto):
    for a, n in zip(jax.tree.leaves(hand), jax.tree.leaves(auto), strict=True):
        total = np.linalg.norm(a) + np.linalg.norm(n)
        yield np.linalg.norm(a - n) / total if total else 0.0


@pytest.mark.parametrize("activation", fast(ACTIVATIONS, ["relu"]))
def test_hand_equals_autodiff(activation):
    # Every loss × dropout × depth; λ and the batch sizes take turns. gradcheck's own test takes the whole product.
    for turn, (loss, dropout) in enumerate(product(LOSSES, (False, True))):
        for depth in range(6):
            decay, batch = (0.0, 0.01)[(turn + depth) % 2], BATCHES[(turn // 2 + depth) % 2]
            static, hparams, arguments = case(activation, loss, dropout, decay, depth, batch, seed=depth)
            ((value, logits), hand), ((auto_value, auto_logits), auto) = both(static, hparams, on_device(arguments))
            assert max(leaf_errors(hand, auto)) <= 1e-12, (loss, dropout, decay, depth)
            np.testing.assert_allclose(value, auto_value, rtol=1e-14)
            np.testing.assert_allclose(logits, auto_logits, rtol=1e-13, atol=1e-14)


def written_objective(static, decay, params, inputs, targets, weights, masks):
    h = inputs
    for index, layer in enumerate(params):
        z = h @ layer.w + layer.b
        if index < len(params) - 1:
            h = ORACLES[static.activation](z) * (masks[index] if masks else 1)
    p = special.softmax(z, axis=1)
    losses = -np.sum(targets * np.log(p), axis=1) if static.loss == "cross_entropy" else np.mean((p - targets) ** 2, 1)
    return np.sum(weights * losses) + decay / 2 * sum(np.sum(layer.w**2) for layer in params)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_both_equal_central_differences_of_numpy(activation, loss):
    static, hparams, arguments = case(activation, loss, True, 0.01, 2, 33, seed=5)
    params, rest = arguments[0], arguments[1:]
    leaves, structure = jax.tree.flatten(params)
    h, numeric = 1e-5, []
    for index, leaf in enumerate(leaves):
        numeric.append(np.zeros_like(leaf))
        for entry in np.ndindex(leaf.shape):
            values = []
            for sign in (1, -1):
                moved = [np.array(other) for other in leaves]
                moved[index][entry] += sign * h
                values.append(written_objective(static, 0.01, jax.tree.unflatten(structure, moved), *rest))
            numeric[-1][entry] = (values[0] - values[1]) / (2 * h)
    n = np.concatenate([leaf.ravel() for leaf in numeric])
    for (value, _), gradient in both(static, hparams, on_device(arguments)):
        a = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)])
        assert np.linalg.norm(a - n) / (np.linalg.norm(a) + np.linalg.norm(n)) <= 1e-7
        np.testing.assert_allclose(value, written_objective(static, 0.01, params, *rest), rtol=1e-12)


def test_hand_equals_autodiff_through_a_norm_of_every_hidden_layer():
    static, hparams, arguments = case("tanh", "cross_entropy", True, 0.01, 2, 33)
    ((_, _), hand), ((_, _), auto) = both(static._replace(norm="layer"), hparams, on_device(arguments))
    assert max(leaf_errors(hand, auto)) <= 1e-12


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_routes_agree_exactly_at_the_kink(activation):
    static, hparams, arguments = case(activation, "cross_entropy", False, 0.0, 2, 33)
    zero = jax.tree.map(np.zeros_like, arguments[0])
    # All zero, and zero in the first layer alone, where something flows back through the kink.
    for params in (zero, (zero[0], *arguments[0][1:]), (zero[0], zero[1], arguments[0][2])):
        (_, hand), (_, auto) = both(static, hparams, on_device((params, *arguments[1:])))
        assert max(leaf_errors(hand, auto)) <= 1e-12


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(sorted(ACTIVATIONS)),
    st.sampled_from(sorted(LOSSES)),
    st.booleans(),
    st.sampled_from([0.0, 0.1]),
    st.integers(0, 5),
    st.sampled_from(BATCHES),
    st.integers(0, 2**32 - 1),
)
def test_hand_equals_autodiff_for_any_seed(activation, loss, dropout, decay, depth, batch, seed):
    static, hparams, arguments = case(activation, loss, dropout, decay, depth, batch, seed)
    (_, hand), (_, auto) = both(static, hparams, on_device(arguments))
    assert max(leaf_errors(hand, auto)) <= 1e-12


def assert_same_bits(left, right):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_lambda_zero_equals_no_term_bit_for_bit(gradient):
    static, hparams, arguments = case("tanh", "cross_entropy", False, 0.0, 2, 33)
    arguments = on_device(arguments)
    assert not static.l2
    with_term = GRADIENTS[gradient](static._replace(l2=True), hparams, *arguments)
    assert_same_bits(with_term, GRADIENTS[gradient](static, hparams, *arguments))


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_dropout_zero_equals_none_bit_for_bit(gradient):
    static, hparams, arguments = case("tanh", "cross_entropy", False, 0.0, 2, 33)
    arguments = on_device(arguments)
    ones = tuple(jnp.ones((33, WIDTH)) for _ in range(2))  # what dropout_masks draws at rate 0
    with_masks = GRADIENTS[gradient](static, hparams, *arguments[:-1], ones)
    assert_same_bits(with_masks, GRADIENTS[gradient](static, hparams, *arguments))


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_short_batch_divides_by_its_own_size(gradient):
    static, hparams, arguments = case("relu", "mse", False, 0.01, 2, 33)
    params, inputs, targets, weights, masks = on_device(arguments)
    filled = GRADIENTS[gradient](static, hparams, params, inputs, targets, weights, masks)
    short = GRADIENTS[gradient](static, hparams, params, inputs[:32], targets[:32], jnp.full(32, 1 / 32), masks)
    assert max(leaf_errors(filled[1], short[1])) <= 1e-12
    np.testing.assert_allclose(filled[0][0], short[0][0], rtol=1e-13)


def test_weight_decay_leaves_biases_alone():
    for name in GRADIENTS:
        static, hparams, arguments = case("tanh", "cross_entropy", False, 0.1, 2, 33)
        arguments = on_device(arguments)
        (_, with_term), (_, without) = (
            GRADIENTS[name](static._replace(l2=l2), hparams, *arguments) for l2 in (True, False)
        )
        for layer, decayed, plain in zip(arguments[0], with_term, without, strict=True):
            np.testing.assert_allclose(decayed.w - plain.w, 0.1 * layer.w, rtol=1e-6, atol=1e-12)
            np.testing.assert_array_equal(decayed.b, plain.b)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_loss_of_small_weights_is_that_of_guessing(activation):
    static, hparams, arguments = case(activation, "cross_entropy", False, 0.0, 2, 33)
    small = tuple(Layer(1e-3 * layer.w, 0 * layer.b) for layer in arguments[0])
    value, _ = objective(static, hparams, *on_device((small, *arguments[1:])))
    assert value == pytest.approx(np.log(CLASSES), abs=1e-2)


@pytest.mark.parametrize("precision", fast(["float32", "bfloat16"], ["bfloat16"]))
def test_routes_agree_in_lower_precision(precision):
    static, hparams, arguments = case("relu", "cross_entropy", True, 0.01, 2, 33, precision=precision)
    (_, hand), (_, auto) = both(static, hparams, on_device(arguments, "float32"))
    assert {str(leaf.dtype) for leaf in jax.tree.leaves((hand, auto))} == {"float32"}
    assert max(leaf_errors(hand, auto)) <= {"float32": 1e-5, "bfloat16": 2e-2}[precision]
