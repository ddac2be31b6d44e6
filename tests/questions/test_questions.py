"""Whole questions that train, what a set refuses, and what it finds again in its workdir."""

import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

from configs import assignment, sweep_random
from mlp_jax import questions
from mlp_jax.cli import parse, resolve
from mlp_jax.cli import report as write_again
from mlp_jax.errors import UserError
from mlp_jax.lanes.fit import make_task
from mlp_jax.lanes.population import Population
from mlp_jax.questions import EDITIONS, IDEAS, QUESTIONS, answer_all, dead_units, gradients, losses, symmetry
from mlp_jax.questions import lab as lab_module
from mlp_jax.questions import sweep as sweep_question
from mlp_jax.questions.lab import Answer, Lab, diverged, series
from mlp_jax.reports import plots
from mlp_jax.runs import config as configs
from mlp_jax.runs import run as experiment
from mlp_jax.runs.run import rows_of
from mlp_jax.sweeps.sweep import trial_config

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_question_leaves_pictures_numbers_and_sentences(config_for, section, tmp_path, monkeypatch):
    monkeypatch.setattr(gradients, "DEPTHS", (1, 2))
    monkeypatch.setattr(gradients, "NETS", gradients.NETS[::2])
    searched = {"learning_rate": (1e-3, 1e-2), "weight_decay": (0.0, 0.01), "activation": ("tanh", "relu")}
    searched |= {"init": ("xavier", "random"), "hidden_size": (16,)}
    monkeypatch.setattr(sweep_question, "PARAMETERS", {name: {"values": values} for name, values in searched.items()})
    page = answer_all.run(config_for(*QUESTIONS), tmp_path).read_text()
    heads = []
    for name in EDITIONS[2026].order:
        found = section(tmp_path, name)
        heads.append(f"{EDITIONS[2026].numbers.get(name, '')} {found['title']}".strip())
        assert len(found["sentences"]) >= 2, name
        assert found["pictures"], name
        for picture in found["pictures"]:
            with Image.open(tmp_path / picture) as image:
                assert min(image.size) > 300, picture
        assert found["table"], name
        assert f"--config.experiments={name}" in found["command"]
    assert re.findall("<h2[^>]*>(.*?)</h2>", page) == [*heads, "How it was made"]


class _Killed(BaseException):
    pass


@pytest.mark.slow
def test_a_set_that_is_killed_goes_on_and_does_nothing_twice(config_for, section, tmp_path, monkeypatch):
    """Networks are counted where they train: a kill, a second start, a third one, and another budget."""
    trained, train = [], Population.train

    def counting(self, members, until=None):
        for index, member in train(self, members, until):
            trained.append((member.config.loss, member.config.learning_rate, member.config.seed))
            yield index, member
            if len(trained) == 3:
                raise _Killed

    monkeypatch.setattr(Population, "train", counting)
    monkeypatch.setattr(plots, "lines", lambda panels, path: plots.save(plots.new_figure(1, 1)[0], path))
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # a busy disk takes most of the time otherwise
    monkeypatch.setattr(losses, "FACTORS", (0.3, 1.0))
    config, folder = config_for("losses"), tmp_path / "set"
    with pytest.raises(_Killed):
        answer_all.run(config, folder)
    assert not (folder / "report.html").exists()
    answer_all.run(config, folder)
    assert len(trained) == len(set(trained))
    assert 6 <= len(trained) <= 8  # four for the choice; the other seed of each rate that is compared
    said, report = section(folder, "losses"), (folder / "report.html").read_bytes()

    count = len(trained)
    answer_all.run(config, folder)
    assert len(trained) == count
    assert section(folder, "losses") == said
    assert (folder / "report.html").read_bytes() == report
    write_again(config, folder)  # --mode=report
    assert (folder / "report.html").read_bytes() == report

    (folder / "experiments/losses/section.json").unlink()  # as if killed before its answer was written
    answer_all.run(config, folder)
    assert len(trained) == count
    assert section(folder, "losses") | {"seconds": 0} == said | {"seconds": 0}

    answer_all.run(config_for("losses", budget="full"), folder)
    assert {seed for *_, seed in trained[count:]} == {2}  # a larger budget trains only what is missing
    assert "Budget full: 3 seeds" in (folder / "report.html").read_text()


