"""Mixup: every example of a batch blended with another of the same batch, image and target alike."""

import jax
import jax.numpy as jnp
from jax import Array


def mix(key: Array, alpha: Array, size: Array, inputs: Array, targets: Array) -> tuple[Array, Array]:
    """x_i ← λ_i·x_i + (1 − λ_i)·x_j and y_i ← λ_i·y_i + (1 − λ_i)·y_j (Zhang et al. 2018).

    λ_i = max(β_i, 1 − β_i) with β_i ~ Beta(α, α) drawn for each row, so that an example's own label weighs most. Row
    j is the next of the first `size` rows, the first after the last: batches are shuffled. `inputs` (batch, in),
    `targets` (batch, classes).
    """
    beta = jax.random.beta(key, alpha, alpha, (len(inputs), 1), inputs.dtype)
    share = jnp.maximum(beta, 1 - beta)
    following = jnp.arange(1, len(inputs) + 1)
    partner = jnp.where(following.astype(size.dtype) < size, following, 0)

    def blend(rows: Array) -> Array:
        return share * rows + (1 - share) * rows[partner]

    return blend(inputs), blend(targets)
