"""Seven optimizers against their papers' equations in NumPy, and one table of tests that every optimizer gets for free.

An eighth needs a function in reference_optimizers.py and a row in ARGUMENTS.
"""

import inspect
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from mlp_jax import optimizers
from mlp_jax.optimizers import (
    COEFFICIENTS,
    OPTIMIZERS,
    add_decoupled_weight_decay,
    clip_by_global_norm,
    limit_norms,
    update_by,
)
from tests.shared import reference_optimizers
from tests.shared.slow import fast

# Optimizer -> arguments after the learning rate: not the defaults, so that a number that is not read shows.
ARGUMENTS = {
    "sgd": {},
    "momentum": {"momentum": 0.8},
    "nesterov": {"momentum": 0.8},
    "rmsprop": {"beta": 0.85, "eps": 1e-7},
    "adam": {"beta1": 0.8, "beta2": 0.99, "eps": 1e-7},
    "nadam": {"beta1": 0.8, "beta2": 0.99, "eps": 1e-7},
    "muon": {"momentum": 0.8, "beta1": 0.8, "beta2": 0.99, "eps": 1e-7},
}
MOMENTS = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
DEFAULTS = {"momentum": {"momentum": 0.9}, "nesterov": {"momentum": 0.9}, "rmsprop": {"beta": 0.9, "eps": 1e-8}}
DEFAULTS |= {"sgd": {}, "adam": MOMENTS, "nadam": MOMENTS, "muon": {"momentum": 0.95} | MOMENTS}
pytestmark = pytest.mark.usefixtures("x64")
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)
some_optimizers = pytest.mark.parametrize("name", fast(OPTIMIZERS, ["adam"]))


def make(name, learning_rate, **changed):
    return OPTIMIZERS[name][0](learning_rate, **{**ARGUMENTS[name], **changed})


def at_usual_eps(name):
    return {"eps": 1e-8} if "eps" in ARGUMENTS[name] else {}


def apply(optimizer, grads, state, params):
    updates, state = optimizer.update(grads, state, params)
    return jax.tree.map(jnp.add, params, updates), state


def trajectory(optimizer, start, gradient, steps):
    """The parameters after every step, as one scan."""

    def body(carry, step):
        params, state = carry
        params, state = apply(optimizer, gradient(step, params), state, params)
        return (params, state), params

    _, path = jax.lax.scan(body, (start, optimizer.init(start)), jnp.arange(steps))
    return path


@every_optimizer
def test_the_table_names_the_arguments_and_their_defaults_are_the_papers(name):
    constructor, fields = OPTIMIZERS[name]
    assert constructor is getattr(optimizers, name)
    arguments = list(inspect.signature(constructor).parameters.values())[1:]
    assert tuple(ARGUMENTS[name]) == fields == tuple(argument.name for argument in arguments)
    assert {argument.name: argument.default for argument in arguments} == DEFAULTS[name]


# Against the papers


def given_gradients(steps=1000):
    """(steps, 12): of ordinary, tiny and huge scale, always zero, mostly zero, zero at first, zero later, constant."""
    rng = np.random.default_rng(0)
    g = rng.normal(size=(steps, 12)) * np.array([1, 1e-6, 1e6, 1, 0, 1, 1, 1, 1, 1e-6, 1e6, 1e-12])
    g[:, 5] *= rng.random(steps) < 0.02
    g[:200, 6] = 0
    g[200:, 7] = 0
    g[:, 8:11] = g[0, 8:11]
    return g


