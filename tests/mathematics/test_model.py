"""Activations, initialisers, dropout and the forward pass against NumPy, SciPy and statistics."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

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
)
from tests.shared.slow import fast

ORACLES = {
    "identity": lambda z: z,
    "sigmoid": special.expit,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.maximum(z, 0.01 * z),
    "elu": lambda z: np.maximum(z, 0) + np.expm1(np.minimum(z, 0)),
    "gelu": lambda z: z * stats.norm.cdf(z),
    "swish": lambda z: z / (1 + np.exp(-z)),
}
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


def test_every_choice_has_a_test_here():
    assert set(ACTIVATIONS) == set(ORACLES)
    assert set(INITIALIZERS) == {"random", "xavier", "he", "zeros"}
    assert set(PRECISIONS) == {"float32", "tf32", "bfloat16", "float64"}


# Of n = 120,000 draws a mean is off by σ/√n and a variance by about √(2/n) = 0.4 %; five of those are allowed.
@pytest.mark.parametrize(
    ("init", "scale", "variance", "excess_kurtosis"),
    [
        ("random", 0.01, 1e-4, 0),
        ("random", 2.0, 4.0, 0),
        ("he", 0.01, 2 / 400, 0),
        ("xavier", 0.01, (6 / 700) / 3, -1.2),
    ],
)
def test_initialiser_moments(init, scale, variance, excess_kurtosis, key):
    (layer,) = init_params(key, (400, 300), init, jnp.float32(scale), jnp.dtype("float32"))
    w = np.asarray(layer.w, np.float64).ravel()
    assert abs(w.mean()) < 5 * (variance / w.size) ** 0.5
    assert w.var() == pytest.approx(variance, rel=0.02)
    assert stats.kurtosis(w) == pytest.approx(excess_kurtosis, abs=0.08)
    assert not np.any(layer.b)


def test_xavier_fills_its_bounds(key):
    (layer,) = init_params(key, (400, 300), "xavier", jnp.float32(1), jnp.dtype("float32"))
    bound = np.sqrt(6 / 700)
    assert 0.999 * bound < layer.w.max() <= bound * (1 + 1e-6)
    assert -bound * (1 + 1e-6) <= layer.w.min() < -0.999 * bound


def test_zeros_are_zeros(key):
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(init_params(key, (4, 3, 2), "zeros", 1.0, jnp.float32)))


@pytest.mark.parametrize("init", ["random", "xavier", "he"])
def test_layers_and_seeds_differ_and_a_seed_repeats(init):
    def draw(seed):
        return init_params(jax.random.key(seed), (5, 5, 5), init, jnp.float32(1), jnp.dtype("float32"))

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


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_drops_a_fraction_and_keeps_the_mean(rate, key):
    (mask,) = dropout_masks(key, jnp.float32(rate), 400, (300,), jnp.dtype("float32"))
    mask = np.asarray(mask)
    assert mask.shape == (400, 300)
    np.testing.assert_allclose(np.unique(mask), [0, 1 / (1 - rate)], rtol=1e-6)
    deviation = (rate * (1 - rate) / mask.size) ** 0.5
    assert np.mean(mask == 0) == pytest.approx(rate, abs=5 * deviation)
    assert mask.mean() == pytest.approx(1, abs=5 * deviation / (1 - rate))


def test_dropout_of_nothing_is_all_ones(key):
    for mask in dropout_masks(key, jnp.float32(0), 400, (300, 300), jnp.dtype("float32")):
        np.testing.assert_array_equal(mask, np.ones_like(mask))


def test_dropout_is_independent_by_layer_step_row_and_unit(key):
    def kept(step):
        masks = dropout_masks(jax.random.fold_in(key, step), jnp.float32(0.5), 400, (300, 300), jnp.dtype("float32"))
        return [np.asarray(mask > 0, float) for mask in masks]

    (one, two), (later, _) = kept(0), kept(1)
    pairs = [(one, two), (one, later), (one[1:], one[:-1]), (one[:, 1:], one[:, :-1])]
    for left, right in pairs:
        correlation = np.corrcoef(left.ravel(), right.ravel())[0, 1]
        assert abs(correlation) < 5 / left.size**0.5
    np.testing.assert_array_equal(kept(0)[0], one)


def test_dropout_rate_may_be_traced(key):
    masks = jax.jit(lambda rate: dropout_masks(key, rate, 400, (300,), jnp.dtype("float32")))(jnp.float32(0.3))
    np.testing.assert_array_equal(masks[0], dropout_masks(key, jnp.float32(0.3), 400, (300,), jnp.dtype("float32"))[0])


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("sizes", fast([(4, 3), (4, 5, 3), (4, 5, 6, 5, 3)], [(4, 5, 6, 5, 3)]))
def test_forward_is_the_written_formula(name, sizes):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(6, 4))
    masks = [rng.integers(0, 2, (6, width)) * 2.0 for width in sizes[1:-1]]
    with jax.enable_x64(True):
        params = float64_params(sizes)
        for used in ([], masks):
            logits, cache = forward(params, jnp.asarray(x), name, tuple(map(jnp.asarray, used)), "float64")
            h = x
            for index, layer in enumerate(params):
                np.testing.assert_allclose(cache.inputs[index], h, rtol=1e-13, atol=1e-13)
                z = h @ np.asarray(layer.w) + np.asarray(layer.b)
                if index < len(params) - 1:
                    np.testing.assert_allclose(cache.pre_activations[index], z, rtol=1e-13, atol=1e-13)
                    h = ORACLES[name](z)
                    np.testing.assert_allclose(cache.activations[index], h, rtol=1e-13, atol=1e-13)
                    h = h * used[index] if used else h
            np.testing.assert_allclose(logits, z, rtol=1e-12, atol=1e-12)
            assert len(cache.pre_activations) == len(cache.activations) == len(params) - 1


def test_permuting_hidden_units_leaves_the_output():
    rng = np.random.default_rng(2)
    with jax.enable_x64(True):
        params = float64_params((4, 5, 5, 3))
        x = jnp.asarray(rng.normal(size=(6, 4)))
        p, q = rng.permutation(5), rng.permutation(5)
        first, second, last = jax.tree.map(np.asarray, params)
        moved = (
            Layer(first.w[:, p], first.b[p]),
            Layer(second.w[p][:, q], second.b[q]),
            Layer(last.w[q], last.b),
        )
        moved = jax.tree.map(jnp.asarray, moved)
        for name in ACTIVATIONS:
            before, _ = forward(params, x, name, (), "float64")
            after, _ = forward(moved, x, name, (), "float64")
            np.testing.assert_allclose(before, after, rtol=1e-12, atol=1e-12)


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


def test_forward_with_a_norm_is_the_written_formula():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(6, 4))
    with jax.enable_x64(True):
        params = float64_params((4, 5, 6, 3))
        logits, cache = forward(params, jnp.asarray(x), "tanh", (), "float64", "layer")
        h = x
        for index, (w, b) in enumerate(jax.tree.map(np.asarray, params[:-1])):
            u = h @ w
            z = (u - u.mean(axis=1, keepdims=True)) / np.sqrt(u.var(axis=1, keepdims=True) + NORM_EPS) + b
            np.testing.assert_allclose(cache.pre_activations[index], z, rtol=1e-11, atol=1e-12)
            h = np.tanh(z)
        np.testing.assert_allclose(logits, h @ np.asarray(params[-1].w) + np.asarray(params[-1].b), rtol=1e-11)


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
    norm = NORMS["layer"]
    v, kept = norm.f(u)
    back = norm.delta(delta, *kept)
    for lane in range(3):
        alone, own = norm.f(u[lane])
        np.testing.assert_allclose(v[lane], alone, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(back[lane], norm.delta(delta[lane], *own), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(3,), (1,), (1, 2, 3), (2, 2, 3)])
def test_a_product_takes_any_number_of_axes(shape):
    a, b = np.random.default_rng(0).normal(size=shape), np.random.default_rng(1).normal(size=(shape[-1], 4))

    def total(a, b):
        return PRECISIONS["float32"](a, b).sum()

    by_a, by_b = jax.grad(total, (0, 1))(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))
    np.testing.assert_allclose(by_a, np.broadcast_to(b.sum(axis=1), shape), rtol=1e-5)
    column = a.reshape(-1, shape[-1]).sum(axis=0)
    np.testing.assert_allclose(by_b, np.repeat(column[:, None], 4, axis=1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "own"), [((1, 3), True), ((2, 3), False), ((3,), False), ((1,), False), ((1, 2, 3), False)]
)
def test_the_product_of_one_row_alone_has_a_derivative_of_its_own(shape, own):
    program = jax.make_jaxpr(PRECISIONS["float32"])(jnp.ones(shape), jnp.ones((shape[-1], 4)))
    assert ("custom_jvp" in str(program)) == own
