"""Choosing the next configuration: without repeats, to the end, better than by chance, and from the told alone."""

import itertools
import math
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from configs import default
from mlp_jax.sweeps import samplers
from mlp_jax.sweeps.dialect import parse
from mlp_jax.sweeps.samplers import Trial, bayes, importance, permute, sequence, should_stop
from mlp_jax.sweeps.space import Hyperband, Space

SMALL = {
    "activation": {"values": ["relu", "tanh", "sigmoid"]},
    "batch_size": {"values": [16, 32]},
    "num_epochs": {"values": [1, 2, 3, 4]},
}


def space(method: str, parameters: dict | None = None, **sweep: object) -> Space:
    return parse({"method": method, "parameters": parameters or SMALL, **sweep}, default.get_config())


def everything(method: str, seed: int, parameters: dict | None = None) -> list[tuple]:
    """The whole sequence of a search that ends."""
    nth = sequence(space(method, parameters, run_cap=9999), seed)
    found = itertools.takewhile(lambda params: params is not None, map(nth, itertools.count()))
    return [tuple(params.values()) for params in found]


# ---- grid and random


def test_a_grid_is_the_product_with_its_last_parameter_fastest() -> None:
    wanted = list(itertools.product([16, 32], ["relu", "tanh", "sigmoid"], [1, 2, 3, 4]))
    assert everything("grid", seed=5) == wanted


def test_random_is_every_configuration_once_in_an_order_that_the_seed_decides() -> None:
    first, again, other = (everything("random", seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert first != everything("grid", 0)
    assert sorted(first) == sorted(other) == sorted(everything("grid", 0))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 600), st.integers(0, 2**32 - 1))
@example(16, 0)  # the powers of 4, and the sizes above them
@example(17, 0)
@example(65, 0)
def test_a_permutation_hits_everything_once(size: int, seed: int) -> None:
    assert sorted(permute(index, size, seed) for index in range(size)) == list(range(size))


def test_a_permutation_of_an_astronomical_space_needs_no_memory() -> None:
    size = 10**40 + 7
    found = [permute(index, size, 3) for index in range(300)]
    assert len(set(found)) == 300
    assert all(0 <= index < size for index in found)
    assert sum(index > size // 2 for index in found) == pytest.approx(150, abs=50)  # 5.8 standard deviations


def test_the_first_trial_of_many_seeds_is_spread_evenly() -> None:
    counts = Counter(permute(0, 24, seed) for seed in range(2400))
    assert sum((counts[index] - 100) ** 2 / 100 for index in range(24)) < 60  # χ² with 23 degrees; p = 4e-5


def test_uneven_values_come_once_each_and_the_likely_ones_first() -> None:
    parameters = {"batch_size": {"distribution": "q_log_uniform_values", "min": 16, "max": 64, "q": 16}}
    parameters |= {"activation": {"values": ["relu", "tanh"]}}
    found = everything("random", 0, parameters)
    assert sorted(found) == sorted(itertools.product([16, 32, 48, 64], ["relu", "tanh"]))
    firsts = [sequence(space("random", parameters), seed)(0)["batch_size"] for seed in range(300)]
    assert firsts.count(16) == pytest.approx(300 * math.log(24 / 16, 4), abs=42)  # five standard deviations


def test_values_too_unlikely_to_meet_end_the_search() -> None:
    parameters = {"lr": {"distribution": "q_log_uniform_values", "min": 0.5 + 1e-9, "max": 1.5 + 1e-9, "q": 1}}
    assert everything("random", 0, parameters) == [(1.0,)]


def test_of_a_continuum_each_trial_is_drawn_by_its_number() -> None:
    parameters = SMALL | {"learning_rate": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-1}}
    nth, other = (sequence(space("random", parameters, run_cap=5), seed) for seed in (0, 1))
    backwards = [nth(number) for number in reversed(range(50))]
    assert backwards[::-1] == [nth(number) for number in range(50)]
    assert nth(3) != other(3)
    rates = [math.log10(params["learning_rate"]) for params in backwards]
    assert len(set(rates)) == 50
    assert sum(rates) / 50 == pytest.approx(-2.5, abs=0.6)


# ---- bayes

HILL = {
    "learning_rate": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1},
    "dropout": {"min": 0.0, "max": 0.9},
    "activation": {"values": ["relu", "tanh", "sigmoid"]},
}


def hill(params: dict) -> float:
    penalty = {"relu": 0.0, "tanh": 0.3, "sigmoid": 1.0}[params["activation"]]
    return 1 - (math.log10(params["learning_rate"]) + 3) ** 2 - (params["dropout_rate"] - 0.2) ** 2 - penalty


def climb(seed: int, batch: int, cap: int = 40) -> list[Trial]:
    told: list[Trial] = []
    while len(told) < cap:
        for params in bayes(space("bayes", HILL, run_cap=cap), seed, told, batch):
            told.append(Trial(len(told), params, "finished", hill(params)))
    return told


