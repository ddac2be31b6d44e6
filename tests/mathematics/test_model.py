"""Activations, initialisers, dropout and the forward pass against NumPy, SciPy and statistics."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mlp_jax.model import (
    ACTIVATIONS,
    INITIALIZERS,
    NORM_EPS,
    NORMS,
    PRECISIONS,
    Layer,
    dropout_masks,
    forward,
    init_params,
    layer_noise,
)
from tests.shared.reference_activations import ACTIVATIONS as ORACLES
from tests.shared.slow import fast

F32 = jnp.dtype("float32")
GRID = np.concatenate([np.linspace(-6, 6, 241) + 0.0123, [-30.0, -1e-3, 1e-3, 30.0]])


def float64_params(sizes, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(
        Layer(jnp.asarray(rng.normal(size=(a, b))), jnp.asarray(rng.normal(size=b)))
        for a, b in itertools.pairwise(sizes)
    )


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_and_derivative_match_the_formula(name):
    oracle = ORACLES[name]
    f, df = ACTIVATIONS[name]
    with jax.enable_x64(True):
        z = jnp.asarray(GRID)
        a = f(z)
        np.testing.assert_allclose(a, oracle(GRID), rtol=1e-14, atol=1e-15)
        h = 1e-6
        np.testing.assert_allclose(df(z, a), (oracle(GRID + h) - oracle(GRID - h)) / (2 * h), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("at", [0.0, -0.0, 1e4, -1e4, 1e-30, -1e-30])
def test_derivative_agrees_with_autodiff_at_kinks_and_far_out(name, at):
    f, df = ACTIVATIONS[name]
    z = jnp.float32(at)
    a, slope = jax.value_and_grad(f)(z)
    assert jnp.isfinite(a)
    np.testing.assert_allclose(df(z, a), slope, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize(
    ("name", "slope"),
    [("identity", 1), ("sigmoid", 0.25), ("tanh", 1), ("relu", 0), ("leaky_relu", 0.01), ("elu", 1), ("gelu", 0.5)],
)
def test_derivative_at_zero(name, slope):
    zero = jnp.float32(0)
    assert ACTIVATIONS[name].df(zero, ACTIVATIONS[name].f(zero)) == jnp.float32(slope)
    assert jax.grad(ACTIVATIONS[name].f)(zero) == jnp.float32(slope)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", fast(["bfloat16", "float16", "float32"], ["bfloat16"]))
def test_activation_keeps_the_dtype(name, dtype):
    f, df = ACTIVATIONS[name]
    z = jnp.linspace(-3, 3, 7).astype(dtype)
    a = f(z)
    assert a.dtype == df(z, a).dtype == dtype
    np.testing.assert_allclose(a.astype(jnp.float32), ORACLES[name](np.linspace(-3, 3, 7)), rtol=0.03, atol=0.02)


# Of n = 120,000 draws a mean is off by σ/√n and a variance by about √(2/n) = 0.4 %; five of those are allowed.
@pytest.mark.parametrize(
    ("init", "scale", "variance", "excess_kurtosis"),
    [
        ("random", 0.01, 1e-4, 0),
        ("random", 2.0, 4.0, 0),
        ("he", 0.01, 2 / 400, 0),
        ("xavier", 0.01, (6 / 700) / 3, -1.2),
        ("zeros", 0.01, 0, np.nan),
    ],
)
def test_initialiser_moments(init, scale, variance, excess_kurtosis, key):
    (layer,) = init_params(key, (400, 300), init, jnp.float32(scale), F32)
    w = np.asarray(layer.w, np.float64).ravel()
    assert abs(w.mean()) <= 5 * (variance / w.size) ** 0.5
    assert w.var() == pytest.approx(variance, rel=0.02)
    assert stats.kurtosis(w) == pytest.approx(excess_kurtosis, abs=0.08, nan_ok=True)
    assert not np.any(layer.b)


@pytest.mark.parametrize("init", ["random", "xavier", "he"])
def test_layers_and_seeds_differ_and_a_seed_repeats(init):
    def draw(seed):
        return init_params(jax.random.key(seed), (5, 5, 5), init, jnp.float32(1), F32)

    first, second = (layer.w for layer in draw(0))
    assert not np.any(first == second)
    assert not np.any(first == draw(1)[0].w)
    np.testing.assert_array_equal(first, draw(0)[0].w)


@pytest.mark.parametrize("init", INITIALIZERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_initialised_shapes_and_dtype(init, dtype, key):
    with jax.enable_x64(True):
        dtype = jnp.dtype(dtype)
        params = jax.eval_shape(lambda: init_params(key, (7, 5, 3), init, jnp.asarray(0.1, dtype), dtype))
        assert [(layer.w.shape, layer.b.shape) for layer in params] == [((7, 5), (5,)), ((5, 3), (3,))]
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {dtype}


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_dropout_drops_a_fraction_and_keeps_the_mean(rate, key):
    (mask,) = jax.jit(lambda rate: dropout_masks(key, rate, 400, (300,), F32))(jnp.float32(rate))  # rates are traced
    mask = np.asarray(mask)
    assert mask.shape == (400, 300)
    np.testing.assert_allclose(np.unique(mask), [0, 1 / (1 - rate)] if rate else [1], rtol=1e-6)
    deviation = (rate * (1 - rate) / mask.size) ** 0.5
    assert np.mean(mask == 0) == pytest.approx(rate, abs=5 * deviation)
    assert mask.mean() == pytest.approx(1, abs=5 * deviation / (1 - rate))


def test_dropout_is_independent_by_layer_step_row_and_unit(key):
    def kept(step):
        masks = dropout_masks(jax.random.fold_in(key, step), jnp.float32(0.5), 400, (300, 300), F32)
        return [np.asarray(mask > 0, float) for mask in masks]

    (one, two), (later, _) = kept(0), kept(1)
    pairs = [(one, two), (one, later), (one[1:], one[:-1]), (one[:, 1:], one[:, :-1])]
    for left, right in pairs:
        correlation = np.corrcoef(left.ravel(), right.ravel())[0, 1]
        assert abs(correlation) < 5 / left.size**0.5
    np.testing.assert_array_equal(kept(0)[0], one)


def test_noise_is_gaussian_of_the_deviation_and_independent_by_layer(key):
    one, two = jax.jit(lambda deviation: layer_noise(key, deviation, 400, (300, 200), F32))(jnp.float32(0.5))
    assert (one.shape, two.shape) == ((400, 300), (400, 200))
    for drawn in (one, two):
        assert stats.kstest(np.ravel(drawn) / 0.5, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(np.ravel(one[:, :200]), np.ravel(two))[0, 1]) < 5 / two.size**0.5


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("sizes", fast([(4, 3), (4, 5, 3), (4, 5, 6, 5, 3)], [(4, 5, 6, 5, 3)]))
def test_forward_is_the_written_formula(name, sizes, norm):
    rng = np.random.default_rng(1)
    x, masks = rng.normal(size=(6, 4)), [rng.integers(0, 2, (6, width)) * 2.0 for width in sizes[1:-1]]
    same = partial(np.testing.assert_allclose, rtol=1e-11, atol=1e-12)
    with jax.enable_x64(True):
        params = float64_params(sizes)
        for used in ([], masks):
            logits, cache = forward(params, jnp.asarray(x), name, tuple(map(jnp.asarray, used)), "float64", norm)
            h = x
            for index, (w, b) in enumerate(jax.tree.map(np.asarray, params[:-1])):
                same(cache.inputs[index], h)
                u = h @ w
                if norm == "layer":
                    u = (u - u.mean(axis=1, keepdims=True)) / np.sqrt(u.var(axis=1, keepdims=True) + NORM_EPS)
                same(cache.pre_activations[index], u + b)
                h = ORACLES[name](u + b)
                same(cache.activations[index], h)
                h = h * used[index] if used else h
            same(logits, h @ np.asarray(params[-1].w) + np.asarray(params[-1].b))
            assert len(cache.pre_activations) == len(cache.activations) == len(params) - 1


def test_precisions():
    rng = np.random.default_rng(3)
    x, w, v = (rng.normal(size=shape).astype(np.float32) for shape in ((16, 64), (64, 32), (32, 10)))
    exact = np.maximum(x.astype(np.float64) @ w, 0) @ v.astype(np.float64)
    params = (Layer(jnp.asarray(w), jnp.zeros(32)), Layer(jnp.asarray(v), jnp.zeros(10)))
    x = jnp.asarray(x)
    errors = {}
    for precision in ("float32", "tf32", "bfloat16"):
        logits, _ = forward(params, x, "relu", (), precision)
        assert logits.dtype == jnp.float32
        errors[precision] = np.linalg.norm(logits - exact) / np.linalg.norm(exact)
    assert errors["float32"] < 1e-6
    assert errors["tf32"] < 2e-3
    assert 1e-4 < errors["bfloat16"] < 1e-2


def test_bfloat16_adds_up_in_float32():
    ones = jnp.ones((1, 4096), jnp.float32)
    assert PRECISIONS["bfloat16"](ones, ones.T) == 4096  # bfloat16 sums stop growing at 256
    assert PRECISIONS["bfloat16"](jnp.full((1, 1), 1 + 2**-12), ones[:, :1].T) == 1


def test_the_gradient_of_bfloat16_products_is_rounded_as_they_are():
    x, w = jnp.ones((4097, 1)), jnp.ones((1, 4099))
    with_x, with_w = jax.vjp(PRECISIONS["bfloat16"], x, w)[1](jnp.full((4097, 4099), 1 + 2**-12))
    assert (with_x == 4099).all()  # in bfloat16 4096
    assert (with_w == 4097).all()


def test_a_layer_norm_sees_neither_the_scale_nor_the_mean_of_its_input():
    rng = np.random.default_rng(5)
    u = jnp.asarray(rng.normal(size=(7, 50)), jnp.float32)
    v, _ = NORMS["layer"].f(u)
    np.testing.assert_allclose(v.mean(axis=1), np.zeros(7), atol=1e-6)
    np.testing.assert_allclose(v.std(axis=1), np.ones(7), rtol=1e-4)
    np.testing.assert_allclose(NORMS["layer"].f(30 * u + 4)[0], v, atol=1e-4)
    assert NORMS["none"].f(u)[0] is u


@pytest.mark.parametrize("lanes", [0, 3])
@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("columns", [3, 16])
def test_a_product_has_the_derivatives_of_any_product(lanes, rows, columns):
    # d(ab) = da·b + a·db and its transposes d·b^T, a^T·d in float64 NumPy; with lanes, under vmap.
    generator = np.random.default_rng(0)
    shapes = (lanes or 1, rows, 7), (7, columns), (rows, columns), (rows, 7), (7, columns)
    a, b, d, da, db = (generator.normal(size=shape) for shape in shapes)
    product, b32 = PRECISIONS["float32"], jnp.asarray(b, jnp.float32)

    def derivatives(a):
        back = jax.vjp(product, a, b32)[1](jnp.asarray(d, jnp.float32))
        return *back, jax.jvp(product, (a, b32), (jnp.asarray(da, jnp.float32), jnp.asarray(db, jnp.float32)))[1]

    found = jax.vmap(derivatives)(jnp.asarray(a, jnp.float32))
    for lane, by_a, by_b, ahead in zip(a, *found, strict=True):
        cancelling = 0 if rows == 1 else 1e-5  # sums over several rows may come close to 0
        np.testing.assert_allclose(by_a, d @ b.T, rtol=1e-5, atol=cancelling)
        np.testing.assert_allclose(by_b, lane.T @ d, rtol=1e-5, atol=cancelling)
        np.testing.assert_allclose(ahead, da @ b + lane @ db, rtol=1e-5, atol=1e-5)


def test_a_layer_norm_is_over_the_last_axis_whatever_stands_before_it():
    u, delta = np.random.default_rng(0).normal(size=(2, 3, 2, 50)).astype(np.float32)
    f, back = NORMS["layer"]
    (v, kept), (flat, own) = f(u), f(u.reshape(6, 50))
    np.testing.assert_allclose(v.reshape(6, 50), flat, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        back(delta, *kept).reshape(6, 50), back(delta.reshape(6, 50), *own), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("shape", [(3,), (1,), (1, 2, 3), (2, 2, 3)])
def test_a_product_takes_any_number_of_axes(shape):
    a, b = np.random.default_rng(0).normal(size=shape), np.random.default_rng(1).normal(size=(shape[-1], 4))
    total = jax.grad(lambda *factors: PRECISIONS["float32"](*factors).sum(), (0, 1))
    by_a, by_b = total(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))
    np.testing.assert_allclose(by_a, np.broadcast_to(b.sum(axis=1), shape), rtol=1e-5)
    column = a.reshape(-1, shape[-1]).sum(axis=0)
    np.testing.assert_allclose(by_b, np.repeat(column[:, None], 4, axis=1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "own"), [((1, 3), True), ((2, 3), False), ((3,), False), ((1,), False), ((1, 2, 3), False)]
)
def test_the_product_of_one_row_alone_has_a_derivative_of_its_own(shape, own):
    program = jax.make_jaxpr(PRECISIONS["float32"])(jnp.ones(shape), jnp.ones((shape[-1], 4)))
    assert ("custom_jvp" in str(program)) == own