@every_optimizer
def test_thousand_steps_of_given_gradients_match_the_paper(name):
    gradients = given_gradients()
    start, on_device = np.linspace(-1, 1, 12), jnp.asarray(gradients)
    expected = getattr(reference_optimizers, name)(start, lambda t, x: gradients[t], 1000, 0.01, **ARGUMENTS[name])
    path = trajectory(make(name, 0.01), jnp.asarray(start), lambda t, x: on_device[t], 1000)
    # Relative to how far a parameter ever went.
    scale = np.abs(expected).max(axis=0)
    assert np.max(np.abs(path - expected) / scale) < 1e-10
    moves, expected_moves = np.diff(path, axis=0), np.diff(expected, axis=0)
    largest = np.abs(expected_moves).max(axis=0)
    moving = largest > 1e-4 * scale  # of slower parameters the difference of two positions has too few digits
    assert np.max(np.abs(moves - expected_moves)[:, moving] / largest[moving]) < 1e-10
    # What never had a gradient never moved.
    np.testing.assert_array_equal(path[:, 4], start[4])


@every_optimizer
def test_thousand_steps_downhill_match_the_paper(name):
    # A quadratic valley 1 : 100, gradients that depend on the parameters.
    curvature, start = np.geomspace(1, 100, 5), np.linspace(1, 2, 5)
    rate = 0.02 if name == "muon" else 1e-3  # of which a vector gets a twentieth
    expected = getattr(reference_optimizers, name)(start, lambda t, x: curvature * x, 1000, rate, **ARGUMENTS[name])
    path = trajectory(make(name, rate), jnp.asarray(start), lambda t, x: jnp.asarray(curvature) * x, 1000)
    assert np.max(np.abs(path - expected)) < 1e-10 * np.abs(expected).max()
    losses = 0.5 * np.sum(curvature * np.asarray(path) ** 2, axis=1)
    assert losses[-1] < 0.5 * losses[0]


def test_muon_moves_the_hidden_matrices_of_a_net_as_the_paper_and_the_rest_as_adam():
    rng, sizes = np.random.default_rng(5), (6, 4, 9, 3)
    params = [(rng.normal(size=shape), rng.normal(size=shape[1])) for shape in itertools.pairwise(sizes)]
    given = jax.tree.map(lambda leaf: rng.normal(size=(50, *leaf.shape)), params)
    path = trajectory(make("muon", 0.01), params, lambda t, _: jax.tree.map(lambda g: jnp.asarray(g)[t], given), 50)
    rest = {name: ARGUMENTS["muon"][name] for name in ("beta1", "beta2", "eps")}
    for layer, parts in enumerate(zip(params, given, path, strict=True)):
        for hidden, (start, grads, found) in zip((layer < 2, False), zip(*parts, strict=True), strict=True):
            if hidden:
                wanted = reference_optimizers.muon_of_matrix(start, lambda t, _, g=grads: g[t], 50, 0.01, 0.8)
            else:
                flat = start.ravel(), lambda t, _, g=grads: g[t].ravel()
                wanted = reference_optimizers.adam(*flat, 50, 0.01 / 20, **rest).reshape(found.shape)
            np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("shape", [(40, 20), (20, 40), (30, 30)])
def test_an_orthogonalised_matrix_keeps_its_singular_vectors_and_has_values_near_one(shape):
    rng = np.random.default_rng(1)
    u, v = (np.linalg.qr(rng.normal(size=(n, min(shape))))[0] for n in shape)
    for scale in (1e-3, 1.0, 1e6):
        values = scale * np.geomspace(0.05, 1, min(shape))
        found = np.asarray(u.T @ optimizers.orthogonal(jnp.asarray(u * values @ v.T)) @ v)
        np.testing.assert_allclose(found, np.diag(np.diag(found)), atol=1e-12)
        assert 0.68 < np.diag(found).min() < np.diag(found).max() < 1.2
    nothing = jnp.zeros(shape)
    np.testing.assert_array_equal(optimizers.orthogonal(nothing), nothing)
    assert np.isfinite(jax.grad(lambda g: jnp.sum(optimizers.orthogonal(g)))(nothing)).all()


# What every optimizer gets for free


def mixed_tree():
    return {
        "single": jnp.asarray([1.0, -2.0, 3.0], jnp.float32),
        "nested": {"brain": jnp.ones((2, 2), jnp.bfloat16), "half": jnp.asarray(0.5, jnp.float16)},
        "empty": (),
        "double": (jnp.asarray(2.0, jnp.float64), [jnp.zeros((0, 3), jnp.float64)]),
    }


