"""Questions on data that a small net learns at once, with budgets that take seconds."""

import json

import pytest

from configs import assignment
from mlp_jax import questions
from mlp_jax.questions import Budget
from mlp_jax.runs.config import validate
from tests.shared.idx_files import make_arrays, write_idx_folder


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Two data sets of the same shape; the second stands for the other one, which cannot be loaded."""
    folder = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(("patterns", "others")):
        write_idx_folder(folder / name, make_arrays(side=8, classes=10, seed=seed))
    return folder


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setitem(questions.BUDGETS, "quick", Budget(seeds=2, epochs=2, trials=3))
    monkeypatch.setitem(questions.BUDGETS, "full", Budget(seeds=3, epochs=2, trials=3))


@pytest.fixture
def config_for(data):
    """The config of the named questions; `fields` change it."""

    def make(*names, **fields):
        config = assignment.get_config()
        config.update({"experiments": names, "dataset": str(data / "patterns"), "data_dir": str(data / "none")})
        config.update({"fallback_dataset": str(data / "others"), "mesh": "lanes:2"})
        config.update({"hidden_sizes": (8, 8), "batch_size": 20, **fields})
        validate(config)
        questions.validate(config)
        return config

    return make


@pytest.fixture
def section():
    """What a question of a workdir has left."""
    return lambda folder, name: json.loads((folder / "experiments" / name / "section.json").read_text())
