"""The config: what is allowed, what survives a file, what a resume may change. Expectations are written out here."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from configs import default
from mlp_jax.errors import UserError
from mlp_jax.runs.config import (
    FILE,
    changed_fields,
    check,
    check_resume,
    checked,
    complete,
    fingerprint,
    folder_name,
    from_json,
    load,
    override,
    to_json,
    validate,
    write,
)

ROOT = Path(__file__).parents[2]

# fields -> (values allowed, values refused)
RULES: dict[str, tuple[list, list]] = {
    "dataset": (["mnist", "digits", "/some/folder", "~/x"], ["", "fashion", "a\0b", None, 3]),
    "fallback_dataset": (["", "mnist", "/some/folder"], ["nist", False]),
    "data_dir": (["/data"], ["", 1, "a\nb"]),
    "wandb_project wandb_entity": (["x", ""], [1, "a\tb", None]),
    "seed": ([0, 1, 2**32 - 1], [-1, 2**32, 2**32 + 1, 1.0, "0", True, 10**5000]),
    "seeds": ([1, 5, 65536], [0, -1, 1.5, 65537]),
    "num_epochs": ([1, 1_000_000], [0, -1, 1.5, 1_000_001]),
    "early_stopping": ([0, 3], [-1, 0.5]),
    "batch_size steps_per_call": ([0, 1, 2**31 - 1], [-1, 2**31, 32.0, "32"]),
    "augment_shift augment_erase": ([0, 2, 1000], [-1, 1001, 0.5]),
    "stratified decoupled_weight_decay augment_flip probes": ([True, False], [0, 1, "true", None]),
    "val_fraction dropout_rate input_dropout_rate label_smoothing ema_decay augment_scale momentum beta beta1 beta2": (
        [0, 0.0, 0.5, 0.999],
        [1, 1.0, -0.1, math.nan, "0.1", True, 1 - 1e-9],
    ),
    "learning_rate eps vat_xi decay_epochs": (
        [1e-3, 1, 0.1, np.float32(0.5)],
        [0, 0.0, -1, math.nan, math.inf, 1e-50, 1e39, 10**400, "1"],
    ),
    "init_scale weight_decay clip_norm mixup_alpha warmup_epochs checkpoint_seconds augment_shear augment_elastic": (
        [0, 0.01, 2],
        [-1e-9, math.inf, math.nan, 1e39, "1"],
    ),
    "noise max_norm confidence_penalty vat_weight vat_eps": ([0, 0.01, 2], [-1e-9, math.inf, math.nan, 1e39, "1"]),
    "augment_rotation": ([0, 15, 180], [-1, 181, math.nan]),
    "decay_rate": ([0.5, 1], [0, -0.5, 1.1]),
    "final_factor": ([0, 0.1, 1], [-0.1, 1.1]),
    "hidden_sizes": (
        [(), [], (1,), [128, 64], (1 << 20,), np.array([8, 8])],
        [128, (0,), (-1,), (1.5,), (True,), ("128",), ((1, 2),), ((1 << 20) + 1,), (1,) * 1001, "128"],
    ),
    "class_weight": (
        [(), "balanced", ("balanced",), (1, 2.5), [0, 1], np.array([1, 2])],
        [1, "balance", ("balanced", 1), (0, 0), (-1, 2), (math.inf, 1), ("1", "2"), (True, False), (1e39, 1)],
    ),
    "mesh": (
        ["", "data:8", "lanes:2", "fsdp:4", "lanes:2,data:4,fsdp:2"],
        ["8", "data", "data:0", "data:-1", "data:2,data:2", "rows:2", "data:2,", "lanes:1,lanes:2", "data:٣"],
    ),
    "lanes": (["auto", "queue", "mixed"], ["", "all", True]),
    "activation": (
        ["identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "swish"],
        ["", "softplus", 0],
    ),
    "init": (["random", "xavier", "he", "zeros"], ["orthogonal", ""]),
    "loss": (["cross_entropy", "mse"], ["hinge", ""]),
    "norm": (["none", "layer"], ["batch", "", True]),
    "optimizer": (["sgd", "momentum", "nesterov", "rmsprop", "adam", "nadam", "muon"], ["adamw", ""]),
    "schedule": (["constant", "step", "exponential", "cosine"], ["linear", ""]),
    "gradient": (["autodiff", "backprop"], ["jax", ""]),
    "precision": (["float32", "tf32", "bfloat16", "float64"], ["float16", "fp32", ""]),
    "evaluate_split": (["test", "validation", "train"], ["", "all"]),
    "resume": (["strict", "changed", "never"], ["", "yes"]),
    "tracker": (["none", "wandb", "tensorboard", "trackio"], ["", "mlflow"]),
}
FIELDS = {field: rule for fields, rule in RULES.items() for field in fields.split()}


def test_every_field_has_a_rule():
    assert set(FIELDS) == set(default.get_config())


@pytest.mark.parametrize("field", FIELDS)
def test_what_a_field_allows(field):
    allowed, refused = FIELDS[field]
    kind = type(default.get_config()[field])
    for value in allowed:
        kept = check(field, value)
        assert type(kept) is kind
        if kind is not str and not isinstance(value, str):
            np.testing.assert_array_equal(kept, value)
    for value in refused:
        with pytest.raises(UserError, match=rf"^{field}: .{{1,500}}$"):
            check(field, value)


@pytest.mark.parametrize(
    ("field", "theirs", "ours"),
    [
        *(("activation", text, "relu") for text in ("ReLU", "RELU", "relu")),
        *(("activation", text, "leaky_relu") for text in ("LeakyReLU", "leaky-relu")),
        *(("init", text, "xavier") for text in ("Xavier", "glorot", "Glorot uniform")),
        *(("optimizer", text, "nesterov") for text in ("nag", "NAG", "Nesterov")),
        *(("optimizer", text, ours) for text, ours in (("Adam", "adam"), ("SGD", "sgd"), ("RMSProp", "rmsprop"))),
        *(("loss", text, "mse") for text in ("MSE", "mean_squared_error")),
        *(("evaluate_split", text, "validation") for text in ("val", "Validation")),
        ("dataset", "MNIST", "mnist"),
        ("fallback_dataset", "Digits", "digits"),
    ],
)
def test_spellings_of_other_systems_are_understood_wherever_a_config_comes_from(field, theirs, ours):
    assert complete({field: theirs})[field] == ours
    assert override(default.get_config(), [(field, theirs)])[field] == ours


def test_a_folder_that_has_the_name_of_a_dataset_in_another_case_is_that_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "MNIST").mkdir()
    assert check("dataset", "MNIST") == str(tmp_path / "MNIST")


@pytest.mark.parametrize(
    ("name", "field", "text", "value"),
    [
        ("lr", "learning_rate", "0.5", 0.5),
        ("epochs", "num_epochs", "3", 3),
        ("Batch-Size", "batch_size", "8", 8),
        ("weight_init", "init", "Xavier", "xavier"),
        ("activation_function", "activation", "ReLU", "relu"),
    ],
)
def test_names_of_other_systems_are_understood_on_the_command_line(name, field, text, value):
    assert override(default.get_config(), [(name, text)]) == changed(**{field: value})


@pytest.mark.parametrize("name", ["num_layers", "n_layers", "hidden_size", "width"])
def test_depth_and_width_alone_are_led_to_the_field_that_has_both(name):
    with pytest.raises(UserError, match=rf"'{name}' does not exist; did you mean hidden_sizes\?"):
        override(default.get_config(), [(name, "3")])


def test_the_default_config_and_every_committed_one_are_valid():
    for path in (ROOT / "configs").glob("[!_]*.py"):
        validate(load(path))


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        *((text, (128, 64)) for text in ("128,64", "(128,64)", "( 128, 64, )")),
        *((text, (128,)) for text in ("128", "(128)", "128,", "[128]")),
        *((text, ()) for text in ("()", "[]", "", " ")),
    ],
)
def test_every_way_to_write_hidden_sizes(text, sizes):
    assert override(default.get_config(), [("hidden_sizes", text)]).hidden_sizes == sizes


def changed(**changes) -> ConfigDict:
    config = default.get_config()
    config.update(changes)
    return config


def test_overrides_keep_types_and_the_last_one_wins():
    before = default.get_config()
    pairs = [("learning_rate", "1"), ("seed", "0x10"), ("stratified", "true"), ("probes", None), ("optimizer", "sgd")]
    after = override(before, [("seed", "3"), *pairs])
    assert (after.learning_rate, after.seed, after.stratified, after.probes) == (1.0, 16, True, True)
    assert type(after.learning_rate) is float
    assert before == default.get_config()


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*FIELDS, "sweep.method", "x"]), st.text(max_size=30))
def test_any_text_for_any_field_gives_a_valid_value_or_a_user_error(field, text):
    try:
        config = override(default.get_config(), [(field, text)])
    except UserError:
        return
    assert check(field, config[field]) == config[field]


def sweep_config() -> ConfigDict:
    parameters = {
        "learning_rate": {"values": [1e-3, 1e-4]},
        "hidden_sizes": {"values": [[128, 128], [64]]},
        "items": {"value": 3},
    }
    metric = {"name": "val/accuracy", "goal": "maximize"}
    return complete({"sweep": {"method": "random", "metric": metric, "parameters": parameters}})


def test_a_sweep_config_takes_overrides_of_nested_fields():
    pairs = [
        ("sweep.run_cap", "60"),
        ("sweep.report_test", "true"),
        ("sweep.parameters.learning_rate.values", "0.1,0.01"),
        ("sweep.parameters.items.value", "4"),
        ("storage", "postgresql://host/db"),
        ("num_epochs", "2"),
    ]
    config = override(sweep_config(), pairs)
    assert (config.sweep.run_cap, config.sweep.report_test, config.num_epochs) == (60, True, 2)
    assert config.sweep.parameters.learning_rate["values"] == (0.1, 0.01)
    assert config.sweep.parameters["items"].value == 4
    assert config.storage == "postgresql://host/db"
    validate(config)
    for field, text in [
        ("batch", "2"),
        ("sweep", "{}"),
        ("sweep.parameters.seed", "3"),
        ("sweep.method.x", "1"),
        ("sweep.run_cup", "1"),
        ("sweep.metric", "{}"),
    ]:
        with pytest.raises(UserError, match=field):
            override(config, [(field, text)])


def test_every_key_of_the_dialect_may_be_given_though_the_dictionary_does_not_have_it():
    pairs = [
        ("sweep.batch", "2"),
        ("sweep.name", "mine"),
        ("sweep.metric.name", "val/loss"),
        ("sweep.metric.goal", "minimize"),
        ("sweep.metric.target", "0.1"),
        *((f"sweep.early_terminate.{key}", text) for key, text in (("type", "hyperband"), ("min_iter", "2"))),
        *((f"sweep.early_terminate.{key}", text) for key, text in (("eta", "2"), ("strict", None))),
        *((f"sweep.parameters.weight_decay.{key}", text) for key, text in (("min", "0"), ("max", "0.5"), ("q", "0.1"))),
        ("sweep.parameters.weight_decay.distribution", "q_uniform"),
        ("sweep.parameters.learning_rate.min", "1"),
        ("sweep.parameters.learning_rate.min", "0.5"),
        ("sweep.parameters.net.parameters.act.values", "relu,tanh"),
        ("sweep.parameters.items.value", "x"),
    ]
    pasted = {"method": "random", "parameters": {"learning_rate": {"min": 1, "max": 2}, "items": {"value": 3}}}
    sweep = override(complete({"sweep": pasted}), pairs).sweep.to_dict()
    assert sweep == {
        "method": "random",
        "batch": 2,
        "name": "mine",
        "metric": {"name": "val/loss", "goal": "minimize", "target": 0.1},
        "early_terminate": {"type": "hyperband", "min_iter": 2, "eta": 2.0, "strict": True},
        "parameters": {
            "learning_rate": {"min": 0.5, "max": 2},
            "items": {"value": "x"},
            "weight_decay": {"min": 0, "max": 0.5, "q": 0.1, "distribution": "q_uniform"},
            "net": {"parameters": {"act": {"values": ("relu", "tanh")}}},
        },
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"learning_rat": 0.1}, "'learning_rat' does not exist; did you mean learning_rate"),
        ({"lr": 0.1}, "'lr' does not exist; did you mean learning_rate"),
        ({"optimizer": "adamw"}, "optimizer: 'adamw'"),
        ({"learning_rate": -1.0}, "learning_rate: -1.0"),
        ({"early_stopping": 3, "val_fraction": 0.0}, "early_stopping: 3"),
    ],
)
def test_a_config_that_was_changed_in_python_is_checked_as_one_from_a_file(change, words):
    config = default.get_config()
    config.update(change)
    with pytest.raises(UserError, match=words):
        checked(config)


YAML = """
program: train.py
method: random
metric: {name: val_acc, goal: maximize}
early_terminate: {type: hyperband, min_iter: 2}
parameters:
  config.learning_rate: {values: [1e-3, 0.01, 1.5E-2]}
  epochs: {value: 2}
  optimizer: {values: [Adam, nag]}
