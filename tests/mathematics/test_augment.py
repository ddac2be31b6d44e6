"""Distortions and mixup against plain loops, SciPy and the statistics that their numbers promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, stats

from mlp_jax.augment import DISTORTIONS, DistortionNumbers, _coordinates, augment, bilinear, displacements, mix, nearest

SHAPE = (9, 7)
F32 = jnp.dtype("float32")


def numbers(**given):
    return DistortionNumbers(*(jnp.float32(given.get(name, 0)) for name in DistortionNumbers._fields))


def some_images(n, shape=SHAPE, seed=0):
    return jnp.asarray(np.random.default_rng(seed).integers(25, 256, (n, shape[0] * shape[1])), F32)


def coordinates(key, n, **given):
    keys = {name: jax.random.fold_in(key, DISTORTIONS.index(name)) for name in given}
    y, x = _coordinates(keys, numbers(**given), n, SHAPE, F32)
    return np.broadcast_to(y, (n, *SHAPE)), np.broadcast_to(x, (n, *SHAPE))


def moved(image, dy, dx, flip):
    """What a reader would write: the pixel (y, x) comes from (y + dy, x + dx), mirrored, else it is black."""
    height, width = image.shape
    result = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            at = (y + dy, width - 1 - (x + dx) if flip else x + dx)
            if 0 <= at[0] < height and 0 <= at[1] < width:
                result[y, x] = image[at]
    return result


def test_shifts_and_flips_are_those_of_a_plain_loop_and_all_of_them_occur(key):
    image = np.asarray(some_images(1)).reshape(SHAPE)
    expected = {
        moved(image, dy, dx, flip).tobytes(): (dy, dx, flip)
        for dy in range(-2, 3)
        for dx in range(-2, 3)
        for flip in (False, True)
    }
    images = jnp.tile(jnp.asarray(image.ravel()), (1000, 1))
    result = np.asarray(augment(("flip", "shift"), numbers(shift=2), key, SHAPE, images))
    found = [expected[row.tobytes()] for row in result]
    assert set(found) == set(expected.values())
    assert abs(np.mean([flip for *_, flip in found]) - 0.5) < 5 * 0.5 / 1000**0.5


@pytest.mark.parametrize(("resample", "order"), [(nearest, 0), (bilinear, 1)])
def test_resampling_is_scipys(resample, order):
    rng = np.random.default_rng(1)
    images = some_images(6)
    places = rng.uniform(-3, 12, (2, 6, *SHAPE))
    if order == 0:
        places = places.round()
    result = resample(images, SHAPE, *jnp.asarray(places, F32))
    for row, image, y, x in zip(result, images, *places.astype(np.float32), strict=True):
        want = ndimage.map_coordinates(np.asarray(image).reshape(SHAPE), [y, x], order=order, mode="grid-constant")
        np.testing.assert_allclose(row.reshape(SHAPE), want, atol=5e-3)


def test_rotations_keep_distances_and_their_angles_are_even(key):
    centre = np.array([4, 3])[:, None, None, None]
    grid = np.mgrid[:9, :7][:, None] - centre
    turned = np.stack(coordinates(key, 400, rotation=30)) - centre
    np.testing.assert_allclose(np.hypot(*turned), np.broadcast_to(np.hypot(*grid), turned[0].shape), atol=1e-5)
    angles = np.degrees(np.arctan2(turned[0][:, 4, 6], turned[1][:, 4, 6]))  # of what lay to the right of the centre
    assert abs(angles).max() <= 30
    assert abs(angles).max() > 29
    assert abs(angles.mean()) < 5 * 30 / 3**0.5 / 400**0.5


def test_scale_and_shear_are_linear_about_the_centre(key):
    y, x = coordinates(key, 200, scale=0.2)
    ys, xs = (y[:, 8, 0] - 4) / 4, (x[:, 0, 6] - 3) / 3
    np.testing.assert_allclose(y, 4 + ys[:, None, None] * (np.arange(9)[:, None] - 4) + np.zeros(SHAPE), atol=1e-5)
    np.testing.assert_allclose(x, 3 + xs[:, None, None] * (np.arange(7) - 3) + np.zeros(SHAPE), atol=1e-5)
    for factors in (ys, xs):
        assert 0.8 - 1e-5 <= factors.min() < 0.82
        assert 1.18 < factors.max() <= 1.2 + 1e-5
    assert abs(np.corrcoef(ys, xs)[0, 1]) < 5 / 200**0.5
    y, x = coordinates(key, 200, shear=0.3)
    slope = (x[:, 8, 0] - x[:, 0, 0]) / 8
    np.testing.assert_array_equal(y, np.broadcast_to(np.arange(9)[:, None], y.shape))
    np.testing.assert_allclose(x, np.arange(7) + slope[:, None, None] * (np.arange(9)[:, None] - 4), atol=1e-5)
    assert 0.28 < abs(slope).max() <= 0.3


def test_displacements_are_unit_normal_everywhere_and_as_smooth_as_filtered_noise(key):
    n, sigma = 4000, 4
    u = np.asarray(displacements(key, n, (28, 28), F32))
    assert u.shape == (n, 2, 28, 28)
    assert abs(u.std(axis=0) - 1).max() < 6 / (2 * n) ** 0.5
    assert abs(u.mean(axis=0)).max() < 6 / n**0.5
    assert abs((u[:, 0] * u[:, 1]).mean(axis=0)).max() < 6 / n**0.5
    # White noise under a Gaussian filter is correlated as exp(−d²/4σ²).
    for d in (1, 4, 8):
        for fields in (u, u.swapaxes(2, 3)):
            found = (fields[:, :, 14, 10] * fields[:, :, 14, 10 + d]).mean()
            assert abs(found - np.exp(-(d**2) / (4 * sigma**2))) < 0.05


def test_an_erased_square_has_its_side(key):
    result = np.asarray(augment(("erase",), numbers(erase=3), key, (20, 20), some_images(300, (20, 20))))
    sizes = set()
    for row in result.reshape(-1, 20, 20):
        ys, xs = np.nonzero(row == 0)
        height, width = np.ptp(ys) + 1, np.ptp(xs) + 1
        assert len(ys) == height * width  # nothing else is black
        sizes.add((height, width))
    assert max(sizes) == (3, 3)
    assert min(min(size) for size in sizes) == 2  # a centre on the edge


def test_one_distortion_does_not_depend_on_which_others_are_on(key):
    images = some_images(20)
    alone = augment(("flip", "shift"), numbers(shift=2), key, SHAPE, images)
    together = augment(DISTORTIONS, numbers(shift=2), key, SHAPE, images)
    np.testing.assert_allclose(together, alone, atol=2.5e-3)


def test_every_image_of_every_step_is_distorted_on_its_own_and_again_alike(key):
    images = jnp.tile(some_images(1), (8, 1))
    given = numbers(rotation=20, elastic=1)
    one = np.asarray(augment(("rotation", "elastic"), given, jax.random.fold_in(key, 1), SHAPE, images))
    other = np.asarray(augment(("rotation", "elastic"), given, jax.random.fold_in(key, 2), SHAPE, images))
    assert len({row.tobytes() for row in (*one, *other)}) == 16
    again = augment(("rotation", "elastic"), given, jax.random.fold_in(key, 1), SHAPE, images)
    np.testing.assert_array_equal(one, again)
    # A convex mean of pixels and black stays within them.
    assert one.min() >= 0
    assert one.max() <= float(images.max()) + 2.5e-4


# Mixup


def shares(key, alpha, n):
    """λ of n batches, read off two images of which one is 1 and the other 0."""
    rows = jnp.asarray([[1.0], [0.0]])
    draw = jax.vmap(lambda key: mix(key, jnp.float32(alpha), jnp.float32(2), rows, rows)[0][0, 0])
    return np.asarray(draw(jax.random.split(key, n)))


@pytest.mark.parametrize("size", [8, 5, 1])
def test_rows_are_blends_of_a_row_and_the_next_one_image_and_target_alike(key, size):
    """What only fills the batch up is seen by no row of it."""
    inputs, targets = np.random.default_rng(0).random((8, 6), np.float32), np.eye(8, dtype=np.float32)
    inputs[size:] = np.nan
    mixed, blended = mix(key, jnp.float32(1), jnp.float32(size), jnp.asarray(inputs), jnp.asarray(targets))
    share = float(blended[0, 0]) if size > 1 else 1.0
    assert 0.5 <= share < 1 or size == 1
    for row in range(size):
        partner = (row + 1) % size
        np.testing.assert_allclose(blended[row], share * targets[row] + (1 - share) * targets[partner], atol=1e-6)
        np.testing.assert_allclose(mixed[row], share * inputs[row] + (1 - share) * inputs[partner], atol=1e-6)


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 3.0])
def test_the_shares_are_those_of_a_folded_beta(key, alpha):
    beta = stats.beta(alpha, alpha)
    found = shares(key, alpha, 20_000)
    assert len(set(found.tolist())) > 5000  # every batch has one of its own; near 1 float32 has few
    assert found.min() >= 0.5
    # SciPy's test wants a continuous distribution; near 1 float32 has steps, so only what lies below is looked at.
    inner = found[found < 1 - 1e-4]
    below = 2 * beta.cdf(1 - 1e-4) - 1
    assert abs(len(inner) / len(found) - below) < 5 * 0.5 / 20_000**0.5
    assert stats.kstest(inner, lambda x: (2 * beta.cdf(x) - 1) / below).pvalue > 1e-4
