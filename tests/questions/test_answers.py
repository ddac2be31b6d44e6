"""The answer of every question, from networks and sweeps whose figures are given: nothing is trained or drawn here."""

import json
from importlib import import_module

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from mlp_jax.lanes.population import Member
from mlp_jax.questions import QUESTIONS, answer_all, best, carried_over, confusion, dead_units, generalisation, symmetry
from mlp_jax.questions import sweep as sweep_question
from mlp_jax.questions.lab import Lab
from mlp_jax.questions.losses import LOSSES
from mlp_jax.reports import plots
from mlp_jax.reports.sweep import IMPORTANCE
from mlp_jax.runs.resume import write_card
from tests.shared import synthetic_workdirs as synthetic


class Given(Lab):
    """A lab whose networks have the records that `figures(config)` gives."""

    first_place = (None, None)

    def __init__(self, config, folder, figures):
        super().__init__(config, folder)
        self.figures = figures

    def train(self, runs, dataset=None, seeds=0):
        return {name: [self._member(fields, seed) for seed in range(seeds or 2)] for name, fields in runs.items()}

    def _member(self, fields, seed):
        config = ConfigDict({**self.base.to_dict(), **fields, "seed": seed})
        records = tuple(self.figures(config))
        return Member(config, None, records, records[-1].get("diverged", False))

    def test(self, member, dataset):
        return member.records[-1]["val/accuracy"] - 0.01


@pytest.fixture
def given(config_for, tmp_path):
    """The lab of a question, its networks with the records that `figures(config)` gives."""
    return lambda name, figures=None, **fields: Given(config_for(name, **fields), tmp_path, figures)


@pytest.fixture
def answer_of(given):
    """The answer of a question whose networks have these records."""
    return lambda name, *figures, **fields: import_module(f"mlp_jax.questions.{name}").answer(
        given(name, *figures, **fields)
    )


@pytest.fixture
def drawn(monkeypatch):
    """What would be drawn, in place of pictures: panels, groups or pairs."""
    kept = []
    monkeypatch.setattr(plots, "lines", lambda panels, path: kept.extend(panels))
    monkeypatch.setattr(plots, "bars", lambda groups, path, *names: kept.append(groups))
    monkeypatch.setattr(plots, "scatter", lambda x, y, *others: kept.append((x, y)))
    monkeypatch.setattr(plots, "ridges", lambda panels, *others: kept.append(panels))
    return kept


def rows_of(accuracies, seconds=1.0, **more):
    return [{"val/accuracy": a, "train/loss": 1 - a, "seconds": seconds, **more} for a in accuracies]


def test_batch_sizes_are_compared_by_passes_and_by_seconds(answer_of, drawn):
    """One example an update is first by passes, the mini-batch by seconds; the whole set needs all its 20 passes."""
    curves = {1: ([0.8, 0.9], 10.0), 64: ([0.7, 0.85], 1.0), 0: (np.linspace(0.1, 0.8, 20), 0.5)}
    answer = answer_of("batches", lambda config: rows_of(*curves[config.batch_size]))
    table = {row["batches"]: row for row in answer.table}
    assert [table[name]["passes to 80.0 %"] for name in table] == [1, 2, 20]
    assert [table[name]["seconds to 80.0 %"] for name in table] == [10, 2, 10]
    assert [table[name]["updates an epoch"] for name in table] == [180, 3, 1]  # of 200 examples 20 are held out
    assert answer.sentences[0].startswith("The network is 64-64-10 under plain SGD")
    assert answer.sentences[1].startswith("Per example, after 2 passes: batch size 1 leads with 90.00 ± 0.00 %; behind")
    assert "takes batch size 64 2 s" in answer.sentences[2]
    per_example, per_second = drawn
    assert list(per_example.groups["batch size 64"][0]) == [1, 2]
    np.testing.assert_allclose(per_second.groups["full batch"][0], np.arange(1, 21) / 2)


