"""Data parallel equals one device, at every number of devices, batches that do not divide included."""

import jax
import numpy as np
import pytest

from mlp_jax.errors import UserError
from mlp_jax.fit import Compiler, fit
from mlp_jax.sharding import parse_mesh, placements
from tests.training import leaves, small_config, small_task


def trained(mesh: str, **fields):
    task = small_task(small_config(**fields), None, placements(mesh)[0])
    program = Compiler()(task)
    for event in fit(task, program):
        state = jax.device_get(event.lane.state)
    return state, program


@pytest.mark.parametrize("devices", [2, 3, 8])
def test_training_over_devices_equals_one_device(devices):
    fields = {"num_epochs": 15, "batch_size": 14, "dropout_rate": 0.2, "weight_decay": 1e-3}  # 105 steps
    (one, _), (many, program) = trained("data:1", **fields), trained(f"data:{devices}", **fields)
    assert int(one.step) == 105
    for a, b in zip(leaves(many.params), leaves(one.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    assert "all-reduce" in program.train_steps.as_text()


def test_in_float64_the_devices_agree_to_rounding():
    with jax.enable_x64(True):
        fields = {"num_epochs": 15, "batch_size": 14, "precision": "float64", "dropout_rate": 0.2}
        (one, _), (many, _) = trained("data:1", **fields), trained("data:4", **fields)
        for a, b in zip(leaves(many.params), leaves(one.params), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_a_mesh_is_its_two_axes():
    assert parse_mesh("") == {"lanes": 1, "data": 1}
    assert parse_mesh("data:4") == {"lanes": 1, "data": 4}
    assert parse_mesh("lanes:2,data:3") == {"lanes": 2, "data": 3}
    assert [len(place.whole.device_set) for place in placements("lanes:2,data:3")] == [3, 3]
    assert len(placements("")) == jax.device_count()


@pytest.mark.parametrize("mesh", ["data", "data:0", "rows:2", "data:2:3", "data:x", "data:99"])
def test_a_mesh_that_makes_no_sense_is_an_error(mesh):
    with pytest.raises(UserError, match="mesh"):
        placements(mesh)