def described(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), tree)


@every_optimizer
@pytest.mark.parametrize("decayed", [False, True])
def test_structure_and_dtypes_are_preserved(name, decayed):
    params, optimizer = mixed_tree(), make(name, 0.1)
    if decayed:
        optimizer = add_decoupled_weight_decay(optimizer, 0.1, 0.01, lambda p: jax.tree.map(lambda leaf: True, p))
    state = optimizer.init(params)
    updates, new_state = jax.eval_shape(optimizer.update, params, state, params)
    assert described(updates) == described(params)
    assert described(new_state) == described(state)
    moments = [leaf for leaf in jax.tree.leaves(state) if leaf.dtype != jnp.int32]
    assert {str(leaf.dtype) for leaf in moments} <= {"float32", "float64"}
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(state))


@every_optimizer
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bit_leaves_take_the_float32_step_rounded(name, dtype):
    # 1e-4 squared, ε and 1 − β₂ are all below what float16 resolves.
    gradients = jnp.asarray([[1e-4, 3.0, 0.0], [2e-4, -1.0, 0.0], [-1e-4, 0.5, 0.0]]).astype(dtype)
    optimizer = make(name, 0.1, **at_usual_eps(name))
    low, high = jnp.zeros(3, dtype), jnp.zeros(3, jnp.float32)
    low_state, high_state = optimizer.init(low), optimizer.init(high)
    for g in gradients:
        low_updates, low_state = optimizer.update(g, low_state, low)
        high_updates, high_state = optimizer.update(g.astype(jnp.float32), high_state, high)
        np.testing.assert_array_equal(low_updates, high_updates.astype(dtype))


@every_optimizer
def test_compiles_once_for_all_numbers(name):
    traces = []

    @jax.jit
    def step(numbers, grads, state, params):
        traces.append(name)
        return apply(OPTIMIZERS[name][0](*numbers), grads, state, params)

    params = {"w": jnp.ones(3), "b": jnp.zeros(())}
    state = make(name, 0.1).init(params)
    for factor in (1.0, 0.5, 0.0):
        numbers = [jnp.float64(0.1 * factor), *(jnp.float64(factor * x) for x in ARGUMENTS[name].values())]
        params, state = step(numbers, params, state, params)
    assert len(traces) == 1


@some_optimizers
def test_eager_equals_jit_on_any_pytree(name):
    nested = [np.float64(2), {"a": {"b": np.arange(3.0)}, "c": ()}, (), [np.ones((2, 2)), None]]
    optimizer = make(name, 0.1)
    for tree in jax.tree.map(jnp.asarray, [(), np.float64(2), nested]):
        eager = apply(optimizer, tree, optimizer.init(tree), tree)
        jitted = jax.jit(partial(apply, optimizer))(tree, optimizer.init(tree), tree)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-14), eager, jitted)
        assert jax.tree.structure(eager[0]) == jax.tree.structure(tree)


@some_optimizers
def test_scan_and_vmap_over_learning_rates_equal_one_at_a_time(name):
    curvature = jnp.asarray([1.0, 10.0, 0.0])

    def run(learning_rate):
        return trajectory(make(name, learning_rate), jnp.ones(3), lambda t, x: curvature * x, 20)

    rates = jnp.asarray([1e-3, 1e-2, 5e-2])
    for rate, path in zip(rates, jax.jit(jax.vmap(run))(rates), strict=True):
        optimizer, params = make(name, float(rate)), jnp.ones(3)
        state = optimizer.init(params)
        for expected in path:
            params, state = apply(optimizer, curvature * params, state, params)
            np.testing.assert_allclose(params, expected, rtol=1e-12)


