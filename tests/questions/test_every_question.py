"""The whole set of experiments, every question from its config to its section, on data that a small net learns."""

import pytest
from PIL import Image

from mlp_jax.questions import QUESTIONS, answer_all, gradients, sweep
from tests.questions.test_questions import _tiny, config_for, data, section  # noqa: F401
from tests.shared.pages import parse


@pytest.mark.slow
def test_every_question_leaves_pictures_numbers_and_sentences(data, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(gradients, "DEPTHS", (1, 2))
    monkeypatch.setattr(gradients, "NETS", gradients.NETS[::2])
    searched = {"learning_rate": (1e-3, 1e-2), "weight_decay": (0.0, 0.01), "activation": ("tanh", "relu")}
    searched |= {"init": ("xavier", "random"), "hidden_size": (16,)}
    monkeypatch.setattr(sweep, "PARAMETERS", {name: {"values": values} for name, values in searched.items()})
    answer_all.run(config_for(data, *QUESTIONS), tmp_path / "all")
    for name in QUESTIONS:
        found = section(tmp_path / "all", name)
        assert len(found["sentences"]) >= 2, name
        assert found["pictures"], name
        for picture in found["pictures"]:
            with Image.open(tmp_path / "all" / picture) as image:
                assert min(image.size) > 300, picture
        assert found["table"], name
        assert f"--config.experiments={name}" in found["command"]
    parsed = parse(tmp_path / "all" / "report.html")
    titles = [section(tmp_path / "all", name)["title"] for name in QUESTIONS]
    heads = [f"{place}. {title}" for place, title in enumerate(titles, 1)]
    assert [e["text"] for e in parsed.all("h2")] == [*heads, "How it was made"]
    assert "Budget quick: 2 seeds" in parsed.all("p", **{"class": "lead"})[0]["text"]