def test_runs_that_are_the_same_are_shared_and_are_the_run_alone(config_for, tmp_path, monkeypatch):
    for name in ("write_run_plots", "write_run_report"):
        monkeypatch.setattr(experiment.report, name, lambda *arguments: None)
    lab = Lab(config_for("losses"), tmp_path / "lab")
    runs = lab.train({"a": {"optimizer": "sgd"}, "b": {"optimizer": "sgd", "momentum": 0.9}})
    assert runs["a"] == runs["b"]
    assert [member.config.seed for member in runs["a"]] == [0, 1]
    alone = trial_config(lab.base, {"optimizer": "sgd", "seed": 1, "mesh": "lanes:1"})
    again = list(lab.again(runs["a"]))
    assert [[len(member.records) for member in state] for state in again] == [[1, 1], [2, 2]]
    for once, more in zip(runs["a"], again[-1], strict=True):
        jax.tree.map(np.testing.assert_array_equal, once.lane.state.params, more.lane.state.params)
    by_hand(lab, runs["a"])
    summary = experiment.run(alone, tmp_path / "alone")
    assert summary["val/accuracy"] == max(record["val/accuracy"] for record in runs["a"][1].records)
    assert summary["test/accuracy"] == lab.test(runs["a"][1], lab.dataset)
    monkeypatch.setattr(Population, "train", nothing_to_train)
    again = Lab(lab.config, tmp_path / "lab").train({"c": {"optimizer": "sgd"}})["c"]
    assert [member.records for member in again] == [member.records for member in runs["a"]]
    (lab.kept(runs["a"][1].config, lab.dataset) / "test.json").write_text('{"accuracy": 0.125}')
    assert lab.test(runs["a"][1], lab.dataset) == 0.125  # a test figure is taken once


def by_hand(lab, members):
    """The last epoch's activations against NumPy's in float64, on the images that each seed holds out."""
    found = dead_units.distributions(lab, {"a": members})["a"]
    for seed, member in enumerate(members):
        values = rows_of("validation", member.config, lab.dataset)[0].astype(float) / 255
        for number, layer in enumerate(member.lane.state.params[:-1]):
            values = np.maximum(values @ np.float64(layer.w) + np.float64(layer.b), 0)
            assert 0.1 < np.mean(values == 0) == found[seed, -1, number, 0] < 0.9
            below = np.mean(values < dead_units.EDGES["relu"][18])
            np.testing.assert_allclose(found[seed, -1, number, :18].sum(), below)
            np.testing.assert_allclose(found[seed, -1, number].sum(), 1)


def nothing_to_train(self, members, until=None):
    assert not members, "trained twice"
    return iter(())


def test_a_network_that_diverges_is_counted_and_not_trained_again(config_for, tmp_path, monkeypatch):
    # Without a kink: ReLUs may all be off after the first update, and then nothing overflows any more.
    fields = {"far too fast": {"optimizer": "sgd", "learning_rate": 1e25, "activation": "identity"}}
    lab = Lab(config_for("losses", tracker="tensorboard"), tmp_path / "lab")
    runs = lab.train(fields, seeds=1)
    said = "The loss became not finite in 1 of 1 with far too fast; what they reached before is counted."
    assert diverged(runs) == [said]
    (logged,) = (tmp_path / "lab/tensorboard/lab").iterdir()  # one run of the tracker a network
    assert logged.name == lab.kept(runs["far too fast"][0].config, lab.dataset).name
    monkeypatch.setattr(Population, "train", nothing_to_train)
    again = Lab(lab.config, tmp_path / "lab").train(fields, seeds=1)
    assert again["far too fast"][0].diverged
    assert np.isnan(series(again["far too fast"], "train/loss")).all()
    assert 0 <= again["far too fast"][0].records[0]["val/accuracy"] <= 1


def test_the_symmetry_of_zero_weights_by_hand(config_for, tmp_path):
    """With sigmoid and zero weights every gradient of the first layer is 0 until those above it have moved."""
    lab = Lab(config_for("symmetry"), tmp_path / "lab")
    fields = {"activation": "sigmoid", "init": "zeros", "optimizer": "sgd", "learning_rate": 1.0}
    norms = symmetry.gradients(make_task(trial_config(lab.base, fields), lab.dataset, *lab.first_place))
    assert norms.shape == (50, 5)
    assert (norms[:2] == 0).all()  # two hidden layers above: W3 moves in update 1, W2 in update 2
    assert (norms[2:] > 0).all()
    assert np.ptp(norms, axis=1).max() < 1e-6 * norms.max()


def test_the_sweep_searches_the_grid_of_the_assignment():
    whole = sweep_random.get_config().sweep.parameters.to_dict()
    assert whole == {**sweep_question.PARAMETERS, "num_epochs": {"values": (5, 10)}}


def test_the_command_of_a_question_names_what_differs_from_its_config():
    config = configs.load(ROOT / "configs/assignment.py")
    alone = "python main.py --config=configs/assignment.py --config.experiments=losses"
    assert answer_all.command(config, "losses") == alone
    config.update({"budget": "full", "hidden_sizes": (64, 32)})
    given = answer_all.command(config, "losses").removeprefix(alone).split()
    assert sorted(given) == ["--config.budget=full", "--config.hidden_sizes=64,32"]


def test_the_budgets_are_as_large_as_promised(monkeypatch):
    monkeypatch.undo()
    assert questions.BUDGETS == {"quick": (3, 3, 100), "full": (5, 10, 100)}


def test_an_edition_has_its_numbers_in_order_and_every_question_once():
    """The assignment of 2026 numbers ten sections; that of 2025 asks for code in two questions and a link in one."""
    for edition, numbers in ((2026, [f"2.{n}" for n in range(1, 11)]), (2025, ["Q1", "Q4–Q6", "Q7", "Q8", "Q10"])):
        found = EDITIONS[edition]
        assert list(dict.fromkeys(found.numbers.values())) == numbers
        assert sorted(found.order) == sorted(QUESTIONS + IDEAS)


