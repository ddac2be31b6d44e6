"""The gradient by hand against autodiff, and both against differences of an objective written in NumPy."""

from itertools import pairwise, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from configs.default import get_config
from mlp_jax.gradients import GRADIENTS, Step
from mlp_jax.hparams import split_config
from mlp_jax.losses import LOSSES
from mlp_jax.model import ACTIVATIONS, Layer
from tests.shared import reference_activations
from tests.shared.slow import fast

INPUTS, WIDTH, CLASSES = 3, 4, 10
BATCHES = (1, 33)  # the ends: every size compiles its own operations
pytestmark = pytest.mark.usefixtures("x64")
every_gradient = pytest.mark.parametrize("gradient", GRADIENTS.values(), ids=GRADIENTS)


def case(activation="tanh", loss="cross_entropy", dropout=False, decay=0.0, depth=2, batch=33, **fields):
    """What `GRADIENTS` take, in NumPy; the last row of a batch above one is a filler."""
    config = get_config()
    config.update({"activation": activation, "loss": loss, "weight_decay": decay, "precision": "float64", **fields})
    config.hidden_sizes = (WIDTH,) * depth
    static, hparams = split_config(config, INPUTS, CLASSES, batch)
    rng = np.random.default_rng(depth)
    params = tuple(Layer(rng.normal(size=(a, b)) / a**0.5, rng.normal(size=b)) for a, b in pairwise(static.sizes))
    targets = np.eye(CLASSES)[rng.integers(CLASSES, size=batch)]
    real = np.ones(batch)
    real[-1] = batch == 1
    masks = tuple((rng.random((batch, WIDTH)) < 0.7) / 0.7 for _ in range(depth)) if dropout else ()
    return static, hparams, params, Step(rng.normal(size=(batch, INPUTS)), targets, real / real.sum(), masks)


def on_device(arguments, dtype="float64"):
    return *arguments[:2], *jax.tree.map(lambda a: jnp.asarray(a, dtype), arguments[2:])


def error(hand, auto):
    """Of the worst leaf, relative."""
    errors = []
    for a, n in zip(jax.tree.leaves(hand), jax.tree.leaves(auto), strict=True):
        total = np.linalg.norm(a) + np.linalg.norm(n)
        errors.append(np.linalg.norm(a - n) / total if total else 0.0)
    return max(errors)


def both(arguments, dtype="float64"):
    return [GRADIENTS[name](*on_device(arguments, dtype)) for name in ("backprop", "autodiff")]


@pytest.mark.parametrize("activation", fast(ACTIVATIONS, ["relu"]))
def test_hand_equals_autodiff(activation):
    # Every loss × dropout × depth; λ and the batch sizes take turns. gradcheck's own test has the whole product.
    for turn, (loss, dropout) in enumerate(product(LOSSES, (False, True))):
        for depth in range(6):
            decay, batch = (0.0, 0.01)[(turn + depth) % 2], BATCHES[(turn // 2 + depth) % 2]
            ((value, logits), hand), ((auto_value, auto_logits), auto) = both(
                case(activation, loss, dropout, decay, depth, batch)
            )
            assert error(hand, auto) <= 1e-12, (loss, dropout, decay, depth)
            np.testing.assert_allclose(value, auto_value, rtol=1e-14)
            np.testing.assert_allclose(logits, auto_logits, rtol=1e-13, atol=1e-14)


def test_hand_equals_autodiff_through_a_norm():
    (_, hand), (_, auto) = both(case(dropout=True, decay=0.01, norm="layer"))
    assert error(hand, auto) <= 1e-12


def written_objective(static, decay, params, step):
    h = step.inputs
    for index, layer in enumerate(params):
        z = h @ layer.w + layer.b
        if index < len(params) - 1:
            h = reference_activations.ACTIVATIONS[static.activation](z) * (step.masks[index] if step.masks else 1)
    p, y = special.softmax(z, axis=1), step.targets
    losses = -np.sum(y * np.log(p), axis=1) if static.loss == "cross_entropy" else np.mean((p - y) ** 2, 1)
    return np.sum(step.weights * losses) + decay / 2 * sum(np.sum(layer.w**2) for layer in params)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_both_equal_central_differences_of_numpy(activation, loss):
    static, _, params, step = arguments = case(activation, loss, True, 0.01)
    leaves, structure = jax.tree.flatten(params)
    h, numeric = 1e-5, []
    for index, leaf in enumerate(leaves):
        for entry in np.ndindex(leaf.shape):
            values = []
            for sign in (1, -1):
                moved = [np.array(other) for other in leaves]
                moved[index][entry] += sign * h
                values.append(written_objective(static, 0.01, jax.tree.unflatten(structure, moved), step))
            numeric.append((values[0] - values[1]) / (2 * h))
    for (value, _), gradient in both(arguments):
        assert error(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)]), np.array(numeric)) <= 1e-7
        np.testing.assert_allclose(value, written_objective(static, 0.01, params, step), rtol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_routes_agree_exactly_at_the_kink(activation):
    static, hparams, params, step = case(activation)
    zero = jax.tree.map(np.zeros_like, params)
    # All zero, and zero in the first layer alone, where something flows back through the kink.
    for at in (zero, (zero[0], *params[1:]), (zero[0], zero[1], params[2])):
        (_, hand), (_, auto) = both((static, hparams, at, step))
        assert error(hand, auto) <= 1e-12


@every_gradient
@pytest.mark.parametrize("feature", ["weight decay", "dropout"])
def test_a_feature_at_zero_changes_no_bit(gradient, feature):
    static, hparams, params, step = on_device(case())
    without = gradient(static, hparams, params, step)
    if feature == "dropout":
        step = step._replace(masks=tuple(jnp.ones((33, WIDTH)) for _ in range(2)))  # what is drawn at rate 0
    else:
        static = static._replace(l2=True)
    jax.tree.map(np.testing.assert_array_equal, gradient(static, hparams, params, step), without)


@every_gradient
def test_a_short_batch_divides_by_its_own_size(gradient):
    static, hparams, params, step = on_device(case("relu", "mse", decay=0.01))
    filled = gradient(static, hparams, params, step)
    short = gradient(static, hparams, params, Step(step.inputs[:32], step.targets[:32], jnp.full(32, 1 / 32)))
    assert error(filled[1], short[1]) <= 1e-12
    np.testing.assert_allclose(filled[0][0], short[0][0], rtol=1e-13)


@every_gradient
def test_weight_decay_leaves_biases_alone(gradient):
    static, *rest = on_device(case(decay=0.1))
    (_, decayed), (_, plain) = (gradient(static._replace(l2=l2), *rest) for l2 in (True, False))
    for layer, with_term, without in zip(rest[1], decayed, plain, strict=True):
        np.testing.assert_allclose(with_term.w - without.w, 0.1 * layer.w, rtol=1e-6, atol=1e-12)
        np.testing.assert_array_equal(with_term.b, without.b)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_routes_agree_in_lower_precision(precision, tolerance):
    (_, hand), (_, auto) = both(case("relu", dropout=True, decay=0.01, precision=precision), "float32")
    assert {str(leaf.dtype) for leaf in jax.tree.leaves((hand, auto))} == {"float32"}
    assert error(hand, auto) <= tolerance
