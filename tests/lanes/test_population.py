"""A lane of a population is the single run: bit for bit in turn, to rounding side by side."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from mlp_jax.errors import UserError
from mlp_jax.hparams import split_config
from mlp_jax.lanes import compile
from mlp_jax.lanes.compile import chunk_size
from mlp_jax.lanes.population import Member, Population
from tests.shared.training import collectives, leaves, same_bits, small_config, small_dataset, train


def configs():
    """Trials as a sweep has them: other numbers, seeds, lengths and one other shape."""
    return [
        small_config(learning_rate=0.002),
        small_config(learning_rate=0.01, num_epochs=3),
        small_config(seed=3),
        small_config(hidden_sizes=(5,), optimizer="sgd"),
        small_config(learning_rate=0.01, num_epochs=9, early_stopping=2),
    ]


def trained(population, members, until=None):
    result = dict(population.train(members, until))
    return [result[index] for index in range(len(members))]


def figures(records):
    return [{name: value for name, value in record.items() if name != "seconds"} for record in records]


@pytest.fixture(scope="module")
def alone():
    return [train(config) for config in configs()]


def test_a_lane_in_turn_is_the_single_run_bit_for_bit(alone):
    members = trained(Population(small_dataset(), "lanes:3"), [Member(config) for config in configs()])
    for member, events in zip(members, alone, strict=True):
        assert figures(member.records) == figures([event.record for event in events])
        assert same_bits(member.lane, events[-1].lane)


def test_lanes_that_pause_and_go_on_elsewhere_end_with_the_same_bits(alone):
    population = Population(small_dataset(), "lanes:3")
    paused = trained(population, [Member(config) for config in configs()], until=1)
    assert all(len(member.records) == 1 for member in paused)
    members = trained(Population(small_dataset(), "lanes:2"), paused[::-1])[::-1]
    for member, events in zip(members, alone, strict=True):
        assert same_bits(member.lane, events[-1].lane)


@pytest.mark.parametrize("chosen", [(0, 1, 2, 3, 4), (0, 1, 4)], ids=["several seeds", "one seed"])
def test_lanes_side_by_side_are_the_single_runs_to_rounding(alone, chosen):
    population = Population(small_dataset(), "lanes:1", chunk=4)
    paused = trained(population, [Member(configs()[index]) for index in chosen], until=1)
    for member, index in zip(trained(population, paused), chosen, strict=True):
        events = alone[index]
        assert [record["epoch"] for record in member.records] == [event.record["epoch"] for event in events]
        for a, b in zip(leaves(member.lane.state.params), leaves(events[-1].lane.state.params), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_lanes_side_by_side_do_not_depend_on_their_groups():
    one, other = configs()[:2]
    first = trained(Population(small_dataset(), "lanes:1", chunk=2), [Member(one), Member(other)])
    second = trained(Population(small_dataset(), "lanes:1", chunk=2), [Member(one)])
    assert same_bits(first[0].lane, second[0].lane)


@pytest.mark.parametrize("options", [{}, {"chunk": 4}, {"lanes": "mixed"}], ids=["in turn", "of one shape", "mixed"])
def test_the_watch_sees_every_epoch_of_every_member(options):
    seen = []
    population = Population(small_dataset(), "lanes:1", **options)
    wild = small_config(optimizer="sgd", learning_rate=1e20)
    given = [Member(config) for config in (*configs(), wild)]
    members = [member for _, member in population.train(given, watch=seen.append)]
    assert any(member.diverged for member in members)
    of_members = [record for member in members for record in member.records]
    assert sorted(map(repr, seen)) == sorted(map(repr, of_members))


@pytest.mark.parametrize("chunk", [0, 4])
def test_a_lane_that_diverges_stops_nobody(chunk):
    wild = small_config(optimizer="sgd", learning_rate=1e20)
    calm = small_config(optimizer="sgd", learning_rate=0.1)
    population = Population(small_dataset(), "lanes:2", chunk=chunk)
    members = trained(population, [Member(wild), Member(calm), Member(wild)])
    assert [member.diverged for member in members] == [True, False, True]
    assert np.isfinite(members[1].records[-1]["val/loss"])


def test_lanes_of_one_shape_compile_once_a_place():
    population = Population(small_dataset(), "lanes:1")
    trained(population, [Member(small_config(learning_rate=rate)) for rate in (0.1, 0.01, 0.001)])
    kinds = [kind[0] for kind, *_ in population.compiler.compiled]
    assert kinds == ["steps", "end"]
    # Of nets that differ in the first weights all is shared, of those that differ in the optimizer the evaluation.
    trained(population, [Member(small_config(init="xavier")), Member(small_config(optimizer="sgd", batch_size=7))])
    kinds = [kind[0] for kind, *_ in population.compiler.compiled]
    assert sorted(kinds) == ["end", "steps", "steps"]


def test_programs_are_kept_up_to_a_number(monkeypatch):
    """Those used last: a process that keeps every program of a long sweep is killed at Linux's limit of mappings."""
    monkeypatch.setattr(compile, "MOST_PROGRAMS", 4)
    population = Population(small_dataset(), "lanes:1")

    def kept_after(width):
        trained(population, [Member(small_config(hidden_sizes=(width,)))])
        kept = [(kind[0], kind[1].sizes[1]) for kind, *_ in population.compiler.compiled]
        return kept, population.compiler.programs

    first, second, third = ([("steps", width), ("end", width)] for width in (3, 4, 5))
    assert kept_after(3) == (first, 1)
    assert kept_after(4) == (first + second, 2)
    assert kept_after(3) == (second + first, 2)
    assert kept_after(5) == (first + third, 3)
    assert kept_after(4) == (third + second, 4)


