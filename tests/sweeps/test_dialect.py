"""The W&B dialect: pasted dictionaries, distributions, brackets, names, sweep.yaml, and every way to get it wrong."""

import json
import math

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from configs import default
from mlp_jax.errors import UserError
from mlp_jax.runs.config import check, load, override
from mlp_jax.runs.spelling import canonical, sizes
from mlp_jax.sweeps.dialect import DISTRIBUTIONS, METHODS, SPEC_KEYS, parse, to_yaml
from mlp_jax.sweeps.samplers import at
from mlp_jax.sweeps.space import Distribution, Space

LR = {"learning_rate": {"values": [0.1, 0.01]}}
HYPERBAND = {"type": "hyperband"}

# The dictionaries of the source systems, as people paste them.
FOURTH = {
    "name": "Assignment 1",
    "method": "random",
    "metric": {"name": "validationaccuracy", "goal": "maximize"},
    "parameters": {
        "max_epochs": {"values": [5, 10]},
        "initializer": {"values": ["RANDOM", "XAVIER"]},
        "layers": {"values": [2, 3, 4]},
        "num_hidden_neurons": {"values": [32, 64, 128]},
        "activation": {"values": ["RELU", "SIGMOID", "TANH"]},
        "learning_rate": {"values": [0.001, 0.0001]},
        "weight_decay": {"values": [0, 0.0005, 0.5]},
        "optimizer": {"values": ["SGD", "MGD", "NAG", "RMSPROP", "ADAM"]},
        "batch_size": {"values": [16, 32, 64]},
    },
}
FIRST = {
    "method": "grid",
    "metric": {"name": "Validation Loss", "goal": "minimize"},
    "parameters": {
        "epochs": {"values": [5, 10]},
        "init": {"values": ["Xavier", "random"]},
        "hidden_layers": {"values": [3, 4, 5]},
        "hidden_size": {"values": [32, 64, 128]},
        "activation": {"values": ["Sigmoid", "ReLU", "Tanh"]},
        "learning_rate": {"values": [0.001, 0.0001]},
        "optimizer": {"values": ["SGD", "Momentum", "Nesterov", "RMSprop", "Adam", "Nadam"]},
        "batch_size": {"values": [16, 32, 64]},
        "loss": {"values": ["cross-entropy", "mean_squared_error"]},
    },
}
SECOND = {
    "method": "bayes",
    "metric": {"name": "val_accuracy", "goal": "maximize"},
    "run_cap": 20,
    "parameters": {
        "epochs": {"value": 10},
        "weight_init": {"values": ["random", "Xavier"]},
        "num_layers": {"values": [3, 4, 5]},
        "hidden_size": {"values": [32, 64, 128]},
        "activation": {"values": ["sigmoid", "tanh", "ReLU"]},
        "learning_rate": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2},
        "weight_decay": {"values": [0, 0.0005]},
        "optimizer": {"values": ["sgd", "momentum", "nag", "rmsprop", "adam", "nadam"]},
        "batch_size": {"distribution": "q_log_uniform_values", "q": 8, "min": 16, "max": 128},
        "loss": {"values": ["cross_entropy"]},
    },
}


def read(sweep: dict, **fields: object) -> Space:
    """The space of a sweep over the default config, every value held to the config's own check."""
    config = default.get_config()
    for field, value in fields.items():
        config[field] = value
    return parse(sweep, config, check)


def one(spec: dict, field: str = "learning_rate") -> Distribution:
    """The distribution of a single parameter."""
    return read({"method": "random", "parameters": {field: spec}, "run_cap": 5}).parameters[field]


def test_the_dictionaries_of_the_sources_mean_what_they_meant() -> None:
    first, second, fourth = read(FIRST), read(SECOND), read(FOURTH)
    assert (first.method, first.metric, first.goal) == ("grid", "val/loss", "minimize")
    assert first.size == 2 * 2 * 3 * 3 * 3 * 2 * 6 * 3 * 2
    assert first.parameters["loss"].choices == ("cross_entropy", "mse")
    assert (second.method, second.metric, second.cap, second.size) == ("bayes", "val/accuracy", 20, None)
    assert second.fixed == {"loss": "cross_entropy", "num_epochs": 10}
    assert second.parameters["init"].choices == ("random", "xavier")
    assert second.parameters["batch_size"].values == list(range(16, 129, 8))
    assert (fourth.method, fourth.metric, fourth.goal, fourth.size) == ("random", "val/accuracy", "maximize", 9720)
    assert fourth.parameters["optimizer"].choices == ("sgd", "momentum", "nesterov", "rmsprop", "adam")
    net = {"num_layers": 2, "hidden_size": 32, "batch_size": 16, "activation": "relu", "optimizer": "sgd"}
    numbers = {"init": "random", "learning_rate": 0.001, "weight_decay": 0.0, "num_epochs": 5}
    assert list(at(fourth, 0).items()) == list((net | numbers).items())  # what shapes the program comes first
    assert fourth.overrides(at(fourth, 0))["hidden_sizes"] == (32, 32)


