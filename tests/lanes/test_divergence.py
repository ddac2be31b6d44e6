"""Each place where a number may first not be finite is the one that is named, with its cause."""

import jax
import numpy as np
import pytest

from mlp_jax.lanes.divergence import explain
from mlp_jax.lanes.fit import NotFinite, fit
from mlp_jax.model import Layer
from mlp_jax.training import init_lane
from tests.shared.training import compiled, small_config, small_dataset, small_task

LARGEST = 3e38  # float32 ends at 3.4e38


@pytest.fixture(scope="module")
def start():
    """A task of a 36-8-6-4 net and its first lane, on the host."""
    task = small_task(small_config(activation="identity", loss="cross_entropy"))
    program = compiled(task)
    return task, program, jax.device_get(program.init(task.hparams, task.keys))


def with_params(lane, params):
    params = tuple(Layer(np.float32(layer.w), np.float32(layer.b)) for layer in params)
    return lane._replace(state=lane.state._replace(params=params))


def constant(lane, w, b):
    """The layers of `lane`, every weight and bias the same number."""
    return [Layer(np.full_like(layer.w, w), np.full_like(layer.b, b)) for layer in lane.state.params]


def changed(lane, number, **fields):
    params = list(lane.state.params)
    params[number - 1] = params[number - 1]._replace(**fields)
    return with_params(lane, params)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("part", ["w", "b"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_parameters(number, part, value, start):
    task, program, lane = start
    broken = np.array(getattr(lane.state.params[number - 1], part))
    broken.flat[-1] = value
    found = explain(task, program, changed(lane, number, **{part: broken}), 0)
    assert found.startswith(f"training diverged at step 0: the parameters of layer {number} is not finite")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_output_of_a_layer(number, start):
    """Inputs are at most 1 and the layers below give 1 everywhere, so that the sum of one layer overflows."""
    task, program, lane = start
    params = constant(lane, 0, 1)
    params[number - 1] = constant(lane, LARGEST, LARGEST)[number - 1]
    found = explain(task, program, with_params(lane, params), 0)
    assert f": the output of layer {number} is not finite; likely cause: learning_rate" in found


def test_the_loss(start):
    """Logits at both ends of the range are finite, their difference is not."""
    task, program, lane = start
    params = constant(lane, 0, 0)
    params[-1] = params[-1]._replace(b=np.array([LARGEST, -LARGEST, -LARGEST, LARGEST]))
    assert ": the loss is not finite" in explain(task, program, with_params(lane, params), 0)


@pytest.mark.parametrize("number", [1, 2])
def test_the_gradient_of_a_layer(number, start):
    """Zero logits lose log 4; δ at layer `number` is a sum of terms like the weights above it, and overflows."""
    task, program, lane = start
    params = constant(lane, 0, 0)
    labels = np.asarray(task.data.labels)[task.train_indices]
    signs = np.where(np.arange(4) == 0, 1, -1)
    assert (np.bincount(labels, minlength=4) > 0).all()
    params[2] = Layer(np.tile(LARGEST * signs, (6, 1)), params[2].b)
    if number == 1:
        params[2] = Layer(np.tile(1e30 * signs, (6, 1)), params[2].b)
        params[1] = Layer(np.full((8, 6), 1e30), params[1].b)
    else:
        params[0] = Layer(params[0].w, np.full(8, 1e6))
    found = explain(task, program, with_params(lane, params), 0)
    assert f": the gradient of layer {number} is not finite" in found


@pytest.mark.parametrize(
    ("scale", "cause"), [(255, "learning_rate 0.001 is too large"), (1, "the scale of the data (inputs up to 254)")]
)
def test_the_cause(scale, cause):
    task = small_task(small_config(learning_rate=1e-3), small_dataset(scale=scale))
    lane = init_lane(task.static, task.hparams, task.keys)
    broken = changed(lane, 1, w=np.full_like(lane.state.params[0].w, np.nan))
    assert cause in explain(task, None, broken, 0)  # the replay takes no step here, so nothing is compiled


@pytest.fixture(scope="module")
def diverging():
    """A run with dropout that goes wrong in the middle of a later epoch, its lanes by step, and its bad step."""
    fields = {"activation": "identity", "optimizer": "sgd", "learning_rate": 40.0, "dropout_rate": 0.3}
    task = small_task(small_config(**fields, num_epochs=50, steps_per_call=1))
    program, lanes = compiled(task), {}

    def keep_lanes():
        for event in fit(task, program):
            lane = jax.device_get(event.lane)
            lanes[int(lane.state.step)] = lane

    with pytest.raises(NotFinite) as caught:
        keep_lanes()
    return task, program, lanes, caught.value.step


def test_the_replay_finds_the_same_from_every_state(diverging):
    task, program, lanes, bad = diverging
    expected = explain(task, program, None, bad)
    for step in {min(lanes), bad // 2, bad - 1} & lanes.keys():
        assert explain(task, program, lanes[step], bad) == expected


def test_the_step_that_is_named_is_the_first_bad_one(diverging):
    """Every parameter up to that step is finite, and the step's update leaves some that are not, or a bad loss."""
    task, program, lanes, bad = diverging
    assert bad > 2
    said = explain(task, program, None, bad)
    step = int(said.split("step ")[1].split(":")[0])
    assert step in (bad - 1, bad)

    def finite(lane):
        return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(lane.state.params))

    assert all(finite(lane) for at, lane in lanes.items() if at <= step)
    assert step == bad or not finite(lanes[step + 1])