command: ["${env}", python, "${program}", "--config.dataset=digits", "--config.tracker=wandb", "${args}"]
"""


def test_a_sweep_in_wandbs_own_yaml_is_a_config(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(YAML)
    config = load(path)
    assert (config.dataset, config.tracker) == ("digits", "none")
    assert config.sweep.parameters.learning_rate["values"] == (0.001, 0.01, 0.015)
    assert config.sweep.early_terminate.to_dict() == {"type": "hyperband", "min_iter": 2}
    for text, words in (("method: [", "ParserError"), ("learning_rate: 1", "no sweep of W&B's"), ("", "no sweep")):
        path.write_text(text)
        with pytest.raises(UserError, match=rf"sweep\.yaml: .*{words}"):
            load(path)


def test_a_config_file_of_a_few_fields_gets_the_defaults_and_leaves_no_bytecode(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def get_config():\n    return {'learning_rate': 1, 'hidden_sizes': [8]}\n")
    folder = os.path.abspath(default.get_config().data_dir)
    assert load(path) == changed(learning_rate=1.0, hidden_sizes=(8,), data_dir=folder)
    assert os.listdir(tmp_path) == ["mine.py"]


def test_folders_are_kept_as_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    (tmp_path / "mine").mkdir()
    assert check("data_dir", "data") == str(tmp_path / "data")
    assert check("data_dir", "~/data") == "/home/somebody/data"
    assert check("dataset", "mine") == str(tmp_path / "mine")
    assert check("dataset", "mnist") == "mnist"


FINITE = st.floats(min_value=1e-30, max_value=1e30)


@settings(max_examples=50, deadline=None)
@given(
    learning_rate=FINITE,
    weight_decay=FINITE,
    beta2=st.floats(0, 0.9999),
    hidden_sizes=st.lists(st.integers(1, 1 << 20), max_size=5),
    seed=st.integers(0, 2**32 - 1),
    wandb_entity=st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=20),
)
def test_config_json_gives_back_the_same_config(tmp_path_factory, **fields):
    config, folder = complete(fields), tmp_path_factory.mktemp("json")
    write(config, folder)
    again = from_json(folder / FILE)
    assert again == config
    assert type(again.hidden_sizes) is tuple
    assert fingerprint(again) == fingerprint(config)
    assert changed_fields(config, again) == ()


def test_a_sweep_survives_config_json(tmp_path):
    config = override(sweep_config(), [("storage", "sqlite:///study.db")])
    write(config, tmp_path)
    again = from_json(tmp_path / FILE)
    assert again == config
    assert again.sweep.parameters.hidden_sizes["values"] == ((128, 128), (64,))


def test_no_password_reaches_config_json():
    url = "postgresql+psycopg://me:s3cr3t/@x@host:5432/db?sslmode=require&password=s3cr3t"
    config = override(sweep_config(), [("storage", url)])
    config.sweep.note = f"see {url} and mysql://a:s3cr3t@b/c"
    text = to_json(config)
    assert "s3cr3t" not in text
    assert json.loads(text)["storage"] == "postgresql+psycopg://me@host:5432/db?sslmode=require"


def test_a_field_that_an_older_version_did_not_write_gets_its_default(tmp_path):
    (tmp_path / FILE).write_text('{"seed": 3}')
    assert from_json(tmp_path / FILE) == complete({"seed": 3})


def test_the_fingerprint_is_of_what_decides_the_numbers():
    plain = fingerprint(default.get_config())
    free = {"data_dir": "/x", "mesh": "data:2", "steps_per_call": 7, "resume": "never", "checkpoint_seconds": 1.0}
    free |= {"tracker": "wandb", "wandb_project": "p", "wandb_entity": "e", "evaluate_split": "train", "lanes": "mixed"}
    free |= {"num_epochs": 99}  # under a schedule that does not depend on it
    assert fingerprint(changed(**free)) == plain
    other = {bool: lambda v: not v, int: lambda v: v + 1, float: lambda v: v / 2 + 0.1, str: lambda v: v + "x"}
    other[tuple] = lambda v: (*v, 3)
    for field, value in default.get_config().items():
        if field not in free:
            assert fingerprint(changed(**{field: other[type(value)](value)})) != plain, field
    cosine = {"schedule": "cosine"}
    assert fingerprint(changed(**cosine)) != fingerprint(changed(num_epochs=99, **cosine))


def test_the_fingerprint_is_the_same_in_another_process():
    code = "from mlp_jax.runs.config import complete, fingerprint; print(fingerprint(complete({})))"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == fingerprint(complete({}))


@pytest.mark.parametrize(
    ("old", "new", "refused"),
    [
        ({}, {"tracker": "wandb", "data_dir": "/x", "mesh": "data:2", "checkpoint_seconds": 1.0}, None),
        ({}, {"learning_rate": 0.01}, "learning_rate .0.001, now 0.01."),
        ({}, {"learning_rate": 0.01, "activation": "tanh"}, "activation .*, learning_rate"),
        ({}, {"learning_rate": 0.01, "resume": "changed"}, None),
        ({}, {"num_epochs": 11}, None),
        ({}, {"num_epochs": 9}, "num_epochs .10, now 9."),
        ({"schedule": "cosine"}, {"schedule": "cosine", "num_epochs": 11}, "num_epochs"),
        ({"schedule": "step"}, {"schedule": "step", "num_epochs": 11}, None),
        ({}, {"seed": 1, "resume": "changed"}, "seed .0, now 1."),
        ({}, {"hidden_sizes": (128,), "resume": "changed"}, "hidden_sizes"),
        ({}, {"val_fraction": 0.2, "resume": "changed"}, "val_fraction"),
        ({}, {"hidden_sizes": (128,), "resume": "never"}, None),
    ],
)
def test_what_a_resume_may_change(old, new, refused):
    stored, config = complete(old), complete(new)
    if refused is None:
        check_resume(stored, config, "runs/a")
    else:
        with pytest.raises(UserError, match=f"runs/a .*{refused}") as caught:
            check_resume(stored, config, "runs/a")
        assert ("resume=changed" in str(caught.value)) == (new.get("resume", "strict") == "strict")


def test_a_changed_sweep_is_named_by_its_part_and_may_get_more_trials():
    stored = sweep_config()
    check_resume(stored, override(stored, [("sweep.run_cap", "60"), ("storage", "sqlite://")]), "runs/s")
    with pytest.raises(UserError, match=r"sweep.method .'random', now 'grid'."):
        check_resume(stored, override(stored, [("sweep.method", "grid")]), "runs/s")
    with pytest.raises(UserError, match="num_epochs"):
        check_resume(stored, override(stored, [("num_epochs", "20")]), "runs/s")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"batch_size": 0}, "fashion_mnist-adam-hl_3-sz_128-bs_all-ac_relu"),
        ({"hidden_sizes": (256, 128)}, "fashion_mnist-adam-hl_2-sz_256_128-bs_32-ac_relu"),
        ({"hidden_sizes": (), "optimizer": "sgd"}, "fashion_mnist-sgd-hl_0-bs_32-ac_relu"),
        ({"dataset": "/data/my own: digits/"}, "my_own_digits-adam-hl_3-sz_128-bs_32-ac_relu"),
        ({"dataset": "/"}, "data-adam-hl_3-sz_128-bs_32-ac_relu"),
        (
            {"learning_rate": 0.01, "init": "xavier", "loss": "mse", "weight_decay": 5e-4, "data_dir": "/x"},
            "fashion_mnist-adam-hl_3-sz_128-bs_32-ac_relu-ls_mse-in_xavier-lr_0.01-wd_0.0005",
        ),
        ({"stratified": True, "mesh": "data:2"}, "fashion_mnist-adam-hl_3-sz_128-bs_32-ac_relu-stratified_True"),
    ],
)
def test_the_name_of_a_run(changes, name):
    assert folder_name(complete(changes)) == name


def test_no_name_is_too_long_for_a_folder_or_leaves_it():
    long = complete({"dataset": "/x/" + "é" * 200, "hidden_sizes": list(range(1000, 1500))})
    assert len(folder_name(long).encode()) < 230
    numbers = [field for field, value in default.get_config().items() if type(value) is float]
    assert folder_name(complete(dict.fromkeys(numbers, 0.123456))).endswith("-etc")
    assert len(folder_name(complete(dict.fromkeys(numbers, 0.123456))).encode()) < 230
    assert folder_name(complete({}), "digits") == "digits-adam-hl_3-sz_128-bs_32-ac_relu"
    assert folder_name(sweep_config()) == "fashion_mnist-sweep_random"
    odd = override(sweep_config(), [("sweep.method", "../../x")])
    assert "/" not in folder_name(odd)
