"""The objective, and its gradient two ways behind one signature: by `jax.grad`, and by hand.

The objective of a batch is Σ_n weight_n·ℓ(logits_n, targets_n) + λ/2·Σ‖w‖². The weights are 1/size for the rows of
the batch and 0 for rows that only fill it up, so a short batch divides by its own size. Where examples count
differently, by c_n, they are c_n/Σc: a weighted mean, and no gradient from a batch in which nothing counts.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from mlp_jax.hparams import Hparams, Static
from mlp_jax.losses import LOSSES, l2_penalty
from mlp_jax.model import ACTIVATIONS, NORMS, PRECISIONS, Layer, Params, forward


class Step(NamedTuple):
    """The batch of a step: `inputs` (batch, in), `targets` (batch, classes), `weights` (batch,), dropout's masks."""

    inputs: Array
    targets: Array
    weights: Array
    masks: tuple[Array, ...] = ()


Gradient = tuple[tuple[Array, Array], Params]  # (objective, logits), gradient


def objective(static: Static, hparams: Hparams, params: Params, step: Step) -> tuple[Array, Array]:
    """(objective, logits) of a batch."""
    logits, _ = forward(params, step.inputs, masks=step.masks, **static.net)
    return _objective(static, hparams, params, step, logits), logits


def _objective(static: Static, hparams: Hparams, params: Params, step: Step, logits: Array) -> Array:
    value = jnp.sum(step.weights * LOSSES[static.loss].value(logits, step.targets))
    return value + l2_penalty((layer.w for layer in params), hparams.weight_decay) if static.l2 else value


def autodiff(static: Static, hparams: Hparams, params: Params, step: Step) -> Gradient:
    """The gradient of `objective` by the parameters, by `jax.value_and_grad`."""
    return jax.value_and_grad(lambda params: objective(static, hparams, params, step), has_aux=True)(params)


def backprop(static: Static, hparams: Hparams, params: Params, step: Step) -> Gradient:
    """The same gradient derived by hand, from the last layer to the first (Rumelhart, Hinton & Williams 1986).

    δ_L = weight_n·∂ℓ/∂logits; then for each layer ∂/∂w_l = h_{l−1}^T·δ_l + λw_l, ∂/∂b_l = Σ_n δ_l, and
    δ_{l−1} = (δ_l·w_l^T) ⊙ mask_{l−1} ⊙ f'(z_{l−1}). Below a normalised z the bias is reached by δ, the weights by what
    `NORMS` makes of it.
    """
    df, product = ACTIVATIONS[static.activation].df, PRECISIONS[static.precision]
    norm_delta = NORMS[static.norm].delta
    logits, cache = forward(params, step.inputs, masks=step.masks, **static.net)
    delta = step.weights[:, None] * LOSSES[static.loss].delta(logits, step.targets)
    grads: list[Layer] = []
    for index in reversed(range(len(params))):
        w, grad_b = params[index].w, jnp.sum(delta, axis=0)
        if index < len(params) - 1:
            delta = norm_delta(delta, *cache.norms[index])
        grad_w = product(cache.inputs[index].T, delta)
        grads.append(Layer(grad_w + hparams.weight_decay * w if static.l2 else grad_w, grad_b))
        if index > 0:
            below = product(delta, w.T)
            if step.masks:
                below = below * step.masks[index - 1]
            delta = below * df(cache.pre_activations[index - 1], cache.activations[index - 1])
    return (_objective(static, hparams, params, step, logits), logits), tuple(reversed(grads))


GRADIENTS: dict[str, Callable[..., Gradient]] = {"autodiff": autodiff, "backprop": backprop}