@pytest.mark.parametrize(
    ("name", "trials", "method"),
    [("grid", 36, "grid"), ("random", 11664, "random"), ("bayes", 11664, "bayes"), ("assignment", 11664, "grid")],
)
def test_the_committed_sweeps(name: str, trials: int, method: str) -> None:
    config = load(f"configs/sweep_{name}.py")
    space = parse(config.sweep.to_dict(), config, check)
    assert (space.size, space.method, config.storage) == (trials, method, "")
    assert space.run_cap == (60 if name in ("random", "bayes") else 0)
    config = override(config, [("sweep.run_cap", "7"), ("sweep.report_test", "true"), ("sweep.batch", "3")])
    space = parse(config.sweep.to_dict(), config, check)
    assert (space.cap, space.report_test, space.batch) == (7, True, 3)


# ---- distributions, against SciPy's quantiles and W&B's documented formulas


@pytest.mark.parametrize(
    ("spec", "quantile"),
    [
        ({"distribution": "uniform", "min": 1, "max": 3}, lambda u: stats.uniform.ppf(u, 1, 2)),
        ({"distribution": "log_uniform_values", "min": 1e-4, "max": 0.1}, lambda u: stats.loguniform.ppf(u, 1e-4, 0.1)),
        (
            {"distribution": "q_log_uniform_values", "min": 3, "max": 90, "q": 4},
            lambda u: np.round(stats.loguniform.ppf(u, 3, 90) / 4) * 4,
        ),
    ],
)
def test_quantiles_are_those_of_the_documented_distribution(spec: dict, quantile: object) -> None:
    distribution = one(spec)
    for u in np.linspace(0, 0.999, 57):
        assert distribution.draw(u) == pytest.approx(float(quantile(u)), rel=1e-9)