@some_optimizers
def test_derivative_through_three_steps_is_finite_and_right(name):
    # `idle` has no gradient at all, `rest` is a leaf at its minimum: gradient zero, but not its derivative.
    start = {"w": jnp.asarray([1.0, -0.5]), "rest": jnp.zeros(1), "idle": jnp.ones(2)}
    numbers = {**ARGUMENTS[name], **({"eps": 1.0} if "eps" in ARGUMENTS[name] else {})}

    def loss(params):
        return jnp.sum(jnp.cosh(params["w"])) + 1.5 * jnp.sum(params["rest"] ** 2)

    at, unravel = ravel_pytree((0.05, start, numbers))

    def after_three(flat):
        learning_rate, start, numbers = unravel(flat)
        path = trajectory(OPTIMIZERS[name][0](learning_rate, **numbers), start, lambda t, x: jax.grad(loss)(x), 3)
        return sum(jnp.sum(jnp.sin(leaf[-1] + 1)) for leaf in jax.tree.leaves(path))

    derivative = jax.jit(jax.grad(after_three))(at)
    h = 1e-6
    probes = at + h * jnp.concatenate([jnp.eye(at.size), -jnp.eye(at.size)])
    above, below = jax.jit(jax.vmap(after_three))(probes).reshape(2, -1)
    assert np.isfinite(derivative).all()
    # |x| inside the roots bends at 0, so that the differences of `rest` are good to order h alone.
    np.testing.assert_allclose(derivative, (above - below) / (2 * h), rtol=1e-5, atol=1e-8)


@every_optimizer
def test_derivative_where_every_gradient_is_zero_is_finite(name):
    def moved(learning_rate, start):
        optimizer = make(name, learning_rate, **at_usual_eps(name))
        return jnp.sum(trajectory(optimizer, start, lambda t, x: jnp.zeros_like(x), 3)[-1])

    by_rate, by_start = jax.jit(jax.grad(moved, (0, 1)))(jnp.float32(0.1), jnp.ones(2, jnp.float32))
    assert by_rate == 0
    np.testing.assert_array_equal(by_start, 1)


@pytest.mark.parametrize("name", ["adam", "nadam"])
@pytest.mark.parametrize(("platform", "twice"), [("cpu", True), ("cuda", False), ("rocm", False), ("tpu", False)])
def test_the_step_takes_the_moments_a_second_time_on_a_cpu_alone(name, platform, twice):
    optimizer, params = make(name, 0.1), jnp.ones(2)
    program = jax.export.export(jax.jit(optimizer.update), platforms=[platform])(params, optimizer.init(params), params)
    assert ("optimization_barrier" in program.mlir_module()) == twice


@every_optimizer
@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool", "complex64"])
def test_leaves_that_are_not_floating_point_are_refused(name, dtype):
    params = {"w": jnp.ones(3, dtype)}
    with pytest.raises(TypeError, match=f"cannot take {dtype}; allowed are float16, bfloat16, float32 and float64"):
        make(name, 0.1).update(params, make(name, 0.1).init(params), params)


# Pieces that compose with any of them


@every_optimizer
def test_decoupled_weight_decay_adds_its_term_to_the_chosen_leaves(name):
    params = {"w": jnp.asarray([1.0, -2.0]), "b": jnp.asarray([3.0])}
    grads = {"w": jnp.asarray([0.5, 0.0]), "b": jnp.asarray([0.0])}
    plain = make(name, 0.1)
    decayed = add_decoupled_weight_decay(plain, 0.1, 0.01, lambda params: {"w": True, "b": False})
    state = plain.init(params)
    assert described(decayed.init(params)) == described(state)
    for _ in range(3):
        without, _ = plain.update(grads, state, params)
        updates, state = decayed.update(grads, state, params)
        np.testing.assert_allclose(updates["w"], without["w"] - 0.1 * 0.01 * params["w"], rtol=1e-14)
        np.testing.assert_array_equal(updates["b"], without["b"])
        params = jax.tree.map(jnp.add, params, updates)


