"""Training over devices equals one device, at every number of devices, batches that do not divide included."""

from functools import partial

import jax
import numpy as np
import pytest

from mlp_jax.errors import UserError
from mlp_jax.lanes.fit import fit
from mlp_jax.lanes.placement import parse_mesh, placements, put, state_shardings
from mlp_jax.lanes.population import Member, Population
from mlp_jax.runs.config import check
from tests.shared.training import collectives, compiled, leaves, small_config, small_dataset, small_task

# 105 steps; batches of 14 (the last of an epoch 6) divide over no number of devices but 2.
FIELDS = {"num_epochs": 15, "batch_size": 14, "dropout_rate": 0.2, "weight_decay": 1e-3}
SLOW_MESHES = ("data:2", "data:8", "fsdp:8", "data:2,fsdp:2")


def trained(mesh: str, **fields):
    task = small_task(small_config(**fields), None, placements(mesh)[0])
    program = compiled(task)
    *_, event = fit(task, program)
    return event.lane, program


def assert_close(many, one, tolerance: float) -> None:
    """Every leaf to `tolerance` of its own largest number."""
    for a, b in zip(leaves(jax.device_get(many)), leaves(jax.device_get(one)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


@pytest.fixture(scope="module")
def one():
    return trained("data:1", **FIELDS)[0]


@pytest.mark.parametrize("devices", [*(pytest.param(n, marks=pytest.mark.slow) for n in (2, 4)), 8])
def test_training_over_devices_equals_one_device_with_one_all_reduce_a_step(devices, one):
    many, program = trained(f"data:{devices}", **FIELDS)
    assert int(one.state.step) == 105
    assert_close(many.state.params, one.state.params, 1e-5)
    assert collectives(program.train_steps) == ["all-reduce"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"gradient": "backprop", "optimizer": "momentum"},
        {"clip_norm": 1.0, "probes": True, "loss": "mse"},
        {"dropout_rate": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True, "batch_size": 0},
        {"hidden_sizes": (), "precision": "bfloat16", "optimizer": "sgd"},
    ],
)
def test_no_feature_costs_a_second_all_reduce(fields):
    program = compiled(small_task(small_config(**fields), None, placements("data:4")[0]))
    assert collectives(program.train_steps) == ["all-reduce"]


def test_blending_reaches_across_devices():
    """Its partner may lie on another device, also in the short last batch: the same training, more collectives."""
    fields = FIELDS | {"mixup_alpha": 1.0, "num_epochs": 2}
    one, (many, program) = trained("data:1", **fields)[0], trained("data:4", **fields)
    assert_close(many.state.params, one.state.params, 1e-5)
    assert sorted(collectives(program.train_steps)) == ["all-gather", "all-gather", "all-reduce"]


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["data:4", *SLOW_MESHES])
def test_in_float64_the_devices_agree_to_rounding(mesh):
    with jax.enable_x64(True):
        fields = FIELDS | {"precision": "float64"}
        one, many = trained("data:1", **fields)[0], trained(mesh, **fields)[0]
        assert_close(many.state.params, one.state.params, 1e-12)


