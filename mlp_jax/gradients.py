"""The objective, and its gradient two ways behind one signature: by `jax.grad`, and by hand.

The objective of a batch is Σ_n weight_n·ℓ(logits_n, targets_n) + λ/2·Σ‖w‖². The weights are 1/size for the rows of
the batch and 0 for rows that only fill it up, so a short batch divides by its own size. Where examples count
differently, by c_n, they are c_n/Σc: a weighted mean, and no gradient from a batch in which nothing counts.

A confidence penalty adds β·Σ_k p_k log p_k to ℓ. Virtual adversarial training (Miyato et al. 2016) adds
w·KL(p(x) ‖ p(x + r)), with r of length ε along the gradient of that divergence at x + ξd, d random: one step of the
power iteration towards the direction in which p changes most. p(x) and r are constants of the gradient.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from mlp_jax.hparams import Hparams, Static
from mlp_jax.losses import LOSSES, TERMS, l2_penalty
from mlp_jax.model import ACTIVATIONS, NORMS, PRECISIONS, Cache, Layer, Params, forward


class Adversary(NamedTuple):
    """Constants of a step of virtual adversarial training: x + r (batch, in), and the logits at x."""

    inputs: Array
    logits: Array


class Step(NamedTuple):
    """The batch of a step: `inputs` (batch, in), `targets` (batch, classes), `weights` (batch,), and what is drawn.

    That is dropout's masks, the noise of every layer, and `direction` (batch, in), where the search for an `adversary`
    starts; () without them. All forward passes of a step see the same masks and noise.
    """

    inputs: Array
    targets: Array
    weights: Array
    masks: tuple[Array, ...] = ()
    noise: tuple[Array, ...] = ()
    direction: Any = ()
    adversary: Any = ()


Gradient = tuple[tuple[Array, Array], Params]  # (objective, logits), gradient


def step_forward(static: Static, params: Params, step: Step) -> tuple[Array, Cache]:
    """Logits of the batch as the step trains on it, and the cache."""
    return forward(params, step.inputs, masks=step.masks, noise=step.noise, **static.net)


def objective(static: Static, hparams: Hparams, params: Params, step: Step) -> tuple[Array, Array]:
    """(objective, logits) of a batch; `with_adversary` comes before it where the step has a `direction`."""
    logits, _ = step_forward(static, params, step)
    moved = step_forward(static, params, step._replace(inputs=step.adversary.inputs))[0] if static.vat else logits
    return _objective(static, hparams, params, step, logits, moved), logits


def _objective(static: Static, hparams: Hparams, params: Params, step: Step, logits: Array, moved: Array) -> Array:
    losses = LOSSES[static.loss].value(logits, step.targets)
    if static.confidence_penalty:
        losses = losses + hparams.confidence_penalty * TERMS["confidence"].value(logits, step.targets)
    if static.vat:
        losses = losses + hparams.vat_weight * TERMS["divergence"].value(moved, step.adversary.logits)
    value = jnp.sum(step.weights * losses)
    return value + l2_penalty((layer.w for layer in params), hparams.weight_decay) if static.l2 else value


def with_adversary(
    static: Static,
    hparams: Hparams,
    params: Params,
    step: Step,
    by_inputs: Callable[[Static, Params, Step, Array], Array],
) -> Step:
    """The step with its adversary r = ε·g/‖g‖, g = ∂/∂r KL(p(x) ‖ p(x + r)) at r = ξ·d/‖d‖, each row by itself."""
    logits, _ = step_forward(static, params, step)
    near = step._replace(inputs=step.inputs + hparams.vat_xi * _unit(step.direction))
    r = hparams.vat_eps * _unit(by_inputs(static, params, near, logits))
    return step._replace(adversary=Adversary(step.inputs + r, logits))


def _unit(rows: Array) -> Array:
    """Every row divided by its length; a row of zeros stays one."""
    largest = jnp.max(jnp.abs(rows), axis=-1, keepdims=True)  # first, since squares of tiny numbers are zero
    rows = rows / jnp.where(largest > 0, largest, 1)
    length = jnp.sqrt(jnp.sum(rows * rows, axis=-1, keepdims=True))
    return rows / jnp.where(length > 0, length, 1)


def by_inputs_autodiff(static: Static, params: Params, step: Step, believed: Array) -> Array:
    """∂/∂inputs of Σ_n KL(softmax(believed) ‖ p(inputs)), by `jax.grad`."""

    def divergence(inputs: Array) -> Array:
        moved, _ = step_forward(static, params, step._replace(inputs=inputs))
        return jnp.sum(TERMS["divergence"].value(moved, believed))

    return jax.grad(divergence)(step.inputs)


def by_inputs_backprop(static: Static, params: Params, step: Step, believed: Array) -> Array:
    """The same by hand: δ_L = p − softmax(believed) taken down to the first layer's product, then δ·w_1^T."""
    moved, cache = step_forward(static, params, step)
    _, below = _backward(static, params, step, cache, TERMS["divergence"].delta(moved, believed))
    return PRECISIONS[static.precision](below, params[0].w.T)


