"""Schedules against factors worked out by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_jax.schedules import DEPENDS_ON_LENGTH, SCHEDULES, ScheduleNumbers, learning_rate_factor


def factors(schedule, steps, warmup=0, decay_steps=10.0, decay_rate=0.5, final_factor=0.0, total=100):
    numbers = ScheduleNumbers(*map(jnp.float32, (warmup, decay_steps, decay_rate, final_factor, total)))
    factor = jax.jit(jax.vmap(lambda step: learning_rate_factor(schedule, warmup > 0, step, numbers)))
    return np.asarray(factor(jnp.asarray(steps, jnp.int32)))


@pytest.mark.parametrize(
    ("schedule", "numbers", "by_hand"),
    [
        ("constant", {}, {0: 1, 7: 1, 99: 1, 1000: 1}),
        ("step", {}, {0: 1, 9: 1, 10: 0.5, 19: 0.5, 20: 0.25, 95: 0.5**9}),
        ("step", {"decay_rate": 0.1, "decay_steps": 2.5}, {2: 1, 3: 0.1, 4: 0.1, 5: 0.01}),
        ("exponential", {}, {0: 1, 5: 0.5**0.5, 10: 0.5, 20: 0.25}),
        ("exponential", {"decay_rate": 1.0}, {0: 1, 50: 1}),
        ("cosine", {}, {0: 1, 25: (1 + math.sqrt(0.5)) / 2, 50: 0.5, 100: 0, 150: 0}),
        ("cosine", {"final_factor": 0.1}, {0: 1, 50: 0.55, 100: 0.1, 101: 0.1}),
        ("cosine", {"final_factor": 1.0}, {0: 1, 50: 1}),
        # warm-up: (step + 1)/W, then the schedule from its own beginning
        ("constant", {"warmup": 4}, {0: 0.25, 1: 0.5, 2: 0.75, 3: 1, 4: 1}),
        ("step", {"warmup": 5}, {0: 0.2, 4: 1, 5: 1, 14: 1, 15: 0.5, 25: 0.25}),
        ("exponential", {"warmup": 5}, {4: 1, 5: 1, 15: 0.5}),
        ("cosine", {"warmup": 20}, {0: 0.05, 19: 1, 20: 1, 60: 0.5, 100: 0}),
        ("cosine", {"warmup": 2.5, "total": 12.5}, {0: 0.4, 1: 0.8, 2: 1.2, 3: (1 + math.cos(0.05 * math.pi)) / 2}),
        ("cosine", {"warmup": 100}, {0: 0.01, 99: 1, 100: 1, 101: 0}),  # nothing left to decay over
    ],
)
def test_factors_by_hand(schedule, numbers, by_hand):
    np.testing.assert_allclose(
        factors(schedule, list(by_hand), **numbers), list(by_hand.values()), rtol=1e-5, atol=1e-7
    )


def test_step_decays_at_exactly_every_multiple():
    # 469 steps an epoch, decay every 5 epochs: no multiple is missed by rounding, compiled or not.
    steps = np.union1d(np.arange(0, 60 * 469, 7), np.arange(0, 60 * 469, 5 * 469))
    got = factors("step", steps, decay_steps=5 * 469.0)
    np.testing.assert_array_equal(got, np.float32(0.5) ** (steps // (5 * 469)))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_only_the_listed_schedules_know_the_length_of_the_run(schedule):
    steps = np.arange(50)
    differs = np.any(factors(schedule, steps, total=100) != factors(schedule, steps, total=200))
    assert differs == (schedule in DEPENDS_ON_LENGTH)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_dtype_is_that_of_the_numbers(schedule):
    with jax.enable_x64(True):
        for dtype in (jnp.float32, jnp.float64):
            numbers = ScheduleNumbers(*(jnp.asarray(x, dtype) for x in (3, 10, 0.5, 0, 100)))
            for warmup in (True, False):
                assert learning_rate_factor(schedule, warmup, jnp.int32(4), numbers).dtype == dtype
