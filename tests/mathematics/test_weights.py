"""Weights of classes and examples: rows that count more, less or nothing, against copies, removals and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from sklearn.utils.class_weight import compute_class_weight

from mlp_jax.data.arrays import from_arrays
from mlp_jax.lanes.evaluation import evaluate_on
from mlp_jax.lanes.fit import fit, make_task, place_dataset
from mlp_jax.lanes.placement import placements
from mlp_jax.lanes.population import Member, Population
from mlp_jax.training import draw_step, epoch_order, in_batches, take_batch
from tests.shared.slow import fast
from tests.shared.training import compiled, leaves, same_bits, small_config

rng = np.random.default_rng(0)
Y = rng.permutation(np.repeat([0, 1, 2], [18, 9, 5]))
X = rng.normal(size=(len(Y), 4)) + Y[:, None]
WEIGHTS = rng.integers(0, 4, len(Y)).astype(float)


@pytest.fixture
def wide():
    with jax.enable_x64(True):
        yield


def trained(x=X, y=Y, weights=None, mesh="data:1", **fields):
    """The last event of a training at full batch, unless told otherwise, and its task."""
    options = {"batch_size": 0, "val_fraction": 0.0, "num_epochs": 4, "learning_rate": 0.05, "activation": "tanh"}
    dataset, place = from_arrays(x, y, sample_weight=weights), placements(mesh)[0]
    task = make_task(small_config(**(options | fields)), dataset, place_dataset(dataset, place), place)
    *_, event = fit(task, compiled(task))
    return task, event._replace(lane=jax.device_get(event.lane))


def params(*args, **fields):
    return leaves(trained(*args, **fields)[1].lane.state.params)


def assert_close(ones, others, tolerance=1e-10):
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"gradient": "backprop", "loss": "mse", "weight_decay": 0.01},
        {"gradient": "backprop", "optimizer": "momentum", "label_smoothing": 0.1, "norm": "layer"},
        {"class_weight": (1.0, 3.0, 0.5), "clip_norm": 0.1},
    ],
)
def test_a_weight_is_so_many_copies_and_none_is_no_row(fields):
    times = WEIGHTS.astype(int)
    copies = {"x": np.repeat(X, times, axis=0), "y": np.repeat(Y, times)}
    task, weighed = trained(weights=WEIGHTS, precision="float64", **fields)
    other, repeated = trained(**copies, precision="float64", **fields)
    assert_close(leaves(weighed.lane.state.params), leaves(repeated.lane.state.params))
    assert weighed.record["train/loss"] == pytest.approx(repeated.record["train/loss"], rel=1e-12)
    assert int(task.data.images.shape[0]) != int(other.data.images.shape[0])


@pytest.mark.usefixtures("wide")
def test_only_ratios_count():
    assert_close(params(weights=WEIGHTS, precision="float64"), params(weights=WEIGHTS * 7e5, precision="float64"))
    one, other = (params(class_weight=weight, precision="float64") for weight in ((1, 2, 3), (0.1, 0.2, 0.3)))
    assert_close(one, other)


def test_equal_weights_are_the_bits_of_none():
    plain = trained(batch_size=7)[1].lane
    assert same_bits(trained(weights=np.ones(len(Y)), batch_size=7)[1].lane, plain)
    assert same_bits(trained(class_weight=(1, 1, 1), batch_size=7)[1].lane, plain)


@pytest.mark.usefixtures("wide")
def test_balanced_is_that_of_scikit_learn():
    each = compute_class_weight("balanced", classes=np.unique(Y), y=Y)
    expected = params(weights=each[Y], precision="float64")
    assert_close(params(class_weight=("balanced",), precision="float64"), expected)
    assert_close(params(class_weight=tuple(each), precision="float64"), expected)


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("gradient", ["autodiff", "backprop"])
@pytest.mark.parametrize("size", [1, 5])
def test_training_is_the_textbook_loop_with_a_weighted_mean(gradient, size):
    class_weight, rate = np.array([0, 1, 4]), 0.3  # among batches of one there are some in which nothing counts
    fields = {"class_weight": (0, 1, 4), "optimizer": "sgd", "learning_rate": rate, "hidden_sizes": ()}
    task, event = trained(
        weights=WEIGHTS, batch_size=size, num_epochs=1, precision="float64", **fields, gradient=gradient
    )
    w, b = (np.array(leaf) for leaf in leaves(compiled(task).init(task.hparams, task.keys).state.params))
    order = epoch_order(task.keys, 1, np.arange(len(Y)))
    total, lost, right = 0.0, 0.0, 0
    for rows in (order[start : start + size] for start in range(0, len(order), size)):
        weights = WEIGHTS[rows] * class_weight[Y[rows]]
        p = special.softmax(X[rows] @ w + b, axis=1)
        lost, total = lost - weights @ np.log(p[range(len(rows)), Y[rows]]), total + weights.sum()
        right += (p.argmax(1) == Y[rows]).sum()
        delta = weights[:, None] * (p - np.eye(3)[Y[rows]]) / (weights.sum() or 1)
        w, b = w - rate * X[rows].T @ delta, b - rate * delta.sum(0)
    assert_close(leaves(event.lane.state.params), [w, b])
    assert event.record["train/loss"] == pytest.approx(lost / total, rel=1e-10)
    assert event.record["train/accuracy"] == right / len(Y)


@pytest.mark.slow
@pytest.mark.usefixtures("wide")
def test_mixup_blends_the_losses_of_two_labels_each_by_its_weight():
    dataset, place = from_arrays(X, Y, sample_weight=WEIGHTS), placements("data:1")[0]
    options = {"mixup_alpha": 0.5, "precision": "float64", "batch_size": 10, "val_fraction": 0.0}
    task = make_task(small_config(**options), dataset, place_dataset(dataset, place), place)
    order, last = in_batches(np.arange(len(Y)), 10), jnp.int32(3)  # two rows and eight fillers

    def drawn(static, class_weight):
        batch = take_batch(static, task.data, order, last, 10, class_weight)
        return draw_step(static, task.hparams, task.keys, jnp.int32(5), batch)

    step = drawn(task.static, task.hparams.class_weight)
    plain = drawn(task.static._replace(weighted=False), ())
    np.testing.assert_array_equal(step.inputs, plain.inputs)
    logits = np.random.default_rng(1).normal(size=(10, 3))
    losses = -special.log_softmax(logits, axis=1)
    own, partner = np.arange(30, 32), np.array([31, 30])
    share = np.array(plain.targets)[[0, 1], Y[own]] if Y[30] != Y[31] else np.array([0.75, 0.75])
    expected = sum(
        s * WEIGHTS[i] * losses[row, Y[i]] + (1 - s) * WEIGHTS[j] * losses[row, Y[j]]
        for row, (i, j, s) in enumerate(zip(own, partner, share, strict=True))
    )
    value = np.sum(np.array(step.weights) * np.sum(np.array(step.targets) * losses, axis=1))
    assert Y[30] != Y[31]
    assert WEIGHTS[30] != WEIGHTS[31]
    assert value == pytest.approx(expected / WEIGHTS[own].sum(), rel=1e-12)
    assert not np.any(np.array(step.weights)[2:])


def test_validation_and_test_are_unweighted():
    task, event = trained(weights=WEIGHTS, val_fraction=0.25, batch_size=8, class_weight=("balanced",))
    rows = np.asarray(task.validation.indices)[0, : int(task.validation.total)]
    tested = evaluate_on(task.static, event.lane.state.params, X[rows], Y[rows], 1)
    assert event.record["val/accuracy"] == tested.accuracy
    assert event.record["val/loss"] == pytest.approx(tested.loss, rel=1e-6)
    assert tested.confusion.sum() == len(rows)


@pytest.mark.parametrize("mesh", fast(["data:8", "fsdp:2"], ["fsdp:2"]))
def test_over_devices_as_on_one(mesh):
    fields = {"batch_size": 9, "class_weight": (1, 2, 0), "dropout_rate": 0.2, "mixup_alpha": 0.3}
    assert_close(params(weights=WEIGHTS, mesh=mesh, **fields), params(weights=WEIGHTS, **fields), 1e-5)


@pytest.mark.slow
def test_lanes_side_by_side_have_their_own_weights():
    changes = [{"class_weight": ("balanced",)}, {"class_weight": (1, 2, 0)}, {"class_weight": (1, 0, 3), "seed": 4}, {}]
    dataset = from_arrays(X, Y, sample_weight=WEIGHTS)
    configs = [small_config(val_fraction=0.25, batch_size=8, learning_rate=0.01, **change) for change in changes]
    together = dict(Population(dataset, "lanes:1", chunk=4).train([Member(config) for config in configs]))
    in_turn = dict(Population(dataset, "lanes:1").train([Member(config) for config in configs]))
    assert_close(
        *([leaf for i in range(4) for leaf in leaves(m[i].lane.state.params)] for m in (together, in_turn)), 1e-5
    )
    alone = [params(weights=WEIGHTS, **config.to_dict()) for config in configs]
    assert same_bits([in_turn[i].lane.state.params for i in range(4)], alone)
