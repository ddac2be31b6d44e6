"""The questions of today's courses: their mathematics against brute force, their sentences with reversed results."""

import math
from importlib import import_module

import numpy as np
import pytest
from PIL import Image

from mlp_jax.data.datasets import load
from mlp_jax.lanes.fit import make_task
from mlp_jax.questions import (
    IDEAS,
    QUESTIONS,
    answer_all,
    double_descent,
    ensembles,
    random_labels,
    range_test,
    trainability,
)
from mlp_jax.questions.lab import Lab
from mlp_jax.questions.subsets import subset, with_noise, with_shuffled_labels
from mlp_jax.reports import plots
from mlp_jax.sweeps.sweep import trial_config
from tests.questions.test_answers import Given, rows_of

HIGH, LOW = [0.90, 0.91, 0.92], [0.80, 0.81, 0.82]


def test_ideas_are_asked_by_name_alone(config_for):
    assert not set(IDEAS) & set(config_for("losses").experiments)
    assert not set(IDEAS) & set(QUESTIONS)
    assert config_for(*IDEAS).experiments == IDEAS
    for name in IDEAS:
        question = import_module(f"mlp_jax.questions.{name}")
        assert question.QUESTION.endswith("?"), name


# ---- subsets


def test_a_subset_and_its_unseen_part_are_disjoint_rows_of_the_training_set():
    whole = load("digits", "", "")
    part = subset(whole, 500, 300, seed=1)
    unseen, labels = part.read_test()
    assert (len(part.train_labels), len(labels)) == (500, 300)
    known = {image.tobytes(): int(label) for image, label in zip(whole.train_images, whole.train_labels, strict=True)}
    rows = [(image.tobytes(), int(label)) for image, label in zip(part.train_images, part.train_labels, strict=True)]
    others = [(image.tobytes(), int(label)) for image, label in zip(unseen, labels, strict=True)]
    assert all(known[image] == label for image, label in rows + others)
    assert len(set(rows + others)) == len(set(rows)) + len(set(others))
    assert subset(whole, 500, 300, seed=2).fingerprint != part.fingerprint != whole.fingerprint


def test_a_small_training_set_keeps_half_for_training():
    part = subset(load("digits", "", ""), 10_000, 5000)
    assert len(part.train_labels) == len(part.read_test()[1]) == 721  # of 1,442


@pytest.mark.parametrize("share", [0.0, 0.15, 1.0])
def test_label_noise_changes_just_its_share(share):
    part = subset(load("digits", "", ""), 1000, 300)
    noisy = with_noise(part, share)
    wrong = noisy.train_labels != part.train_labels
    assert wrong.sum() == round(share * 1000)
    assert set(np.unique(noisy.train_labels)) <= set(range(10))
    assert noisy.read_test()[1] is part.read_test()[1]
    assert noisy.fingerprint != with_noise(part, 0.3).fingerprint
    if share == 1:  # every other class alike: 111 each of the nine differences, ± 10
        counts = np.bincount((noisy.train_labels.astype(int) - part.train_labels) % 10, minlength=10)
        assert counts[0] == 0
        assert np.abs(counts[1:] - 111.1).max() < 45


def test_shuffled_labels_are_the_same_ones_in_another_order():
    part = subset(load("digits", "", ""), 1000, 300)
    shuffled = with_shuffled_labels(part, 3)
    np.testing.assert_array_equal(np.bincount(shuffled.train_labels), np.bincount(part.train_labels))
    assert 0.05 < np.mean(shuffled.train_labels == part.train_labels) < 0.15
    assert shuffled.train_images is part.train_images
    assert shuffled.fingerprint != with_shuffled_labels(part, 4).fingerprint


