"""What a step does to its batch of images: flips, shifts, affine and elastic maps, erased squares; and mixup.

All that move pixels are one map of coordinates, so an image is resampled once. Each distortion draws from a key of its
own: the numbers of one do not depend on which others are on. Rows are images of `shape` (height, width), flattened,
their pixels whole numbers from 0 to 255 in a floating dtype.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

# The order in which they get their keys; the list grows only at its end.
DISTORTIONS = ("flip", "shift", "rotation", "scale", "shear", "elastic", "erase")
_BETWEEN_PIXELS = frozenset({"rotation", "scale", "shear", "elastic"})
_MOVES = _BETWEEN_PIXELS | {"flip", "shift"}


class DistortionNumbers(NamedTuple):
    """How far each goes: pixels, degrees, a share of the side, pixels a row, pixels, pixels."""

    shift: Array
    rotation: Array
    scale: Array
    shear: Array
    elastic: Array
    erase: Array


def augment(
    names: tuple[str, ...], numbers: DistortionNumbers, key: Array, shape: tuple[int, int], images: Array
) -> Array:
    """Every image of the batch (n, height·width) distorted on its own by the DISTORTIONS named; black comes in.

    The pixel (y, x) of the result is that of the image at c + M·((y, x) − c) + (dy, dx) + u(y, x), c the centre,
    mirrored if the coin of `flip` says so. M is rotation · shear · scale; `shift` draws whole pixels. Between pixels
    the image is interpolated bilinearly.
    """
    keys = {name: jax.random.fold_in(key, DISTORTIONS.index(name)) for name in names}
    if _MOVES & set(names):
        y, x = _coordinates(keys, numbers, len(images), shape, images.dtype)
        resample = bilinear if _BETWEEN_PIXELS & set(names) else nearest
        images = resample(images, shape, y, x)
    if "erase" in keys:
        images = images * _outside_squares(keys["erase"], numbers.erase, len(images), shape, images.dtype)
    return images


def _coordinates(
    keys: dict[str, Array], numbers: DistortionNumbers, n: int, shape: tuple[int, int], dtype: jnp.dtype
) -> tuple[Array, Array]:
    """Where each pixel is taken from: y and x, each broadcastable to (n, height, width)."""

    def spread(name: str, most: Array, count: int = 1) -> Array:
        return jax.random.uniform(keys[name], (count, n, 1, 1), dtype, -1, 1) * most.astype(dtype)

    height, width = shape
    centre_y, centre_x = (height - 1) / 2, (width - 1) / 2
    y = jnp.arange(height, dtype=dtype)[None, :, None] - centre_y
    x = jnp.arange(width, dtype=dtype)[None, None, :] - centre_x
    if "scale" in keys:
        sy, sx = spread("scale", numbers.scale, 2)
        y, x = y * (1 + sy), x * (1 + sx)
    if "shear" in keys:
        (k,) = spread("shear", numbers.shear)
        x = x + k * y
    if "rotation" in keys:
        (angle,) = spread("rotation", jnp.deg2rad(numbers.rotation))
        sin, cos = jnp.sin(angle), jnp.cos(angle)
        y, x = cos * y + sin * x, cos * x - sin * y
    y, x = y + centre_y, x + centre_x
    if "elastic" in keys:
        u = displacements(keys["elastic"], n, shape, dtype) * numbers.elastic.astype(dtype)
        y, x = y + u[:, 0], x + u[:, 1]
    if "shift" in keys:
        most = numbers.shift.astype(jnp.int32)
        dy, dx = jax.random.randint(keys["shift"], (2, n, 1, 1), -most, most + 1).astype(dtype)
        y, x = y + dy, x + dx
    if "flip" in keys:
        x = jnp.where(jax.random.bernoulli(keys["flip"], 0.5, (n, 1, 1)), width - 1 - x, x)
    return y, x


def displacements(key: Array, n: int, shape: tuple[int, int], dtype: jnp.dtype) -> Array:
    """Smooth random fields (n, 2, height, width), at every pixel N(0, 1) in y and in x, independently.

    White noise under a Gaussian of a seventh of the image's side, 4 pixels of 28 (Simard et al. 2003), but drawn on
    knots a standard deviation apart: a fifth of the random numbers, and two small products in place of a convolution.
    """
    sigma = min(shape) / 7
    rows, columns = (_blend(side, sigma, dtype) for side in shape)
    noise = jax.random.normal(key, (n, 2, rows.shape[1], columns.shape[1]), dtype)
    # HIGHEST: on some devices products of float32 are coarser otherwise.
    return jnp.einsum("yk,nckl,xl->ncyx", rows, noise, columns, precision=lax.Precision.HIGHEST)


def _blend(side: int, sigma: float, dtype: jnp.dtype) -> Array:
    """(side, knots): each row Gaussian weights around its pixel, with squares that add up to 1."""
    knots = jnp.arange(-1, round((side - 1) / sigma) + 2, dtype=dtype) * sigma
    weights = jnp.exp(-0.5 * ((jnp.arange(side, dtype=dtype)[:, None] - knots) / sigma) ** 2)
    return weights / jnp.sqrt(jnp.sum(weights**2, axis=1, keepdims=True))


def nearest(images: Array, shape: tuple[int, int], y: Array, x: Array) -> Array:
    """Pixels (n, height·width) at whole coordinates, 0 outside the image."""
    height, width = shape
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    index = (jnp.clip(y, 0, height - 1) * width + jnp.clip(x, 0, width - 1)).astype(jnp.int32)
    index = jnp.broadcast_to(index, (len(images), height, width)).reshape(images.shape)
    return _take(images, index) * inside.astype(images.dtype).reshape(len(images), -1)


def bilinear(images: Array, shape: tuple[int, int], y: Array, x: Array) -> Array:
    """Values (n, height·width) between pixels, of the image in a frame of black.

    The four pixels around a place lie in the bytes of one number, so that they are gathered once.
    """
    n, (height, width) = len(images), shape
    row = width + 2
    framed = jnp.pad(images.reshape(n, height, width), ((0, 0), (1, 1), (1, 1))).reshape(n, -1).astype(jnp.uint32)
    packed = framed
    for byte, places in enumerate((1, row, row + 1), start=1):
        packed = packed | (jnp.roll(framed, -places, axis=1) << (8 * byte))
    y, x = jnp.clip(y, -1, height), jnp.clip(x, -1, width)
    top, left = jnp.minimum(jnp.floor(y), height - 1), jnp.minimum(jnp.floor(x), width - 1)
    down, right = y - top, x - left
    index = ((top + 1) * row + left + 1).astype(jnp.int32)
    index = jnp.broadcast_to(index, (n, height, width)).reshape(n, -1)
    found = _take(packed, index)
    at = [((found >> shift) & 255).astype(images.dtype).reshape(n, height, width) for shift in (0, 8, 16, 24)]
    above = at[0] + right * (at[1] - at[0])
    below = at[2] + right * (at[3] - at[2])
    return (above + down * (below - above)).reshape(n, -1)


def _take(rows: Array, index: Array) -> Array:
    return jnp.take_along_axis(rows, index, axis=1, mode="promise_in_bounds")


def _outside_squares(key: Array, side: Array, n: int, shape: tuple[int, int], dtype: jnp.dtype) -> Array:
    """0 in one square of `side` pixels an image, its centre any pixel; else 1 (DeVries & Taylor 2017)."""
    sizes = jnp.asarray(shape, dtype)[:, None]
    centre_y, centre_x = jnp.floor(jax.random.uniform(key, (2, n), dtype) * sizes)
    half = side.astype(dtype) / 2

    def within(centre: Array, length: int) -> Array:
        distance = jnp.arange(length, dtype=dtype) - centre[:, None]
        return (distance >= -half) & (distance < half)

    square = within(centre_y, shape[0])[:, :, None] & within(centre_x, shape[1])[:, None, :]
    return 1 - square.astype(dtype).reshape(n, -1)


def mix(key: Array, alpha: Array, size: Array, inputs: Array, targets: Array) -> tuple[Array, Array]:
    """x_i ← s·x_i + (1 − s)·x_j and y_i ← s·y_i + (1 − s)·y_j (Zhang et al. 2018).

    s = max(β, 1 − β) with β ~ Beta(α, α), so that an example's own label weighs most; one draw a batch, as in the
    authors' program: one a row took a step of a small net 1.6 times as long. Row j is the next of the first `size`
    rows, the first after the last: batches are shuffled. `inputs` (batch, in), `targets` (batch, classes).
    """
    beta = jax.random.beta(key, alpha, alpha, dtype=inputs.dtype)
    share = jnp.maximum(beta, 1 - beta)
    following = jnp.arange(1, len(inputs) + 1)
    partner = jnp.where(following.astype(size.dtype) < size, following, 0)

    def blend(rows: Array) -> Array:
        return share * rows + (1 - share) * rows[partner]

    return blend(inputs), blend(targets)