def test_dead_units_are_a_share_of_all_layers_and_all_where_the_weights_are_not_finite(answer_of, drawn, monkeypatch):
    found = {}  # name -> (2 seeds, 2 epochs, 2 layers, bins); of the last layer ever more or fewer are at the lowest
    for name, last in (("ReLU, SGD", 0.75), ("tanh, SGD", 0.5), ("ReLU, Adam", 0.25), ("tanh, Adam", 0.5)):
        found[name] = np.zeros((2, 2, 2, 47))
        found[name][:, :, 1, 0] = 0.5, last
        found[name][:, :, 1, 20] = 0.5, 1 - last
    monkeypatch.setattr(dead_units, "distributions", lambda lab, runs: {name: found[name] for name in runs})

    def figures(config):
        if config.activation == "tanh":
            return rows_of([0.5, 0.8], **{"probes/dead_units": [0.0, 0.0]})
        share = [0.5, 0.25] if config.optimizer == "sgd" else [None, None]
        return rows_of([0.3, 0.4], **{"probes/dead_units": share})

    answer = answer_of("dead_units", figures, hidden_sizes=(30, 10))
    assert [row["dead units"] for row in answer.table] == ["43.75 %", "0.00 %", "100.00 %", "0.00 %"]
    assert "Hidden layers of 30 and 10 units" in answer.sentences[0]
    assert "with SGD: ReLU (43.75 ± 0.00 %) is above tanh (0.00 ± 0.00 %) by 43.75 points" in answer.sentences[1]
    assert "Accuracy with Adam: tanh (80.00 ± 0.00 %) is above ReLU (40.00 ± 0.00 %)" in answer.sentences[4]
    np.testing.assert_allclose(drawn[0].groups["ReLU, SGD"][1], np.full((2, 2), 0.4375))
    assert [row["flat activations"] for row in answer.table] == ["75.00 %", "50.00 %", "25.00 %", "50.00 %"]
    said = dict(zip(found, answer.sentences[5:9], strict=True))
    assert said["ReLU, SGD"] == (
        "With ReLU, SGD 50.00 ± 0.00 % of the last hidden layer's activations are exactly 0 after the first epoch and "
        "75.00 ± 0.00 % after the last, more by 25.00 points."
    )
    assert said["ReLU, Adam"].endswith("fewer by 25.00 points.")
    assert "beyond ±0.99" in said["tanh, Adam"]
    assert said["tanh, Adam"].endswith("no difference beyond two standard errors.")
    sgd, adam = drawn[2:]
    assert [ridge.title for ridge in sgd] == [
        f"{name}, layer {layer}; % {flat}"
        for name, flat in (("ReLU, SGD", "exactly 0"), ("tanh, SGD", "beyond ±0.99"))
        for layer in (1, 2)
    ]
    assert [ridge.notes for ridge in adam] == [["0 %", "0 %"], ["50 %", "25 %"], ["0 %", "0 %"], ["50 %", "50 %"]]


def test_gradients_that_vanish_with_depth_are_told_by_their_factor(answer_of, drawn):
    def figures(config):
        depth, vanishes = len(config.hidden_sizes), config.activation == "sigmoid"
        norms = [10.0 ** -(depth - layer if vanishes else 0) for layer in range(depth + 1)]
        first, later = rows_of([0.2 if vanishes else 0.9] * 2)
        return [first | {"probes/grad_norm": norms}, later | {"probes/grad_norm": [1.0] * len(norms)}]

    answer = answer_of("gradients", figures)
    assert "From 1 to 8 hidden layers" in answer.sentences[1]
    assert "shrinks by a factor of 1e+07 with sigmoid, Xavier" in answer.sentences[1]
    assert answer.sentences[1].count("does not change") == 4
    assert "layers the gradient with sigmoid, Xavier is 1e+08 times smaller than with ReLU" in answer.sentences[2]
    assert "ReLU, Xavier (90.00 ± 0.00 %) is above sigmoid, Xavier (20.00 ± 0.00 %)" in answer.sentences[3]
    found = {row["hidden layers"]: row["first layer's gradient"] for row in answer.table if "sigmoid" in row["net"]}
    assert found == pytest.approx({1: 0.1, 2: 0.01, 4: 1e-4, 8: 1e-8})
    by_depth, by_layer, _ = drawn
    np.testing.assert_allclose(by_depth.groups["sigmoid, Xavier"][1][0], [0.1, 0.01, 1e-4, 1e-8])
    np.testing.assert_allclose(by_layer.groups["sigmoid, Xavier"][1][1], 10.0 ** np.arange(-8, 1))


