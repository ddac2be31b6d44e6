"""A lane of mixed shapes is the run alone, whatever stands beside it; the devices that share the lanes never talk."""

import random
from collections.abc import Callable
from functools import lru_cache, partial
from itertools import pairwise
from math import ceil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import sweep_random
from mlp_jax.augment import DISTORTIONS
from mlp_jax.data.datasets import Dataset
from mlp_jax.errors import UserError
from mlp_jax.hparams import Static, static_of
from mlp_jax.lanes import mixed
from mlp_jax.lanes.compile import Compiler
from mlp_jax.lanes.fit import MixedChunk, make_task, order_of, place_data
from mlp_jax.lanes.mixed import numbers_of
from mlp_jax.lanes.placement import over_lanes
from mlp_jax.lanes.population import Member, Population
from mlp_jax.losses import LOSSES
from mlp_jax.model import ACTIVATIONS, Layer
from mlp_jax.optimizers import COEFFICIENTS
from mlp_jax.runs.config import check_lanes, complete
from mlp_jax.schedules import SCHEDULES, learning_rate_factor
from mlp_jax.sweeps.dialect import parse
from mlp_jax.sweeps.samplers import at
from mlp_jax.training import init_lane, train_steps
from tests.shared.idx_files import make_arrays
from tests.shared.slow import fast
from tests.shared.training import collectives, leaves, same_bits, small_config, small_dataset

STEPS = 100


def drawn(rng: random.Random, widths: tuple[int, ...], precision: str, **fields):
    """A configuration of the suggested grid, or of its neighbours."""
    depth, width = rng.randint(0, 6), rng.choice(widths)
    uneven = rng.random() < 0.3
    one = {
        "hidden_sizes": tuple(rng.choice(widths) if uneven else width for _ in range(depth)),
        "activation": rng.choice([*ACTIVATIONS, "sigmoid", "tanh", "relu", "relu"]),
        "loss": rng.choice([*LOSSES]),
        "optimizer": rng.choice([*COEFFICIENTS]),
        "init": rng.choice(["random", "xavier", "he"]),
        "learning_rate": rng.choice([1e-2, 1e-3, 1e-4]),
        "weight_decay": rng.choice([0.0, 0.0005, 0.5]),
        "decoupled_weight_decay": rng.random() < 0.3,
        "clip_norm": rng.choice([0.0, 0.0, 0.1, 1.0]),
        "label_smoothing": rng.choice([0.0, 0.0, 0.1]),
        "schedule": rng.choice([*SCHEDULES, "constant"]),
        "warmup_epochs": rng.choice([0.0, 0.5]),
        "decay_epochs": rng.choice([0.4, 1.0]),
        "gradient": rng.choice(["autodiff", "backprop"]),
        "momentum": rng.choice([0.8, 0.9]),
        "beta": rng.choice([0.9, 0.95]),
        "beta1": rng.choice([0.8, 0.9]),
        "beta2": rng.choice([0.99, 0.999]),
        "eps": rng.choice([1e-8, 1e-6]),
    }
    return small_config(**one, precision=precision, **fields)


def task_of(config, dataset, place):
    data = place_data(dataset.train_images, dataset.train_labels, dataset.scale, place)
    return make_task(config, dataset, data, place)


def calls(task):
    """The order and bounds of each call of a training of STEPS steps."""
    for epoch in range(ceil(STEPS / task.steps)):
        yield order_of(task, epoch + 1), (np.int32(0), np.int32(min(task.steps, STEPS - epoch * task.steps)))


@lru_cache(maxsize=8)  # more than 500 programs are more than a process may hold
def program_alone(static: Static):
    return jax.jit(partial(train_steps, static))


def alone(task, params=None, rearranged: Callable = lambda order: order):
    """The parameters after STEPS steps of the single run's program, from `params` on, each order `rearranged`."""
    steps = program_alone(task.static.trained)
    lane = init_lane(task.static, task.hparams, task.keys)
    lane = lane._replace(state=lane.state._replace(params=params or lane.state.params))
    for order, bounds in calls(task):
        lane = steps(task.hparams, task.keys, task.data, rearranged(order), lane, bounds)
    return jax.device_get(lane.state.params)


