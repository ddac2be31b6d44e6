"""What the project aims at, and what a result reaches of it; and what fell against an earlier result."""

from typing import Any

from benchmarks.sweep import CONTESTANTS, OURS

Result = dict[str, Any]
FALL = 0.2
LOAD_FREE = (("memory", "run"), ("sweep", OURS, "peak_mb"))  # what a busy machine does not change
# what, the figure's path in the result, whether more is better, the aim
AIMS: list[tuple[str, tuple[str, ...], bool, float]] = [
    ("Keras on JAX / ours, batch 32", ("batch 32", "Keras 3 on JAX", "times_ours"), True, 2.2),
    ("PyTorch's best / ours, batch 32", ("batch 32", "PyTorch best", "times_ours"), True, 4.5),
    ("PyTorch's best / ours, batch 1", ("batch 1", "PyTorch best", "times_ours"), True, 12),
    ("share of matrix-product peak, batch 32", ("batch 32", "ours", "share_of_peak"), True, 0.35),
    ("share of matrix-product peak, batch 256", ("batch 256", "ours", "share_of_peak"), True, 0.65),
    ("Keras on JAX / a lane, batch 32", ("lanes", "Keras 3 on JAX"), True, 3),
    ("PyTorch's best / a lane, batch 32", ("lanes", "PyTorch best"), True, 6),
    ("start-up, warm, s", ("start-up", "warm"), False, 2),
    ("peak memory of a run, MB", ("memory", "run"), False, 700),
    ("Optuna with Keras on JAX / our sweep, cold", ("sweep", CONTESTANTS["keras"][0], "times_ours"), True, 4),
    ("Optuna with PyTorch / our sweep, cold", ("sweep", CONTESTANTS["torch"][0], "times_ours"), True, 6),
    ("peak memory of a sweep, MB", ("sweep", OURS, "peak_mb"), False, 2048),
    ("the 11,664 grid, estimated hours", ("grid", "hours"), False, 4),
]


def figure(result: Result, path: tuple[str, ...]) -> float | None:
    """The number at a path of keys; None where it was not measured."""
    value: Any = result
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def busy(result: Result) -> bool:
    """Whether others used the machine: more than half a core of it as the measurement began."""
    machine = result.get("machine", {})
    return float(machine.get("load") or 0) > 0.5


def verdict(value: float | None, more: bool, aim: float, busy: bool = False) -> str:
    """'reached', 'falls short by' in per cent of the aim, 'not measured', or 'not judged' on a busy machine.

    Load distorts in both directions: it stretches contestants of many threads most of all, and it lowers the measured
    peak, which flatters a share of it.
    """
    if value is None:
        return "not measured"
    if busy:
        return "not judged: busy machine"
    if (value >= aim) if more else (value <= aim):
        return "reached"
    return f"falls short by {abs(value - aim) / aim:.0%}"


def table(result: Result) -> list[str]:
    """The aims as rows of Markdown, of the parts that were measured."""
    rows = ["| figure | aim | measured | |", "|---|---|---|---|"]
    for name, path, more, aim in AIMS:
        if path[0] not in result:
            continue
        value = figure(result, path)
        shown = "" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"
        said = verdict(value, more, aim, busy(result) and path not in LOAD_FREE)
        rows.append(f"| {name} | {'≥' if more else '≤'} {aim:g} | {shown} | {said} |")
    return rows


def fallen(result: Result, earlier: Result) -> list[str]:
    """A line for each ratio that is more than a fifth worse than in an earlier result; absolute times are no ratios."""
    if busy(result) or busy(earlier):
        return ["Nothing is compared: one of the two results is of a busy machine."] if earlier else []
    lines = []
    paths = {path: more for _, path, more, _ in AIMS if path[-1] not in ("warm", "hours")}
    paths |= {(part, "obvious scan", "times_ours"): True for part in ("batch 1", "batch 32", "batch 256")}
    for path, more in paths.items():
        new, old = figure(result, path), figure(earlier, path)
        if new is not None and old is not None:
            kept = new / old if more else old / new
            if kept < 1 - FALL:
                lines.append(f"{': '.join(path)} fell by {1 - kept:.0%}: {old:.3g} before, {new:.3g} now")
    return lines