def test_bayes_beats_random_on_a_hill() -> None:
    wins = 0
    for seed in range(6):
        nth = sequence(space("random", HILL, run_cap=40), seed)
        wins += max(trial.value for trial in climb(seed, 5)) > max(hill(nth(number)) for number in range(40))
    assert wins >= 5


def test_bayes_is_a_function_of_seed_and_trials() -> None:
    told = climb(0, 10, 20)
    again = bayes(space("bayes", HILL, run_cap=99), 0, told, 4)
    assert again == bayes(space("bayes", HILL, run_cap=99), 0, list(reversed(told)), 4)
    assert again != bayes(space("bayes", HILL, run_cap=99), 1, told, 4)
    assert again != bayes(space("bayes", HILL, run_cap=99), 0, told, 4, worker=1)
    assert len({samplers.key(params) for params in again}) == 4


def test_bayes_walks_through_a_finite_space_once_and_ends() -> None:
    told: list[Trial] = []
    search = space("bayes", run_cap=99)
    while found := bayes(search, 0, told, 5):
        told += [Trial(len(told) + i, params, "finished", float(len(told) + i)) for i, params in enumerate(found)]
    assert sorted(samplers.key(trial.params) for trial in told) == sorted(everything("grid", 0))


def test_bayes_knows_quantised_values_only() -> None:
    parameters = {"batch_size": {"distribution": "q_log_uniform_values", "min": 16, "max": 512, "q": 16}}
    parameters |= {
        "dropout": {"distribution": "q_uniform", "min": 0.0, "max": 0.5, "q": 0.1},
        "seed": {"min": 1, "max": 9},
    }
    search = space("bayes", parameters, run_cap=99)
    told: list[Trial] = []
    for _ in range(6):
        for params in bayes(search, 1, told, 5):
            told.append(Trial(len(told), params, "finished", -params["dropout_rate"]))
    assert all(trial.params["batch_size"] % 16 == 0 for trial in told)
    assert {trial.params["dropout_rate"] for trial in told} <= {0.0, 0.1, 0.2, 0.3, 0.4, 0.5}
    assert len({samplers.key(trial.params) for trial in told}) == 30


def test_a_diverged_trial_counts_as_the_worst_whatever_value_it_was_told_with() -> None:
    told = climb(0, 10, 20)
    worst = min(trial.value for trial in told)

    def with_diverged(value: float, status: str = "diverged") -> list[dict]:
        trials = [*told, Trial(20, dict(told[0].params, learning_rate=0.1), status, value)]
        return bayes(space("bayes", HILL, run_cap=99), 0, trials, 3)

    assert with_diverged(math.nan) == with_diverged(0.99) == with_diverged(worst, "finished")
    assert with_diverged(0.99, "finished") != with_diverged(0.99)


def test_pruned_and_running_trials_are_known_to_the_search() -> None:
    told = climb(0, 10, 20)
    search = space("bayes", HILL, run_cap=99)
    pruned = [*told, Trial(20, told[0].params, "pruned", 0.1, {3: 0.1})]
    running = [*told, Trial(20, told[0].params)]
    assert len({str(bayes(search, 0, trials, 2)) for trials in (told, pruned, running)}) == 3


