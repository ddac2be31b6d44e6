"""Learning-rate schedules: a factor on the learning rate for every step, all numbers traced."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array


class ScheduleNumbers(NamedTuple):
    """What the schedules read, in steps where `config` counts epochs."""

    warmup_steps: Array
    decay_steps: Array
    decay_rate: Array
    final_factor: Array
    total_steps: Array


def _cosine(step: Array, numbers: ScheduleNumbers) -> Array:
    share = jnp.clip(step / jnp.maximum(numbers.total_steps - numbers.warmup_steps, 1), 0, 1)
    return numbers.final_factor + (1 - numbers.final_factor) * 0.5 * (1 + jnp.cos(jnp.pi * share))


# step (from 0, counted from the end of the warm-up) -> factor.
# step: r^⌊s/S⌋; exponential: r^(s/S); cosine: f + (1 − f)·(1 + cos(πs/T))/2 (Loshchilov & Hutter 2017, one cycle).
# `//` is exact, where a compiler may turn floor(s / S) into ⌊s·(1/S)⌋, which is one too few at some multiples of S.
SCHEDULES: dict[str, Callable[[Array, ScheduleNumbers], Array]] = {
    "constant": lambda step, numbers: jnp.ones_like(step),
    "step": lambda step, numbers: numbers.decay_rate ** (step // numbers.decay_steps),
    "exponential": lambda step, numbers: numbers.decay_rate ** (step / numbers.decay_steps),
    "cosine": _cosine,
}

# The schedules whose factor at a step depends on how long the run is.
DEPENDS_ON_LENGTH = frozenset({"cosine"})


def learning_rate_factor(schedule: str, warmup: bool, step: Array, numbers: ScheduleNumbers) -> Array:
    """The factor of update `step` (from 0): (step + 1)/W while it warms up (Goyal et al. 2017), then the schedule."""
    step = step.astype(numbers.total_steps.dtype)
    if not warmup:
        return SCHEDULES[schedule](step, numbers)
    rising = (step + 1) / jnp.maximum(numbers.warmup_steps, 1)
    after = SCHEDULES[schedule](jnp.maximum(step - numbers.warmup_steps, 0), numbers)
    return jnp.where(step < numbers.warmup_steps, rising, after)
