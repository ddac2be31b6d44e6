"""Every config field has a row: what it changes. A few steps that differ in that field alone differ in that."""

import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import MagicMock

import jax
import numpy as np
import pytest

from configs.default import get_config
from mlp_jax.data import datasets, download
from mlp_jax.errors import UserError
from mlp_jax.files import tracking
from mlp_jax.lanes.fit import order_of
from mlp_jax.lanes.placement import placements
from mlp_jax.lanes.population import Member, Population
from mlp_jax.runs import saved
from mlp_jax.runs.config import check_resume, from_json
from mlp_jax.runs.run import run
from mlp_jax.training import init_lane, train_steps
from tests.shared.idx_files import write_idx_folder
from tests.shared.runs import checkpoints
from tests.shared.slow import fast
from tests.shared.training import leaves, small_config, small_dataset, small_task, train


class Row(NamedTuple):
    """Another value of a field, what it changes (a function of config and folder), and in which net."""

    value: Any
    changes: Callable[[Any, Path], object] | None = None  # None: the parameters
    given: dict[str, Any] = {}  # noqa: RUF012


def devices(config, folder):
    task = small_task(config, None, placements(config.mesh)[0])
    return len(task.train_indices), task.validation.indices.sharding.num_devices


def workdir_of(config, folder):
    write_idx_folder(folder / "patterns")
    if config.dataset == "synthetic":
        config = config.copy_and_resolve_references()
        config.dataset = str(folder / "patterns")
    run(config, folder / "run")
    return folder / "run"


def content(config, folder, name):
    return json.loads((workdir_of(config, folder) / name).read_text())


def file_of_an_evaluation(config, folder):
    workdir = workdir_of(small_config(), folder)
    stored = from_json(workdir / "config.json")
    stored.evaluate_split = config.evaluate_split
    saved.evaluate_saved(stored, workdir)
    return sorted(path.name for path in workdir.glob("evaluation-*"))


def what_a_resume_refuses(config, folder):
    try:
        check_resume(small_config(), small_config(activation="tanh", resume=config.resume), folder)
    except UserError as error:
        return "activation" in str(error)


def named_folder(config, folder):
    """The error of a damaged archive names the folder that was read."""
    data_dir = folder / ("archives" if config.data_dir == "other" else "data")
    for name in datasets.PUBLISHED["mnist"].sha256:
        (data_dir / "mnist").mkdir(parents=True, exist_ok=True)
        (data_dir / "mnist" / name).write_bytes(b"damaged")
    with pytest.raises(UserError) as caught:
        datasets.load("mnist", str(data_dir), "digits")
    return str(caught.value).replace(str(folder), "")


def trained_on_when_unreachable(config, folder):
    def unreachable(*_):
        raise download.Unreachable("no network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "fetch", unreachable)
        try:
            return datasets.load("mnist", str(folder), config.fallback_dataset).name
        except UserError:
            return "error"


def what_wandb_is_asked(config, folder):
    """W&B's own call is caught: the offline files are read back in test_tracking."""
    import wandb

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wandb, "init", init := MagicMock())
        fields = {"wandb_project": config.wandb_project, "wandb_entity": config.wandb_entity}
        tracking.open_tracker("wandb", fields, folder, "run")
    return [init.call_args.kwargs[name] for name in ("project", "entity")]


def programs(config, folder):
    """Of two nets of different depth."""
    population = Population(small_dataset(), "lanes:1", lanes=config.lanes)
    list(population.train([Member(small_config()), Member(small_config(hidden_sizes=(8,)))]))
    return population.compiler.programs


