"""The end of an epoch in pieces is the end of an epoch; a lane's start without a program is its start."""

import jax
import numpy as np
import pytest

from mlp_jax.lanes import pieces
from mlp_jax.lanes.compile import Compiler, start
from mlp_jax.lanes.fit import init_weights, order_of
from mlp_jax.training import end_epoch, init_lane
from tests.shared.training import compiled, leaves, same_bits, small_config, small_task

FIELDS = [
    {"optimizer": "momentum", "loss": "mse"},
    {"activation": "tanh", "probes": True, "ema_decay": 0.9, "norm": "layer"},
    {"hidden_sizes": (), "optimizer": "sgd", "val_fraction": 0.0, "probes": True},
    {"activation": "gelu", "optimizer": "rmsprop", "precision": "bfloat16"},
]


@pytest.mark.parametrize("fields", FIELDS)
def test_pieces_are_the_whole(fields):
    task = small_task(small_config(**fields))
    program, counts = compiled(task), (np.int32(len(task.train_indices)), np.int32(task.steps))
    arguments = task.hparams, task.keys, task.data
    lane = program.init(task.hparams, task.keys)
    whole = jax.jit(end_epoch, static_argnums=0)
    for epoch in (1, 2):  # the second has a best to keep or to replace
        lane = program.train_steps(*arguments, order_of(task, epoch), lane, (np.int32(0), counts[1]))
        expected = jax.device_get(whole(task.static, task.data, *counts, task.validation, lane))
        lane, stats = pieces.end_epoch(task.static, task.data, *counts, task.validation, lane)
        assert jax.tree.structure((lane, stats)) == jax.tree.structure(expected)
        for a, b in zip(leaves((lane, stats)), leaves(expected), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=1e-6)


def test_nets_with_a_layer_in_common_share_its_pieces():
    Compiler()(small_task(small_config(hidden_sizes=(8, 6, 6))))
    known = pieces._hidden._cache_size(), pieces._keep._cache_size(), pieces._score._cache_size()
    Compiler()(small_task(small_config(hidden_sizes=(8, 6), optimizer="sgd", batch_size=7)))
    assert known == (pieces._hidden._cache_size(), pieces._keep._cache_size(), pieces._score._cache_size())


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "rmsprop", "adam", "nadam", "muon"])
@pytest.mark.parametrize("more", [{}, {"probes": True, "ema_decay": 0.9}])
def test_a_lane_starts_as_its_mathematics_says(optimizer, more):
    task = small_task(small_config(optimizer=optimizer, **more))
    lane = start(task, init_weights(task.static, task.hparams, task.keys))
    assert same_bits(lane, init_lane(task.static, task.hparams, task.keys))