def together(tasks):
    """The same of mixed lanes."""
    first = tasks[0]
    form = mixed.form_of([task.static for task in tasks])
    halves = [(task.static, task.hparams) for task in tasks]
    chunk = MixedChunk(first, form, [task.config for task in tasks], halves, len(tasks))
    program = Compiler().mixed(chunk)
    lane = chunk.begin(program, [])
    for order, bounds in calls(first):
        lane = program.train_steps(chunk.hparams, chunk.keys, first.data, order, lane, bounds)
    return [one.state.params for one in chunk.fetch(lane, range(len(tasks)))]


def distance(one, other) -> float:
    """The largest difference in a layer's weights and biases, relative to the largest number of the net's layer."""
    pairs = zip(one, other, strict=True)
    return max(
        max(np.abs(a.w - b.w).max(), np.abs(a.b - b.b).max()) / max(np.abs(b.w).max(), np.abs(b.b).max(), 1e-30)
        for a, b in pairs
    )


def sensitivity(task, own, times: int = 8) -> float:
    """How far the run alone gets from `own`, its own parameters, by rounding that nothing but chance decides.

    Once its gradient is derived the other way, by `jax.grad` or by hand. Then each time its first weights are off by a
    unit in the last place, up, down or not at all, and the rows of each minibatch and the neurons of each hidden layer
    stand in another order, which is another order of the same sums.
    """
    other = {"autodiff": "backprop", "backprop": "autodiff"}[task.static.gradient]
    far = [distance(alone(task._replace(static=task.static._replace(gradient=other))), own)]
    first = init_lane(task.static, task.hparams, task.keys).state.params
    for rng in map(np.random.default_rng, range(times)):
        inner = [rng.permutation(width) for width in task.static.sizes[1:-1]]
        orders = [np.arange(task.static.sizes[0]), *inner, np.arange(task.static.sizes[-1])]

        def rows(order, rng=rng):
            indices, left = np.array(order.indices), int(order.total)
            for batch in indices:
                batch[:left] = rng.permutation(batch[:left])
                left -= len(batch)
            return order._replace(indices=indices)

        def off(w, rng=rng):
            w = np.asarray(w)
            return np.nextafter(w, w + rng.integers(-1, 2, w.shape).astype(w.dtype))

        def moved(params, orders):
            pairs = zip(params, pairwise(orders), strict=True)
            return tuple(
                Layer(np.asarray(w)[before][:, after], np.asarray(b)[after]) for (w, b), (before, after) in pairs
            )

        ended = alone(task, moved([Layer(off(w), b) for w, b in first], orders), rows)
        far.append(distance(moved(ended, [np.argsort(order) for order in orders]), own))
    return max(far)


def compared(configs, dataset, tolerance: float):
    """Each lane's distance from its run alone, and of those beyond `tolerance` by number also the sensitivity."""
    place = over_lanes(jax.devices()[:1])
    tasks = [task_of(config, dataset, place) for config in configs]
    groups: dict[Static, list[int]] = {}
    for index, task in enumerate(tasks):
        groups.setdefault(mixed.kind(task.static), []).append(index)
    distances, far = {}, {}
    for group in groups.values():
        for index, params in zip(group, together([tasks[index] for index in group]), strict=True):
            own = alone(tasks[index])
            distances[index] = distance(params, own)
            if not distances[index] <= tolerance:
                far[index] = sensitivity(tasks[index], own)
    return distances, far


TOLERANCES = {"float64": 1e-12, "float32": 1e-5}
# A lane may be further from its run alone than that where the run alone is from itself: at most so many times.
CHAOTIC = 4
MOST_CHAOTIC = {"float64": 30, "float32": 60}  # of 200


def wrong(distances, far) -> list[int]:
    """The lanes that no rounding explains."""
    return [index for index, own in far.items() if not distances[index] <= CHAOTIC * own]


@pytest.mark.parametrize("precision", fast(TOLERANCES, ["float64"]))
def test_lanes_are_their_runs_alone(precision):
    rng = random.Random(7)
    with jax.enable_x64(precision == "float64"):
        configs = [drawn(rng, (5, 8, 12), precision) for _ in range(4)]
        distances, far = compared(configs, small_dataset(), TOLERANCES[precision])
    assert len(distances) == 4
    assert wrong(distances, far) == []


def _late(name, warm_up, step, numbers):
    return learning_rate_factor(name, warm_up, step + 1, numbers)