def test_networks_without_validation_are_judged_on_the_unseen_images(config_for, tmp_path):
    """And data of one shape share their programs: a second data set compiles none."""
    lab = Lab(config_for("ensembles"), tmp_path)
    part = subset(lab.dataset, 100, 50)
    fields = {"val_fraction": 0.0, "num_epochs": 1, "hidden_sizes": (8,)}
    (member,) = lab.train({"a": fields}, part, seeds=1)["a"]
    images, labels = part.read_test()
    x = images / 255
    for place, layer in enumerate(member.lane.state.params):  # of the last epoch
        x = np.maximum(x, 0) if place else x
        x = x @ np.asarray(layer.w, float) + np.asarray(layer.b, float)
    assert lab.test(member, part) == np.mean(x.argmax(axis=1) == labels)
    exact = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(lab.probabilities(member, part, images), exact, atol=1e-5)
    before = lab._compiler.programs
    shuffled = lab.train({"a": fields}, with_shuffled_labels(part), seeds=1)["a"][0]
    assert before == lab._compiler.programs > 0
    assert shuffled.records[0]["train/loss"] != member.records[0]["train/loss"]


def test_networks_that_all_diverge_leave_a_sentence(config_for, tmp_path):
    lost = {"val/accuracy": 0.1, "diverged": True}
    answer = ensembles.answer(Given(config_for("ensembles"), tmp_path, lambda config: [lost]))
    assert answer.sentences == [
        "The loss became not finite in 20 of 20 with networks; what they reached before is counted."
    ]
    assert answer.table


# ---- the range test


def test_the_suggestion_is_half_the_rate_of_the_least_loss():
    """So slow a curve that the smoothing's delay of 20 steps moves its minimum by 0.3 %."""
    rates = np.geomspace(1e-6, 10, 100_000)
    losses = np.log10(rates / 0.02) ** 2
    assert range_test.suggested(rates, losses) == pytest.approx(0.01, rel=0.01)
    losses[rates > 0.004] = np.nan  # a run that diverges there; what comes after it does not count
    assert range_test.suggested(rates, losses) == pytest.approx(0.002, rel=0.01)


def test_the_smoothed_loss_by_hand():
    d = range_test.SMOOTHING
    found = range_test.smoothed(np.array([1.0, 3.0, np.inf, 1.0]))
    np.testing.assert_allclose(found, [1, (d + 3) / (d + 1), np.inf, np.inf])


def test_the_losses_of_a_rising_rate_are_those_of_gradient_descent_in_numpy(config_for, tmp_path):
    """Softmax regression from zero weights on all 180 images, in float64."""
    lab = Lab(config_for("range_test"), tmp_path)
    fields = {"optimizer": "sgd", "batch_size": 0, "hidden_sizes": (), "init": "zeros"}
    task = make_task(trial_config(lab.base, fields), lab.dataset, *lab.first_place)
    rates = np.geomspace(1e-3, 1, 12)
    x, y = lab.dataset.train_images[task.train_indices] / 255, lab.dataset.train_labels[task.train_indices]
    w, b, wanted = np.zeros((64, 10)), np.zeros(10), []
    for rate in rates:
        z = x @ w + b
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        wanted.append(-np.log(p[range(len(y)), y]).mean())
        p[range(len(y)), y] -= 1
        w, b = w - rate * x.T @ p / len(y), b - rate * p.mean(axis=0)
    np.testing.assert_allclose(range_test.tested(task, rates), wanted, rtol=1e-4)


def test_suggestions_within_a_factor_of_three():
    said = range_test.within({"A": 1.0, "B": 3.0, "C": 0.2, "D": 4.0})
    assert "for 2 of 4 optimizers; not of C (5.0 times too low) and D (4.0 times too high)." in said
    assert "for 0 of 1" in range_test.within({"A": 3.1})
    assert range_test.within({"A": 0.34, "B": 2.9}).endswith("for 2 of 2 optimizers.")


