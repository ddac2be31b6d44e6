"""The network: layers as a pytree, activations with their derivatives, initialisers, dropout, the forward pass."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax


class Layer(NamedTuple):
    """One affine map h ↦ h·w + b: `w` of shape (in, out), `b` of shape (out,)."""

    w: Array
    b: Array


Params = tuple[Layer, ...]


class Activation(NamedTuple):
    """a = f(z), and da/dz = df(z, a), elementwise; `a` is passed so that no exponential is taken twice."""

    f: Callable[[Array], Array]
    df: Callable[[Array, Array], Array]


LEAK = 0.01  # slope of leaky ReLU below zero (Maas et al. 2013)


def _normal_cdf(z: Array) -> Array:
    return 0.5 * (1 + lax.erf(z * 0.5**0.5))


def _normal_pdf(z: Array) -> Array:
    return (2 * jnp.pi) ** -0.5 * jnp.exp(-0.5 * z * z)


def _rectifier(slope: float) -> Activation:
    """a = z above zero, slope·z below.

    The derivative is read off a, which has the sign of z: then a step keeps no z, and a CPU computes each layer's a in
    one loop where it would take three.
    """

    @jax.custom_jvp
    def f(z: Array) -> Array:
        return jnp.where(z > 0, z, slope * z if slope else 0)

    def along(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
        a = f(*primals)
        return a, jnp.where(a > 0, tangents[0], slope * tangents[0] if slope else 0)

    f.defjvp(along)
    return Activation(f, lambda z, a: jnp.where(a > 0, jnp.ones_like(a), slope))


# Where an activation has a kink (z = 0), both routes take the derivative from the left.
ACTIVATIONS: dict[str, Activation] = {
    "identity": Activation(lambda z: z, lambda z, a: jnp.ones_like(z)),
    "sigmoid": Activation(jax.nn.sigmoid, lambda z, a: a * (1 - a)),
    "tanh": Activation(jnp.tanh, lambda z, a: 1 - a * a),
    "relu": _rectifier(0),
    "leaky_relu": _rectifier(LEAK),
    "elu": Activation(jax.nn.elu, lambda z, a: jnp.minimum(a, 0) + 1),  # Clevert et al. 2015 with α = 1
    # Hendrycks & Gimpel 2016, exact: z·Φ(z).
    "gelu": Activation(lambda z: z * _normal_cdf(z), lambda z, a: _normal_cdf(z) + z * _normal_pdf(z)),
    # Ramachandran et al. 2017: z·σ(z).
    "swish": Activation(lambda z: z * jax.nn.sigmoid(z), lambda z, a: a + jax.nn.sigmoid(z) * (1 - a)),
}


# (key, (in, out), init_scale, dtype) -> weights. random: N(0, init_scale²); xavier: U(±√(6/(in+out))), Glorot &
# Bengio 2010; he: N(0, 2/in), He et al. 2015.
INITIALIZERS: dict[str, Callable[[Array, tuple[int, int], Array, jnp.dtype], Array]] = {
    "random": lambda key, shape, scale, dtype: jnp.asarray(scale, dtype) * jax.random.normal(key, shape, dtype),
    "xavier": lambda key, shape, scale, dtype: jax.random.uniform(
        key, shape, dtype, -((6 / sum(shape)) ** 0.5), (6 / sum(shape)) ** 0.5
    ),
    "he": lambda key, shape, scale, dtype: (2 / shape[0]) ** 0.5 * jax.random.normal(key, shape, dtype),
    "zeros": lambda key, shape, scale, dtype: jnp.zeros(shape, dtype),
}


@partial(jax.jit, static_argnums=(1, 2, 3, 5))
def init_layer(key: Array, init: str, n_in: int, n_out: int, init_scale: Array, dtype: jnp.dtype) -> Layer:
    """Weights from `INITIALIZERS[init]`, biases zero. A program of its own, which all nets with such a layer share."""
    return Layer(INITIALIZERS[init](key, (n_in, n_out), init_scale, dtype), jnp.zeros(n_out, dtype))


def init_params(key: Array, sizes: tuple[int, ...], init: str, init_scale: Array, dtype: jnp.dtype) -> Params:
    """A layer of `init_layer` between each two of the widths `sizes` (inputs, hidden …, classes)."""
    return tuple(
        init_layer(jax.random.fold_in(key, number), init, n_in, n_out, init_scale, dtype)
        for number, (n_in, n_out) in enumerate(pairwise(sizes))
    )


def _float_product(precision: lax.Precision) -> Callable[[Array, Array], Array]:
    """a·b. For one row a·db is written elementwise, so that the gradient by b is a column times a row.

    XLA makes one loop of that, and a product and a transpose of what `jax.grad` finds in the product itself
    (docs/performance.md has the gain).
    """

    def dot(a: Array, b: Array) -> Array:
        return jnp.dot(a, b, precision=precision)

    row_dot = jax.custom_jvp(dot)
    row_dot.defjvps(
        lambda da, ab, a, b: dot(da, b),
        lambda db, ab, a, b: jnp.sum(a.T * db, axis=0, keepdims=True),
    )
    return lambda a, b: row_dot(a, b) if a.shape[:-1] == (1,) else dot(a, b)


@jax.custom_vjp
def _bfloat16_product(a: Array, b: Array) -> Array:
    """a·b of factors rounded to 16 bits, added up in float32; so are the two products of its gradient.

    What `jax.grad` finds in the product itself is float32 times bfloat16, which matrix units do not multiply, and a
    gradient rounded to 16 bits.
    """
    return jnp.dot(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), preferred_element_type=jnp.float32)


_bfloat16_product.defvjp(
    lambda a, b: (_bfloat16_product(a, b), (a, b)),
    lambda factors, g: (_bfloat16_product(g, factors[1].T), _bfloat16_product(factors[0].T, g)),
)


# Matrix products. HIGHEST makes float32 mean float32 on devices whose default is coarser; bfloat16 rounds the
# factors alone and adds up in float32.
PRECISIONS: dict[str, Callable[[Array, Array], Array]] = {
    "float32": _float_product(lax.Precision.HIGHEST),
    "tf32": _float_product(lax.Precision.DEFAULT),
    "bfloat16": _bfloat16_product,
    "float64": _float_product(lax.Precision.HIGHEST),
}


def dropout_masks(
    key: Array, rate: Array, batch: int, hidden_sizes: tuple[int, ...], dtype: jnp.dtype
) -> tuple[Array, ...]:
    """Inverted dropout (Srivastava et al. 2014): each entry 0 with probability `rate`, else 1/(1 − rate).

    One (batch, width) mask a hidden layer, each from a key of its own.
    """
    keep = 1 - jnp.asarray(rate, dtype)
    return tuple(
        jnp.where(jax.random.bernoulli(jax.random.fold_in(key, layer), keep, (batch, width)), 1 / keep, 0)
        for layer, width in enumerate(hidden_sizes)
    )


def layer_noise(
    key: Array, deviation: Array, batch: int, sizes: tuple[int, ...], dtype: jnp.dtype
) -> tuple[Array, ...]:
    """Gaussian noise N(0, deviation²), one (batch, width) array a layer's input (Sietsma & Dow 1991).

    Each from a key of its own; `sizes` are the widths of the inputs.
    """
    return tuple(
        jnp.asarray(deviation, dtype) * jax.random.normal(jax.random.fold_in(key, layer), (batch, width), dtype)
        for layer, width in enumerate(sizes)
    )


class Norm(NamedTuple):
    """v = f(u) with what its derivative reads, and ∂ℓ/∂u = delta(∂ℓ/∂v, *that); a row of u is an example."""

    f: Callable[[Array], tuple[Array, tuple[Array, ...]]]
    delta: Callable[..., Array]


NORM_EPS = 1e-5  # added to the variance


def _layer_norm(u: Array) -> tuple[Array, tuple[Array, ...]]:
    centred = u - jnp.mean(u, axis=-1, keepdims=True)
    inverse = lax.rsqrt(jnp.mean(centred * centred, axis=-1, keepdims=True) + NORM_EPS)
    v = centred * inverse
    return v, (v, inverse)


def _layer_norm_delta(delta: Array, v: Array, inverse: Array) -> Array:
    along = jnp.mean(delta * v, axis=-1, keepdims=True)
    return inverse * (delta - jnp.mean(delta, axis=-1, keepdims=True) - v * along)


# Of the hidden layers' products u = h·w, before the bias. layer: v = (u − ū)/√(mean (u − ū)² + ε) over the neurons of a
# layer (Ba et al. 2016), without a gain of its own: the next layer's weights have one. ∂/∂u = (δ − δ̄ − v·mean(δ⊙v))/√….
NORMS: dict[str, Norm] = {
    "none": Norm(lambda u: (u, ()), lambda delta: delta),
    "layer": Norm(_layer_norm, _layer_norm_delta),
}


class Cache(NamedTuple):
    """What backpropagation reads of a forward pass; a tuple entry a layer."""

    inputs: tuple[Array, ...]  # h₀ = the batch, h_l = mask_l ⊙ a_l, each with its noise: what each layer multiplied
    pre_activations: tuple[Array, ...]  # z_l = norm(h_{l−1}·w_l) + b_l of the hidden layers
    activations: tuple[Array, ...]  # a_l = f(z_l)
    masks: tuple[Array, ...]  # empty without dropout
    norms: tuple[tuple[Array, ...], ...]  # what `NORMS` need to go back


def hidden_layer(
    layer: Layer, entered: Array, activation: str, precision: str, norm: str
) -> tuple[Array, Array, tuple[Array, ...]]:
    """(z, a, what the norm keeps) of one hidden layer: z = norm(h·w) + b, a = f(z)."""
    v, kept = NORMS[norm].f(PRECISIONS[precision](entered, layer.w))
    z = v + layer.b
    return z, ACTIVATIONS[activation].f(z), kept


def output_layer(layer: Layer, entered: Array, precision: str) -> Array:
    """The logits h·w + b."""
    return PRECISIONS[precision](entered, layer.w) + layer.b


def forward(
    params: Params,
    inputs: Array,
    activation: str,
    masks: tuple[Array, ...] = (),
    precision: str = "float32",
    norm: str = "none",
    noise: tuple[Array, ...] = (),
) -> tuple[Array, Cache]:
    """Logits of a batch, and the cache: z_l = norm(h_{l−1}·w_l) + b_l, a_l = f(z_l), h_l = mask_l ⊙ a_l + noise_l.

    The logits are h_{L−1}·w_L + b_L, and h₀ = inputs + noise₀.

    `inputs` is (batch, in), the logits are (batch, classes). `masks` of `dropout_masks` and `noise` of `layer_noise` in
    training, () otherwise.
    """
    entered, pre_activations, activations, norms = [inputs + noise[0] if noise else inputs], [], [], []
    for index, layer in enumerate(params[:-1]):
        z, a, kept = hidden_layer(layer, entered[-1], activation, precision, norm)
        norms.append(kept)
        pre_activations.append(z)
        activations.append(a)
        h = a * masks[index] if masks else a
        entered.append(h + noise[index + 1] if noise else h)
    logits = output_layer(params[-1], entered[-1], precision)
    return logits, Cache(tuple(entered), tuple(pre_activations), tuple(activations), masks, tuple(norms))