def _by_largest(grads, bound):
    return jax.tree.map(lambda g: g * jnp.minimum(1, bound / jnp.max(jnp.abs(g))), grads)


def _nadam(eta, t, b1, b2, eps):
    c = COEFFICIENTS["nadam"](eta, t, b1, b2, eps)
    return c._replace(q=c.q * (1 - b1**t) / (1 - b1 ** (t + 1)))


def _unmasked(form, lanes, count):
    numbers = numbers_of(form, lanes, count)
    return numbers._replace(widths=np.where(numbers.widths > 0, form.static.sizes[1:-1], 0).astype(np.int32))


def _decoupled(form, lanes, count):
    numbers = numbers_of(form, lanes, count)
    return numbers._replace(coupled=numbers.decoupled, decoupled=numbers.coupled)


# What is put in place of what, and the lane that it spoils.
MISTAKES = {
    "nadam's coefficient": ("COEFFICIENTS", COEFFICIENTS | {"nadam": _nadam}, 0),
    "no mask": ("numbers_of", _unmasked, 1),
    "a schedule that is a step ahead": ("learning_rate_factor", _late, 2),
    "clipped layer by layer": ("clip_by_global_norm", _by_largest, 3),
    "decay in the wrong place": ("numbers_of", _decoupled, 4),
}


@pytest.mark.parametrize("mistake", fast(MISTAKES, []))
def test_a_mistake_is_no_chaos(mistake, monkeypatch):
    lanes = (
        {"optimizer": "nadam", "activation": "relu"},
        {"optimizer": "momentum", "activation": "sigmoid", "hidden_sizes": (8, 5)},
        {"optimizer": "adam", "activation": "tanh", "schedule": "cosine"},
        {"optimizer": "sgd", "activation": "tanh", "clip_norm": 0.1, "learning_rate": 0.1},
        {"optimizer": "rmsprop", "activation": "sigmoid", "weight_decay": 0.0005},
    )
    name, instead, spoilt = MISTAKES[mistake]
    monkeypatch.setattr(mixed, name, instead)
    with jax.enable_x64(True):
        configs = [small_config(**{"hidden_sizes": (8, 8), "precision": "float64", **fields}) for fields in lanes]
        assert wrong(*compared(configs, small_dataset(), TOLERANCES["float64"])) == [spoilt]


@pytest.mark.slow
@pytest.mark.parametrize("precision", TOLERANCES)
def test_200_lanes_of_the_suggested_grid_and_its_neighbours_are_their_runs_alone(precision, capsys):
    rng = random.Random(precision)
    arrays = make_arrays(num_train=400, num_test=10, side=28)
    images = arrays["train-images"].reshape(400, -1)
    dataset = Dataset("synthetic", images, arrays["train-labels"], tuple("abcd"), (28, 28), 255, "print", lambda: None)
    with jax.enable_x64(precision == "float64"):
        configs = [drawn(rng, (32, 64, 128), precision, batch_size=(16, 32, 64)[n % 3]) for n in range(200)]
        distances, far = compared(configs, dataset, TOLERANCES[precision])
    with capsys.disabled():
        print(f"\n{precision}: {200 - len(far)} of 200 within {TOLERANCES[precision]}", end=", ")
        print(
            f"median {np.median([*distances.values()]):.1e}; the others, and how far their runs get by rounding alone:"
        )
        for index, own in far.items():
            one = configs[index]
            what = one.optimizer, one.activation, one.loss, one.hidden_sizes, one.learning_rate
            print(f"  {distances[index]:.1e} {own:.1e}", *what)
    assert len(distances) == 200
    assert wrong(distances, far) == []
    assert len(far) <= MOST_CHAOTIC[precision]


def variety():
    """Trials as a sweep has them: other nets, lengths and seeds; one that stops early, one that diverges."""
    return [
        small_config(learning_rate=0.002, early_stopping=1, num_epochs=4),
        small_config(hidden_sizes=(7, 3, 9), optimizer="momentum", activation="tanh", weight_decay=0.01),
        small_config(hidden_sizes=(5,), optimizer="sgd", loss="mse", num_epochs=3),
        small_config(seed=3, optimizer="nesterov", label_smoothing=0.1),
        small_config(hidden_sizes=(5,), optimizer="sgd", learning_rate=1e20, num_epochs=3),
        small_config(optimizer="rmsprop", mixup_alpha=0.4, augment_shift=1, ema_decay=0.9),
        small_config(dropout_rate=0.2),
        small_config(class_weight=(1, 2, 0, 1)),
    ]