def test_the_accuracy_at_the_suggestion_against_that_at_the_best_rate():
    assert "for 0 of 1, less for A (81.00 ± 1.00 % against 91.00" in range_test.as_good({"A": (LOW, HIGH)})
    assert "for 0 of 1, more for A (91.00 ± 1.00 % against 81.00" in range_test.as_good({"A": (HIGH, LOW)})
    assert range_test.as_good({"A": (HIGH, HIGH), "B": (LOW, LOW)}).endswith("for 2 of 2.")
    assert range_test.ends({"A": (0.1, (0.1, 0.3)), "B": (0.3, (0.1, 0.3, 1.0))}) == [
        "The best rate lies at an end of those tried for A."
    ]
    assert range_test.ends({"B": (0.3, (0.1, 0.3, 1.0))}) == []


# ---- double descent


def around(*means, spread=0.001):
    """Errors of three seeds at the widths 1, 2, 4, …"""
    return {2**place: [value - spread, value, value + spread] for place, value in enumerate(means)}


@pytest.mark.parametrize(
    ("means", "words", "double"),
    [
        ((0.5, 0.3, 0.4, 0.2), ("falls to 30.00 ± 0.10 % at width 2", "rises to 40.00 ± 0.10 % at width 4, where the",
                                "and falls to 20.00 ± 0.10 % at width 8: double descent."), True),
        ((0.5, 0.3, 0.2, 0.1), ("falls to 30.00", "falls to 20.00", "and falls to 10.00"), False),
        ((0.5, 0.3, 0.4, 0.4), ("falls to 30.00", "rises to 40.00", "and does not change beyond two standard"), False),
        ((0.5, 0.3, 0.4, 0.6), ("falls to 30.00", "rises to 40.00", "and rises to 60.00"), False),
        ((0.3, 0.5, 0.4, 0.2), ("begins with 30.00", "width 1, rises to 40.00", "by heart, and falls to"), False),
        ((0.3, 0.3, 0.3, 0.3), ("does not change beyond two standard errors with 30.00 ± 0.10 % at width 4",), False),
    ],
)  # fmt: skip
def test_the_shape_of_an_error_over_widths(means, words, double):
    said = double_descent.shape("W", around(*means), 4)
    assert not [word for word in words if word not in said], said
    assert ("no double descent." in said) != double
    assert "double descent" in said


def test_one_seed_shows_no_double_descent():
    assert "no double descent" in double_descent.shape("W", {1: [0.5], 2: [0.3], 4: [0.4], 8: [0.2]}, 4)
    noisy = around(0.5, 0.3, 0.4, 0.2, spread=0.2)
    assert "no double descent" in double_descent.shape("W", noisy, 4)


def test_the_interpolation_threshold():
    assert double_descent.threshold(around(0.5, 0.003, 0.0)) == 2
    assert double_descent.threshold(around(0.0, 0.5, 0.0)) == 4  # from there on, not there alone
    assert double_descent.threshold(around(0.0, 0.0, 0.5)) is None
    assert "no width learns" in double_descent.shape("W", around(0.5, 0.4), None)
    assert "width 1 already learns" in double_descent.shape("W", around(0.5, 0.4), 1)
    assert "only width 2 learns" in double_descent.shape("W", around(0.5, 0.4), 2)


@pytest.fixture
def drawn(monkeypatch):
    kept = []
    monkeypatch.setattr(plots, "lines", lambda panels, path: kept.extend(panels))
    return kept


def test_errors_are_those_of_the_last_epoch(config_for, tmp_path, drawn, monkeypatch):
    """A net of the first epoch 90 % right and of the last 40 %, tested at one point less."""
    monkeypatch.setattr(double_descent, "WIDTHS", (2, 400))
    figures = [{"train/accuracy": a, "val/accuracy": a} for a in (0.9, 0.4)]
    answer = double_descent.answer(Given(config_for("double_descent"), tmp_path, lambda config: figures))
    assert [row["width"] for row in answer.table] == [2, 400] * 2
    assert {row["training error"] for row in answer.table} == {0.6}
    assert [row["validation error"] for row in answer.table] == pytest.approx([0.61] * len(answer.table))
    assert answer.table[-1]["parameters"] == 400 * 40 + 400 + 400 * 10 + 10
    assert "no width learns" in answer.sentences[1]
    assert [panel.ylabel for panel in drawn] == ["validation error", "training error"]


