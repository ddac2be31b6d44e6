"""The losses, each with its derivative at the logits, and the L2 penalty. Natural logarithms throughout."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Loss(NamedTuple):
    """Per-example loss ℓ and its derivative by the logits.

    `value(logits, targets)` is (batch,), `delta(logits, targets)` is (batch, classes); `targets` are
    distributions over the classes, (batch, classes), one-hot for hard labels.
    """

    value: Callable[[Array, Array], Array]
    delta: Callable[[Array, Array], Array]


def _cross_entropy(logits: Array, targets: Array) -> Array:
    return -jnp.sum(targets * jax.nn.log_softmax(logits), axis=-1)


def _cross_entropy_delta(logits: Array, targets: Array) -> Array:
    return jax.nn.softmax(logits) - targets


def _mse(logits: Array, targets: Array) -> Array:
    return jnp.mean((jax.nn.softmax(logits) - targets) ** 2, axis=-1)


def _mse_delta(logits: Array, targets: Array) -> Array:
    probabilities = jax.nn.softmax(logits)
    d = 2 * (probabilities - targets) / logits.shape[-1]
    return probabilities * (d - jnp.sum(d * probabilities, axis=-1, keepdims=True))


# cross_entropy: ℓ = −Σ_k y_k log p_k with p = softmax(logits); ∂ℓ/∂z = p − y, since Σ_k y_k = 1.
# mse: ℓ = (1/K)·Σ_k (p_k − y_k)²; with d = ∂ℓ/∂p = 2(p − y)/K and the softmax Jacobian diag(p) − pp^T,
# ∂ℓ/∂z = p ⊙ (d − Σ_k d_k p_k).
LOSSES: dict[str, Loss] = {
    "cross_entropy": Loss(_cross_entropy, _cross_entropy_delta),
    "mse": Loss(_mse, _mse_delta),
}


def _negative_entropy(logits: Array) -> Array:
    log_p = jax.nn.log_softmax(logits)
    return jnp.sum(jnp.exp(log_p) * log_p, axis=-1)


def _negative_entropy_delta(logits: Array) -> Array:
    log_p = jax.nn.log_softmax(logits)
    p = jnp.exp(log_p)
    return p * (log_p - jnp.sum(p * log_p, axis=-1, keepdims=True))


def _divergence(logits: Array, believed: Array) -> Array:
    log_q = jax.nn.log_softmax(believed)
    return jnp.sum(jnp.exp(log_q) * (log_q - jax.nn.log_softmax(logits)), axis=-1)


def _divergence_delta(logits: Array, believed: Array) -> Array:
    return jax.nn.softmax(logits) - jax.nn.softmax(believed)


# What a config may add to the loss of an example, with p = softmax(logits).
# confidence: −H(p) = Σ_k p_k log p_k (Pereyra et al. 2017); ∂/∂z_k = Σ_j (log p_j + 1)·p_j(δ_jk − p_k) =
# p_k(log p_k + H(p)).
# divergence: KL(q‖p) = Σ_k q_k log(q_k/p_k) of q = softmax(believed), which is a constant; so ∂/∂z = p − q, as under
# cross-entropy with the targets q.
TERMS: dict[str, Loss] = {
    "confidence": Loss(lambda logits, _: _negative_entropy(logits), lambda logits, _: _negative_entropy_delta(logits)),
    "divergence": Loss(_divergence, _divergence_delta),
}


def smooth(targets: Array, share: Array) -> Array:
    """(1 − s)·y + s/K: the share s of the target spread over all K classes (Szegedy et al. 2016), for either loss.

    Under cross-entropy it keeps the logits finite; under mse it moves the minimum to the smoothed distribution.
    """
    return (1 - share) * targets + share / targets.shape[-1]


def l2_penalty(weights: Iterable[Array], weight_decay: Array) -> Array:
    """λ/2·Σ‖w‖² over the weights, never the biases; its derivative by w is λw."""
    return 0.5 * weight_decay * sum(jnp.sum(w * w) for w in weights)
