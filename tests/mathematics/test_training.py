"""The training program against a loop in NumPy, and the contracts of its keys, batches and compiled programs."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from mlp_jax.augment import DISTORTIONS
from mlp_jax.hparams import split_config
from mlp_jax.lanes.compile import Compiler
from mlp_jax.lanes.fit import NotFinite, fit, order_of, steps_per_call
from mlp_jax.model import Layer
from mlp_jax.training import (
    Keys,
    draw_step,
    epoch_order,
    evaluate,
    in_batches,
    init_lane,
    make_keys,
    move_average,
    take_batch,
    train_steps,
)
from tests.shared.training import compiled, leaves, same_bits, small_config, small_dataset, small_task, train


def numpy_forward(params, x):
    """The inputs of every layer of a ReLU net, and its logits, in float64."""
    inputs = [np.float64(x)]
    for w, b in params[:-1]:
        inputs.append(np.maximum(inputs[-1] @ np.float64(w) + np.float64(b), 0))
    return inputs, inputs[-1] @ np.float64(params[-1][0]) + np.float64(params[-1][1])


def numpy_training(task, batches):
    """SGD on a ReLU net with cross-entropy, by the textbook, one batch after another, in float64."""
    params = compiled(task).init(task.hparams, task.keys).state.params
    images, labels = np.float64(task.data.images) / 255, np.asarray(task.data.labels)
    for rows in batches:
        inputs, logits = numpy_forward(params, images[rows])
        delta = (special.softmax(logits, axis=1) - np.eye(4)[labels[rows]]) / len(rows)
        new = []
        for (w, b), h in zip(reversed(params), reversed(inputs), strict=True):
            new.append((np.float64(w) - 0.5 * h.T @ delta, np.float64(b) - 0.5 * delta.sum(0)))
            delta = (delta @ np.float64(w).T) * (h > 0)
        params = new[::-1]
    return params


@pytest.mark.parametrize("batch_size", [1, 14, 0])
def test_training_is_the_textbook_loop(batch_size):
    config = small_config(optimizer="sgd", learning_rate=0.5, batch_size=batch_size, num_epochs=2)
    task = small_task(config)
    size = batch_size or len(task.train_indices)
    batches = []
    for epoch in (1, 2):
        order = epoch_order(task.keys, epoch, task.train_indices)
        batches += [order[start : start + size] for start in range(0, len(order), size)]
    expected = numpy_training(task, batches)
    found = train(config)[-1].lane.state
    assert int(found.step) == len(batches)
    for layer, (w, b) in zip(found.params, expected, strict=True):
        np.testing.assert_allclose(layer.w, w, rtol=2e-4, atol=2e-5)
        np.testing.assert_allclose(layer.b, b, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(("count", "size", "width"), [(10, 3, 0), (9, 3, 4), (1, 5, 8), (7, 1, 0), (5, 9, 0)])
def test_each_example_stands_once_in_the_batches(count, size, width):
    indices = np.random.default_rng(0).permutation(np.arange(100, 100 + count))
    rows = in_batches(indices, min(size, count), width)
    assert rows.indices.shape == (-(-count // min(size, count)), max(width, min(size, count)))
    real = [
        int(index)
        for number, batch in enumerate(rows.indices)
        for column, index in enumerate(batch)
        if column < size and number * size + column < rows.total
    ]
    assert real == indices.tolist()


def test_every_epoch_is_another_permutation_of_the_training_rows():
    keys, rows = make_keys(3), np.arange(50, 150)
    orders = [epoch_order(keys, epoch, rows) for epoch in range(1, 6)]
    assert all(sorted(order) == rows.tolist() for order in orders)
    assert len({order.tobytes() for order in orders}) == 5
    assert (epoch_order(make_keys(3), 2, rows) == orders[1]).all()
    assert (epoch_order(make_keys(4), 2, rows) != orders[1]).any()


def test_no_two_purposes_and_numbers_share_a_key():
    seen = {}
    for seed in (0, 1, 2**32 - 1):
        keys = make_keys(seed)
        for purpose in Keys._fields:
            key = getattr(keys, purpose)
            for number in (None, *range(40)):
                used = key if number is None else jax.random.fold_in(key, number)
                data = tuple(np.asarray(jax.random.key_data(used)).tolist())
                assert data not in seen, ((seed, purpose, number), seen[data])
                seen[data] = (seed, purpose, number)


def test_a_purpose_more_leaves_the_others_their_keys():
    few = jax.random.split(jax.random.key(7), 4)
    assert same_bits(jax.random.key_data(few), jax.random.key_data(jnp.stack(make_keys(7)[:4])))
    assert Keys._fields[:6] == ("split", "init", "shuffle", "dropout", "augment", "mixup")
    assert Keys._fields[6:] == ("noise", "vat", "input_dropout")


def test_the_result_does_not_depend_on_steps_per_call():
    features = {"dropout_rate": 0.3, "ema_decay": 0.9, "label_smoothing": 0.1, "augment_shift": 1, "norm": "layer"}
    features |= {"mixup_alpha": 0.2, "noise": 0.1, "vat_weight": 1.0, "input_dropout_rate": 0.1, "max_norm": 1.0}
    events = [train(small_config(steps_per_call=steps, **features)) for steps in (0, 1, 3, 7, 100)]
    assert [len(event) for event in events] == [2, 14, 6, 2, 2]
    assert all(same_bits(events[0][-1].lane, other[-1].lane) for other in events)


def test_the_calls_of_an_epoch_are_equal_and_short():
    dataset = small_dataset()._replace(
        train_images=np.zeros((60_000, 784), np.uint8), train_labels=np.zeros(60_000, int)
    )
    task = small_task(small_config(hidden_sizes=(2048, 2048)), dataset)
    per_call = steps_per_call(task)
    assert 1 < per_call < task.steps == 3858
    assert per_call == -(-3858 // -(-3858 // per_call))


def test_another_number_does_not_compile_again():
    base = {"weight_decay": 0.01, "dropout_rate": 0.1, "clip_norm": 1.0, "warmup_epochs": 1.0, "schedule": "cosine"}
    base |= {"label_smoothing": 0.1, "mixup_alpha": 0.1, "augment_shift": 1, "augment_erase": 1}
    base |= {"noise": 0.1, "max_norm": 1.0, "confidence_penalty": 0.1, "input_dropout_rate": 0.1}
    base |= {"vat_weight": 1.0, "vat_eps": 1.0, "vat_xi": 0.1}
    base |= {f"augment_{name}": 0.1 for name in ("rotation", "scale", "shear", "elastic")}
    numbers = {name: 2 * value for name, value in base.items() if name != "schedule"}
    numbers |= {"learning_rate": 0.01, "momentum": 0.5, "beta": 0.5, "beta1": 0.5, "beta2": 0.9, "eps": 1e-3, "seed": 5}
    numbers |= {"num_epochs": 7, "init_scale": 0.5, "decay_rate": 0.3, "decay_epochs": 2.0, "final_factor": 0.1}
    base |= {"ema_decay": 0.9}
    numbers |= {"ema_decay": 0.99}
    static = small_task(small_config(**base)).static
    traced = jax.jit(partial(train_steps, static))
    for change in [{}, *({name: value} for name, value in numbers.items())]:
        task = small_task(small_config(**{**base, **change}))
        assert task.static == static
        order = in_batches(task.train_indices, static.batch_size)
        lane = init_lane(static, task.hparams, task.keys)
        traced(task.hparams, task.keys, task.data, order, lane, (np.int32(0), np.int32(1)))
    assert traced._cache_size() == 1


@pytest.mark.parametrize(
    "feature",
    ["dropout_rate", "weight_decay", "clip_norm", "warmup_epochs", "label_smoothing", "mixup_alpha", "ema_decay"]
    + ["noise", "max_norm", "confidence_penalty", "vat_weight", "input_dropout_rate"]
    + [f"augment_{name}" for name in DISTORTIONS],
)
def test_a_feature_at_zero_is_not_in_the_program(feature):
    value = {"augment_flip": True, "augment_shift": 1, "augment_erase": 1}.get(feature, 0.5)
    on, _ = split_config(small_config(**{feature: value}), 36, 4, 90)
    off, _ = split_config(small_config(**{feature: type(value)()}), 36, 4, 90)
    assert on != off
    assert off == split_config(small_config(), 36, 4, 90)[0]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_hand_and_automatic_gradients_train_alike_in_float64(optimizer):
    options = {"optimizer": optimizer, "num_epochs": 3, "precision": "float64", "dropout_rate": 0.2}
    options |= {"weight_decay": 1e-3, "activation": "tanh", "learning_rate": 0.01}
    with jax.enable_x64(True):
        ways = (train(small_config(**options, gradient=gradient)) for gradient in ("backprop", "autodiff"))
        for a, b in zip(*(leaves(events[-1].lane.state.params) for events in ways), strict=True):
            assert a.dtype == np.float64
            assert np.linalg.norm(a - b) <= 1e-6 * (np.linalg.norm(a) + 1e-12)


def test_no_unit_s_weights_are_longer_than_max_norm_after_any_update():
    plain, held = (train(small_config(max_norm=bound, learning_rate=0.05))[-1].lane for bound in (0.0, 0.9))
    norms = [np.linalg.norm(np.float64(layer.w), axis=0) for layer in held.state.params]
    assert max(map(np.max, norms)) == pytest.approx(0.9, rel=1e-6)
    assert max(np.linalg.norm(layer.w, axis=0).max() for layer in plain.state.params) > 1.2


def test_a_small_net_learns_64_examples_by_heart():
    labels = np.random.default_rng(1).integers(0, 4, 64).astype(np.uint8)
    images = np.random.default_rng(2).integers(0, 256, (64, 36)).astype(np.uint8)
    dataset = small_dataset()._replace(train_images=images, train_labels=labels)
    config = small_config(hidden_sizes=(64,), num_epochs=120, val_fraction=0.0, learning_rate=0.01)
    assert train(config, dataset)[-1].record["train/accuracy"] == 1.0


def test_the_best_parameters_are_those_of_the_highest_validation_accuracy_the_first_on_ties():
    events = train(small_config(num_epochs=12, learning_rate=0.02))
    accuracies = [event.record["val/accuracy"] for event in events]
    first_highest = accuracies.index(max(accuracies))
    assert accuracies.count(max(accuracies)) > 1, "the case needs a tie"
    last = events[-1].lane
    assert int(last.best.epoch) == first_highest + 1
    assert same_bits(last.best.params, events[first_highest].lane.state.params)


def test_without_validation_the_last_parameters_are_tested():
    events = train(small_config(val_fraction=0.0, num_epochs=3))
    assert events[-1].record["val/accuracy"] is None
    assert events[-1].record["val/loss"] is None
    assert same_bits(events[-1].lane.best.params, events[-1].lane.state.params)
    assert int(events[-1].lane.best.epoch) == 3


def test_early_stopping_waits_for_so_many_epochs():
    events = train(small_config(num_epochs=50, learning_rate=0.02, early_stopping=3))
    assert len(events) == int(events[-1].lane.best.epoch) + 3 < 50


@pytest.mark.parametrize("steps_in", [1, 3, 7, 9])
def test_a_lane_goes_on_from_any_call_with_the_same_bits(steps_in):
    config = small_config(num_epochs=3, dropout_rate=0.2, steps_per_call=1, optimizer="nadam")
    events = train(config)
    task = small_task(config)
    resumed = list(fit(task, Compiler()(task), jax.device_put(events[steps_in - 1].lane)))
    assert same_bits(resumed[-1].lane, events[-1].lane)

    assert resumed[-1].record | {"seconds": 0} == events[-1].record | {"seconds": 0}


def test_train_figures_are_means_over_the_examples_as_they_were_trained_on():
    config = small_config(num_epochs=1, batch_size=14, optimizer="sgd", learning_rate=1e-30, weight_decay=0.1)
    record = train(config)[-1].record
    task = small_task(config)
    params = compiled(task).init(task.hparams, task.keys).state.params
    labels = np.asarray(task.data.labels)[task.train_indices]
    _, logits = numpy_forward(params, task.data.images[task.train_indices] / 255)
    losses = -special.log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
    penalty = 0.05 * sum((np.float64(layer.w) ** 2).sum() for layer in params)
    assert record["train/loss"] == pytest.approx(losses.mean() + penalty, rel=1e-5)
    assert record["train/accuracy"] == (logits.argmax(1) == labels).mean()


def test_a_loss_that_is_not_finite_names_its_first_step():
    config = small_config(optimizer="sgd", learning_rate=1e30, num_epochs=1)
    task = small_task(config)
    with pytest.raises(NotFinite) as caught:
        list(fit(task, compiled(task)))
    assert 1 <= caught.value.step <= 6


def test_probes_measure_norms_and_dead_units_and_change_nothing():
    with_probes, without = (train(small_config(probes=probes)) for probes in (True, False))
    assert same_bits(with_probes[-1].lane.state, without[-1].lane.state)
    record, params = with_probes[-1].record, with_probes[-1].lane.state.params
    norms = [np.sqrt((layer.w**2).sum() + (layer.b**2).sum()) for layer in params]
    np.testing.assert_allclose(record["probes/weight_norm"], norms, rtol=1e-6)
    assert len(record["probes/grad_norm"]) == 3
    assert min(record["probes/grad_norm"]) > 0
    task = small_task(small_config())
    held_out = np.setdiff1d(np.arange(100), task.train_indices)
    (_, *hidden), _ = numpy_forward(params, task.data.images[held_out] / 255)
    np.testing.assert_allclose(record["probes/dead_units"], [(h == 0).all(0).mean() for h in hidden], atol=1e-6)
    assert "probes/grad_norm" not in without[-1].record


def test_the_average_weighs_every_step_by_its_age():
    rng = np.random.default_rng(0)
    steps, d = rng.normal(size=(30, 5)).astype(np.float32), 0.9
    average = (Layer(jnp.zeros(5), jnp.zeros(5)),)
    for t, row in enumerate(steps, start=1):
        average = move_average(average, (Layer(jnp.asarray(row), -jnp.asarray(row)),), jnp.float32(d), jnp.int32(t))
        ages = np.float64(d) ** np.arange(t - 1, -1, -1)
        wanted = ages @ steps[:t].astype(np.float64) / ages.sum()
        np.testing.assert_allclose(average[0].w, wanted, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(average[0].b, -wanted, rtol=1e-5, atol=1e-6)


def test_what_is_validated_and_tested_is_the_average_and_training_does_not_see_it():
    plain, averaged = (train(small_config(ema_decay=decay, val_fraction=0.0))[-1] for decay in (0.0, 0.9))
    assert plain.lane.state.average == ()
    assert same_bits(plain.lane.state.params, averaged.lane.state.params)
    assert same_bits(averaged.lane.best.params, averaged.lane.state.average)
    assert not same_bits(averaged.lane.best.params, averaged.lane.state.params)
    seen = train(small_config(ema_decay=0.9, num_epochs=12, learning_rate=0.02))
    best = max(seen, key=lambda event: event.record["val/accuracy"])
    assert same_bits(seen[-1].lane.best.params, best.lane.state.average)


def test_only_training_sees_distorted_images_and_smoothed_targets():
    terms = {"noise": 0.5, "input_dropout_rate": 0.5, "vat_weight": 1.0, "confidence_penalty": 1.0, "dropout_rate": 0.5}
    fields = {}, {"augment_shift": 2, "label_smoothing": 0.2}, {"mixup_alpha": 1.0}, terms
    plain, smoothing, blending, noisy = tasks = [small_task(small_config(**changed)) for changed in fields]
    order = order_of(plain, 1)
    batch = take_batch(plain.static, plain.data, order, jnp.int32(0), 14)
    smoothed, blended, later = (
        draw_step(task.static, task.hparams, task.keys, jnp.int32(step), batch)
        for task, step in ((smoothing, 0), (blending, 0), (blending, 1))
    )
    assert (np.asarray(smoothed.inputs) != np.asarray(batch.inputs)).any()
    np.testing.assert_allclose(smoothed.targets, 0.8 * np.eye(4)[batch.labels] + 0.05, rtol=1e-6)
    assert (np.asarray(blended.inputs) != np.asarray(batch.inputs)).any()
    assert (np.asarray(blended.targets).max(axis=1) < 1).any()
    assert (np.asarray(later.targets) != np.asarray(blended.targets)).any()
    drawn = draw_step(noisy.static, noisy.hparams, noisy.keys, jnp.int32(0), batch)
    assert [part.shape for part in drawn.noise] == [(14, 36), (14, 8), (14, 6)]
    share = np.asarray(drawn.inputs) / np.where(batch.inputs > 0, batch.inputs, 1)
    assert set(np.unique(share)) == {0, 2}
    params = init_lane(plain.static, plain.hparams, plain.keys).state.params
    totals = [evaluate(task.static, params, task.data, order) for task in tasks]
    assert all(same_bits(total, totals[0]) for total in totals)
