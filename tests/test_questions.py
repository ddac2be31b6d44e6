"""The experiments: every question from its config to its section, on data that a small net learns at once."""

import json
from pathlib import Path

import pytest
from PIL import Image

from configs import assignment
from mlp_jax import config as configs
from mlp_jax import questions
from mlp_jax.population import Population
from mlp_jax.questions import QUESTIONS, Budget, bound
from mlp_jax.report import write
from tests.idx_files import make_arrays, write_idx_folder
from tests.test_report import parse

TINY = Budget(seeds=3, epochs=2, trials=8)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two data sets of the same shape; the second stands for the other one, which cannot be had."""
    folder = tmp_path_factory.mktemp("data")
    write_idx_folder(folder / "patterns", make_arrays(side=8, classes=10))
    write_idx_folder(folder / "others", make_arrays(side=8, classes=10, seed=1))
    return folder


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setitem(questions.BUDGETS, "quick", TINY)


def config_for(data: Path, *names: str, **fields):
    config = assignment.get_config(names)
    config.update({"dataset": str(data / "patterns"), "fallback_dataset": str(data / "others"), "mesh": "lanes:2"})
    config.update({"hidden_sizes": (8, 8), "data_dir": str(data / "none"), "batch_size": 20, **fields})
    configs.validate(config)
    return config


def section(folder: Path, name: str) -> dict:
    return json.loads((folder / "experiments" / name / "section.json").read_text())


@pytest.mark.slow
def test_every_question_leaves_pictures_numbers_and_sentences(data, tmp_path, monkeypatch):
    from mlp_jax.questions import gradients

    monkeypatch.setattr(gradients, "DEPTHS", (1, 3))
    bound.run(config_for(data, *QUESTIONS), tmp_path / "all")
    for name in QUESTIONS:
        found = section(tmp_path / "all", name)
        assert len(found["sentences"]) >= 2, name
        assert found["pictures"], name
        for picture in found["pictures"]:
            with Image.open(tmp_path / "all" / picture) as image:
                assert min(image.size) > 300, picture
        assert found["table"], name
        assert f"configs/experiments/{name}.py" in found["command"]
    parsed = parse(tmp_path / "all" / "report.html")
    titles = [section(tmp_path / "all", name)["title"] for name in QUESTIONS]
    heads = [e["text"] for e in parsed.all("h2")]
    assert heads == [f"{place}. {title}" for place, title in enumerate(titles, 1)] + ["How it was made"]
    assert "Budget quick: 3 seeds" in parsed.all("p", **{"class": "lead"})[0]["text"]
