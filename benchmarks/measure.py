"""Clocks: contestants that take turns, medians with their spread, the machine's peak."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

Epoch = Callable[[], None]  # trains one epoch and returns when it is done


def in_turn(contestants: dict[str, Epoch], repeats: int) -> dict[str, list[float]]:
    """Seconds of each call after a first that does not count; round by round, so that a drift meets all alike.

    Each waits a little for the threads of the one before, which spin for some 25 ms (OpenBLAS) before they sleep.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for repeat in range(repeats + 1):
        for name, epoch in contestants.items():
            time.sleep(0.1)
            start = time.perf_counter()
            epoch()
            if repeat:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def summary(seconds: dict[str, list[float]], ours: str, scale: float = 1.0) -> dict[str, dict[str, Any]]:
    """Of each contestant: median, least and most seconds, and the median ratio of its time to ours, round by round."""
    return {
        name: {
            "seconds": median(values) * scale,
            "least": min(values) * scale,
            "most": max(values) * scale,
            "times_ours": median(a / b for a, b in zip(values, seconds[ours], strict=True)),
        }
        for name, values in seconds.items()
    }


def peak(seconds: float = 1.0) -> float:
    """GFLOP/s of a large float32 matrix product, the best within `seconds`."""
    import jax
    import jax.numpy as jnp

    n = 2048 if jax.devices()[0].platform == "cpu" else 8192
    a = jnp.ones((n, n))
    product = jax.jit(lambda a: jnp.dot(a, a, precision=jax.lax.Precision.HIGHEST))
    product(a).block_until_ready()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        product(a).block_until_ready()
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best / 1e9


def beside_peak(run_part: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A part's rows, each with its share of the peak: the better of two looks, before and after.

    A virtual machine's peak is another from one minute to the next.
    """
    before, rows = peak(), run_part()
    limit = max(before, peak())
    for row in rows.values():
        if "gflops" in row:
            row["peak"], row["share_of_peak"] = limit, row["gflops"] / limit
    return rows


def busy_cores(seconds: float = 2.0) -> float:
    """How many cores' worth of time others take while this process sleeps; 0 where the kernel does not tell."""
    try:
        before = _ticks()
        time.sleep(seconds)
        after = _ticks()
    except OSError:
        return 0.0
    total, idle = (new - old for new, old in zip(after, before, strict=True))
    return (os.cpu_count() or 1) * (1 - idle / total) if total else 0.0


def _ticks() -> tuple[int, int]:
    """Ticks of all cores since the machine began, and how many of them were idle (proc(5))."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(fields), fields[3] + fields[4]


def bandwidth() -> float:
    """GB/s of y = 2x over 256 MiB: read once and written once, the best of ten."""
    import jax
    import jax.numpy as jnp

    x = jnp.ones(1 << 26)
    double = jax.jit(lambda x: 2 * x)
    double(x).block_until_ready()
    times = []
    for _ in range(10):
        start = time.perf_counter()
        double(x).block_until_ready()
        times.append(time.perf_counter() - start)
    return 2 * x.nbytes / min(times) / 1e9
