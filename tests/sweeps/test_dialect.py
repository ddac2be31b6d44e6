"""The W&B dialect: pasted dictionaries, distributions, brackets, names, sweep.yaml, and every way to get it wrong."""

import math
import subprocess
import sys

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from configs import default
from mlp_jax.errors import UserError
from mlp_jax.runs import config as configs
from mlp_jax.runs.spelling import canonical, canonical_field, sizes
from mlp_jax.sweeps.dialect import parse, to_yaml
from mlp_jax.sweeps.samplers import at
from mlp_jax.sweeps.space import Space

LR = {"learning_rate": {"values": [0.1, 0.01]}}

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
    return parse(sweep, config, configs.check)


def one(spec: dict, field: str = "learning_rate", method: str = "random") -> object:
    """The distribution of a single parameter, or its one value."""
    space = read({"method": method, "parameters": {field: spec}, "run_cap": 5})
    return space.parameters[field] if space.parameters else space.fixed[field]


def test_the_dictionary_of_the_fourth_source() -> None:
    space = read(FOURTH)
    assert (space.method, space.metric, space.goal, space.size) == ("random", "val/accuracy", "maximize", 9720)
    assert space.parameters["optimizer"].choices == ("sgd", "momentum", "nesterov", "rmsprop", "adam")
    assert space.overrides(at(space, 0)) == {
        "hidden_sizes": (32, 32),
        "batch_size": 16,
        "activation": "relu",
        "optimizer": "sgd",
        "init": "random",
        "learning_rate": 0.001,
        "weight_decay": 0.0,
        "num_epochs": 5,
    }


def test_the_dictionary_of_the_first_source() -> None:
    space = read(FIRST)
    assert (space.method, space.metric, space.goal) == ("grid", "val/loss", "minimize")
    assert space.size == 2 * 2 * 3 * 3 * 3 * 2 * 6 * 3 * 2
    assert space.parameters["loss"].choices == ("cross_entropy", "mse")
    assert space.parameters["optimizer"].choices[1:3] == ("momentum", "nesterov")


def test_the_dictionary_of_the_second_source() -> None:
    space = read(SECOND)
    assert (space.method, space.metric, space.cap, space.size) == ("bayes", "val/accuracy", 20, None)
    assert space.fixed == {"loss": "cross_entropy", "num_epochs": 10}
    assert space.parameters["init"].choices == ("random", "xavier")
    batch = space.parameters["batch_size"]
    assert [batch.at(i) for i in range(batch.size)] == list(range(16, 129, 8))


@pytest.mark.parametrize(
    ("name", "trials", "method"),
    [("grid", 36, "grid"), ("random", 11664, "random"), ("bayes", 11664, "bayes"), ("assignment", 11664, "grid")],
)
def test_the_committed_sweeps(name: str, trials: int, method: str) -> None:
    config = configs.load(f"configs/sweep_{name}.py")
    space = parse(config.sweep.to_dict(), config, configs.check)
    assert (space.size, space.method, config.storage) == (trials, method, "")
    assert space.run_cap == (60 if name in ("random", "bayes") else 0)
    config = configs.override(config, [("sweep.run_cap", "7"), ("sweep.report_test", "true"), ("sweep.batch", "3")])
    space = parse(config.sweep.to_dict(), config, configs.check)
    assert (space.cap, space.report_test, space.batch) == (7, True, 3)


