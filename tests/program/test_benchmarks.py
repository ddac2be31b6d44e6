"""The benchmarks' arithmetic: what is reached, what fell, the FLOPs of a step. No timings."""

import numpy as np
import pytest

from benchmarks import measure, reach
from benchmarks.jobs import Job


@pytest.mark.parametrize(
    ("value", "more", "aim", "expected"),
    [
        (2.2, True, 2.2, "reached"),
        (1.1, True, 2.2, "falls short by 50%"),
        (700, False, 700, "reached"),
        (1050, False, 700, "falls short by 50%"),
        (None, True, 1, "not measured"),
    ],
)
def test_a_verdict_is_computed_from_the_figure(value, more, aim, expected):
    assert reach.verdict(value, more, aim) == expected


def test_a_busy_machine_is_not_judged():
    # A share of a peak that was itself measured under load would otherwise look like a success.
    result = {"machine": {"cores": 2, "load": "14.6"}, "batch 32": {"ours": {"share_of_peak": 0.82}}}
    row = next(line for line in reach.table(result) if "batch 32 | ≥ 0.35" in line)
    assert "0.82" in row
    assert "not judged" in row
    idle = result | {"machine": {"cores": 2, "load": "0.4"}}
    assert "reached" in next(line for line in reach.table(idle) if "batch 32 | ≥ 0.35" in line)
    assert reach.fallen(result, idle) == ["Nothing is compared: one of the two results is of a busy machine."]


def test_only_a_fall_of_more_than_a_fifth_is_told():
    earlier = {"sweep": {"ratio": 2.0, "peak_mb": 1000}, "start-up": {"warm": 1}}
    slower = {"sweep": {"ratio": 1.5, "peak_mb": 1300}, "start-up": {"warm": 9}}
    assert reach.fallen(slower, earlier) == [
        "sweep: ratio fell by 25%: 2 before, 1.5 now",
        "sweep: peak_mb fell by 23%: 1e+03 before, 1.3e+03 now",
    ]
    assert not reach.fallen({"sweep": {"ratio": 1.7, "peak_mb": 1200}}, earlier)


def test_the_peak_is_the_better_of_a_look_before_and_one_after(monkeypatch):
    looks = iter([100.0, 80.0, 80.0, 160.0])
    monkeypatch.setattr(measure, "peak", lambda: next(looks))
    for share in (0.4, 0.25):
        rows = measure.beside_peak(lambda: {"ours": {"gflops": 40.0}, "a peer": {"absent": "not installed"}})
        assert rows["ours"]["share_of_peak"] == share
        assert rows["a peer"] == {"absent": "not installed"}


def test_a_step_s_useful_flops_are_those_counted_by_hand():
    # Forward and weight gradients over all layers, input gradients over all but the first.
    layers = [(784, 128), (128, 128), (128, 128), (128, 10)]
    by_hand = sum(2 * 32 * a * b * (2 if a == 784 else 3) for a, b in layers)
    assert Job(32, 32).flops == by_hand
    assert np.isclose(by_hand, 19.4e6, rtol=0.01)