def test_each_loss_is_judged_at_the_same_rate_and_at_its_own(answer_of, drawn):
    reached = {("cross_entropy", 0.001): 0.9, ("mse", 0.001): 0.8, ("mse", 0.01): 0.88, ("mse", 0.003): 0.85}
    tried = []

    def figures(config):
        tried.append((config.loss, config.learning_rate, config.seed))
        return rows_of([0.1, reached.get((config.loss, config.learning_rate), 0.5)])

    answer = answer_of("losses", figures)
    assert answer.sentences[1].startswith("All else equal: cross-entropy (90.00 ± 0.00 %) is above squared error (80")
    assert "of 0.001 for cross-entropy and 0.01 for squared error, the largest tried" in answer.sentences[2]
    assert "own best learning rate: cross-entropy (90.00 ± 0.00 %) is above squared error (88.00" in answer.sentences[3]
    rates = {"cross-entropy": [0.001], "squared error": [0.001, 0.01]}
    assert [(row["loss"], row["learning rate"]) for row in answer.table] == [(x, r) for x in rates for r in rates[x]]
    assert {rate for loss, rate, seed in tried if seed == 0} == {0.0003, 0.001, 0.003, 0.01}
    assert {(loss, seed) for loss, rate, seed in tried if rate == 0.003} == {(x, s) for x in LOSSES for s in (0, 1)}
    np.testing.assert_array_equal(drawn[2].groups["squared error"][1], [[0.5, 0.8, 0.85, 0.88]] * 2)


def test_the_own_best_rate_is_that_of_the_mean_over_the_seeds(answer_of, drawn):
    """At 0.01 the first seed is the best of all, the second the worst."""
    lucky = {(0.01, 0): 0.95, (0.01, 1): 0.3, (0.001, 0): 0.8, (0.001, 1): 0.8}
    answer = answer_of("losses", lambda config: rows_of([0.1, lucky.get((config.learning_rate, config.seed), 0.5)]))
    assert "a learning rate of 0.001 for cross-entropy and 0.001 for squared error" in answer.sentences[2]


def test_the_race_is_run_to_the_first_epoch_and_to_the_best(answer_of, drawn):
    last = {"sgd": 0.8, "momentum": 0.82, "nesterov": 0.84, "rmsprop": 0.86, "adam": 0.9, "nadam": 0.88}

    def figures(config):
        assert config.num_epochs == 5  # with any budget: the assignment asks for the first five
        if config.optimizer == "sgd" and config.seed == 1:
            return [*rows_of([0.5]), {"val/accuracy": 0.4, "train/loss": None, "seconds": 1.0, "diverged": True}]
        return rows_of([0.7 if config.optimizer == "nadam" else 0.5, last[config.optimizer]])

    answer = answer_of("optimizers", figures)
    assert answer.sentences[0].startswith("The network is a 64-128-128-128-10 ReLU net with He weights, batches of 20")
    assert "After the first epoch: Nadam leads with 70.00 ± 0.00 %" in answer.sentences[1]
    assert "Adam leads with 90.00 ± 0.00 %; behind beyond two standard errors: Nadam by 2.00" in answer.sentences[2]
    # Of SGD the two seeds reach 0.8 and 0.5, so their mean is 25 points behind, with an error of 0.15.
    assert "Not told apart from Adam, as the interval holds 0: SGD by 25.00 ± 30.00 points." in answer.sentences[2]
    assert "not finite in 1 of 2 with SGD" in answer.sentences[3]
    assert {row["optimizer"]: row["learning rate"] for row in answer.table}["Nesterov momentum"] == 0.02
    assert [panel.ylabel for panel in drawn] == ["training loss", "validation accuracy"]
    assert np.isnan(drawn[0].groups["SGD"][1][1, 1])


def test_symmetric_neurons_are_told_from_others(answer_of, drawn, monkeypatch):
    other = np.random.default_rng(0).random((50, 5))
    norms = {
        ("sigmoid", "zeros"): np.repeat(other[:, :1], 5, axis=1), ("sigmoid", "xavier"): other,
        ("relu", "zeros"): np.zeros((50, 5)), ("relu", "xavier"): other,
    }  # fmt: skip
    monkeypatch.setattr(symmetry, "make_task", lambda config, *_: config)
    monkeypatch.setattr(symmetry, "gradients", lambda config: norms[config.activation, config.init])
    reached = {"zeros": 0.1, "xavier": 0.9}
    answer = answer_of("symmetry", lambda config: rows_of([reached[config.init]]))
    assert "all 5 neurons receive one and the same gradient" in answer.sentences[0]
    assert "Trained with sigmoid: Xavier (90.00 ± 0.00 %) is above zero (10.00 ± 0.00 %)" in answer.sentences[1]
    assert "from zero weights the 5 neurons receive no gradient at all" in answer.sentences[2]
    titles = ["sigmoid, zero initialisation: all on one line", "sigmoid, Xavier initialisation",
              "ReLU, zero initialisation: all are 0", "ReLU, Xavier initialisation"]  # fmt: skip
    assert [panel.title for panel in drawn] == titles
    assert [row["spread of the gradients"] == 0 for row in answer.table] == [True, False, True, False]