def test_run_cap_is_overridden_through_ml_collections_too() -> None:
    code = (
        "from absl import app, flags; from ml_collections import config_flags;"
        "f = config_flags.DEFINE_config_file('config'); flags.FLAGS(__import__('sys').argv);"
        "print(f.value.sweep.run_cap, f.value.sweep.parameters.num_epochs['values'])"
    )
    flags = ["--config=configs/sweep_random.py", "--config.sweep.run_cap=9"]
    run = subprocess.run([sys.executable, "-c", code, *flags], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "9 (5, 10)"


def test_in_a_grid_the_shape_of_the_program_changes_last_and_the_epochs_first() -> None:
    space = read(FOURTH | {"method": "grid"})
    assert list(space.parameters) == [
        *("num_layers", "hidden_size", "batch_size", "activation", "optimizer"),
        *("init", "learning_rate", "weight_decay", "num_epochs"),
    ]
    first, second, third = (at(space, index) for index in range(3))
    assert {key for key in first if first[key] != second[key]} == {"num_epochs"}
    assert {key for key in first if first[key] != third[key]} == {"weight_decay"}


# ---- distributions, against SciPy's quantiles and W&B's documented formulas


@pytest.mark.parametrize(
    ("spec", "quantile"),
    [
        ({"min": 0.1, "max": 0.7}, lambda u: stats.uniform.ppf(u, 0.1, 0.6)),
        ({"distribution": "uniform", "min": 1, "max": 3}, lambda u: stats.uniform.ppf(u, 1, 2)),
        ({"distribution": "log_uniform", "min": -7, "max": -2.5}, lambda u: np.exp(stats.uniform.ppf(u, -7, 4.5))),
        ({"distribution": "log_uniform_values", "min": 1e-4, "max": 0.1}, lambda u: stats.loguniform.ppf(u, 1e-4, 0.1)),
        # X with log(1/X) uniform in [min, max]; falls where the others rise, so the share below is that above
        ({"distribution": "inv_log_uniform", "min": 2, "max": 6}, lambda u: 1 / np.exp(stats.uniform.ppf(1 - u, 2, 4))),
        (
            {"distribution": "inv_log_uniform_values", "min": 0.01, "max": 1.0},
            lambda u: 1 / np.exp(stats.uniform.ppf(1 - u, math.log(1 / 1.0), math.log(1 / 0.01))),
        ),
        (
            {"distribution": "q_log_uniform_values", "min": 3, "max": 90, "q": 4},
            lambda u: np.round(stats.loguniform.ppf(u, 3, 90) / 4) * 4,
        ),
        (
            {"distribution": "q_log_uniform", "min": 0.5, "max": 4.0},
            lambda u: np.round(np.exp(stats.uniform.ppf(u, 0.5, 3.5))),
        ),
    ],
)
def test_quantiles_are_those_of_the_documented_distribution(spec: dict, quantile: object) -> None:
    distribution = one(spec)
    for u in np.linspace(0, 0.999, 57):
        assert distribution.draw(u) == pytest.approx(float(quantile(u)), rel=1e-9)


def test_quantised_uniform_takes_multiples_of_q_and_each_alike() -> None:
    distribution = one({"distribution": "q_uniform", "min": 0.1, "max": 0.5, "q": 0.1}, "dropout_rate")
    assert [distribution.at(i) for i in range(distribution.size)] == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert [distribution.draw(u) for u in (0, 0.19, 0.21, 0.99)] == [0.1, 0.1, 0.2, 0.5]
    assert one({"distribution": "q_uniform", "min": 30, "max": 100, "q": 16}, "batch_size").at(0) == 32  # round(X/q)·q


def test_whole_bounds_mean_whole_numbers_as_in_wandb() -> None:
    epochs = one({"min": 2, "max": 5}, "num_epochs")
    assert [epochs.at(i) for i in range(epochs.size)] == [2, 3, 4, 5]
    assert all(type(epochs.at(i)) is int for i in range(4))
    rate = one({"min": 0, "max": 1}, "weight_decay")
    assert [rate.at(i) for i in range(rate.size)] == [0.0, 1.0]


def test_probabilities_are_kept_and_the_impossible_is_dropped() -> None:
    distribution = one(
        {"values": ["relu", "tanh", "ReLU", "sigmoid"], "probabilities": [0.2, 0.5, 0.3, 0]}, "activation"
    )
    draws = [distribution.draw(u) for u in np.arange(0, 1, 0.001)]
    assert {value: draws.count(value) for value in set(draws)} == pytest.approx({"relu": 500, "tanh": 500}, abs=1)


@pytest.mark.parametrize(
    "spec", [{"value": 0.02}, {"values": [0.02]}, {"min": 0.02, "max": 0.02}, {"values": [0.02, 0.02]}]
)
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
    depth = read({"method": "grid", "parameters": {"layers": {"values": [0, 2]}}}, hidden_sizes=(50, 50))
    assert [depth.overrides(at(depth, i))["hidden_sizes"] for i in range(2)] == [(), (50, 50)]
    width = read({"method": "grid", "parameters": {"width": {"values": [8, 16]}}}, hidden_sizes=(50, 40))
    assert [width.overrides(at(width, i))["hidden_sizes"] for i in range(2)] == [(8, 8), (16, 16)]
    both = read({"method": "grid", "parameters": {"width": {"value": 8}, "layers": {"values": [1, 3]}}})
    assert [both.overrides(at(both, i))["hidden_sizes"] for i in range(2)] == [(8,), (8, 8, 8)]


def test_hidden_sizes_can_be_searched_whole_and_are_kept_as_text() -> None:
    spec = {"values": [[128, 64], (32,), "16-16", "8, 4", 7, ""]}
    space = read({"method": "grid", "parameters": {"hidden_sizes": spec}})
    assert space.parameters["hidden_sizes"].choices == ("128-64", "32", "16-16", "8-4", "7", "")
    found = [space.overrides(at(space, index))["hidden_sizes"] for index in range(6)]
    assert found == [(128, 64), (32,), (16, 16), (8, 4), (7,), ()]


@pytest.mark.parametrize("value", [True, 0, -5, "-5", 1.5, "a", [[3]], [None], (2, -1), "9" * 12, [1] * 1001, None])
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
    assert {field: kind.choices for field, kind in space.parameters.items()} == {
        "activation": ("relu", "tanh"),
        "optimizer": ("adam", "sgd"),
    }
    assert space.fixed == {"batch_size": 8, "learning_rate": 0.1, "seed": 3}


def test_spellings() -> None:
    assert canonical("optimizer", "NAG") == "nesterov"
    assert canonical("loss", "Mean_Squared-Error") == "mse"
    assert canonical("activation", "Leaky ReLU") == "leaky_relu"
    assert canonical("dataset", "Fashion-MNIST") == "fashion_mnist"
    assert canonical("dataset", "/Data/My") == "/Data/My"
    assert canonical("learning_rate", 0.1) == 0.1
    assert canonical_field("Weight_Init", ["init"]) == "init"


def test_the_metric_and_its_goal() -> None:
    def metric(**given: object) -> tuple[str, str]:
        space = read({"method": "grid", "parameters": LR, "metric": given})
        return space.metric, space.goal

    assert metric() == ("val/accuracy", "maximize")
    assert metric(name="val_acc") == ("val/accuracy", "maximize")
    assert metric(name="accuracy", goal="MAXIMIZE") == ("val/accuracy", "maximize")
    assert metric(name="loss") == ("val/loss", "minimize")
    assert metric(name="train_loss", goal="minimize") == ("train/loss", "minimize")


# ---- early_terminate: the brackets of W&B's documentation


def brackets(**early: object) -> tuple[int, ...]:
    space = read({"method": "grid", "parameters": LR, "early_terminate": {"type": "hyperband", **early}})
    assert space.early_terminate is not None
    return space.early_terminate.brackets


def test_the_brackets_of_the_documentation() -> None:
    assert brackets(min_iter=3)[:4] == (3, 9, 27, 81)
    assert brackets(max_iter=27, s=2) == (3, 9)


def test_other_brackets() -> None:
    assert brackets(min_iter=1, eta=2)[:5] == (1, 2, 4, 8, 16)
    assert brackets(max_iter=5, s=2, eta=2) == (1, 2)  # 2.5 and 1.25
    assert brackets(max_iter=27, s=9) == (1, 3, 9)
    assert brackets(min_iter=4, eta=1.5)[:4] == (4, 6, 9, 13)
    assert brackets(max_iter=10, s=1, min_iter=4) == (3,)


# ---- names


def test_trial_names_are_readable_and_hold_what_varies() -> None:
    space = read(FOURTH)
    params = dict(
        at(space, 0), num_layers=3, hidden_size=128, activation="tanh", optimizer="nesterov", weight_decay=5e-4
    )
    name = space.trial_name(3, params)
    assert name == "hl_3_sz_128_bs_16_ac_tanh_op_nesterov_in_random_lr_0.001_wd_0.0005_ep_5"


def test_every_name_of_a_grid_is_its_own() -> None:
    close = {"learning_rate": {"values": [0.001, 0.0010001, 0.00100001]}, "layers": {"values": [1, 2]}}
    space = read({"method": "grid", "parameters": close})
    assert len({space.trial_name(i, at(space, i)) for i in range(6)}) == 6
    assignment = read(FOURTH)
    assert len({assignment.trial_name(i, at(assignment, i)) for i in range(9720)}) == 9720


def test_rounded_names_end_in_the_number() -> None:
    space = read({"method": "random", "parameters": {"lr": {"min": 0.1, "max": 0.2}}, "run_cap": 2})
    assert space.trial_name(7, {"learning_rate": 0.123456789}) == "lr_0.1235_n_7"
    fixed = read({"method": "random", "parameters": {"lr": {"value": 0.1}}})
    assert fixed.trial_name(0, {}) == "n_0"


def test_names_are_fit_for_files() -> None:
    space = read({"method": "grid", "parameters": {"dataset": {"values": ["/a b/c", "mnist"]}}})
    assert space.trial_name(0, {"dataset": "/a b/c"}) == "dataset_-a-b-c"


# ---- sweep.yaml


def documented(choose: dict) -> list[str]:
    """W&B's documentation of ${args}: --param=value for each."""
    return [f"--{name}={value}" for name, value in choose.items()]


def of_the_agent(choose: dict) -> list[str]:
    """The same by W&B's own agent."""
    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    return utils.create_sweep_command_args({"args": {name: {"value": value} for name, value in choose.items()}})["args"]


@pytest.mark.parametrize("args", [documented, pytest.param(of_the_agent, marks=pytest.mark.slow)])
def test_a_command_of_sweep_yaml_is_the_trial_that_we_would_run(args: object) -> None:
    config = default.get_config()
    config.val_fraction, config.stratified = 0.2, True
    sweep = FOURTH | {"parameters": FOURTH["parameters"] | {"loss": {"value": "mse"}}, "run_cap": 4}
    space = parse(sweep, config, configs.check)
    written = yaml.safe_load(to_yaml(space, config, default.get_config()))
    params = at(space, 4321)
    wanted = space.overrides(params)
    choose = {f"config.{field}": value for field, value in params.items() if field not in ("num_layers", "hidden_size")}
    shapes = written["parameters"]["config.hidden_sizes"]["values"]
    assert len(shapes) == 9
    choose["config.hidden_sizes"] = next(s for s in shapes if s == ",".join(map(str, wanted["hidden_sizes"])))
    assert set(choose) == set(written["parameters"])
    macros = {"${env}": [], "${interpreter}": [], "${program}": [written["program"]], "${args}": args(choose)}
    program, *flags = [word for part in written["command"] for word in macros.get(part, [part])]
    assert program == "main.py"
    given = [tuple(flag.removeprefix("--config.").split("=", 1)) for flag in flags]
    ran = configs.override(default.get_config(), given)
    for field, value in {**wanted, "val_fraction": 0.2, "stratified": True, "loss": "mse", "tracker": "wandb"}.items():
        assert ran[field] == value, field


def test_sweep_yaml_read_again_is_the_same_search() -> None:
    early = {"type": "hyperband", "max_iter": 9, "s": 2, "eta": 3}
    parameters = {
        "batch_size": {"distribution": "q_log_uniform_values", "min": 16, "max": 128, "q": 16},
        "num_epochs": {"min": 2, "max": 9},
        "dropout": {"distribution": "q_uniform", "min": 0.0, "max": 0.5, "q": 0.1},
        "lr": {"distribution": "log_uniform", "min": -9.0, "max": -3.0},
        "momentum": {"min": 0.1, "max": 0.9},
        "hidden_sizes": {"values": [[5], [], [7, 7]]},
        "activation": {"values": ["relu", "tanh"], "probabilities": [0.25, 0.75]},
        "seed": {"value": 3},
    }
    metric = {"name": "val/loss", "target": 0.25}
    sweep = {"method": "random", "metric": metric, "parameters": parameters, "run_cap": 5, "early_terminate": early}
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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "hyperopt"}, ["sweep.method", "hyperopt", "grid, random, bayes"]),
        ({"methd": "grid"}, ["methd", "did you mean method"]),
        ({"metric": {"name": "val_f1"}}, ["sweep.metric.name", "val_f1", "val/accuracy"]),
        ({"metric": {"name": "val/loss", "goal": "low"}}, ["sweep.metric.goal", "low", "minimize"]),
        ({"metric": {"name": "val/loss", "target": "0.1"}}, ["sweep.metric.target", "'0.1'"]),
        ({"metric": {"name": "val/loss", "impute": "worst"}}, ["impute", "name, goal, target"]),
        ({"method": 10**5000}, ["sweep.method", "too long"]),
        ({"metric": "val/loss"}, ["sweep.metric", "val/loss", "dictionary"]),
        ({"run_cap": -1}, ["sweep.run_cap", "-1", "at least 1"]),
        ({"run_cap": 2.5}, ["sweep.run_cap", "2.5"]),
        ({"run_cap": True}, ["sweep.run_cap", "True"]),
        ({"batch": "8"}, ["sweep.batch", "'8'"]),
        ({"report_test": 1}, ["sweep.report_test", "True or False"]),
        ({"name": ""}, ["sweep.name"]),
        ({"name": "a\nb"}, ["sweep.name"]),
        ({"parameters": {}}, ["sweep.parameters", "nothing to search"]),
        ({"parameters": []}, ["sweep.parameters", "dictionary"]),
        ({"parameters": {3: {"value": 1}}}, ["sweep.parameters", "dictionary"]),
        ({"parameters": {"a\nb": {"value": 1}}}, ["sweep.parameters"]),
        ({"parameters": {"lerning_rate": {"value": 1}}}, ["lerning_rate", "did you mean learning_rate"]),
        ({"parameters": {"storage": {"value": "x"}}}, ["storage"]),
        ({"parameters": {"lr": 0.1}}, ["sweep.parameters.lr", "0.1", "'values'"]),
        ({"parameters": {"lr": {"value": 1}, "learning_rate": {"value": 1}}}, ["both mean learning_rate"]),
        ({"parameters": {"width": {"value": 8}, "hidden_sizes": {"values": [[8]]}}}, ["exclude each other"]),
        ({"parameters": {"lr": {"vals": [1]}}}, ["vals", "did you mean values"]),
        ({"parameters": {"lr": {"values": []}}}, ["lr.values", "at least one"]),
        ({"parameters": {"lr": {"values": "0.1"}}}, ["lr.values", "list"]),
        ({"parameters": {"lr": {"values": [0.1], "min": 1}}}, ["no min"]),
        ({"parameters": {"lr": {"values": ["fast"]}}}, ["lr", "fast", "a finite number"]),
        ({"parameters": {"lr": {"values": [math.inf]}}}, ["learning_rate", "inf"]),
        ({"parameters": {"lr": {"values": [-1.0]}}}, ["learning_rate", "-1.0"]),
        ({"parameters": {"batch_size": {"values": [16.5]}}}, ["batch_size", "16.5", "whole"]),
        ({"parameters": {"batch_size": {"values": [True]}}}, ["batch_size", "True"]),
        ({"parameters": {"optimizer": {"values": ["adm"]}}}, ["optimizer", "adm", "did you mean adam"]),
        ({"parameters": {"optimizer": {"min": 1, "max": 2}}}, ["optimizer is not a number"]),
        ({"parameters": {"stratified": {"values": ["yes"]}}}, ["True or False"]),
        ({"parameters": {"layers": {"values": [10**9]}}}, ["layers", "1000"]),
        ({"parameters": {"width": {"values": [0]}}}, ["width", "0"]),
        ({"parameters": {"hidden_sizes": {"values": [[0]]}}}, ["hidden_sizes"]),
        ({"parameters": {"hidden_sizes": {"min": 1, "max": 2}}}, ["hidden_sizes is not a number"]),
        ({"parameters": {"lr": {"distribution": "normal", "mu": 0}}}, ["mu"]),
        ({"parameters": {"lr": {"distribution": "beta"}}}, ["lr.distribution", "beta", "log_uniform"]),
        ({"parameters": {"lr": {"distribution": ["uniform"]}}}, ["lr.distribution"]),
        ({"parameters": {"lr": {"distribution": "uniform", "min": 1}}}, ["uniform needs min and max"]),
        ({"parameters": {"lr": {"distribution": "constant"}}}, ["constant needs value"]),
        ({"parameters": {"lr": {"min": 0.2, "max": 0.1}}}, ["empty range", "0.2", "0.1"]),
        ({"parameters": {"lr": {"min": "a", "max": 0.1}}}, ["lr.min", "'a'"]),
        ({"parameters": {"lr": {"min": 0.0, "max": 0.1, "q": 0.1}}}, ["no q"]),
        ({"parameters": {"lr": {"distribution": "q_uniform", "min": 0.1, "max": 1, "q": 0}}}, ["lr.q", "above 0"]),
        ({"parameters": {"lr": {"distribution": "q_uniform", "min": 1, "max": 1e300}}}, ["more values than"]),
        ({"parameters": {"lr": {"distribution": "int_uniform", "min": 1, "max": 2.5}}}, ["whole numbers"]),
        ({"parameters": {"lr": {"distribution": "log_uniform_values", "min": 0, "max": 1}}}, ["lr.min", "above 0"]),
        ({"parameters": {"lr": {"distribution": "log_uniform", "min": 1, "max": 1000}}}, ["exponents"]),
        ({"parameters": {"lr": {"distribution": "q_log_uniform_values", "min": 0.1, "max": 9}}}, ["rounds"]),
        ({"parameters": {"batch_size": {"min": 1.0, "max": 9.0}}}, ["batch_size takes whole numbers"]),
        ({"parameters": {"batch_size": {"distribution": "q_uniform", "min": 1, "max": 9, "q": 0.5}}}, ["q=0.5"]),
        ({"parameters": {"momentum": {"min": 0.5, "max": 1.0}}}, ["momentum", "1.0"]),
        ({"method": "grid", "parameters": {"lr": {"min": 0.1, "max": 0.2}}}, ["learning_rate", "continuous"]),
        ({"parameters": {"lr": {"min": 0.1, "max": 0.2}}, "run_cap": 0}, ["sweep.run_cap", "never ends"]),
        ({"parameters": {"lr": {"values": [1, 2], "probabilities": [0.5]}}}, ["probabilities", "2 values"]),
        ({"parameters": {"lr": {"values": [1, 2], "probabilities": [0.5, 0.6]}}}, ["probabilities"]),
        ({"parameters": {"lr": {"values": [1, 2], "probabilities": [2, -1]}}}, ["probabilities", "at least 0"]),
        (
            {"method": "bayes", "parameters": {"lr": {"values": [1, 2], "probabilities": [0.5, 0.5]}}},
            ["probabilities are for the method random"],
        ),
        ({"parameters": {"a": {"parameters": {"lr": {"value": 1}}, "value": 1}}}, ["stands alone", "value"]),
        ({"early_terminate": {"type": "envelope", "min_iter": 1}}, ["early_terminate.type", "envelope", "hyperband"]),
        ({"early_terminate": {"type": "hyperband"}}, ["min_iter", "max_iter and s"]),
        ({"early_terminate": {"type": "hyperband", "max_iter": 9}}, ["max_iter and s"]),
        ({"early_terminate": {"type": "hyperband", "min_iter": 0}}, ["min_iter", "at least 1"]),
        ({"early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 1}}, ["eta", "above 1"]),
        ({"early_terminate": {"type": "hyperband", "max_iter": 1, "s": 1}}, ["no bracket"]),
        ({"early_terminate": {"type": "hyperband", "min_iter": 1, "strict": 1}}, ["strict", "True or False"]),
        ({"early_terminate": {"type": "hyperband", "miniter": 1}}, ["miniter", "did you mean min_iter"]),
        ({"early_terminate": [1]}, ["early_terminate", "dictionary"]),
    ],
)
def test_what_makes_no_sense_is_named_in_one_line(change: dict, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        read({"method": "random", "parameters": LR, "run_cap": 5} | change)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for word in words:
        assert word in message


def test_nobody_logs_validation_without_a_validation_set() -> None:
    with pytest.raises(UserError, match="val_fraction=0"):
        read({"method": "grid", "parameters": LR}, val_fraction=0.0)
    assert read({"method": "grid", "parameters": LR, "metric": {"name": "train/loss"}}, val_fraction=0.0)


def test_depth_alone_needs_a_width() -> None:
    with pytest.raises(UserError, match="no one width"):
        read({"method": "grid", "parameters": {"layers": {"values": [1, 2]}}}, hidden_sizes=(8, 4))


def test_deep_nesting_ends_in_a_line() -> None:
    spec: dict = {"value": 1}
    for _ in range(2000):
        spec = {"parameters": {"lr": spec}}
    with pytest.raises(UserError, match="dictionary of parameters"):
        read({"method": "grid", "parameters": {"lr": spec}})


def test_the_callers_check_sees_every_value_and_both_ends_of_every_range() -> None:
    seen: list[tuple[str, object]] = []
    parameters = {
        "lr": {"min": 0.1, "max": 0.2},
        "momentum": {"values": [0.5, 0]},
        "layers": {"min": 2, "max": 4},
        "width": {"values": [64, 8]},
    }
    sweep = {"method": "random", "parameters": parameters, "run_cap": 1}
    parse(sweep, default.get_config(), lambda field, value: seen.append((field, value)))
    assert set(seen) == {
        *(("learning_rate", 0.1), ("learning_rate", 0.2), ("momentum", 0.5), ("momentum", 0.0)),
        *(("hidden_sizes", (8, 8)), ("hidden_sizes", (64, 64, 64, 64))),
    }


def junk() -> st.SearchStrategy:
    """JSON-like rubble in which the dialect's words are common."""
    words = st.sampled_from(("method", "grid", "values", "min", "lr", "parameters", "value", "q_log_uniform", "name"))
    number = st.integers(-5, 5) | st.integers() | st.floats()
    plain = st.none() | st.booleans() | number | words | st.text(max_size=5)
    keys = words | st.text(max_size=5) | st.integers(0, 2)
    return st.recursive(plain, lambda x: st.lists(x, max_size=3) | st.dictionaries(keys, x, max_size=4), max_leaves=12)


@settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries(
        {"method": st.sampled_from(["grid", "random", "bayes"])},
        optional={
            "run_cap": st.integers(-1, 9) | junk(),
            "metric": junk(),
            "early_terminate": st.fixed_dictionaries(
                {"type": st.just("hyperband")},
                optional={
                    key: junk() | st.integers(1, 100) | st.floats(1, 4) for key in ("min_iter", "max_iter", "s", "eta")
                },
            )
            | junk(),
            "parameters": st.dictionaries(
                st.sampled_from(
                    ["lr", "epochs", "layers", "width", "optimizer", "hidden_sizes", "momentum", "dataset"]
                ),
                st.dictionaries(
                    st.sampled_from(
                        ["values", "value", "min", "max", "q", "distribution", "probabilities", "parameters"]
                    ),
                    st.sampled_from(["uniform", "q_uniform", "q_log_uniform", "log_uniform_values"]) | junk(),
                    max_size=4,
                ),
                max_size=3,
            )
            | junk(),
        },
    )
    | junk()
)
def test_rubble_gives_a_space_or_one_line(sweep: object) -> None:
    try:
        space = read(sweep)
    except UserError as error:
        message = str(error)
    else:
        params = {field: distribution.draw(0.5) for field, distribution in space.parameters.items()}
        assert space.overrides(params)
        assert to_yaml(space, default.get_config(), default.get_config())
        message = "one line"
    assert len(message.splitlines()) == 1