def test_clip_by_global_norm():
    grads = {"w": jnp.asarray([[3.0]]), "b": (jnp.asarray(4.0),)}
    for bound, factor in ((10.0, 1), (5.0, 1), (2.5, 0.5), (1e-3, 2e-4)):
        got = jax.jit(clip_by_global_norm)(grads, jnp.float64(bound))
        jax.tree.map(lambda g, old, k=factor: np.testing.assert_allclose(g, k * old, rtol=1e-15), got, grads)
    np.testing.assert_array_equal(clip_by_global_norm(jnp.zeros(3), 1.0), 0)
    assert clip_by_global_norm((), 1.0) == ()


def test_clipping_takes_mixed_dtypes_and_keeps_them():
    grads = {"a": jnp.full(2, 2, jnp.float16), "b": jnp.full(2, 2, jnp.bfloat16), "c": jnp.full(5, 2, jnp.float32)}
    grads["d"] = jnp.full(7, 2, jnp.float64)
    got = clip_by_global_norm(grads, 4.0)  # the norm is 8
    assert described(got) == described(grads)
    for leaf in got.values():
        np.testing.assert_array_equal(leaf, jnp.ones_like(leaf))
    # 300² overflows float16, not the float32 in which it is added up.
    np.testing.assert_array_equal(clip_by_global_norm(jnp.asarray([300.0], jnp.float16), 3.0), [3])


def test_limit_norms_shortens_the_columns_that_are_too_long():
    w = np.array([[3.0, 0.3, 0.0, 3e-30], [4.0, 0.4, 0.0, 4e-30]])
    for dtype in ("float32", "float64"):
        got = jax.jit(limit_norms)(jnp.asarray(w, dtype), jnp.float64(2))
        assert got.dtype == dtype
        np.testing.assert_allclose(got, w * np.array([0.4, 1, 1, 1]), rtol=1e-6)


@pytest.mark.parametrize(("g", "bound"), [([0.0, 0.0], 1.0), ([3.0, 4.0], 1.0), ([3.0, 4.0], 10.0)])
def test_derivative_of_clipping(g, bound):
    def clipped(numbers):
        return jnp.sum(clip_by_global_norm(numbers[:2], numbers[2]) * jnp.asarray([1.0, 2.0]))

    at, h = jnp.asarray([*g, bound]), 1e-6
    numeric = [(clipped(at + d) - clipped(at - d)) / (2 * h) for d in h * np.eye(3)]
    np.testing.assert_allclose(jax.grad(clipped)(at), numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_seven_coefficients_are_the_optimizer(name):
    """The trajectory by the table, against the optimizer's equation in NumPy, and that its memory is the pair's."""
    rng = np.random.default_rng(3)
    start, grads = rng.normal(size=10), rng.normal(size=(50, 10))
    arguments = ARGUMENTS[name]
    w, m, v, own = start, jnp.zeros(10), jnp.zeros(10), []
    optimizer = make(name, 0.01)
    state, params = optimizer.init(jnp.asarray(start)), jnp.asarray(start)
    for t, g in enumerate(grads, start=1):
        rates = 0.01 / t  # a schedule
        c = COEFFICIENTS[name](rates, jnp.asarray(float(t)), *(arguments[key] for key in OPTIMIZERS[name][1]))
        update, m, v = update_by(jax.tree.map(jnp.asarray, c), jnp.asarray(g), m, v)
        w = w + update
        own.append(w)
        params, state = apply(make(name, rates), jnp.asarray(g), state, params)
    np.testing.assert_allclose(w, params, rtol=1e-13, atol=1e-15)
    kept = {"trace": m, "mu": m, "nu": v}
    for field, value in getattr(state, "_asdict", dict)().items():
        if field != "count":
            np.testing.assert_allclose(value, kept[field], rtol=1e-13)


def test_an_unused_root_may_overflow():
    """SGD reads no v: g² beyond the largest number changes nothing."""
    c = jax.tree.map(jnp.float32, COEFFICIENTS["sgd"](0.5, jnp.float32(1)))
    update, *_ = update_by(c, jnp.float32(1e30), jnp.float32(0), jnp.float32(0))
    assert update == jnp.float32(-0.5e30)