def test_weights_and_moments_are_kept_in_parts(one):
    """fsdp: each device holds a quarter of every matrix and its moments, and still all devices are one."""
    many, program = trained("fsdp:4", **FIELDS)
    assert_close(many, one, 1e-5)
    adam = many.state.opt_state
    for tree in (many.state.params, adam.mu, adam.nu, many.best.params):
        for layer in tree:
            assert {shard.data.size for shard in layer.w.addressable_shards} == {layer.w.size // 4}
            assert layer.b.is_fully_replicated
    assert set(collectives(program.train_steps)) == {"all-reduce", "all-gather"}


def test_a_matrix_that_does_not_divide_is_whole():
    fields = {"hidden_sizes": (7,)}  # 36×7 divides along 36 by 3, 7×4 not at all
    task = small_task(small_config(**fields), None, placements("fsdp:3")[0])
    first, second = compiled(task).init(task.hparams, task.keys).state.params
    assert first.w.sharding.shard_shape(first.w.shape) == (12, 7)
    assert second.w.is_fully_replicated


@pytest.mark.parametrize("chunk", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_lanes_and_data_at_once(chunk):
    """A 2-D mesh: lanes on two pairs of devices, in turn or side by side, are the single runs."""
    configs = [small_config(learning_rate=rate, dropout_rate=0.1) for rate in (0.01, 0.003, 0.001)]
    population = Population(small_dataset(), "lanes:2,data:2", chunk)
    members = dict(population.train([Member(config) for config in configs]))
    for index, config in enumerate(configs):
        alone, _ = trained("data:1", learning_rate=config.learning_rate, dropout_rate=0.1)
        assert_close(members[index].lane.state.params, alone.state.params, 1e-5)
    for (kind, _, placement), program in population.compiler.compiled.items():
        assert len(placement.whole.device_set) == 2
        assert kind[0] != "steps" or collectives(program) == ["all-reduce"]


def test_a_mesh_is_its_axes():
    assert parse_mesh("data:4") == {"lanes": 1, "data": 4, "fsdp": 1}
    assert parse_mesh("lanes:2,data:3,fsdp:5") == {"lanes": 2, "data": 3, "fsdp": 5}
    places = placements("lanes:2,data:3")
    assert [len(place.whole.device_set) for place in places] == [3, 3]
    assert not places[0].whole.device_set & places[1].whole.device_set
    assert len(placements("")) == jax.device_count()


class Accelerator:
    platform = "gpu"


def test_of_an_accelerator_a_run_takes_all_devices_and_a_population_each(monkeypatch):
    monkeypatch.setattr(jax, "devices", partial(list, [Accelerator(), Accelerator()]))
    monkeypatch.setattr("mlp_jax.lanes.placement.over_devices", lambda devices, parts: len(devices))
    assert placements("") == [2]
    assert placements("", batch=512) == [2]
    assert placements("", batch=511) == [1, 1]  # too few rows to divide: the first device alone
    assert placements("", lanes=True) == [1, 1]


@pytest.mark.parametrize("mesh", ["data", "data:0", "rows:2", "data:2:3", "data:x", "fsdp:-1"])
def test_a_mesh_that_makes_no_sense_is_an_error(mesh):
    with pytest.raises(UserError, match=f"mesh: '{mesh}' is not made of"):
        placements(mesh)


@pytest.mark.parametrize("mesh", ["data:2,", "fsdp:2,data:2", "data:2,data:2", ",data:2"])
def test_axes_come_once_and_in_order(mesh):
    with pytest.raises(UserError, match="in this order"):
        check("mesh", mesh)


def test_of_several_processes_each_gives_what_its_devices_hold(monkeypatch):
    """One process that takes itself for one of two: it holds all devices, so that nothing is missing."""
    place = placements("fsdp:4")[0]
    tree = {"w": np.arange(24.0, dtype=np.float32).reshape(8, 3), "key": jax.random.key(3), "step": np.int32(5)}
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    whole = put(tree, place.whole)
    parts = put(tree["w"], state_shardings(place, tree["w"]))
    monkeypatch.undo()
    assert len(whole["w"].sharding.device_set) == 4
    assert {shard.data.shape for shard in parts.addressable_shards} == {(2, 3)}
    np.testing.assert_array_equal(parts, tree["w"])
    np.testing.assert_array_equal(whole["w"], tree["w"])
    assert (jax.random.bits(whole["key"]) == jax.random.bits(tree["key"])).all()
    assert int(whole["step"]) == 5


def test_no_process_is_left_without_work(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for mesh in ("data:4", "lanes:2,data:4"):
        with pytest.raises(UserError, match="leaves a process without work; allowed is 'data:8'"):
            placements(mesh)
    (place,) = placements("")
    assert len(place.whole.device_set) == 8