@pytest.mark.parametrize(
    ("field", "spec", "values"),
    [
        ("dropout_rate", {"distribution": "q_uniform", "min": 0.1, "max": 0.5, "q": 0.1}, [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("batch_size", {"distribution": "q_uniform", "min": 30, "max": 70, "q": 16}, [32, 48, 64]),  # round(X/q)·q
        ("num_epochs", {"min": 2, "max": 5}, [2, 3, 4, 5]),  # whole bounds mean whole numbers
        ("weight_decay", {"min": 0, "max": 1}, [0.0, 1.0]),
    ],
)
def test_a_range_in_steps_is_a_list_of_values_and_each_is_as_likely(field: str, spec: dict, values: list) -> None:
    distribution = one(spec, field)
    assert distribution.values == values
    assert {type(value) for value in distribution.values} == {type(values[0])}
    assert [distribution.draw((i + 0.5) / len(values)) for i in range(len(values))] == values


@pytest.mark.parametrize("spec", [{"value": 0.02}, {"values": [0.02, 0.02]}, {"min": 0.02, "max": 0.02}])
def test_a_single_value_is_fixed_and_no_part_of_the_search(spec: dict) -> None:
    space = read({"method": "grid", "parameters": {"learning_rate": spec, "seed": {"values": [1, 2]}}})
    assert space.fixed == {"learning_rate": 0.02}
    assert space.size == 2
    assert space.overrides({"seed": 2}) == {"learning_rate": 0.02, "seed": 2}


def test_snapping_takes_the_nearest_allowed_value() -> None:
    distribution = one({"distribution": "q_log_uniform_values", "min": 8, "max": 64, "q": 8}, "batch_size")
    assert [distribution.snap(x) for x in (1.0, 11.9, 12.1, 63.0, 1e9)] == [8, 8, 16, 64, 64]


# ---- depth and width


def test_depth_and_width_make_hidden_sizes_with_the_configs_own_where_one_is_missing() -> None:
    def nets(hidden_sizes: tuple[int, ...], **parameters: dict) -> list[tuple[int, ...]]:
        space = read({"method": "grid", "parameters": parameters}, hidden_sizes=hidden_sizes)
        return [space.overrides(at(space, index))["hidden_sizes"] for index in range(2)]

    assert nets((50, 50), layers={"values": [0, 2]}) == [(), (50, 50)]
    assert nets((50, 40), width={"values": [8, 16]}) == [(8, 8), (16, 16)]
    assert nets((50, 40), width={"value": 8}, layers={"values": [1, 3]}) == [(8,), (8, 8, 8)]
    with pytest.raises(UserError, match="no one width"):
        nets((8, 4), layers={"values": [1, 2]})


def test_hidden_sizes_can_be_searched_whole_and_are_kept_as_text() -> None:
    spec = {"values": [[128, 64], (32,), "16-16", "8, 4", 7, ""]}
    space = read({"method": "grid", "parameters": {"hidden_sizes": spec}})
    assert space.parameters["hidden_sizes"].choices == ("128-64", "32", "16-16", "8-4", "7", "")
    found = [space.overrides(at(space, index))["hidden_sizes"] for index in range(6)]
    assert found == [(128, 64), (32,), (16, 16), (8, 4), (7,), ()]


@pytest.mark.parametrize("value", [True, 0, "-5", 1.5, "a", [[3]], (2, -1), "9" * 12, [1] * 1001, None])
def test_what_is_no_tuple_of_widths_is_refused(value: object) -> None:
    with pytest.raises(UserError, match="hidden_sizes"):
        sizes(value)


def test_nested_parameters_are_flattened() -> None:
    nested = {
        "optimizer": {"parameters": {"name": {"values": ["adam", "sgd"]}, "learning_rate": {"value": 0.1}}},
        "model": {"parameters": {"act": {"values": ["relu", "tanh"]}}},
        "train.batch_size": {"value": 8},
        "config.seed": {"value": 3},
    }
    space = read({"method": "grid", "parameters": nested})
    assert space.parameters == {
        "activation": Distribution(("relu", "tanh")),
        "optimizer": Distribution(("adam", "sgd")),
    }
    assert space.fixed == {"batch_size": 8, "learning_rate": 0.1, "seed": 3}


def test_spellings_of_other_systems_are_understood() -> None:
    given = {"optimizer": "NAG", "loss": "Mean_Squared-Error", "activation": "Leaky ReLU", "dataset": "Fashion-MNIST"}
    ours = [canonical(field, value) for field, value in given.items()]
    assert ours == ["nesterov", "mse", "leaky_relu", "fashion_mnist"]
    assert canonical("dataset", "/Data/My") == "/Data/My"


def test_a_metric_without_a_set_is_that_of_validation_which_nobody_logs_without_one() -> None:
    space = read({"method": "grid", "parameters": LR, "metric": {"name": "loss"}})
    assert (space.metric, space.goal) == ("val/loss", "minimize")
    with pytest.raises(UserError, match="val_fraction=0"):
        read({"method": "grid", "parameters": LR}, val_fraction=0.0)
    assert read({"method": "grid", "parameters": LR, "metric": {"name": "train/loss"}}, val_fraction=0.0)


@pytest.mark.parametrize(
    ("early", "brackets"),
    [
        ({"min_iter": 3}, (3, 9, 27, 81)),  # W&B's documentation has this one and the next
        ({"max_iter": 27, "s": 2}, (3, 9)),
        ({"max_iter": 5, "s": 2, "eta": 2}, (1, 2)),  # 2.5 and 1.25
        ({"max_iter": 27, "s": 9}, (1, 3, 9)),
        ({"min_iter": 4, "eta": 1.5}, (4, 6, 9, 13)),
        ({"max_iter": 10, "s": 1, "min_iter": 4}, (3,)),
    ],
)
def test_hyperband_looks_at_these_epochs(early: dict, brackets: tuple[int, ...]) -> None:
    space = read({"method": "grid", "parameters": LR, "early_terminate": {"type": "hyperband", **early}})
    assert space.early_terminate is not None
    assert space.early_terminate.brackets[:4] == brackets


# ---- names


def test_trial_names_are_readable_and_hold_what_varies() -> None:
    space = read(FOURTH)
    name = space.trial_name(0, at(space, 5690))
    assert name == "hl_3_sz_128_bs_16_ac_tanh_op_nesterov_in_random_lr_0.001_wd_0.0005_ep_5"
    path = read({"method": "grid", "parameters": {"dataset": {"values": ["/a b/c", "mnist"]}}})
    assert path.trial_name(0, {"dataset": "/a b/c"}) == "dataset_-a-b-c"


def test_every_trial_has_a_name_of_its_own() -> None:
    close = {"learning_rate": {"values": [0.001, 0.0010001, 0.00100001]}, "layers": {"values": [1, 2]}}
    for space in (read({"method": "grid", "parameters": close}), read(FOURTH)):
        assert len({space.trial_name(i, at(space, i)) for i in range(space.size)}) == space.size
    rounded = read({"method": "random", "parameters": {"lr": {"min": 0.1, "max": 0.2}}, "run_cap": 2})
    assert rounded.trial_name(7, {"learning_rate": 0.123456789}) == "lr_0.1235_n_7"
    fixed = read({"method": "random", "parameters": {"lr": {"value": 0.1}}})
    assert fixed.trial_name(0, {}) == "n_0"


# ---- sweep.yaml


def test_a_command_of_sweep_yaml_is_the_trial_that_we_would_run() -> None:
    config = default.get_config()
    config.val_fraction, config.stratified = 0.2, True
    sweep = FOURTH | {"parameters": FOURTH["parameters"] | {"loss": {"value": "mse"}}, "run_cap": 4}
    space = parse(sweep, config, check)
    written = yaml.safe_load(to_yaml(space, config, default.get_config()))
    params = at(space, 4321)
    wanted = space.overrides(params)
    choose = {f"config.{field}": value for field, value in params.items() if field not in ("num_layers", "hidden_size")}
    shapes = written["parameters"]["config.hidden_sizes"]["values"]
    assert len(shapes) == 9
    choose["config.hidden_sizes"] = next(s for s in shapes if s == ",".join(map(str, wanted["hidden_sizes"])))
    assert set(choose) == set(written["parameters"])
    args = [f"--{name}={value}" for name, value in choose.items()]  # as W&B documents ${args}
    macros = {"${env}": [], "${interpreter}": [], "${program}": [written["program"]], "${args}": args}
    program, *flags = [word for part in written["command"] for word in macros.get(part, [part])]
    assert program == "main.py"
    given = [tuple(flag.removeprefix("--config.").split("=", 1)) for flag in flags]
    ran = override(default.get_config(), given)
    for field, value in {**wanted, "val_fraction": 0.2, "stratified": True, "loss": "mse", "tracker": "wandb"}.items():
        assert ran[field] == value, field


def test_sweep_yaml_read_again_is_the_same_search() -> None:
    sweep = {
        "method": "random",
        "metric": {"name": "val/loss", "target": 0.25},
        "parameters": {
            "batch_size": {"distribution": "q_log_uniform_values", "min": 16, "max": 128, "q": 16},
            "num_epochs": {"min": 2, "max": 9},
            "dropout": {"distribution": "q_uniform", "min": 0.0, "max": 0.5, "q": 0.1},
            "lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 0.05},
            "momentum": {"min": 0.1, "max": 0.9},
            "hidden_sizes": {"values": [[5], [], [7, 7]]},
            "seed": {"value": 3},
        },
        "run_cap": 5,
        "early_terminate": {"type": "hyperband", "max_iter": 9, "s": 2, "eta": 3},
    }
    space, defaults = read(sweep), default.get_config()
    written = yaml.safe_load(to_yaml(space, defaults, defaults))
    assert "--config.seed=3" in written.pop("command")
    again = read(written, seed=3)
    assert again.fingerprint() | {"fixed parameters": 0} == space.fingerprint() | {"fixed parameters": 0}
    assert (again.run_cap, again.target, again.goal) == (5, 0.25, "minimize")


@pytest.mark.parametrize(("widths", "depths"), [(9999, 9), (2, 1000)])
def test_too_many_shapes_for_a_list_are_said_in_the_file(widths: int, depths: int) -> None:
    parameters = {"width": {"min": 1, "max": widths}, "depth": {"min": 1, "max": depths}}
    space = read({"method": "random", "parameters": parameters})
    assert yaml.safe_load(to_yaml(space, default.get_config(), default.get_config())) is None


# ---- what makes no sense

DEEP: dict = {"value": 1}
for _ in range(2000):
    DEEP = {"parameters": {"lr": DEEP}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "hyperopt"}, ["sweep.method", "hyperopt", "grid, random, bayes"]),
        ({"method": 10**5000}, ["sweep.method", "too long"]),
        ({"methd": "grid"}, ["methd", "did you mean method"]),
        ({"metric": {"name": "val_f1"}}, ["sweep.metric.name", "val_f1", "val/accuracy"]),
        ({"metric": {"name": "val/loss", "target": "0.1"}}, ["sweep.metric.target", "'0.1'"]),
        ({"run_cap": -1}, ["sweep.run_cap", "-1", "at least 1"]),
        ({"batch": "8"}, ["sweep.batch", "'8'"]),
        ({"name": "a\nb"}, ["sweep.name"]),
        ({"parameters": {}}, ["sweep.parameters", "nothing to search"]),
        ({"parameters": []}, ["sweep.parameters", "dictionary"]),
        ({"parameters": {"a\nb": {"value": 1}}}, ["sweep.parameters"]),
        ({"parameters": {"lr": {"value": 1}, "learning_rate": {"value": 1}}}, ["both mean learning_rate"]),
        ({"parameters": {"width": {"value": 8}, "hidden_sizes": {"values": [[8]]}}}, ["exclude each other"]),
        ({"method": "grid", "parameters": {"lr": {"min": 0.1, "max": 0.2}}}, ["learning_rate", "continuous"]),
        ({"run_cap": 0, "parameters": {"lr": {"min": 0.1, "max": 0.2}}}, ["sweep.run_cap", "never ends"]),
        ({"early_terminate": [1]}, ["early_terminate", "dictionary"]),
        ({"early_terminate": {"type": "envelope", "min_iter": 1}}, ["early_terminate.type", "envelope", "hyperband"]),
        ({"early_terminate": HYPERBAND | {"max_iter": 9}}, ["max_iter and s"]),
        ({"early_terminate": HYPERBAND | {"min_iter": 0}}, ["min_iter", "at least 1"]),
        ({"early_terminate": HYPERBAND | {"min_iter": 1, "eta": 1}}, ["eta", "above 1"]),
        ({"early_terminate": HYPERBAND | {"max_iter": 1, "s": 1}}, ["no bracket"]),
    ],
)
def test_a_sweep_that_makes_no_sense_is_named_in_one_line(change: dict, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        read({"method": "random", "parameters": LR, "run_cap": 5} | change)
    message = str(caught.value)
    assert [word for word in words if word not in message] == []
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "spec", "words"),
    [
        ("lerning_rate", {"value": 1}, ["lerning_rate", "did you mean learning_rate"]),
        ("lr", 0.1, ["sweep.parameters.lr", "0.1", "'values'"]),
        ("lr", {"vals": [1]}, ["vals", "did you mean values"]),
        ("lr", {"values": []}, ["lr.values", "at least one"]),
        ("lr", {"values": [0.1], "min": 1}, ["categorical", "'min' is not one of values"]),
        ("lr", {"values": [math.inf]}, ["learning_rate", "inf"]),
        ("batch_size", {"values": [True]}, ["batch_size", "True"]),
        ("optimizer", {"values": ["adm"]}, ["optimizer", "adm", "did you mean adam"]),
        ("optimizer", {"min": 1, "max": 2}, ["optimizer is not a number"]),
        ("stratified", {"values": ["yes"]}, ["True or False"]),
        ("layers", {"values": [10**9]}, ["layers", "1000"]),
        ("lr", {"distribution": "log_uniform", "min": -7, "max": -2}, ["'log_uniform'", "mean log_uniform_values?"]),
        ("lr", {"distribution": ["uniform"]}, ["lr.distribution"]),
        ("lr", {"distribution": "uniform", "min": 1}, ["uniform needs min and max"]),
        ("lr", {"min": 0.2, "max": 0.1}, ["empty range", "0.2", "0.1"]),
        ("lr", {"min": "a", "max": 0.1}, ["lr.min", "'a'"]),
        ("lr", {"min": 0.0, "max": 0.1, "q": 0.1}, ["uniform", "'q' is not one of min, max"]),
        ("lr", {"distribution": "q_uniform", "min": 0.1, "max": 1, "q": 0}, ["lr.q", "above 0"]),
        ("lr", {"distribution": "q_uniform", "min": 1, "max": 1e300}, ["more values than"]),
        ("lr", {"distribution": "int_uniform", "min": 1, "max": 2.5}, ["lr.max", "2.5", "a whole number"]),
        ("lr", {"distribution": "log_uniform_values", "min": 0, "max": 1}, ["lr.min", "above 0"]),
        ("lr", {"distribution": "q_log_uniform_values", "min": 0.1, "max": 9}, ["lr.min", "above 0.5"]),
        ("batch_size", {"min": 1.0, "max": 9.0}, ["batch_size takes whole numbers"]),
        ("batch_size", {"distribution": "q_uniform", "min": 1, "max": 9, "q": 0.5}, ["batch_size", "steps of 0.5"]),
        ("lr", {"values": [1, 2], "probabilities": [0.5, 0.5]}, ["probabilities", "values, value, min"]),
        ("a", {"parameters": {"lr": {"value": 1}}, "value": 1}, ["stands alone", "value"]),
        ("lr", DEEP, ["dictionary of parameters"]),
    ],
)
def test_a_parameter_that_makes_no_sense_is_named_in_one_line(name: str, spec: object, words: list[str]) -> None:
    test_a_sweep_that_makes_no_sense_is_named_in_one_line({"parameters": {name: spec}}, words)


