"""Why a run diverged: the first step with a number that is not finite, and the layer it came from."""

import jax.numpy as jnp
import numpy as np

from mlp_jax.gradients import GRADIENTS
from mlp_jax.hparams import steps_per_epoch
from mlp_jax.lanes.fit import Task, order_of, place_lane
from mlp_jax.model import forward
from mlp_jax.training import Lane, Program, draw_step, take_batch


def explain(task: Task, program: Program, lane: Lane | None, bad_step: int) -> str:
    """One line on the divergence at `bad_step` (updates counted from 0), found by replaying from `lane`.

    `lane` is a state of an earlier step, None for the start; the replay draws the same rows and masks.
    """
    lane = program.init(task.hparams, task.keys) if lane is None else place_lane(lane, task.placement)
    lane = _advance(task, program, lane, max(bad_step - 1, int(lane.state.step)))
    place = _first_bad(task, lane)
    if place is None:
        lane = _advance(task, program, lane, bad_step)
        place = _first_bad(task, lane) or "the loss"
    step = int(lane.state.step)
    rate = float(task.hparams.learning_rate)
    return f"training diverged at step {step}: {place} is not finite; likely cause: {_cause(task, lane, rate)}"


def _cause(task: Task, lane: Lane, rate: float) -> str:
    largest = float(jnp.max(task.data.images)) * float(task.data.scale)
    if largest > 10:
        return f"the scale of the data (inputs up to {largest:g})"
    return f"learning_rate {rate:g} is too large"


def _advance(task: Task, program: Program, lane: Lane, step: int) -> Lane:
    steps = steps_per_epoch(len(task.train_indices), task.static.batch_size)
    while int(lane.state.step) < step:
        epoch, batch = divmod(int(lane.state.step), steps)
        stop = min(steps, batch + step - int(lane.state.step))
        lane = program.train_steps(
            task.hparams, task.keys, task.data, order_of(task, epoch + 1), lane, np.int32(batch), np.int32(stop)
        )
    return lane


def _first_bad(task: Task, lane: Lane) -> str | None:
    """The first of pre-activations, loss and gradient of this step's batch that is not finite."""
    static, step = task.static, int(lane.state.step)
    epoch, batch = divmod(step, steps_per_epoch(len(task.train_indices), static.batch_size))
    order = order_of(task, epoch + 1)
    read = take_batch(static, task.data, order, jnp.int32(batch), static.batch_size)
    drawn = draw_step(static, task.hparams, task.keys, jnp.int32(step), read)
    params = lane.state.params
    for number, layer in enumerate(params, start=1):
        if not (jnp.isfinite(layer.w).all() and jnp.isfinite(layer.b).all()):
            return f"the parameters of layer {number}"
    logits, cache = forward(params, drawn.inputs, static.activation, drawn.masks, static.precision, static.norm)
    for number, z in enumerate((*cache.pre_activations, logits), start=1):
        if not jnp.isfinite(z).all():
            return f"the output of layer {number}"
    (loss, _), grads = GRADIENTS[static.gradient](static, task.hparams, params, *drawn)
    if not jnp.isfinite(loss):
        return "the loss"
    for number, grad in enumerate(grads, start=1):
        if not (jnp.isfinite(grad.w).all() and jnp.isfinite(grad.b).all()):
            return f"the gradient of layer {number}"
    return None
