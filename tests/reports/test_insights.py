"""What is said of a sweep's trials, against SciPy, brute-force counting and planted causes."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mlp_jax.reports import insights
from tests.shared.synthetic_workdirs import trials


def trial(number, accuracy, status="finished", **parameters):
    row = {"number": number, "name": f"t{number}", "parameters": parameters, "status": status, "metric": accuracy}
    return row | {"val/accuracy": accuracy}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.floats(-5, 5)), min_size=1, max_size=30))
def test_ranks_are_scipys(pairs):
    for column in zip(*pairs, strict=True):
        np.testing.assert_array_equal(insights.ranks(column), stats.rankdata(column))


def test_correlations_are_spearmans_over_finished_trials():
    rows = trials(120)
    finished = [row for row in rows if row["status"] == "finished"]
    accuracy = [row["val/accuracy"] for row in finished]
    found = insights.correlations(rows)
    for name in ("weight_decay", "hidden_size", "learning_rate"):
        values = [row["parameters"][name] for row in finished]
        assert found[name] == pytest.approx(stats.spearmanr(values, accuracy).statistic)
    for choice in ("sgd", "adam"):
        having = [row["parameters"]["optimizer"] == choice for row in finished]
        assert found[f"optimizer = {choice}"] == pytest.approx(stats.spearmanr(having, accuracy).statistic)
    assert "optimizer" not in found


@pytest.mark.parametrize("accuracies", [[0.5, 0.6], [0.5] * 5])
def test_too_few_or_equal_trials_have_no_correlation(accuracies):
    assert insights.correlations([trial(i, accuracy, a=i) for i, accuracy in enumerate(accuracies)]) == {"a": None}


def test_a_separators_chance_is_the_hypergeometric_tail():
    rows = [trial(i, 0.1 if i < 6 else 0.9, a="x" if i in (0, 1, 2, 3, 9) else "y", b=i % 2) for i in range(20)]
    found = {row.label: row for row in insights.separators(rows)}
    assert set(found) == {"a = x", "a = y", "b = 0", "b = 1"}
    x = found["a = x"]
    assert (x.runs, x.poor) == (5, 4)
    at_least = sum(Fraction(math.comb(6, k) * math.comb(14, 5 - k), math.comb(20, 5)) for k in (4, 5))
    assert x.p == pytest.approx(float(4 * at_least))
    variance = 0.3 * 0.7 / 5 * 15 / 19
    assert x.z == pytest.approx((0.8 - 0.3) / math.sqrt(variance))
    y = found["a = y"]
    at_most = sum(Fraction(math.comb(6, k) * math.comb(14, 15 - k), math.comb(20, 15)) for k in (1, 2))
    assert y.p == pytest.approx(float(4 * at_most))
    assert found["b = 0"].p == 1


def test_planted_causes_are_found_and_named_in_order():
    rows = trials(600)
    found = insights.rules(rows)
    assert found[0].label == "weight_decay = 0.5"
    assert set(found[1].values) == {("activation", "sigmoid"), ("init", "random")}
    sentence = insights.poor_sentences(rows)
    poor = sum(insights.score(row) is None or row["metric"] < 0.65 for row in rows if row["status"] != "pruned")
    judged = sum(row["status"] != "pruned" for row in rows)
    assert sentence.startswith(f"{poor} of {judged} runs")
    assert f"runs with weight_decay = 0.5, then all {found[1].runs} others with" in sentence


def test_reversed_results_reverse_the_sentence():
    one = [trial(i, 0.1 if i % 2 else 0.9, optimizer="sgd" if i % 2 else "adam") for i in range(40)]
    for name, rows in {"sgd": one, "adam": [row | {"val/accuracy": 1 - row["val/accuracy"]} for row in one]}.items():
        said = insights.poor_sentences(rows)
        assert f"all 20 runs with optimizer = {name}; of the remaining 20 runs 0 are." in said


def test_chance_is_not_taken_for_a_cause():
    said = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        rows = [trial(i, rng.choice([0.1, 0.9]), a=int(rng.integers(6)), b=int(rng.integers(6))) for i in range(80)]
        said += bool(insights.rules(rows))
    assert said <= 3  # each size of rule is wrong in one sweep of a hundred


def test_few_and_unfinished_trials_are_spoken_of_without_a_cause():
    assert "nothing to separate" in insights.poor_sentences([])
    assert insights.poor_sentences([trial(0, 0.9, a=1)]) == "0 of 1 runs (0 %) end below 65 %."
    lost = [trial(i, None if i < 2 else 0.9, "diverged" if i < 2 else "finished", a=i) for i in range(4)]
    assert insights.poor_sentences(lost).startswith("2 of 4 runs (50 %) end below 65 %; 2 of them diverged. No value")
    assert insights.judged([trial(0, 0.1, "pruned", a=1), trial(1, None, "failed", a=2)]) == []


def test_the_metric_stands_in_for_a_missing_accuracy():
    row = {"number": 0, "name": "", "parameters": {}, "status": "finished", "metric": 1.5}
    assert insights.score(row) == 1.5
    assert insights.score(row | {"status": "diverged"}) is None
    assert insights.score(row | {"metric": float("nan")}) is None
    assert not insights.is_accuracy([row])


def test_a_number_of_many_values_is_cut_into_four_equal_ranges():
    rows = [trial(i, 0.1 if i >= 75 else 0.9, learning_rate=10 ** (-4 + 3 * i / 99)) for i in range(100)]
    found = insights.separators(rows)
    assert [row.runs for row in found] == [25] * 4
    assert (found[0].poor, found[0].label[:16]) == (25, "learning_rate > ")


def test_axes_place_every_trial_between_its_ticks():
    rows = trials(300)
    order = insights.score_order(rows)
    axes = {a.name: a for a in insights.axes(rows, "accuracy", {"optimizer": 0.9, "init": 0.2}, order)}
    assert list(axes)[-3:] == ["init", "optimizer", "accuracy"]
    centre = {text: place for place, text in axes["optimizer"].ticks}
    for row, place in zip(rows, axes["optimizer"].places, strict=True):
        assert abs(place - centre[row["parameters"]["optimizer"]]) < axes["optimizer"].band
    assert axes["accuracy"].ticks[0] == (0.0, "–")
    placed = list(zip([row["val/accuracy"] for row in rows], axes["accuracy"].places, order, strict=True))
    lost = {(place, rank) for value, place, rank in placed if value is None}
    assert lost == {(0.0, min(order))}
    known = sorted((value, place, rank) for value, place, rank in placed if value is not None)
    for column in (1, 2):
        assert np.all(np.diff([row[column] for row in known]) >= 0)
    assert max(order) == 1


def test_a_wide_positive_range_is_logarithmic():
    values = [10.0**e for e in np.linspace(-4, -1, 31)]
    axis = insights.number_axis("learning_rate", values)
    np.testing.assert_allclose(axis.places, np.linspace(0, 1, 31), atol=1e-12)
    assert [text for _, text in axis.ticks] == ["0.0001", "0.001", "0.01", "0.1"]
    np.testing.assert_allclose([place for place, _ in axis.ticks], [0, 1 / 3, 2 / 3, 1], atol=1e-12)
    assert insights.number_axis("a", [0.0, 1.0, 2.0]).ticks == [(0.0, "0")] + [
        (pytest.approx(k / 4), insights.text(k / 2)) for k in (1, 2, 3, 4)
    ]


@pytest.mark.parametrize("values", [[], [None, None], [0.5], [0.5, 0.5, None], [-1e300, 1e300], [1e-300, 1.0]])
def test_axes_of_odd_columns(values):
    axis = insights.number_axis("a", values)
    assert len(axis.places) == len(values)
    assert all(0 <= place <= 1 for place in [*axis.places, *(place for place, _ in axis.ticks)])


def test_widths_sort_as_numbers_and_missing_values_have_a_place_of_their_own():
    rows = [trial(0, 0.5, h=[128, 128]), trial(1, 0.6, h=[32]), trial(2, 0.7, h=[64, 64]), trial(3, 0.8)]
    (axis, _) = insights.axes(rows, "accuracy", {}, insights.score_order(rows))
    assert [text for _, text in axis.ticks] == ["–", "32", "64-64", "128-128"]


@given(st.lists(st.one_of(st.none(), st.integers(-3, 3), st.floats(), st.text(max_size=3), st.booleans()), min_size=2))
@settings(max_examples=60, deadline=None)
def test_any_values_have_a_place(values):
    rows = [trial(i, 0.5, a=value) for i, value in enumerate(values)]
    for axis in insights.axes(rows, "accuracy", {}, insights.score_order(rows)):
        assert all(0 <= place <= 1 for place in axis.places)
        assert len({text for _, text in axis.ticks}) == len(axis.ticks)


def test_chances_are_those_of_kruskal_and_wallis_and_a_planted_cause_is_found():
    rows = [row for row in trials(120) if row["status"] == "finished"]
    found = insights.chances(rows)
    for name in ("weight_decay", "optimizer"):
        values = sorted({row["parameters"][name] for row in rows})
        groups = [[row["val/accuracy"] for row in rows if row["parameters"][name] == value] for value in values]
        assert found[name] == pytest.approx(min(1, len(found) * stats.kruskal(*groups).pvalue))
    assert found["weight_decay"] < insights.CHANCE < found["batch_size"]
    assert insights.chances(rows, larger_is_better=False) == pytest.approx(found)
    assert "weight_decay" in insights.certainty(rows)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_trials_prove_nothing(count):
    rows = [trial(i, 0.1 + 0.8 * i, a=i) for i in range(count)]
    assert all(p == 1 for p in insights.chances(rows).values())
    assert insights.certainty(rows).startswith("By itself no parameter")


def test_what_diverged_counts_below_all_others():
    rows = [trial(i, None, "diverged", a="x") for i in range(12)] + [trial(i, 0.1, a="y") for i in range(12, 24)]
    assert insights.chances(rows)["a"] < insights.CHANCE
    assert insights.certainty(rows) == "By itself a changes the result beyond chance."


@pytest.mark.parametrize(
    ("accuracy", "classes", "expected"),
    [(0.1, 10, True), (0.14, 10, True), (0.15, 10, False), (0.5, 2, True), (0.55, 2, False), (0.02, 10, True)],
)
def test_an_accuracy_near_guessing_is_at_chance(accuracy, classes, expected):
    assert insights.at_chance(accuracy, classes) == expected