# ---- those that begin at a sweep


@pytest.fixture
def searched(tmp_path, monkeypatch):
    """The workdir of a sweep of 60 trials with test figures, which every question takes for its own."""
    rows = synthetic.trials(60)
    for row in rows:
        if row["status"] == "finished":
            row |= {"train/accuracy": row["metric"] + 0.02, "test/accuracy": row["metric"] - 0.01}
    folder = synthetic.sweep_workdir(tmp_path / "sweep", rows)
    (folder / IMPORTANCE).write_text(json.dumps(synthetic.IMPORTANCE))
    for module in (sweep_question, best, confusion, generalisation, carried_over):
        monkeypatch.setattr(module, "swept", lambda lab: folder)
    return folder


def read(folder):
    """The finished and pruned trials with their accuracies, the best first."""
    rows = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    known = [row for row in rows if row["val/accuracy"] is not None]
    return sorted(known, key=lambda row: (-row["val/accuracy"], row["number"]))


def test_the_ten_best_trials_stand_in_the_table_of_the_sweep(answer_of, searched):
    answer = answer_of("sweep")
    wanted = read(searched)
    assert [row["validation accuracy"] for row in answer.table] == [row["val/accuracy"] for row in wanted[:10]]
    assert answer.table[0]["optimizer"] == wanted[0]["parameters"]["optimizer"]
    assert f"best of {len(wanted)} finished trials reaches {100 * wanted[0]['metric']:.2f} %" in answer.sentences[0]
    assert "explained by weight_decay (41 %), activation (30 %) and init (20 %)" in answer.sentences[1]
    assert [path.parent for path in answer.pictures] == [searched / "plots"] * 4
    assert sweep_question.best_of([]) == "No trial has finished."


def test_training_and_test_accuracy_come_from_the_same_trials(answer_of, searched, drawn):
    answer = answer_of("generalisation")
    finished = [row for row in read(searched) if row["status"] == "finished"]
    ((train, test),) = drawn
    assert len(train) == len(finished)
    np.testing.assert_allclose(np.subtract(train, test), 0.03)
    assert "by 3.00 points, sd 0.00 points" in answer.sentences[0]
    learned = [row for row in finished if row["train/accuracy"] >= 0.1 + 0.05 * 0.9]
    assert 0 < len(learned) < len(finished)
    assert answer.sentences[0].startswith(f"Over {len(learned)} trials")
    assert answer.sentences[2].startswith(f"{len(finished) - len(learned)} of the {len(finished)} trials fit")
    table = {row["trials with"]: row for row in answer.table}
    poor = [row["test/accuracy"] for row in learned if row["parameters"]["weight_decay"] == 0.5]
    assert table["weight_decay = 0.5"]["trials"] - table["weight_decay = 0.5"]["at chance"] == len(poor)
    assert table["weight_decay = 0.5"]["test accuracy"] == pytest.approx(sum(poor) / len(poor))
    assert answer.links == [("The sweep's own page", searched / "report.html")]
    assert generalisation.gap([0.5], [0.4]) == "Fewer than two trials have finished."


def test_the_three_best_are_carried_over_and_tested_once_a_network(answer_of, searched, drawn):
    """The second never gets anywhere: it has no test figure, and the others are compared without it."""
    first, _, third = (row["parameters"] for row in read(searched)[:3])

    def figures(config):
        own = [config.optimizer, config.batch_size, config.activation, config.init, len(config.hidden_sizes)]
        for params, accuracy in ((first, 0.97), (third, 0.91)):
            names = ("optimizer", "batch_size", "activation", "init", "num_layers")
            if own == [params[name] for name in names]:
                return rows_of([0.5, accuracy])
        return [*rows_of([0.1]), {"val/accuracy": 0.1, "seconds": 1.0, "diverged": True}]

    answer = answer_of("carried_over", figures)
    assert [row["others test accuracy"] for row in answer.table] == [pytest.approx(0.96), None, pytest.approx(0.90)]
    assert answer.table[1]["sd of accuracy"] is None
    assert "reach 90.00 % to 96.00 % on the test images of others" in answer.sentences[0]
    assert (
        "the first leads with 96.00 ± 0.00 %; behind beyond two standard errors: the third by 6.00"
        in answer.sentences[1]
    )
    assert answer.sentences[2].startswith("The loss became not finite in 2 of 2 with the second")
    assert set(drawn[0]) == {"the first", "the third"}