def test_the_places_really_proposed_are_those_that_count_as_running(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a space that is nearly used up most of what the sampler asks for has been had and is exchanged."""
    studies = []
    make = samplers._memory_study
    monkeypatch.setattr(samplers, "_memory_study", lambda *given: studies.append(make(*given)) or studies[-1])
    search = space("bayes")
    told = [Trial(n, samplers.at(search, n), "finished", n / 10) for n in range(16)]
    proposed = bayes(search, 0, told, 8)
    running = [trial.params for trial in studies[-1].trials if trial.state.name == "RUNNING"]
    assert sorted(map(str, running)) == sorted(map(str, proposed))
    assert any(trial.state.name == "FAIL" for trial in studies[-1].trials), "the case needs an exchange"


def test_optuna_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.INFO)
    bayes(space("bayes"), 0, [], 1)
    assert capfd.readouterr() == ("", "")


def test_a_taken_configuration_is_exchanged_for_a_neighbour_then_for_any() -> None:
    search = space("bayes")
    grid = [samplers.at(search, index) for index in range(24)]
    taken = {samplers.key(grid[0])}
    neighbour = samplers.unseen(search, grid[0], taken, 0)
    assert sum(neighbour[name] != grid[0][name] for name in neighbour) == 1
    around = {samplers.key(p) for p in grid if sum(p[name] != grid[0][name] for name in p) <= 1}
    assert samplers.key(samplers.unseen(search, grid[0], around, 0)) not in around
    assert samplers.unseen(search, grid[0], {samplers.key(params) for params in grid}, 0) is None
    assert samplers.unseen(search, grid[0], set(), 0) == grid[0]


# ---- early_terminate

# The example in W&B's own code, max_iter 5, s 2, eta 2, without the value that it logs before the first iteration.
LOSSES = {"a": [9], "b": [10], "c": [8, 8], "d": [7, 7], "e": [6, 6]}


def stops(name: str, strict: bool = False, goal: str = "minimize", sign: float = 1.0) -> bool:
    early = Hyperband((1, 2), 2.0, strict, {})
    others = [{e: sign * x for e, x in enumerate(LOSSES[other], 1)} for other in LOSSES if other != name]
    return should_stop(early, goal, [sign * loss for loss in LOSSES[name]], others)


def test_the_worked_example_of_wandb() -> None:
    assert {name: stops(name) for name in "bcd"} == {"b": True, "c": True, "d": False}
    assert {name: stops(name, goal="maximize", sign=-1.0) for name in "bcd"} == {"b": True, "c": True, "d": False}


def test_a_trial_is_judged_at_brackets_by_its_best_or_strictly_by_its_last_value() -> None:
    others = [{2: 0.5}, {2: 0.6}, {2: 0.9}]
    mild, strict = Hyperband((2,), 3.0, False, {}), Hyperband((2,), 3.0, True, {})
    assert not should_stop(mild, "maximize", [0.95, 0.1], others)
    assert should_stop(strict, "maximize", [0.95, 0.1], others)
    assert not should_stop(strict, "maximize", [0.1], others)
    assert not should_stop(strict, "maximize", [0.1, 0.95, 0.1], others)
    assert not should_stop(strict, "maximize", [0.1, 0.2], [])
    assert should_stop(strict, "maximize", [0.95, math.nan], others)
    assert not should_stop(strict, "maximize", [0.2, 0.9], [*others, {2: math.nan}, {1: 1.0}])


def test_the_share_that_goes_on_is_about_one_in_eta() -> None:
    early = Hyperband((1,), 3.0, True, {})
    values = [((i * 37) % 100) / 100 for i in range(100)]
    others = [{1: value} for value in values]
    assert 33 <= sum(not should_stop(early, "maximize", [value + 1e-9], others) for value in values) <= 35


def test_the_worst_value_so_far() -> None:
    assert samplers.worst_value("maximize", [0.5, 0.2, math.nan, -math.inf]) == 0.2
    assert samplers.worst_value("minimize", [0.5, 2.5, math.inf]) == 2.5
    assert samplers.worst_value("maximize", []) == 0.0
    assert samplers.worst_value("minimize", []) == 1e6  # it stands in databases, beside what earlier versions told


# ---- importance


def test_importance_finds_what_mattered() -> None:
    search = space("random", SMALL)
    nth = sequence(search, 0)
    told = [Trial(n, nth(n), "finished", float(nth(n)["num_epochs"]) + 0.01 * (n % 3)) for n in range(20)]
    found = importance(search, told)
    assert sum(found.values()) == pytest.approx(1.0)
    assert found["num_epochs"] > 0.8
    assert importance(search, told) == found


@pytest.mark.parametrize(
    ("given", "low", "high"),
    [
        ({"distribution": "q_uniform", "min": 0.1, "max": 0.5, "q": 0.1}, 0.1, 0.5),
        ({"distribution": "q_log_uniform_values", "min": 2, "max": 64, "q": 2}, 2, 64),
        ({"distribution": "int_uniform", "min": 2, "max": 7}, 2, 7),
    ],
)
def test_optuna_knows_a_quantised_distribution_from_its_first_to_its_last_value(given, low, high) -> None:
    name = "dropout_rate" if low < 1 else "batch_size"
    found = samplers.optuna_distributions(space("bayes", {name: given}))[name]
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.log == ("log" in given["distribution"])


def test_importance_gives_a_parameter_that_did_not_vary_nothing() -> None:
    search = space("random", SMALL)
    told = [
        Trial(n, {"batch_size": 16, "activation": "relu", "num_epochs": n % 4 + 1}, "finished", n % 4) for n in range(8)
    ]
    told.append(Trial(8, told[0].params, "diverged", math.nan))
    told.append(Trial(9, told[0].params))
    assert importance(search, told) == {"batch_size": 0.0, "activation": 0.0, "num_epochs": 1.0}


@pytest.mark.parametrize("count", [0, 1, 3, 8])
def test_importance_of_little_or_nothing_is_nothing(count: int) -> None:
    search = space("random", SMALL)
    same = [Trial(n, samplers.at(search, n), "finished", 0.5) for n in range(count)]
    assert importance(search, same) == dict.fromkeys(search.parameters, 0.0)
    told = [Trial(n, samplers.at(search, n), "finished", n / 10) for n in range(5)]
    assert sum(importance(search, told).values()) == pytest.approx(1.0)
    assert sum(importance(search, told[:4]).values()) == 0