@pytest.mark.parametrize(
    ("given", "dataset", "other"),
    [
        ([], "mnist", "fashion_mnist"),
        (["edition=2026"], "mnist", "fashion_mnist"),
        (["edition=2025"], "fashion_mnist", "mnist"),
        (["edition=2025", "dataset=mnist"], "mnist", "fashion_mnist"),
        (["dataset=digits", "edition=2026"], "digits", "mnist"),
    ],
)
def test_an_edition_begins_with_its_dataset_and_carries_over_to_the_other(given, dataset, other, tmp_path, monkeypatch):
    flags = [f"--config={ROOT}/configs/assignment.py", *(f"--config.{field}" for field in given)]
    config = resolve(parse(["main.py", *flags]))
    assert config.dataset == dataset
    monkeypatch.setattr(lab_module, "load", lambda name, *_: name)
    assert Lab(config, tmp_path, SimpleNamespace(name=dataset)).other_dataset() == other


def test_a_set_takes_another_edition_only_on_the_same_data(tmp_path):
    def resolved(*given):
        return resolve(parse(["main.py", f"--workdir={tmp_path}", *(f"--config.{field}" for field in given)]))

    configs.write(assignment.get_config(), tmp_path)
    assert resolved().dataset == "mnist"
    assert resolved("edition=2025", "dataset=mnist").edition == 2025
    with pytest.raises(UserError, match=r"another dataset \('mnist', now 'fashion_mnist'\)"):
        resolved("edition=2025")


def test_another_edition_has_another_order_and_answers_nothing_again(config_for, tmp_path, monkeypatch):
    asked = []
    for name in ("samples", "losses", "optimizers"):
        said = Answer([f"Of {name}."], [], [{"a": 1}])
        question = SimpleNamespace(TITLE=name, QUESTION="", answer=lambda _, said=said: asked.append(said) or said)
        monkeypatch.setitem(sys.modules, f"mlp_jax.questions.{name}", question)

    def heads(edition):
        page = answer_all.run(config_for("losses", "optimizers", "samples", edition=edition), tmp_path).read_text()
        return re.findall("<h2[^>]*>(.*?)</h2>", page)

    assert heads(2026) == ["2.1 samples", "2.3 optimizers", "2.6 losses", "How it was made"]
    assert heads(2025) == ["Q1 samples", "Q8 losses", "optimizers", "How it was made"]
    assert [said.sentences for said in asked] == [["Of samples."], ["Of optimizers."], ["Of losses."]]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"experiments": ("losse",)}, "'losse' did you mean losses?"),
        ({"experiments": ()}, "experiments () samples"),
        ({"experiments": (1,)}, "experiments 1 samples"),
        ({"budget": "ful"}, "'ful' did you mean full?"),
        ({"edition": 2024}, "edition 2024 2025 2026"),
        ({"num_epochs": 4}, "num_epochs 4 10: budget"),
        ({"seeds": 2}, "seeds 2 budget"),
        ({"early_stopping": 1}, "early_stopping 1 budget"),
        ({"val_fraction": 0.0}, "val_fraction 0.0 above validation"),
        ({"hidden_sizes": ()}, "hidden_sizes () one"),
        ({"seed": 2**32 - 1}, "seed 4294967295 at most"),
        ({"warmup_epochs": 5.0}, "warmup_epochs 5.0 epochs"),
        ({"sweep": {"method": "grid"}}, "experiments sweep"),
    ],
)
def test_a_set_that_makes_no_sense_is_one_line(config_for, fields, words):
    with pytest.raises(UserError) as caught:
        config_for(**({"experiments": ("losses",)} | fields))
    assert not [word for word in words.split() if word not in str(caught.value)], str(caught.value)


@pytest.mark.parametrize("name", ["dataset", "fallback_dataset"])
def test_data_that_cannot_be_loaded_leaves_no_workdir(name, config_for, tmp_path):
    """The fallback stands for the other dataset, which the last of these questions would ask for first."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty"):
        answer_all.run(config_for("samples", "carried_over", **{name: str(tmp_path / "empty")}), tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_a_budget_without_experiments_is_none(config_for):
    config = config_for("losses")
    del config.experiments
    with pytest.raises(UserError, match="budget: 'quick' is not for a config without experiments"):
        questions.validate(config)
    del config.budget
    with pytest.raises(UserError, match="edition: 2026 is not for a config without experiments"):
        questions.validate(config)


def test_a_set_takes_more_experiments_but_never_a_run_or_another_net(config_for, tmp_path):
    stored, more = config_for("losses"), config_for("samples", budget="full")
    configs.check_resume(stored, more, tmp_path)
    with pytest.raises(UserError, match="hidden_sizes"):
        configs.check_resume(stored, config_for("losses", hidden_sizes=(9,)), tmp_path)
    plain = configs.complete({name: value for name, value in stored.items() if name not in configs.EXTRAS})
    for before, after in ((stored, plain), (plain, stored)):
        for resume in ("strict", "changed"):
            after.resume = resume
            with pytest.raises(UserError, match="experiments"):
                configs.check_resume(before, after, tmp_path)
