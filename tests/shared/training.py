"""A small data set and a small config for tests that train."""

from functools import cache
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks import hlo
from configs.default import get_config
from mlp_jax.data.arrays import Dataset
from mlp_jax.lanes.compile import Compiler
from mlp_jax.lanes.fit import Event, Program, Task, fit, make_task, place_data
from mlp_jax.lanes.placement import Placement, placements
from tests.shared.idx_files import make_arrays


def small_config(**fields: object) -> ConfigDict:
    """A net of 36-8-6-4 on 100 examples: seven steps of 14, the last one short; fields override."""
    config = get_config()
    config.update({"dataset": "synthetic", "hidden_sizes": (8, 6), "batch_size": 14, "num_epochs": 2})
    config.update(fields)
    return config


def small_dataset(seed: int = 0, scale: int = 255) -> Dataset:
    arrays = make_arrays(num_train=100, num_test=40, seed=seed)
    test = arrays["t10k-images"].reshape(40, -1), arrays["t10k-labels"]
    images = arrays["train-images"].reshape(100, -1)
    return Dataset("synthetic", images, arrays["train-labels"], tuple("abcd"), (6, 6), scale, "print", lambda: test)


def small_task(config: ConfigDict, dataset: Dataset | None = None, placement: Placement | None = None) -> Task:
    dataset, placement = dataset or small_dataset(), placement or placements("lanes:1")[0]
    data = place_data(dataset.train_images, dataset.train_labels, dataset.scale, placement)
    return make_task(config, dataset, data, placement)


@cache
def shared_compiler(x64: bool) -> Compiler:
    """Tests that train the same network share its programs, which take most of the time."""
    return Compiler()


def compiled(task: Task) -> Program:
    return shared_compiler(jax.config.jax_enable_x64)(task)


def train(config: ConfigDict, dataset: Dataset | None = None, placement: Placement | None = None) -> list[Event]:
    """Every event of a training from its start, lanes copied to the host since the next call overwrites them."""
    task = small_task(config, dataset, placement)
    return [event._replace(lane=jax.device_get(event.lane)) for event in fit(task, compiled(task))]


def leaves(tree: object) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def same_bits(one: object, other: object) -> bool:
    """Whether two pytrees hold the same bytes."""
    a, b = leaves(one), leaves(other)
    return len(a) == len(b) and all(
        x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True)
    )


def collectives(compiled: Any) -> list[str]:
    """What a compiled program's devices do together in one step, which is the body of the loop in `train_steps`."""
    return sorted(hlo.collectives(hlo.body(compiled.as_text())).elements())