def test_the_best_model_is_told_with_its_trial_and_its_mistakes(given, searched, monkeypatch):
    lab = given("best")
    folder = synthetic.run_workdir(searched / "best")
    write_card(folder, lab.dataset)
    summary = json.loads((folder / "summary.json").read_text())
    for module in (best, confusion):
        monkeypatch.setattr(module, "final", lambda lab: summary)
    answer = best.answer(lab)
    trial = json.loads((searched / "best.json").read_text())
    repeated = f"{trial['name']}, was trained again on all 200 examples for {summary['best_epoch']} epochs"
    assert repeated in answer.sentences[0]
    assert "88.23 % of 600 test images are right" in answer.sentences[0]
    shown = {row["parameter"]: row["value"] for row in answer.table}
    assert shown["optimizer"] == trial["parameters"]["optimizer"]
    assert shown["validation accuracy of the trial"] == f"{100 * trial['metric']:.2f} %"
    answer = confusion.answer(lab)
    found = json.loads((folder / "evaluation.json").read_text())
    assert [row["class"] for row in answer.table] == synthetic.CLASSES
    assert [row["images"] for row in answer.table] == [sum(row) for row in found["matrix"]]
    assert answer.table[3]["recall"] == pytest.approx(found["matrix"][3][3] / sum(found["matrix"][3]))


def test_the_sweep_and_its_final_fit_are_made_once(given, monkeypatch):
    made = []

    def run(config, folder):
        made.append((config.sweep.run_cap, config.num_epochs, folder.name))
        folder.mkdir(parents=True)
        (folder / "report.html").write_text("")

    monkeypatch.setattr(sweep_question, "run", run)
    monkeypatch.setattr(best, "train_best", lambda config, folder, output: {"folder": output})
    lab = given("best")
    folders = {sweep_question.swept(lab) for _ in range(2)}
    assert len(made) == len(folders) == 1
    assert made[0][:2] == (lab.budget.trials, lab.budget.epochs)
    assert best.final(lab) == {"folder": str(folders.pop() / "best")}
    sweep_question.swept(given("best", activation="tanh"))
    assert len({name for *_, name in made}) == 2


# ---- the set


def test_a_set_is_answered_once_and_begun_anew_on_demand(config_for, section, tmp_path, monkeypatch, capsys):
    asked = []

    def samples_of(images, labels, names, shape, path, count):
        asked.append(count)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)

    monkeypatch.setattr(plots, "samples", samples_of)
    monkeypatch.setattr(plots, "columns", lambda names, parts, path, *texts: Image.new("RGB", (4, 4)).save(path))
    folder = tmp_path / "set"
    report = answer_all.run(config_for("samples"), folder)
    assert asked == [1, 5]
    found = section(folder, "samples")
    assert found["sentences"][0] == "The 200 training images are balanced: 20 of each of the 10 classes."
    assert [row["trained on"] + row["held out"] for row in found["table"]] == [20] * 10
    assert sum(row["held out"] for row in found["table"]) == 20
    assert "s): The 200 training images are balanced" in capsys.readouterr().out
    text = report.read_text()
    assert '<h2 id="s1">2.1 The data</h2>' in text
    assert "Edition 2026. Budget quick: 2 seeds for every band, 2 epochs, 3 trials" in text
    assert "trains on 180 examples of patterns; 20 are held out" in text

    (folder / "lanes").mkdir()
    answer_all.run(config_for("samples"), folder)
    assert asked == [1, 5]
    answer_all.run(config_for("samples", budget="full"), folder)  # another budget is another answer
    assert asked == [1, 5] * 2
    assert "Budget full: 3 seeds" in report.read_text()
    answer_all.run(config_for("samples", budget="full", resume="never"), folder)
    assert asked == [1, 5] * 3
    assert not (folder / "lanes").exists()


def test_every_question_has_an_answer_of_its_own():
    assert len({import_module(f"mlp_jax.questions.{name}").answer for name in QUESTIONS}) == len(QUESTIONS)