# ---- random labels


def test_true_and_shuffled_labels_are_told_apart(config_for, tmp_path, drawn, monkeypatch):
    """The shuffled ones, whose nets train alone, take 4 epochs, the true ones 2."""
    monkeypatch.setattr(random_labels, "EPOCHS", 5)

    class Lived(Given):
        def train(self, runs, dataset=None, seeds=0):
            (name,) = runs
            reached = [0.5, 0.99, 1, 1, 1] if name == random_labels.TRUE else [0.2, 0.5, 0.9, 0.995, 1]
            self.figures = lambda config: [{**row, "train/accuracy": row["val/accuracy"]} for row in rows_of(reached)]
            return super().train(runs, dataset, seeds)

    answer = random_labels.answer(Lived(config_for("random_labels"), tmp_path, None))
    assert [row["epochs to 99.00 %"] for row in answer.table] == [2, 4]
    assert [row["seeds"] for row in answer.table] == [2, 2]
    assert "both are learned by heart" in answer.sentences[1]
    assert "shuffled ones take 2.0 times the epochs of true ones (4.0 against 2.0; 2 of 2" in answer.sentences[2]
    assert "reach 99.00 ± 0.00 %, above guessing" in answer.sentences[3]


def test_what_is_said_of_random_labels_follows_the_figures():
    assert "only the A are learned" in random_labels.learned({"A": [0.99], "B": [0.5]})
    assert "only the B are learned" in random_labels.learned({"A": [0.5], "B": [0.99]})
    assert "neither are learned" in random_labels.learned({"A": [0.5], "B": [0.5]})
    fast, slow = [2, 3, 4], [20, 30, 40]
    assert "shuffled ones take 10.0 times the epochs of true ones" in random_labels.slower(fast, slow, 3)
    assert "true ones take 10.0 times the epochs of shuffled ones" in random_labels.slower(slow, fast, 3)
    assert "no different time" in random_labels.slower(fast, fast, 3)
    assert "no network reaches 99.00 % of the shuffled labels." in random_labels.slower(fast, [], 3)
    assert "above guessing (10.00 %) beyond" in random_labels.chance([0.2, 0.21], 0.1, HIGH)
    assert "below guessing (10.00 %) beyond" in random_labels.chance([0.01, 0.02], 0.1, HIGH)
    assert "no different from guessing (10.00 %);" in random_labels.chance([0.09, 0.11], 0.1, HIGH)
    assert "Too few" in random_labels.chance([], 0.1, HIGH)


# ---- ensembles


def votes(networks=10, examples=40, classes=3, seed=0):
    generator = np.random.default_rng(seed)
    return generator.dirichlet(np.ones(classes), (networks, examples)), generator.integers(0, classes, examples)


def test_the_accuracy_of_an_ensemble_by_brute_force():
    given, labels = votes()
    wanted = []
    for first in (0, 4):  # two networks are left over
        right = 0
        for example, label in enumerate(labels):
            sums = [sum(given[first + place, example, c] for place in range(4)) for c in range(3)]
            right += sums.index(max(sums)) == label
        wanted.append(right / 40)
    assert ensembles.grouped(given, labels, 4) == wanted
    alone = [float(np.mean(one.argmax(axis=1) == labels)) for one in given]
    assert ensembles.grouped(given, labels, 1) == alone
    np.testing.assert_allclose(
        ensembles.gains(given, labels, 4), [wanted[0] - np.mean(alone[:4]), wanted[1] - np.mean(alone[4:8])]
    )


