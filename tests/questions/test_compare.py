"""The sentences of the experiments: reversed results reverse them, equal results leave no difference."""

import math
from itertools import pairwise

import numpy as np
import pytest

from mlp_jax.questions import (
    batches,
    best,
    carried_over,
    confusion,
    dead_units,
    generalisation,
    gradients,
    losses,
    samples,
    symmetry,
)
from mlp_jax.questions import sweep as sweep_question
from mlp_jax.questions.compare import compare, listed, mean_sd, race, versus

HIGH, LOW = [0.90, 0.91, 0.92], [0.80, 0.81, 0.82]
NEAR = [0.895, 0.915, 0.915]


def test_the_standard_error_of_a_difference_is_welchs():
    found = compare([1.0, 2.0, 3.0, 6.0], [1.0, 5.0])
    # By hand: means 3 and 3, variances 14/3 and 8, so √(14/3/4 + 8/2).
    assert found.difference == 0
    assert found.error == pytest.approx(math.sqrt(14 / 12 + 4))


@pytest.mark.parametrize(
    ("a", "b", "sign"),
    [
        (HIGH, LOW, 1),
        (LOW, HIGH, -1),
        (HIGH, HIGH, 0),
        (HIGH, NEAR, 0),
        ([0.5], [0.9], 0),  # one seed says nothing of its error
        ([0.5, 0.5], [0.6, 0.6], -1),
        # Two standard errors of these are 2·√(1/2 + 1/2) = 2.
        ([0.0, math.sqrt(2)], [2.01, 2.01 + math.sqrt(2)], -1),
        ([0.0, math.sqrt(2)], [1.99, 1.99 + math.sqrt(2)], 0),
    ],
)
def test_a_difference_within_two_standard_errors_is_none(a, b, sign):
    assert compare(a, b).sign == sign


def test_figures_of_a_sentence():
    assert mean_sd([0.88, 0.90]) == "89.00 ± 1.41 %"
    assert mean_sd([0.88]) == "88.00 %"
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"


# A sentence of two samples: what it says where the first is higher, where the second is, where they are equal.
SENTENCES = {
    "versus": (lambda a, b: versus("W", "A", a, "B", b), "A (91.00 ± 1.00 %) is above B (81.00 ± 1.00 %) by 10.00",
               "B (91.00 ± 1.00 %) is above A", "no difference between A"),
    "ratio": (lambda a, b: gradients.ratio("W", "A", a, "B", b), "with B is 1.1 times smaller than with A",
              "with A is 1.1 times smaller than with B", "do not differ"),
    "validation": (lambda a, b: best.against_validation(best.Share(a[0], 10_000), best.Share(b[0], 10_000)),
                   "below its 90.00 % on validation, more than", "above its 80.00 % on validation, more than",
                   "no different from its 90.00 %"),
    "gap": (generalisation.gap, "is above test accuracy (81.00 %) by 10.00 points",
            "is below test accuracy (91.00 %) by 10.00 points", "no difference between training (91.00 %)"),
    "trend": (lambda a, b: gradients.trends(1, 8, {"A": (a, b)}), "shrinks by a factor of 1.1 with A",
              "grows by a factor of 1.1 with A", "does not change"),
    "confused": (lambda a, b: confusion.confused("AB", (1000 * np.array([[0.9, a[0]], [b[0], 0.9]])).astype(int)),
                 "take A for B (900, 53 % of all); the reverse (800) is rarer",
                 "take B for A (900, 53 % of all); the reverse (800) is rarer", "the reverse (900) is as frequent"),
    "change": (lambda a, b: dead_units.change("With A", "exactly 0", a, b), "81.00 ± 1.00 % after the last, fewer by",
               "91.00 ± 1.00 % after the last, more by", "91.00 ± 1.00 % after the last, no difference"),
    "fastest": (lambda a, b: batches.fastest(0.5, {"A": a, "B": b}), "takes B 0.81 s and A 0.91 s",
                "takes A 0.81 s and B 0.91 s", "no different time"),
}  # fmt: skip


@pytest.mark.parametrize("name", SENTENCES)
def test_reversed_results_reverse_the_sentence_and_equal_ones_make_none(name):
    sentence, *said = SENTENCES[name]
    for place, made in enumerate((sentence(HIGH, LOW), sentence(LOW, HIGH), sentence(HIGH, HIGH))):
        assert [words in made for words in said] == [place == other for other in range(3)], made


def test_a_race_names_the_leader_the_ties_and_those_behind():
    said = race("At the end", {"A": LOW, "B": HIGH, "C": NEAR})
    # Two standard errors: 2·√(1/3 + 1/3) = 1.63 points; of C with s² = 4/3 2·√(1/3 + 4/9) = 1.76.
    assert said == (
        "At the end: B leads with 91.00 ± 1.00 %; behind beyond two standard errors: A by 10.00 ± 1.63 points. "
        "Not told apart from B, as the interval holds 0: C by 0.17 ± 1.76 points."
    )
    said = race("At the end", {"A": HIGH, "B": LOW, "C": [0.7, 0.71, 0.69]})
    both = "B by 10.00 ± 1.63 points and C by 21.00 ± 1.63 points"
    assert said == f"At the end: A leads with 91.00 ± 1.00 %; behind beyond two standard errors: {both}."
    assert "no difference" in race("At the end", {"A": HIGH, "B": HIGH, "C": NEAR})
    assert "B by 10.00 points." in race("At the end", {"A": [0.9], "B": [0.8]})  # one seed each: no error is known


