"""The gradient by hand against autodiff, and both against differences of an objective written in NumPy."""

from functools import partial
from itertools import pairwise, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from configs.default import get_config
from mlp_jax import gradients
from mlp_jax.gradients import GRADIENTS, Step, with_adversary
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
    step = Step(rng.normal(size=(batch, INPUTS)), targets, real / real.sum(), masks)
    if static.noise:
        step = step._replace(noise=tuple(0.3 * rng.normal(size=(batch, width)) for width in static.sizes[:-1]))
    if static.vat:
        step = step._replace(direction=rng.normal(size=(batch, INPUTS)))
    return static, hparams, params, step


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


NOISE = {"noise": 0.3}
PENALTY = {"confidence_penalty": 0.4}
VAT = {"vat_weight": 0.7, "vat_eps": 0.5, "vat_xi": 0.2}
TERMS = {"noise": NOISE, "penalty": PENALTY, "vat": VAT, "all": NOISE | PENALTY | VAT}
every_term = pytest.mark.parametrize("fields", TERMS.values(), ids=TERMS)


@every_term
def test_hand_equals_autodiff_with_every_term(fields):
    for depth, norm, loss, batch in ((2, "layer", "cross_entropy", 33), (1, "none", "mse", 1), (0, "none", "mse", 33)):
        ((value, logits), hand), ((auto_value, auto_logits), auto) = both(
            case("gelu", loss, True, 0.01, depth, batch, norm=norm, **fields)
        )
        assert error(hand, auto) <= 1e-12, (depth, norm)
        np.testing.assert_allclose(value, auto_value, rtol=1e-13)
        np.testing.assert_allclose(logits, auto_logits, rtol=1e-13, atol=1e-14)


def written_probabilities(static, params, step, inputs):
    h = inputs + (step.noise[0] if step.noise else 0)
    for index, layer in enumerate(params):
        z = h @ layer.w + layer.b
        if index < len(params) - 1:
            h = reference_activations.ACTIVATIONS[static.activation](z) * (step.masks[index] if step.masks else 1)
            h = h + (step.noise[index + 1] if step.noise else 0)
    return special.softmax(z, axis=1)


def written_adversary(static, params, step):
    """(x + r, p(x)) after Miyato et al. 2016, the gradient of the divergence by central differences."""
    q = written_probabilities(static, params, step, step.inputs)
    d = VAT["vat_xi"] * step.direction / np.linalg.norm(step.direction, axis=1, keepdims=True)
    by_r = np.zeros_like(d)
    for entry in range(INPUTS):
        for sign in (1, -1):
            moved = step.inputs + d
            moved[:, entry] += sign * 1e-5
            p = written_probabilities(static, params, step, moved)
            by_r[:, entry] += sign * special.rel_entr(q, p).sum(axis=1) / 2e-5
    r = VAT["vat_eps"] * by_r / np.linalg.norm(by_r, axis=1, keepdims=True)
    return step.inputs + r, q


def written_objective(static, decay, params, step, adversary=None):
    p, y = written_probabilities(static, params, step, step.inputs), step.targets
    losses = -np.sum(y * np.log(p), axis=1) if static.loss == "cross_entropy" else np.mean((p - y) ** 2, 1)
    if static.confidence_penalty:
        losses = losses - PENALTY["confidence_penalty"] * special.entr(p).sum(axis=1)
    if adversary:
        moved, q = adversary
        kl = special.rel_entr(q, written_probabilities(static, params, step, moved)).sum(axis=1)
        losses = losses + VAT["vat_weight"] * kl
    return np.sum(step.weights * losses) + decay / 2 * sum(np.sum(layer.w**2) for layer in params)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_both_equal_central_differences_of_numpy(activation, loss):
    check_differences(case(activation, loss, True, 0.01), 1e-7)


@every_term
def test_every_term_equals_central_differences_of_numpy(fields):
    # The adversary of the differences is itself found by differences, to some eight digits.
    check_differences(case("tanh", "cross_entropy", True, 0.01, batch=5, **fields), 3e-7)


def check_differences(arguments, tolerance):
    static, _, params, step = arguments
    adversary = written_adversary(static, params, step) if static.vat else None
    leaves, structure = jax.tree.flatten(params)
    h, numeric = 1e-5, []
    for index, leaf in enumerate(leaves):
        for entry in np.ndindex(leaf.shape):
            values = []
            for sign in (1, -1):
                moved = [np.array(other) for other in leaves]
                moved[index][entry] += sign * h
                values.append(written_objective(static, 0.01, jax.tree.unflatten(structure, moved), step, adversary))
            numeric.append((values[0] - values[1]) / (2 * h))
    for (value, _), gradient in both(arguments):
        flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)])
        assert error(flat, np.array(numeric)) <= tolerance
        np.testing.assert_allclose(
            value, written_objective(static, 0.01, params, step, adversary), rtol=1e-8 if static.vat else 1e-12
        )


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_routes_agree_exactly_at_the_kink(activation):
    static, hparams, params, step = case(activation)
    zero = jax.tree.map(np.zeros_like, params)
    # All zero, and zero in the first layer alone, where something flows back through the kink.
    for at in (zero, (zero[0], *params[1:]), (zero[0], zero[1], params[2])):
        (_, hand), (_, auto) = both((static, hparams, at, step))
        assert error(hand, auto) <= 1e-12


@every_gradient
def test_an_adversary_has_its_length_and_none_where_nothing_changes(gradient):
    """Of a net whose first layer is zero no direction changes p: r is 0 and the term too; nothing turns into NaN."""
    static, hparams, params, step = case(**VAT)
    find = {"autodiff": gradients.by_inputs_autodiff, "backprop": gradients.by_inputs_backprop}[gradient.__name__]
    moved = with_adversary(*on_device((static, hparams, params, step)), find).adversary.inputs - step.inputs
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), VAT["vat_eps"], rtol=1e-12)
    flat = (Layer(0 * params[0].w, params[0].b), *params[1:])
    with_term, without = (gradient(*on_device((each, hparams, flat, step))) for each in (static, case()[0]))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-13, atol=1e-18), with_term, without)


@every_gradient
@pytest.mark.parametrize("feature", ["weight decay", "dropout", "noise"])
def test_a_feature_at_zero_changes_no_bit(gradient, feature):
    static, hparams, params, step = on_device(case())
    without = gradient(static, hparams, params, step)
    if feature == "noise":
        step = step._replace(noise=tuple(jnp.zeros((33, width)) for width in (INPUTS, WIDTH, WIDTH)))
    elif feature == "dropout":
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