def test_the_callers_check_sees_every_value_and_both_ends_of_every_range() -> None:
    seen: list[tuple[str, object]] = []
    parameters = {"lr": {"min": 0.1, "max": 0.2}, "momentum": {"values": [0.5, 0]}, "hidden_sizes": {"value": "8-4"}}
    sweep = {"method": "random", "parameters": parameters, "run_cap": 1}
    parse(sweep, default.get_config(), lambda field, value: seen.append((field, value)))
    rates = {("learning_rate", 0.1), ("learning_rate", 0.2)}
    assert set(seen) == rates | {("momentum", 0.5), ("momentum", 0.0), ("hidden_sizes", (8, 4))}


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(("lr", *DISTRIBUTIONS)) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(SPEC_KEYS) | st.text(), inner),
    max_leaves=9,
)
NUMBER = st.integers(0, 100) | st.floats(0.0, 4.0) | JUNK
COUNTS = dict.fromkeys(("min_iter", "max_iter", "s", "eta"), NUMBER)
SPEC = st.dictionaries(st.sampled_from(SPEC_KEYS), st.sampled_from(DISTRIBUTIONS) | NUMBER, max_size=4)
KEYS = {
    "run_cap": st.integers(-1, 9) | JUNK,
    "metric": JUNK,
    "early_terminate": st.fixed_dictionaries({"type": st.just("hyperband")}, optional=COUNTS),
    "parameters": st.dictionaries(
        st.sampled_from(("lr", "epochs", "layers", "width", "hidden_sizes", "dataset")), SPEC
    ),
}