def test_neurons_without_with_the_same_and_with_other_gradients():
    other = np.random.default_rng(0).random((50, 5))
    none, same = np.zeros((50, 5)), np.repeat(other[:, :1], 5, axis=1)
    said = symmetry.described("tanh", {"zeros": none, "xavier": other})
    assert "zero weights the 5 neurons receive no gradient" in said
    assert "Xavier weights their gradients differ" in said
    assert "all 5 neurons receive one and the same" in symmetry.described("tanh", {"xavier": same})
    assert symmetry.spread(np.array([[1.0, 2.0], [4.0, 3.0]])) == 0.5


def test_the_learning_rate_chosen_and_whether_it_is_the_last_tried():
    said = losses.described({"cross_entropy": {0.1: 0.8, 0.2: 0.9, 0.4: 0.7}, "mse": {0.1: 0.6, 0.2: 0.7, 0.4: 0.8}})
    assert said == (
        "Validation chooses a learning rate of 0.2 for cross-entropy and 0.4 for squared error, the largest tried."
    )
    assert losses.best_rate({0.1: 0.5, 0.2: 0.5}) == 0.1


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ((20, 20, 20), "The 60 images are balanced: 20 of each of the 3 classes."),
        # An even share is 20; χ² = (8² + 0 + 8²)/20 = 6.4 is beyond 2 + 2·√4 = 6, (7² + 0 + 7²)/20 = 4.9 is not.
        ((28, 20, 12), "not balanced, 12 to 28 a class; farthest from an even share is A, with 40.0 % more (28)."),
        (
            (13, 20, 27),
            "as chance leaves them, 13 to 27 a class; farthest from an even share is A, with 35.0 % fewer (13).",
        ),
        ((10, 25, 25), "not balanced, 10 to 25 a class; farthest from an even share is A, with 50.0 % fewer (10)."),
    ],
)
def test_whether_classes_are_balanced_and_which_is_farthest_from_it(counts, words):
    assert words in samples.balance("images", "ABC", np.array(counts))


def test_activations_are_counted_in_the_bin_that_holds_them():
    """Against the comparisons that define a bin; the ends hold what is exactly 0 or has saturated."""
    drawn = np.random.default_rng(0).normal(0, 2, 1000).astype(np.float32)
    for activation, values in (("relu", np.maximum(drawn, 0)), ("tanh", np.tanh(drawn))):
        edges = dead_units.EDGES[activation]
        values = np.append(values, edges[3:9])  # an edge itself belongs to the bin above it
        found = dead_units.shares(values, edges)
        each = [np.mean((low <= values) & (values < high)) for low, high in pairwise(edges)]
        np.testing.assert_allclose(found, each)
        flat = np.mean(values == 0 if activation == "relu" else np.abs(values) >= 0.99)
        last = np.stack([np.full_like(found, np.nan), found])[None, None]
        assert 0 < flat < 1
        np.testing.assert_allclose(dead_units.flat_shares(last, activation), flat)
        np.testing.assert_allclose(dead_units.flat_shares(last[:, :, :1], activation), 1)  # it has diverged
    assert dead_units.shares(np.array([1e9]), dead_units.EDGES["relu"])[-1] == 1


def test_the_nearest_classes_and_the_farthest():
    said = samples.distances("ABC", np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]]))
    assert "A and C are nearest to each other (distance 1.00)" in said
    assert "A and B farthest apart (5.00)" in said


def test_the_classes_of_lowest_and_highest_recall():
    said = confusion.hardest("AB", np.array([[8, 2], [5, 5]]))
    assert said == "B is the hardest class with a recall of 50.00 %, A the easiest with 80.00 %."
    assert confusion.hardest("AB", np.array([[5, 5], [2, 8]])).startswith("A is the hardest class")
    assert "same recall" in confusion.hardest("AB", np.array([[5, 5], [5, 5]]))
    assert confusion.confused("AB", np.diag([5, 5])) == "There are no mistakes."


def test_ranks_of_training_and_test_go_together_apart_or_neither():
    train = list(np.linspace(0.1, 0.9, 20))
    assert "do better on the test set" in generalisation.order(train, train)
    assert "do worse on the test set: the rank correlation is −1.00" in generalisation.order(train, train[::-1])
    assert "not beyond chance" in generalisation.order(train, list(np.random.default_rng(3).permutation(train)))
    assert "too few different trials" in generalisation.order([0.5, 0.5, 0.5], [0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    ("shares", "correlation", "words"),
    [
        (
            {"init": 0.7, "loss": 0.3},
            -0.8,
            ("init (70 %) and loss (30 %)", "init = random, with lower accuracy (−0.80)"),
        ),
        (
            {"init": 0.3, "loss": 0.7},
            0.8,
            ("loss (70 %) and init (30 %)", "init = random, with higher accuracy (+0.80)"),
        ),
        ({}, None, ("Too few trials have finished",)),
    ],
)
def test_what_a_sweep_says_follows_its_numbers(shares, correlation, words):
    said = sweep_question.weight_of(shares, {"init = random": correlation, "loss = mse": 0.2})
    assert all(word in said for word in words)


def test_the_three_configurations_on_either_dataset():
    said = carried_over.level(
        {"first": 0.88, "second": 0.86}, {"first": [0.97, 0.99], "second": [0.96, 0.96]}, "F", "M"
    )
    assert "(86.00 % to 88.00 % on its validation images) reach 96.00 % to 98.00 % on the test images of M" in said
    assert carried_over.level({"first": 0.8}, {}, "A", "B") == "None of the configurations could be trained on B."