def test_an_error_in_a_lane_ends_the_population(monkeypatch):
    monkeypatch.setattr(Population, "_train_one", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trained(Population(small_dataset(), "lanes:2"), [Member(config) for config in configs()])


@pytest.mark.parametrize(("chunk", "devices"), [(1, 1), (2, 2)])
def test_lanes_over_devices_need_no_communication(chunk, devices):
    """In turn a lane's program lies on one device; side by side one program lies on all, and nothing in it talks."""
    population = Population(small_dataset(), "lanes:2", chunk)
    configs = [small_config(learning_rate=rate) for rate in (0.1, 0.01, 0.03, 0.001)]
    assert len(trained(population, [Member(config) for config in configs])) == 4
    assert population.compiler.programs == (2 if chunk == 1 else 1)
    for (kind, _, placement), program in population.compiler.compiled.items():
        assert len(placement.whole.device_set) == devices
        assert kind[0] != "steps" or collectives(program) == []
    assert jax.device_count() == 8


@pytest.mark.parametrize(
    ("gigabytes", "devices", "lanes"),
    [(80, 1, 256), (80, 4, 64), (80, 1000, 1), (None, 1, 128), (0.1, 1, 4), (1e-2, 1, 1)],
)
def test_as_many_lanes_side_by_side_as_half_the_memory_holds(gigabytes, devices, lanes):
    """784-128-10 has 101,770 weights: 7·4·101,770 bytes, and 2·4·1000·784 of an evaluation (a step: 4·4·64·922)."""
    static, _ = split_config(small_config(hidden_sizes=(128,), batch_size=64), 784, 10, 54_000)
    stats = None if gigabytes is None else {"bytes_limit": int(gigabytes * 1e9)}
    device = SimpleNamespace(memory_stats=lambda: stats, device_kind="a GPU")
    assert chunk_size(static, device, devices) == lanes


def test_on_a_chip_with_vector_memory_the_state_of_a_chunk_stays_in_it():
    """784-128×3-10: 134,794 weights, of which w, m and v take 1.6 MB; a v5e has 128 MiB."""
    static, _ = split_config(small_config(hidden_sizes=(128,) * 3, batch_size=32), 784, 10, 54_000)
    device = SimpleNamespace(memory_stats=lambda: {"bytes_limit": 16 * 10**9}, device_kind="TPU v5 lite")
    assert chunk_size(static, device) == 64


def test_a_net_that_the_memory_does_not_hold_is_an_error():
    static, _ = split_config(small_config(hidden_sizes=(128,), batch_size=64), 784, 10, 54_000)
    device = SimpleNamespace(memory_stats=lambda: {"bytes_limit": 2**20})
    with pytest.raises(UserError, match=r"^hidden_sizes: a net of 784-128-10 in batches of 64 needs 0.0085 GiB; the"):
        chunk_size(static, device)
