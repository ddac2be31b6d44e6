"""The programs lowered for accelerators that are not here; benchmarks.ahead compiles them to machine code."""

from functools import partial

import jax
import numpy as np
import pytest

from mlp_jax.lanes.fit import order_of
from mlp_jax.training import end_epoch, evaluate, init_lane, train_steps
from tests.shared.training import small_config, small_task

PLATFORMS = ("cuda", "rocm", "tpu")
VARIANTS = [
    {},
    {"optimizer": "nadam", "activation": "gelu", "precision": "bfloat16", "loss": "mse", "gradient": "backprop"},
    {"dropout_rate": 0.2, "norm": "layer", "clip_norm": 1.0, "schedule": "cosine", "probes": True, "precision": "tf32"},
    {"noise": 0.1, "vat_weight": 1.0, "confidence_penalty": 0.1, "max_norm": 1.0, "input_dropout_rate": 0.1},
    {"augment_flip": True, "augment_elastic": 1.0, "augment_erase": 2, "mixup_alpha": 1.0, "ema_decay": 0.99},
]


@pytest.mark.parametrize("count", [0, 4])
@pytest.mark.parametrize("fields", VARIANTS)
def test_a_training_is_lowered_for_every_accelerator(fields, count):
    task, number = small_task(small_config(**fields)), np.int32(0)
    static, numbers, order = task.static, (task.hparams, task.keys), order_of(task, 1)
    lane = jax.eval_shape(partial(init_lane, static), *numbers)
    bounds = number, number
    programs = [
        (partial(train_steps, static.trained, count=count), (*numbers, task.data, order, lane, bounds)),
        (partial(end_epoch, static.evaluated), (task.data, number, number, task.validation, lane)),
        (partial(evaluate, static), (lane.state.params, task.data, task.validation)),
    ]
    for function, arguments in programs[: 1 if count else None]:
        lowered = jax.export.export(jax.jit(function), platforms=PLATFORMS)(*arguments)
        assert lowered.platforms == PLATFORMS


@pytest.mark.slow
def test_steps_that_are_counted_are_the_same_steps():
    """Of a GPU: seven steps, of which four are a turn of the loop, from any start."""
    task = small_task(small_config(dropout_rate=0.2))
    numbers, order = (task.hparams, task.keys), order_of(task, 1)
    lane = init_lane(task.static, *numbers)
    traced = jax.jit(partial(train_steps, task.static))
    counted = jax.jit(partial(train_steps, task.static, count=5))
    bounds = np.int32(1), np.int32(6)
    one, other = (steps(*numbers, task.data, order, lane, bounds) for steps in (traced, counted))
    assert int(other.state.step) == 5
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