def test_two_sweeps_are_the_same_search_if_and_only_if_what_they_search_and_how_is_the_same() -> None:
    """The whole fingerprint, word for word: a study of an earlier version is found again by it."""

    def fingerprint(**changed: object) -> dict:
        parameters = {"activation": {"values": ["relu", "tanh"]}, "dropout": {"min": 0.0, "max": 0.5}}
        sweep = {"method": "random", "parameters": parameters, "run_cap": 9}
        return parse(sweep | changed, default.get_config()).fingerprint()

    plain = {"choices": [], "weights": [], "low": 0.0, "high": 0.0, "step": 0.0, "log": False, "whole": False}
    assert fingerprint() == {
        "method": "random",
        "metric": ["val/accuracy", "maximize"],
        "parameters": {"activation": plain | {"choices": ["relu", "tanh"]}, "dropout_rate": plain | {"high": 0.5}},
        "fixed parameters": [{}, 3, 128],
        "early_terminate": [],
    }
    assert fingerprint(run_cap=10, name="another", batch=2) == fingerprint()
    stops_early = fingerprint(early_terminate={"type": "hyperband", "max_iter": 18, "s": 2, "eta": 3, "strict": True})
    assert stops_early["early_terminate"] == [[2, 6], 3, True]
    for changed in ({"method": "bayes"}, {"metric": {"name": "val/loss", "goal": "minimize"}}):
        assert fingerprint(**changed) != fingerprint()