def mixing():
    """Chunks of two lanes, on a device each."""
    return Population(small_dataset(), "lanes:2", chunk=1, lanes="mixed")


def trained(population, members, until=None):
    result = dict(population.train(members, until))
    return [result[index] for index in range(len(members))]


def assert_same(members, others):
    """Members of the same epochs, verdicts and shapes, with numbers that are equal to rounding."""
    for one, other in zip(members, others, strict=True):
        assert one.diverged == other.diverged
        assert [record["epoch"] for record in one.records] == [record["epoch"] for record in other.records]
        if one.diverged:
            continue
        for a, b in zip(one.records, other.records, strict=True):
            assert a["val/accuracy"] == b["val/accuracy"]
            np.testing.assert_allclose(a["train/loss"], b["train/loss"], rtol=1e-5)
            np.testing.assert_allclose(a["val/loss"], b["val/loss"], rtol=1e-5)
        assert jax.tree.structure(one.lane) == jax.tree.structure(other.lane)
        for a, b in zip(leaves(one.lane), leaves(other.lane), strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def queued():
    return trained(Population(small_dataset(), "lanes:1"), [Member(config) for config in variety()])


@pytest.mark.slow
def test_mixed_lanes_are_those_of_the_queue(queued):
    """Lanes that end leave room for others; seeds, kinds and what cannot be mixed take turns."""
    assert_same(trained(mixing(), [Member(config) for config in variety()]), queued)


def test_lanes_pause_and_go_on_in_the_queue_and_back(queued):
    """A lane that comes back has its net's own shape."""
    population = mixing()
    members = trained(population, [Member(config) for config in variety()], until=1)
    assert all(len(member.records) == 1 for member in members)
    members = trained(Population(small_dataset(), "lanes:1"), members, until=2)
    assert_same(trained(population, members[::-1])[::-1], queued)


@pytest.mark.slow
def test_a_chunk_is_given_up_for_a_fuller_one(monkeypatch):
    """Of four lanes in chunks of two one diverges at once in each: the other two go on together."""
    wild, calm = {"optimizer": "sgd", "learning_rate": 1e20}, {"learning_rate": 0.01}
    configs = [
        small_config(hidden_sizes=(5 + n,), num_epochs=3, **fields) for n, fields in enumerate((wild, calm, wild, calm))
    ]
    population = Population(small_dataset(), "lanes:1", chunk=2, lanes="mixed")
    sizes, train = [], Population._train_chunk

    def noted(self, form, members, *rest):
        sizes.append(len(members))
        return train(self, form, members, *rest)

    monkeypatch.setattr(Population, "_train_chunk", noted)
    members = trained(population, [Member(config) for config in configs])
    assert [len(member.records) for member in members] == [1, 3, 1, 3]
    assert sizes == [2, 2, 2]
    alone = trained(Population(small_dataset(), "lanes:1"), [Member(config) for config in configs[1:2]])
    assert_same(members[1:2], alone)


def test_a_lane_begins_with_the_bits_of_its_run_alone():
    place = over_lanes(jax.devices()[:1])
    tasks = [task_of(config, small_dataset(), place) for config in variety()[:3]]
    form = mixed.form_of([task.static for task in tasks])
    chunk = MixedChunk(tasks[0], form, [task.config for task in tasks], [task[1:3] for task in tasks], 4)
    for lane, task in zip(chunk.fetch(chunk.begin(None, []), range(3)), tasks, strict=True):
        assert same_bits(lane, init_lane(task.static, task.hparams, task.keys))


def test_the_bits_of_a_lane_do_not_depend_on_its_neighbours():
    configs = variety()[:3]
    population = Population(small_dataset(), "lanes:1", lanes="mixed")
    first = trained(population, [Member(config) for config in configs])
    again = trained(population, [Member(config) for config in configs[:1]])
    assert same_bits(first[0].lane, again[0].lane)
    assert population.compiler.programs == 1


def test_lanes_over_eight_devices_never_talk():
    """One program over all devices, each with its part of the lanes; neither a step nor an epoch's end sends."""
    population = Population(small_dataset(), "lanes:8", lanes="mixed")
    configs = [small_config(hidden_sizes=(5 + n % 3,), clip_norm=0.5, weight_decay=0.1) for n in range(9)]
    assert len(trained(population, [Member(config) for config in configs])) == 9
    assert {kind[0] for kind, *_ in population.compiler.compiled} == {"steps", "end"}
    for (kind, _, placement), program in population.compiler.compiled.items():
        assert (len(placement.whole.device_set), kind[-1]) == (8, 16)
        assert collectives(program) == []
        lane = program.output_shardings if kind[0] == "steps" else program.output_shardings[0]
        weights = lane.best.params[1].w
        assert weights.shard_shape((16, 7, 4)) == (2, 7, 4)


class Fields(dict):
    """A config that is made in no time."""

    __getattr__ = dict.__getitem__


def test_the_suggested_grid_is_three_programs():
    """One a batch size: all 11,664 configurations, whatever else they differ in."""
    config = sweep_random.get_config()
    space = parse(config.sweep.to_dict(), config)
    assert space.size == 11_664
    plain = config.to_dict()
    overrides = [space.overrides(at(space, number)) for number in range(space.size)]
    nets = {static_of(Fields(plain | fields), 784, 10, 54_000) for fields in overrides}
    kinds: dict[Static, list[Static]] = {}
    for net in nets:
        assert mixed.unmixable(net) == ""
        kinds.setdefault(mixed.kind(net), []).append(net)
    forms = [form for same in kinds.values() for form in mixed.forms_of(same)]
    assert sorted(form.static.batch_size for form in forms) == [16, 32, 64]
    assert all(any(form.holds(net) for form in forms) for net in nets)


def test_padding_has_an_end():
    """Nets that would be padded to more than four times their numbers, on average, have a program of their own."""
    nets = [static_of(small_config(hidden_sizes=(width,) * 2), 784, 10, 100) for width in (16, 16, 512, 16, 16)]
    assert [form.static.sizes for form in mixed.forms_of(nets)] == [(784, 512, 512, 10), (784, 16, 16, 10)]


def test_the_smallest_program_that_holds_a_net_is_taken():
    population = Population(small_dataset(), "lanes:1", lanes="mixed")
    nets = [static_of(small_config(hidden_sizes=(width,) * 2), 36, 4, 100) for width in (5, 5, 200, 5, 5)]
    forms = population._form_of_each(dict(enumerate(nets)))
    assert [form.static.sizes[1] for form in forms.values()] == [5, 5, 200, 5, 5]
    later = population._form_of_each({0: nets[2], 1: static_of(small_config(hidden_sizes=(4, 3)), 36, 4, 100)})
    assert [form.static.sizes[1] for form in later.values()] == [200, 5]
    assert len(population._forms) == 2


UNMIXABLE = {"dropout_rate": 0.5, "norm": "layer", "probes": True, "class_weight": ("balanced",)}
UNMIXABLE |= {"noise": 0.1, "max_norm": 1.0, "vat_weight": 1.0, "confidence_penalty": 0.1, "input_dropout_rate": 0.1}
UNMIXABLE |= {"optimizer": "muon"}


@pytest.mark.parametrize("field", [*UNMIXABLE, "mesh"])
def test_what_cannot_be_mixed_is_named(field):
    config = complete({"lanes": "mixed", field: UNMIXABLE.get(field, "data:2")})
    with pytest.raises(UserError, match=rf"^{field}: .* is not what lanes='mixed' can mix; allowed: lanes='auto', or"):
        check_lanes(config)
    config.lanes = "queue"
    check_lanes(config)


def test_a_feature_that_nobody_taught_the_program_is_not_mixed():
    """Every feature is mixed on purpose or not at all: what is new in `Static` is refused until it is named."""
    plain = static_of(small_config(), 36, 4, 100)
    assert mixed.unmixable(plain) == ""
    known = {"l2", "decoupled_weight_decay", "clip", "warmup", "smoothing", "mixup", "ema"}
    for name, value in plain._asdict().items():
        if value is False:
            assert (mixed.unmixable(plain._replace(**{name: True})) == "") == (name in known), name
    assert mixed.unmixable(plain._replace(optimizer="new")) == "optimizer"
    assert mixed.unmixable(plain._replace(distortions=DISTORTIONS)) == ""