def autodiff(static: Static, hparams: Hparams, params: Params, step: Step) -> Gradient:
    """The gradient of `objective` by the parameters, by `jax.value_and_grad`."""
    if static.vat:
        step = with_adversary(static, hparams, params, step, by_inputs_autodiff)
    return jax.value_and_grad(lambda params: objective(static, hparams, params, step), has_aux=True)(params)


def backprop(static: Static, hparams: Hparams, params: Params, step: Step) -> Gradient:
    """The same gradient derived by hand, from the last layer to the first (Rumelhart, Hinton & Williams 1986).

    δ_L = weight_n·∂ℓ/∂logits; then for each layer ∂/∂w_l = h_{l−1}^T·δ_l + λw_l, ∂/∂b_l = Σ_n δ_l, and
    δ_{l−1} = (δ_l·w_l^T) ⊙ mask_{l−1} ⊙ f'(z_{l−1}). Below a normalised z the bias is reached by δ, the weights by what
    `NORMS` makes of it. Virtual adversarial training adds a second way down, from x + r, which starts at
    δ_L = weight_n·w·(p(x + r) − p(x)).
    """
    if static.vat:
        step = with_adversary(static, hparams, params, step, by_inputs_backprop)
    logits, cache = step_forward(static, params, step)
    delta = step.weights[:, None] * LOSSES[static.loss].delta(logits, step.targets)
    if static.confidence_penalty:
        factor = step.weights[:, None] * hparams.confidence_penalty
        delta = delta + factor * TERMS["confidence"].delta(logits, step.targets)
    grads, _ = _backward(static, params, step, cache, delta, hparams.weight_decay)
    moved = logits
    if static.vat:
        moved, cache = step_forward(static, params, step._replace(inputs=step.adversary.inputs))
        factor = step.weights[:, None] * hparams.vat_weight
        delta = factor * TERMS["divergence"].delta(moved, step.adversary.logits)
        adversarial, _ = _backward(static._replace(l2=False), params, step, cache, delta)
        grads = jax.tree.map(jnp.add, grads, adversarial)
    return (_objective(static, hparams, params, step, logits, moved), logits), grads


def _backward(
    static: Static, params: Params, step: Step, cache: Cache, delta: Array, weight_decay: Array | float = 0.0
) -> tuple[Params, Array]:
    """The gradient by every layer, with λ's, that follows from δ_L; and δ at the first layer's product."""
    df, product = ACTIVATIONS[static.activation].df, PRECISIONS[static.precision]
    norm_delta = NORMS[static.norm].delta
    grads: list[Layer] = []
    for index in reversed(range(len(params))):
        w, grad_b = params[index].w, jnp.sum(delta, axis=0)
        if index < len(params) - 1:
            delta = norm_delta(delta, *cache.norms[index])
        grad_w = product(cache.inputs[index].T, delta)
        grads.append(Layer(grad_w + weight_decay * w if static.l2 else grad_w, grad_b))
        if index > 0:
            below = product(delta, w.T)
            if step.masks:
                below = below * step.masks[index - 1]
            delta = below * df(cache.pre_activations[index - 1], cache.activations[index - 1])
    return tuple(reversed(grads)), delta


GRADIENTS: dict[str, Callable[..., Gradient]] = {"autodiff": autodiff, "backprop": backprop}