ROWS: dict[str, Row] = {
    "dataset": Row("digits", lambda config, folder: content(config, folder, "data.json")["fingerprint"]),
    "data_dir": Row("other", named_folder),
    "fallback_dataset": Row("", trained_on_when_unreachable),
    "val_fraction": Row(0.3),
    "stratified": Row(True),
    "seed": Row(1),
    "seeds": Row(2, lambda config, folder: "seeds" in content(config, folder, "summary.json")),
    "hidden_sizes": Row((8, 7)),
    "activation": Row("tanh"),
    "init": Row("xavier"),
    "init_scale": Row(0.1, given={"init": "random"}),
    "dropout_rate": Row(0.3),
    "input_dropout_rate": Row(0.3),
    "noise": Row(0.1),
    "norm": Row("layer"),
    "loss": Row("mse"),
    "weight_decay": Row(0.1),
    "decoupled_weight_decay": Row(True, given={"weight_decay": 0.1}),
    "label_smoothing": Row(0.1),
    "confidence_penalty": Row(0.1),
    "vat_weight": Row(1.0),
    "vat_eps": Row(0.5, given={"vat_weight": 1.0}),
    "vat_xi": Row(1.0, given={"vat_weight": 1.0}),
    "mixup_alpha": Row(0.2),
    "ema_decay": Row(0.9, lambda config, _: [leaf.tobytes() for leaf in leaves(train(config)[-1].lane.best.params)]),
    "augment_flip": Row(True),
    "augment_shift": Row(1),
    "augment_rotation": Row(30.0),
    "augment_scale": Row(0.3),
    "augment_shear": Row(0.3),
    "augment_elastic": Row(1.0),
    "augment_erase": Row(2),
    "class_weight": Row((1, 2, 3, 4)),
    "clip_norm": Row(0.01, given={"optimizer": "sgd"}),
    "max_norm": Row(0.5),
    "optimizer": Row("nadam"),
    "learning_rate": Row(2e-3),
    "momentum": Row(0.5, given={"optimizer": "nesterov"}),
    "beta": Row(0.5, given={"optimizer": "rmsprop"}),
    "beta1": Row(0.5),
    "beta2": Row(0.5),
    "eps": Row(1e-2),
    "schedule": Row("exponential"),
    "warmup_epochs": Row(1.0),
    "decay_rate": Row(0.1, given={"schedule": "step", "decay_epochs": 1.0}),
    "decay_epochs": Row(1.0, given={"schedule": "exponential"}),
    "final_factor": Row(0.5, given={"schedule": "cosine"}),
    "batch_size": Row(15),
    "num_epochs": Row(3),
    "early_stopping": Row(
        1, lambda config, _: train(config)[-1].record["epoch"], {"num_epochs": 60, "learning_rate": 0.02}
    ),
    "gradient": Row("backprop", given={"activation": "gelu", "loss": "mse", "num_epochs": 20}),
    "precision": Row("bfloat16"),
    "probes": Row(True, lambda config, _: sorted(train(config)[-1].record)),
    "evaluate_split": Row("train", file_of_an_evaluation),
    "lanes": Row("mixed", programs),
    "mesh": Row("data:2", devices, {"mesh": "data:1"}),
    "steps_per_call": Row(2, lambda config, _: len(train(config))),
    "resume": Row("changed", what_a_resume_refuses),
    "checkpoint_seconds": Row(
        0.0, lambda config, folder: len(checkpoints(workdir_of(config, folder))), {"num_epochs": 4}
    ),
    "tracker": Row(
        "tensorboard", lambda config, folder: list(workdir_of(config, folder).glob("**/events.out.*")) != []
    ),
    "wandb_project": Row("another", what_wandb_is_asked),
    "wandb_entity": Row("someone", what_wandb_is_asked),
}


@cache
def parameters(**fields: Any) -> list[bytes]:
    """Of the trained net; without the evaluation's program, which no such field needs."""
    task = small_task(small_config(**fields))
    lane = init_lane(task.static, task.hparams, task.keys)
    steps = jax.jit(partial(train_steps, task.static))
    for epoch in range(1, task.config.num_epochs + 1):
        order = order_of(task, epoch)
        stop = np.int32(order.indices.shape[0])
        lane = steps(task.hparams, task.keys, task.data, order, lane, (np.int32(0), stop))
    return [leaf.tobytes() for leaf in leaves(lane.state.params)]


def test_every_field_has_a_row():
    assert set(ROWS) == set(get_config())


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("field", fast(ROWS, list(ROWS)[::4]))
def test_a_field_changes_what_its_row_says(field: str, tmp_path: Path):
    row = ROWS[field]
    before, after = row.given, {**row.given, field: row.value}
    assert small_config(**before)[field] != row.value
    if row.changes is None:
        assert parameters(**before) != parameters(**after)
        return
    found = []
    for fields in (before, after):
        folder = tmp_path / str(len(found))
        folder.mkdir()
        found.append(row.changes(small_config(**fields), folder))
    assert found[0] != found[1]
