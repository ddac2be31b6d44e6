"""Mixup against a plain loop over the rows, and the distribution of its shares against SciPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mlp_jax.augment import mix


def shares(key, alpha, n):
    """λ of n batches, read off two images of which one is 1 and the other 0."""
    rows = jnp.asarray([[1.0], [0.0]])
    draw = jax.vmap(lambda key: mix(key, jnp.float32(alpha), jnp.float32(2), rows, rows)[0][0, 0])
    return np.asarray(draw(jax.random.split(key, n)))


@pytest.mark.parametrize("size", [8, 5, 1])
def test_rows_are_blends_of_a_row_and_the_next_one_image_and_target_alike(key, size):
    rng = np.random.default_rng(0)
    inputs, targets = rng.random((8, 6), np.float32), np.eye(8, dtype=np.float32)
    mixed, blended = mix(key, jnp.float32(1), jnp.float32(size), jnp.asarray(inputs), jnp.asarray(targets))
    share = float(blended[0, 0]) if size > 1 else 1.0
    assert 0.5 <= share < 1 or size == 1
    for row in range(size):
        partner = (row + 1) % size
        np.testing.assert_allclose(blended[row], share * targets[row] + (1 - share) * targets[partner], atol=1e-6)
        np.testing.assert_allclose(mixed[row], share * inputs[row] + (1 - share) * inputs[partner], atol=1e-6)


def test_no_row_of_the_batch_sees_what_only_fills_it_up(key):
    inputs = jnp.ones((8, 3)).at[5:].set(jnp.nan)
    mixed, _ = mix(key, jnp.float32(1), jnp.float32(5), inputs, jnp.ones((8, 2)))
    assert np.isfinite(mixed[:5]).all()


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 3.0])
def test_the_shares_are_those_of_a_folded_beta(key, alpha):
    beta = stats.beta(alpha, alpha)
    found = shares(key, alpha, 20_000)
    assert found.min() >= 0.5
    # SciPy's test wants a continuous distribution; near 1 float32 has steps, so only what lies below is looked at.
    inner = found[found < 1 - 1e-4]
    below = 2 * beta.cdf(1 - 1e-4) - 1
    assert abs(len(inner) / len(found) - below) < 5 * 0.5 / 20_000**0.5
    assert stats.kstest(inner, lambda x: (2 * beta.cdf(x) - 1) / below).pvalue > 1e-4


def test_every_batch_has_a_share_of_its_own(key):
    assert len(set(shares(key, 1.0, 1000).tolist())) > 990
