"""Why a run diverged: the first step with a number that is not finite, and the layer it came from."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.gradients import GRADIENTS, step_forward
from mlp_jax.lanes.fit import Program, Task, order_of, place_lane
from mlp_jax.training import Lane, draw_step, take_batch


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
    largest = float(jnp.max(jnp.abs(task.data.images))) * float(task.data.scale)
    cause = f"learning_rate {float(task.hparams.learning_rate):g} is too large"
    if largest > 10:
        cause = f"the scale of the data (inputs up to {largest:g})"
    return f"training diverged at step {int(lane.state.step)}: {place} is not finite; likely cause: {cause}"


def _advance(task: Task, program: Program, lane: Lane, step: int) -> Lane:
    while int(lane.state.step) < step:
        epoch, batch = divmod(int(lane.state.step), task.steps)
        stop = min(task.steps, batch + step - int(lane.state.step))
        order, bounds = order_of(task, epoch + 1), (np.int32(batch), np.int32(stop))
        lane = program.train_steps(task.hparams, task.keys, task.data, order, lane, bounds)
    return lane


def _first_bad(task: Task, lane: Lane) -> str | None:
    """What is not finite first in the next step of `lane`; None if everything is."""
    for name, tree in _numbers(task, lane):
        if not all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)):
            return name
    return None


def _numbers(task: Task, lane: Lane) -> Iterator[tuple[str, Any]]:
    """The numbers of a step with their names, in the order in which they are computed."""
    static, params, step = task.static, lane.state.params, int(lane.state.step)
    epoch, batch = divmod(step, task.steps)
    order, weight = order_of(task, epoch + 1), task.hparams.class_weight
    read = take_batch(static, task.data, order, jnp.int32(batch), static.batch_size, weight)
    drawn = draw_step(static, task.hparams, task.keys, jnp.int32(step), read)
    yield from _named("the parameters of layer", params)
    logits, cache = step_forward(static, params, drawn)
    yield from _named("the output of layer", (*cache.pre_activations, logits))
    (loss, _), grads = GRADIENTS[static.gradient](static, task.hparams, params, drawn)
    yield "the loss", loss
    yield from _named("the gradient of layer", grads)


def _named(name: str, layers: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    return ((f"{name} {number}", layer) for number, layer in enumerate(layers, start=1))