def test_networks_together_are_better_worse_or_neither():
    labels = np.zeros(300, int)
    ten = np.arange(300) % 10
    right, wrong = np.array([0.9, 0.1]), np.array([0.4, 0.6])
    # Each of the ten is unsure and wrong where it stands in turn, and the others outvote it.
    unsure = np.where((ten == np.arange(10)[:, None])[:, :, None], wrong, right)
    said = ensembles.gain(unsure, labels, 5)
    assert said == (
        "5 networks together are better than one of them by 10.00 ± 0.00 points (two standard errors over 2 disjoint "
        "groups)."
    )
    # Each is just right nearly everywhere; where it is wrong, it is so sure that it outvotes the others.
    sure = np.where((ten == np.arange(10)[:, None])[:, :, None], np.array([0.0, 1.0]), np.array([0.51, 0.49]))
    assert "5 networks together are worse than one of them by 40.00" in ensembles.gain(sure, labels, 5)
    same = np.repeat(unsure[:1], 10, axis=0)
    assert "no better and no worse" in ensembles.gain(same, labels, 5)


def test_how_many_networks_are_worth_it():
    said = ensembles.together({1: [0.8, 0.8], 2: [0.85], 4: [0.895], 8: [0.9]})
    assert said.endswith("all 8 together 90.00 %; nine tenths of the difference are there with 4.")
    assert ensembles.together({1: [0.9, 0.9], 8: [0.8]}).endswith("80.00 %, which is no more.")
    assert ensembles.together({1: [0.9, 0.9], 8: [0.9]}).endswith("which is no more.")


# ---- trainability


@pytest.mark.parametrize(("rate0", "rate1"), [(2.0, 3.0), (30.0, 5.0), (3.0, 200.0)])
def test_the_net_of_the_boundary_is_the_papers_in_numpy(rate0, rate1):
    """ŷ = w1·tanh(√(2/n)·w0·x)/n with the mean of (ŷ − y)², differentiated by finite differences in float64."""
    given, steps = trainability.problem(0, width=3, examples=5), 25
    x, y, w0, w1 = (part.astype(float) for part in given)

    def loss(w0, w1):
        return np.mean((np.tanh(math.sqrt(2 / 3) * x @ w0) @ w1 / 3 - y) ** 2)

    def gradient(f, w):
        result = np.zeros_like(w)
        for place in np.ndindex(w.shape):
            moved = np.zeros_like(w)
            moved[place] = 1e-5
            result[place] = (f(w + moved) - f(w - moved)) / 2e-5
        return result

    losses = []
    for _ in range(steps):
        losses.append(loss(w0, w1))
        first, second = gradient(lambda w, w1=w1: loss(w, w1), w0), gradient(lambda w, w0=w0: loss(w0, w), w1)
        w0, w1 = w0 - rate0 * first, w1 - rate1 * second
    v = np.minimum(np.array(losses) / losses[0], 1e6)
    found = trainability.train(given, np.array([rate0], np.float32), np.array([rate1], np.float32), steps)
    np.testing.assert_allclose(np.ravel(found), [v.sum(), (1 / v).sum(), v[-20:].mean()], rtol=2e-3)


def test_the_map_has_a_row_a_rate_of_the_second_layer(monkeypatch):
    monkeypatch.setattr(trainability, "CHUNK", 4)
    given = trainability.problem(0, width=3, examples=5)
    found = trainability.computed(given, np.array([1.0, 10.0, 20.0]), np.array([1.0, 1e4]), steps=30)
    assert found.total.shape == (2, 3)
    np.testing.assert_array_equal(found.converged, [[True] * 3, [False] * 3])
    alone = trainability.train(given, np.array([20.0], np.float32), np.array([1.0], np.float32), 30)
    np.testing.assert_allclose(found.total[0, 2], alone[0][0], rtol=1e-5)


def sierpinski(side):
    """Pascal's triangle modulo 2: bits that do not overlap."""
    rows, columns = np.indices((side, side))
    return (rows & columns) == 0