@settings(max_examples=150, deadline=None)
@given(st.fixed_dictionaries({"method": st.sampled_from(METHODS)}, optional=KEYS) | JUNK)
def test_rubble_gives_a_space_or_one_line(sweep: object) -> None:
    try:
        space = read(sweep)
    except UserError as error:
        message = str(error)
    else:
        message = str(space.overrides({field: values.draw(0.5) for field, values in space.parameters.items()}))
        assert to_yaml(space, default.get_config(), default.get_config())
    assert len(message.splitlines()) == 1


def test_two_sweeps_are_the_same_search_if_and_only_if_what_they_search_and_how_is_the_same() -> None:
    def fingerprint(**changed: object) -> dict:
        parameters = {"activation": {"values": ["relu", "tanh"]}, "dropout": {"min": 0.0, "max": 0.5}}
        sweep = {"method": "random", "parameters": parameters, "run_cap": 9}
        return parse(sweep | changed, default.get_config()).fingerprint()

    assert fingerprint(run_cap=10, name="another", batch=2) == fingerprint() == json.loads(json.dumps(fingerprint()))
    early = HYPERBAND | {"max_iter": 18, "s": 2, "eta": 3}
    others = [{"method": "bayes"}, {"metric": {"name": "loss"}}, {"parameters": LR}, {"early_terminate": early}]
    others.append({"early_terminate": early | {"strict": True}})
    assert len({json.dumps(fingerprint(**changed)) for changed in [{}, *others]}) == 6