@pytest.mark.parametrize(
    ("points", "wanted"),
    [
        (np.eye(256, dtype=bool), 1),
        (np.arange(256)[:, None] == 77 * np.ones(256), 1),
        (np.ones((256, 256), bool), 2),
        (np.indices((256, 256)).sum(axis=0) == 0, 0),
        (sierpinski(256), math.log2(3)),
    ],
    ids=["diagonal", "line", "square", "point", "Sierpinski"],
)
def test_the_dimension_of_known_shapes(points, wanted):
    found = trainability.dimension(points)
    assert found.value == pytest.approx(wanted, abs=1e-9)
    assert found.error == pytest.approx(0, abs=1e-6)
    assert [side for side, _ in found.counts] == [1, 2, 4, 8, 16, 32]


def test_what_has_no_dimension():
    assert math.isnan(trainability.dimension(np.zeros((64, 64), bool)).value)
    assert math.isnan(trainability.dimension(np.ones((16, 16), bool)).value)


def test_the_boundary_by_brute_force():
    inside = np.random.default_rng(0).random((9, 7)) < 0.5
    wanted = np.zeros((9, 7), bool)
    for row, column in np.ndindex(9, 7):
        for other in ((row, column + 1), (row + 1, column)):
            if other[0] < 9 and other[1] < 7 and inside[row, column] != inside[other]:
                wanted[row, column] = True
    np.testing.assert_array_equal(trainability.boundary(inside), wanted)


def test_a_boundary_is_rougher_than_a_curve_less_or_neither():
    counts = [(1, 100), (64, 2)]
    said = [trainability.rough(trainability.Dimension(value, 0.1, counts)) for value in (1.5, 0.5, 1.15)]
    assert (
        "1.50 ± 0.20 (two standard errors of the fit to boxes of 1 to 64 pixels): rougher than a smooth curve"
        in said[0]
    )
    assert "less than a curve" in said[1]
    assert "no difference from a smooth curve" in said[2]
    assert "no boundary" in trainability.rough(trainability.Dimension(math.nan, math.nan, counts))


def test_which_layers_rate_decides_convergence():
    """The lower three quarters converge; turned by a quarter it is the other layer, upside down the other half."""
    low = np.arange(8)[:, None] < 6 * np.ones(8)
    said = (
        "75.00 % of the trainings converge; within this window the second layer's rate decides it more: its lower half"
    )
    assert trainability.shares(low).startswith(said)
    assert "50 points more often, for the other layer the halves differ by 0." in trainability.shares(low)
    assert "the first layer's rate decides it more: its lower" in trainability.shares(low.T)
    assert "the second layer's rate decides it more: its upper" in trainability.shares(low[::-1])
    assert "both layers' rates decide it alike" in trainability.shares(np.eye(8, dtype=bool))
    assert trainability.shares(low | True).startswith("All of these trainings converge")
    assert trainability.shares(low & False).startswith("None of these trainings converge")


# ---- whole


@pytest.mark.slow
def test_every_idea_leaves_pictures_numbers_and_sentences(config_for, section, tmp_path, monkeypatch):
    monkeypatch.setitem(trainability.SIDES, "quick", 64)
    monkeypatch.setattr(double_descent, "WIDTHS", (2, 4, 8))
    monkeypatch.setattr(double_descent, "EPOCHS", 2)
    monkeypatch.setitem(double_descent.FIELDS, "num_epochs", 2)
    monkeypatch.setitem(random_labels.FIELDS, "num_epochs", 3)
    monkeypatch.setattr(range_test, "SWEPT", {name: rates[2:4] for name, rates in range_test.SWEPT.items()})
    monkeypatch.setattr(range_test, "STEPS", 60)
    monkeypatch.setattr(ensembles, "NETWORKS", 10)
    page = answer_all.run(config_for(*IDEAS), tmp_path).read_text()
    for name in IDEAS:
        found = section(tmp_path, name)
        assert found["title"] in page
        assert len(found["sentences"]) >= 2, name
        assert found["table"], name
        assert f"--config.experiments={name}" in found["command"]
        for picture in found["pictures"]:
            with Image.open(tmp_path / picture) as image:
                assert min(image.size) > 300, picture
